package envoy

import (
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	// The types that Istio puts into clusters; protojson resolves an Any by
	// its registered type and calls any other an error.
	_ "github.com/cncf/xds/go/udpa/type/v1"
	_ "github.com/cncf/xds/go/xds/type/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/aggregate/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/dns/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/dynamic_forward_proxy/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/http/header_formatters/preserve_case/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/least_request/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/override_host/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/round_robin/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/network/dns_resolver/cares/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/network/dns_resolver/getaddrinfo/v3"
)

// Dump is the clusters of one proxy, as its config dump shows them.
type Dump struct {
	// VersionInfo is the version of the last accepted clusters; empty where
	// the answer was of ?resource=, which does not tell it.
	VersionInfo string

	live     []*Cluster // active and static, as istioctl lists them
	warming  []*Cluster
	rejected []Rejection
}

// Rejection is an update that the proxy refused.
type Rejection struct {
	Name    string // of the resource; empty where Envoy does not tell it
	Version string
	Details string // Envoy's reason
}

// AbsentError says that a dump was read and the resource is not in it.
type AbsentError struct {
	Kind string // "cluster", "secret", "listener", "virtual host"
	Name string
	Have []string
}

func (e *AbsentError) Error() string {
	return fmt.Sprintf("no %s %q among %d: %s", e.Kind, e.Name, len(e.Have), list(e.Have))
}

// ParseConfigDump reads an answer of GET /config_dump: in full, of
// ?mask=version_info,dynamic_active_clusters, or of
// ?resource=dynamic_active_clusters (dynamic_warming_clusters,
// static_clusters), each with or without name_regex. An answer of ?resource=
// does not say which list it is of, so its clusters count as live; whoever
// asks for the warming ones has to remember that.
//
// An answer with sections but without clusters is a *NoSectionError; an answer
// with nothing in it is an empty Dump. A cluster that holds a type unknown here
// is an error that names cluster and type.
func ParseConfigDump(raw []byte) (*Dump, error) {
	version, found, err := entries(raw, "ClustersConfigDump",
		"static_clusters", "dynamic_active_clusters", "dynamic_warming_clusters")
	if err != nil {
		return nil, err
	}
	dump := &Dump{VersionInfo: version}
	for _, e := range found {
		if state := e.body.get("error_state"); state != nil {
			r, err := rejection(state)
			if err != nil {
				return nil, fmt.Errorf("clusters: error_state: %w", err)
			}
			dump.rejected = append(dump.rejected, r)
		}
		body := e.body.get("cluster")
		if body == nil {
			if e.body.get("error_state") != nil {
				continue
			}
			return nil, fmt.Errorf("clusters: an entry of %s has neither cluster nor error_state", e.list+e.kind)
		}
		c, err := parseCluster(body)
		if err != nil {
			return nil, err
		}
		if c.version, err = e.body.text("version_info"); err != nil {
			return nil, fmt.Errorf("cluster %q: %w", c.Name(), err)
		}
		if e.list == "dynamic_warming_clusters" {
			dump.warming = append(dump.warming, c)
		} else {
			dump.live = append(dump.live, c)
		}
	}
	sortClusters(dump.live)
	sortClusters(dump.warming)
	return dump, nil
}

// ParseIstioctlClusters reads what `istioctl proxy-config cluster -o json`
// prints: a list of clusters, sorted here by name.
func ParseIstioctlClusters(raw []byte) ([]*Cluster, error) {
	var bodies []json.RawMessage
	if err := json.Unmarshal(raw, &bodies); err != nil {
		return nil, fmt.Errorf("istioctl clusters: not a JSON list (%v): %s", err, excerpt(raw))
	}
	clusters := make([]*Cluster, 0, len(bodies))
	for _, body := range bodies {
		c, err := parseCluster(body)
		if err != nil {
			return nil, err
		}
		clusters = append(clusters, c)
	}
	sortClusters(clusters)
	return clusters, nil
}

