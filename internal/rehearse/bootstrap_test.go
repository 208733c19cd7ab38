package rehearse

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// bootOf is what a proxy of testdata is started with. Every endpoint lies on port 7001,
// every listener on a port of its own from 7100.
func bootOf(t *testing.T, name string, raw []byte) *Boot {
	t.Helper()
	next := 7100
	b, err := Bootstrap(Proxy{Name: name, Namespace: "ns", Dump: raw}, Layout{
		Sidecar: name == "sidecar", Dir: "/rehearsal", Direct: 7002,
		Bind: func(Binding) int { next++; return next },
		Lead: func(Endpoint) int { return 7001 },
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// leaves are a tree's plain values by their paths, written down without any code of the
// package.
func leaves(into map[string]string, path string, v any) {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			if k != "@type" || path != "" {
				leaves(into, path+"/"+k, e)
			}
		}
		if len(v) == 0 {
			into[path] = "{}"
		}
	case []any:
		for i, e := range v {
			leaves(into, fmt.Sprintf("%s/%d", path, i), e)
		}
	default:
		into[path] = fmt.Sprint(v)
	}
}

// mayDiffer is what the rehearsal promises to leave alone, turned round.
var mayDiffer = regexp.MustCompile(strings.Join([]string{
	`^listener [^/]+/address/socket_address/(address|port_value)$`,
	`^listener virtualOutbound/filter_chains/0/use_proxy_proto$`,
	`^listener [^/]+(/(filter_chains/\d+|default_filter_chain)/filters/\d+/typed_config)?/access_log/`,
	`^listener .*/rds/config_source/`,
	`^(listener|cluster) .*/sds_config/`,
	`^cluster [^/]+/(type|eds_cluster_config/.*)$`,
	`^cluster [^/]+/load_assignment/endpoints/\d+/lb_endpoints/\d+/endpoint/address/socket_address/(address|port_value)$`,
	`^cluster PassthroughCluster/(lb_policy|load_assignment/.*)$`,
	`^endpoints .*/endpoints/\d+/lb_endpoints/\d+/endpoint/address/socket_address/(address|port_value)$`,
}, "|"))

// differing are the leaves in which the files differ from the dump.
func differing(t *testing.T, dump []byte, b *Boot) []string {
	t.Helper()
	was, is := map[string]string{}, map[string]string{}
	resources, err := read(dump)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range resources {
		leaves(was, r.String(), r.tree)
	}
	eds := map[string]bool{}
	for _, r := range resources {
		eds[r.name] = eds[r.name] || r.kind == "endpoints"
	}
	for kind, singular := range map[string]string{clusterKind: "cluster", listenerKind: "listener", routeKind: "route"} {
		var answer struct {
			Type      string           `json:"type_url"`
			Resources []map[string]any `json:"resources"`
		}
		d := json.NewDecoder(bytes.NewReader(b.Resources.response(kind, nil)))
		d.UseNumber()
		if err := d.Decode(&answer); err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		for _, r := range answer.Resources {
			id, _ := r["name"].(string)
			if kind == clusterKind && eds[id] { // the dump's own endpoints, in the cluster
				leaves(is, "endpoints "+id, r["load_assignment"])
				delete(r, "load_assignment")
				if r["type"] != "STATIC" {
					t.Errorf("cluster %s has its endpoints and the type %v", id, r["type"])
				}
			}
			if r["@type"] != answer.Type {
				t.Errorf("%s: a resource of type %v in a response of %s", kind, r["@type"], answer.Type)
			}
			delete(r, "@type")
			leaves(is, singular+" "+id, r)
		}
	}
	var found []string
	for path, v := range was {
		if is[path] != v {
			found = append(found, path)
		}
	}
	for path := range is {
		if _, ok := was[path]; !ok {
			found = append(found, path)
		}
	}
	return found
}

func TestNothingElseIsChanged(t *testing.T) {
	for _, name := range []string{"sidecar", "gateway"} {
		t.Run(name, func(t *testing.T) {
			raw := dump(t, name)
			b := bootOf(t, name, raw)
			told := map[string]int{}
			for _, c := range b.Changes {
				path := c.Resource
				if c.Field != "" {
					path += "/" + strings.NewReplacer(".", "/", "[", "/", "]", "").Replace(c.Field)
				}
				told[path] = 0
				if c.Proxy != "ns/"+name || c.Kind == "" || c.Was == c.Is {
					t.Errorf("a change that says nothing: %+v", c)
				}
			}
			if len(told) != len(b.Changes) {
				t.Errorf("%d changes are told of, %d places", len(b.Changes), len(told))
			}
			paths := differing(t, raw, b)
			if len(paths) == 0 {
				t.Fatal("nothing was changed: the comparison is out of date")
			}
			for _, path := range paths {
				if !mayDiffer.MatchString(path) {
					t.Errorf("%s differs, and may not", path)
				}
				covered := false
				for place := range told {
					if path == place || strings.HasPrefix(path, place+"/") {
						told[place]++
						covered = true
					}
				}
				if !covered {
					t.Errorf("%s differs, and no change tells of it", path)
				}
			}
			for place, n := range told {
				// The endpoints that lie in a cluster are compared with the dump's own.
				if cluster, is := strings.CutSuffix(place, "/load_assignment"); is {
					for _, path := range paths {
						if strings.HasPrefix(path, strings.Replace(cluster, "cluster ", "endpoints ", 1)+"/") {
							n++
						}
					}
				}
				if n == 0 {
					t.Errorf("a change of %s is told, and there is none", place)
				}
			}
			if len(b.Unknown) > 0 {
				t.Errorf("unknown: %v", b.Unknown)
			}
		})
	}
}

// A comparison that finds nothing in a changed file would make the test above worthless.
func TestOtherChangesWouldBeFound(t *testing.T) {
	raw := dump(t, "gateway")
	b := bootOf(t, "gateway", raw)
	for _, path := range differing(t, raw, b) {
		if !mayDiffer.MatchString(path) {
			t.Errorf("%s differs without a change", path)
		}
	}
	for _, tt := range []struct{ old, new string }{
		{`"max_connections":83`, `"max_connections":84`},
		{`"sni":"` + host + `"`, `"sni":"other"`},
		{`"require_client_certificate":true`, `"require_client_certificate":false`},
		{`"match_subject_alt_names":[{"exact":"` + host + `"}]`, `"match_subject_alt_names":[]`},
		{`"num_retries":2`, `"num_retries":3`},
	} {
		all := encode(map[string]map[string][]any(b.Resources))
		n := strings.Count(string(all), tt.old)
		changed := &Boot{}
		d := json.NewDecoder(strings.NewReader(strings.ReplaceAll(string(all), tt.old, tt.new)))
		d.UseNumber()
		if err := d.Decode(&changed.Resources); err != nil {
			t.Fatal(err)
		}
		found := false
		for _, path := range differing(t, raw, changed) {
			found = found || !mayDiffer.MatchString(path)
		}
		if n == 0 || !found {
			t.Errorf("%s: %d times there, found: %v", tt.old, n, found)
		}
	}
}

func TestSecretsAreAskedForByName(t *testing.T) {
	asked := func(b *Boot) string {
		var names []string
		for _, s := range b.Secrets {
			names = append(names, fmt.Sprintf("%s ca=%v server=%v %v", s.Name, s.CA, s.Server, s.ServerNames))
		}
		return strings.Join(names, "\n")
	}
	got := asked(bootOf(t, "gateway", dump(t, "gateway")))
	for _, want := range []string{
		"kubernetes://partner-client-credential ca=false server=false []",
		"kubernetes://partner-client-credential-cacert ca=true server=false []",
		"ROOTCA ca=true server=false", "default ca=false server=false",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the gateway asks for\n%s\nand not for %s", got, want)
		}
	}
}

