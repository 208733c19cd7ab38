package livesource

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"slices"
	"time"

	"twohop/internal/channel"
	"twohop/internal/objects"
)

// Snapshot is what was read of a cluster. It has no private key and no Secret's data.
type Snapshot struct {
	At      time.Time `json:"at"`
	Cluster Cluster   `json:"cluster"`
	// User is who asked, by the API server's word.
	User string `json:"user"`
	// Scope are the namespaces that were asked for; none is all.
	Scope []string `json:"scope,omitempty"`
	// Objects are Istio's and Kubernetes', without status but for that of pods. Of pods
	// that are alike, one is there.
	Objects *objects.Set `json:"-"`
	// Settings are those of the revision that configures the gateways.
	Settings channel.Settings `json:"settings"`
	Mesh     []Mesh           `json:"mesh,omitempty"`
	Pods     []Pod            `json:"pods,omitempty"`
	Istiods  []Istiod         `json:"istiods,omitempty"`
	Accounts []Access         `json:"accounts,omitempty"`
	Proxies  []*Proxy         `json:"proxies,omitempty"`
	// Secrets are those that were read; nil unless that was asked for.
	Secrets []Secret `json:"secrets,omitempty"`
	// Missing is what could not be learnt: whatever depends on it is unknown.
	Missing []Missing `json:"missing,omitempty"`
	// Asked are the requests to the API server, and how often each was made.
	Asked []string `json:"asked,omitempty"`
}

// Cluster says which one it was.
type Cluster struct {
	Server  string `json:"server"`
	Context string `json:"context,omitempty"`
	Version string `json:"version"` // of Kubernetes
}

// Mesh is the mesh configuration of a revision.
type Mesh struct {
	Revision  string `json:"revision"` // "default" for the one without a name
	Namespace string `json:"namespace"`
	ConfigMap string `json:"configMap"`
	// Config is MeshConfig in YAML, without passwords.
	Config string `json:"config"`
	// Shared is what SHARED_MESH_CONFIG names; Config has precedence over it.
	Shared string `json:"shared,omitempty"`
}

// Pod is one of the objects, with what its object does not say.
type Pod struct {
	Namespace string      `json:"namespace"`
	Name      string      `json:"name"`
	Owner     objects.Ref `json:"owner"`
	// Alike is how many pods are like it, itself included.
	Alike int  `json:"alike"`
	Ready bool `json:"ready"`
	// HasProxy says that it has a container istio-proxy, whatever its labels ask for.
	HasProxy bool   `json:"hasProxy"`
	Revision string `json:"revision,omitempty"`
}

// Istiod is one replica.
type Istiod struct {
	Namespace string   `json:"namespace"`
	Name      string   `json:"name"`
	Revision  string   `json:"revision"`
	Version   string   `json:"version,omitempty"` // empty where it could not be asked
	Args      []string `json:"args,omitempty"`
	// Env has settings only, no values from Secrets.
	Env map[string]string `json:"env,omitempty"`
}

// The answers of an access review.
const (
	AccessAllowed = "allowed"
	AccessDenied  = "denied"
	AccessUnknown = "unknown"
)

// Access says whether an account may list the Secrets of its namespace.
type Access struct {
	Namespace string `json:"namespace"`
	Account   string `json:"account"`
	Answer    string `json:"answer"`
	Why       string `json:"why,omitempty"`
}

// Missing is something that could not be learnt.
type Missing struct {
	What string `json:"what"`
	Why  string `json:"why"`
	// Group and Resource are set where objects are missing.
	Group      string   `json:"group,omitempty"`
	Resource   string   `json:"resource,omitempty"`
	Namespaces []string `json:"namespaces,omitempty"` // none: all of the cluster
}

// Proxy is one that was asked, or should have been.
type Proxy struct {
	Namespace string `json:"namespace"`
	Pod       string `json:"pod"`
	Kind      string `json:"kind"` // "sidecar" or "router"
	// Envoy is its own config dump, Istiod that of each replica of istiod which it is
	// connected to, by pod. What could not be had is absent, and in Missing.
	Envoy  *Dump            `json:"-"`
	Istiod map[string]*Dump `json:"-"`
	Info   *Info            `json:"info,omitempty"`
	// Stats are Envoy's counters of what it refused, and such; nil where unknown.
	Stats map[string]string `json:"stats,omitempty"`
	Sync  Sync              `json:"sync"`
	Notes []string          `json:"notes,omitempty"`
}

// Info is what Envoy says of itself.
type Info struct {
	Envoy string `json:"envoy"`           // its version
	Istio string `json:"istio,omitempty"` // ISTIO_VERSION of the proxy's metadata
	State string `json:"state"`           // LIVE, DRAINING …
	Node  string `json:"node,omitempty"`
}

// Dump is a config dump. It is kept compressed: a large mesh's has tens of megabytes.
type Dump struct{ packed []byte }

func pack(raw []byte) *Dump {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	if err != nil {
		panic(err) // the level is one of gzip's
	}
	if _, err := w.Write(raw); err != nil {
		panic(err) // a buffer
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return &Dump{packed: b.Bytes()}
}

// JSON is the dump, for walk.Parse and the parsers of internal/envoy.
func (d *Dump) JSON() ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(d.packed))
	if err != nil {
		return nil, fmt.Errorf("unpack a config dump: %w", err)
	}
	raw, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("unpack a config dump: %w", err)
	}
	return raw, nil
}

// Proxy is that of a workload; nil if it was not asked.
func (s *Snapshot) Proxy(w *channel.Workload) *Proxy {
	i := slices.IndexFunc(s.Proxies, func(p *Proxy) bool { return w.Kind == "Pod" && p.Namespace == w.Namespace && p.Pod == w.Name })
	if i < 0 {
		return nil
	}
	return s.Proxies[i]
}

// MeshConfig is that of the revision that configures the gateways; empty if it is not
// known, which Missing says.
func (s *Snapshot) MeshConfig() string {
	if len(s.Mesh) == 0 {
		return ""
	}
	return s.Mesh[0].Config
}

// PodOf says more about a pod of the objects.
func (s *Snapshot) PodOf(ref objects.Ref) (Pod, bool) {
	i := slices.IndexFunc(s.Pods, func(p Pod) bool { return ref.Kind == "Pod" && p.Namespace == ref.Namespace && p.Name == ref.Name })
	if i < 0 {
		return Pod{}, false
	}
	return s.Pods[i], true
}