// Clusters returns the active and static clusters, sorted by name.
func (d *Dump) Clusters() []*Cluster { return d.live }

// Warming returns the clusters that do not carry traffic yet, sorted by name.
func (d *Dump) Warming() []*Cluster { return d.warming }

// Rejected returns the updates of clusters that the proxy refused.
func (d *Dump) Rejected() []Rejection { return d.rejected }

// Cluster returns the live cluster of that name, or an *AbsentError.
func (d *Dump) Cluster(name string) (*Cluster, error) { return FindCluster(d.live, name) }

// FindCluster returns the cluster of that name, or an *AbsentError.
func FindCluster(clusters []*Cluster, name string) (*Cluster, error) {
	have := make([]string, 0, len(clusters))
	for _, c := range clusters {
		if c.Name() == name {
			return c, nil
		}
		have = append(have, c.Name())
	}
	return nil, &AbsentError{Kind: "cluster", Name: name, Have: have}
}

// DiffClusters tells how two readings of a proxy's clusters differ, name by
// name and field by field; "" when they are equal. The order does not count.
func DiffClusters(a, b []*Cluster) string {
	left, right := byName(a), byName(b)
	names := map[string]bool{}
	for n := range left {
		names[n] = true
	}
	for n := range right {
		names[n] = true
	}
	sorted := make([]string, 0, len(names))
	for n := range names {
		sorted = append(sorted, n)
	}
	sort.Strings(sorted)
	var out strings.Builder
	for _, n := range sorted {
		// cmp takes a hundred times as long.
		if slices.EqualFunc(left[n], right[n], func(a, b *clusterv3.Cluster) bool { return proto.Equal(a, b) }) {
			continue
		}
		if diff := cmp.Diff(left[n], right[n], protocmp.Transform()); diff != "" {
			fmt.Fprintf(&out, "cluster %q (%d in a, %d in b):\n%s\n", n, len(left[n]), len(right[n]), diff)
		}
	}
	return out.String()
}

func byName(clusters []*Cluster) map[string][]*clusterv3.Cluster {
	m := map[string][]*clusterv3.Cluster{}
	for _, c := range clusters {
		m[c.Name()] = append(m[c.Name()], c.proto)
	}
	return m
}

func sortClusters(clusters []*Cluster) {
	sort.SliceStable(clusters, func(i, j int) bool { return clusters[i].Name() < clusters[j].Name() })
}

// parseCluster reads one cluster. Fields that this build's protos do not know
// are dropped, as istioctl does: a newer Envoy may print them, and nothing
// here reads them. Types that it does not know are errors.
func parseCluster(body []byte) (*Cluster, error) {
	var o object
	if err := json.Unmarshal(body, &o); err != nil {
		return nil, fmt.Errorf("cluster: not a JSON object (%v): %s", err, excerpt(body))
	}
	name, err := o.text("name")
	if err != nil || name == "" {
		return nil, fmt.Errorf("cluster without a name: %s", excerpt(body))
	}
	// In a dump the cluster is an Any, with its type beside the fields.
	if _, ok := o["@type"]; ok {
		delete(o, "@type")
		if body, err = json.Marshal(o); err != nil {
			return nil, fmt.Errorf("cluster %q: %w", name, err)
		}
	}
	c := &clusterv3.Cluster{}
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(body, c); err != nil {
		return nil, fmt.Errorf("cluster %q: %w", name, err)
	}
	return &Cluster{proto: c}, nil
}

func rejection(body []byte) (Rejection, error) {
	var state struct {
		FailedConfiguration struct {
			Name string `json:"name"`
		} `json:"failed_configuration"`
		Details     string `json:"details"`
		VersionInfo string `json:"version_info"`
	}
	if err := snakeKeys(body, &state); err != nil {
		return Rejection{}, err
	}
	return Rejection{Name: state.FailedConfiguration.Name, Version: state.VersionInfo, Details: state.Details}, nil
}