func TestWhatCannotBeRehearsed(t *testing.T) {
	for name, tt := range map[string]struct{ old, new, unknown string }{
		"a filter of Istio's own build": {
			`"http_filters":[`, `"http_filters":[{"name":"istio.stats","typed_config":{"@type":"type.googleapis.com/stats.PluginConfig"}},`, "the filter istio.stats",
		},
		"a cluster that looks hosts up": {
			`"name":"BlackHoleCluster",`, `"name":"BlackHoleCluster","cluster_type":{"name":"envoy.clusters.dynamic_forward_proxy"},`, "looks hosts up",
		},
		"a part that comes by itself": {
			`"http_filters":[`, `"http_filters":[{"name":"wasm","config_discovery":{"config_source":{"ads":{}}}},`, "istiod sends by itself",
		},
		"a route that is not there": {
			`"route_config_name":"https.8443`, `"route_config_name":"https.9443`, `no route configuration "https.9443`,
		},
		"endpoints that are not there": {
			`"endpoint_config":{"cluster_name":"`, `"endpoint_config":{"cluster_name":"x`, "no endpoints for cluster",
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := bootOf(t, "gateway", altered(t, "gateway", tt.old, tt.new))
			if all := strings.Join(b.Unknown, "; "); !strings.Contains(all, tt.unknown) {
				t.Errorf("unknown: %q, without %q", all, tt.unknown)
			}
		})
	}
}

func TestDumpsThatCannotBeRead(t *testing.T) {
	for _, raw := range []string{"", "{}", `{"configs":[{"@type":"x.ClustersConfigDump"}]}`, `{"configs":[{"@type":"x.ListenersConfigDump","dynamicListeners":[]}]}`} {
		if _, err := read([]byte(raw)); err == nil {
			t.Errorf("%q is read", raw)
		}
	}
}
