package given

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// one and two are resources without a name; Envoy's order is no order.
const one, two = `{"route_config": {"virtual_hosts": [{"name": "one"}]}},`, `{"route_config": {"virtual_hosts": [{"name": "two"}]}},`

// dump is a config_dump with what the caller says in it.
func dump(service, alias, timeout, filters, unnamed string) string {
	return `{"configs": [
 {"@type": "type.googleapis.com/envoy.admin.v3.BootstrapConfigDump", "bootstrap": {"node": {"id": "` + service + `"}, "layered_runtime": {"layers": [{"name": "a", "x": 1}, {"name": "b"}]}}},
 {"@type": "type.googleapis.com/envoy.admin.v3.ClustersConfigDump", "version_info": "` + service + `", "dynamic_active_clusters": [
   {"version_info": "1", "cluster": {"name": "outbound|443||api.example", "connect_timeout": "` + timeout + `", "alt_stat_name": "` + service + `;"}},
   {"cluster": {"name": "outbound|15999||s` + alias + `.sentinel.invalid"}}]},
 {"@type": "type.googleapis.com/envoy.admin.v3.ListenersConfigDump", "dynamic_listeners": [
   {"name": "` + service + `_443", "active_state": {"listener": {"name": "` + service + `_443", "address": {"socket_address": {"address": "` + service + `"}},
      "filter_chains": [{"filters": [` + filters + `]}], "to": "outbound|443||api.example"}}},
   {"name": "0.0.0.0_15999", "active_state": {"listener": {"name": "0.0.0.0_15999"}}}]},
 {"@type": "type.googleapis.com/envoy.admin.v3.RoutesConfigDump", "dynamic_route_configs": [
   ` + unnamed + `{"route_config": {"name": "80", "virtual_hosts": [{"name": "v", "domains": ["api.example", "` + service + `"]}, {"name": "w", "domains": ["s` + alias + `.sentinel.invalid"]}]}}]},
 {"@type": "type.googleapis.com/envoy.admin.v3.SecretsConfigDump", "dynamic_active_secrets": [{"name": "default", "secret": {"x": "` + alias + `"}}]}]}`
}

func parse(t *testing.T, text string) Config {
	t.Helper()
	c, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

const rbac, router = `{"name": "rbac"}`, `{"name": "router", "x": true}`

func TestWhatDiffersAnywayIsLeftOut(t *testing.T) {
	a := parse(t, dump("10.96.1.2", "111-1", "10s", rbac+","+router, one+two))
	b := parse(t, dump("10.96.200.7", "222-9", "10s", rbac+","+router, two+one))
	if diff := cmp.Diff([]Change(nil), Diff(a, b)); diff != "" {
		t.Error(diff)
	}
	for field := range a {
		if strings.Contains(field, "15999") || strings.Contains(field, "sentinel") {
			t.Errorf("a sentinel is left: %s", field)
		}
	}
}

func TestDiff(t *testing.T) {
	a := parse(t, dump("10.96.1.2", "1", "10s", rbac+","+router, ""))
	b := parse(t, dump("10.96.1.2", "1", "5s", router+","+rbac+`, {"name": "new", "y": []}`, ""))
	want := []Change{
		{"cluster outbound|443||api.example: connect_timeout", "10s", "5s"},
		{"listener for outbound|443||api.example: filter_chains[1].filters in this order", "rbac, router", "router, rbac, new"},
		{"listener for outbound|443||api.example: filter_chains[1].filters[new].name", "", "new"},
		{"listener for outbound|443||api.example: filter_chains[1].filters[new].y", "", "[]"},
	}
	if diff := cmp.Diff(want, Diff(a, b)); diff != "" {
		t.Error(diff)
	}
}

// istiod gives several chains of a listener one name: each is compared with its own.
func TestChainsOfOneName(t *testing.T) {
	dump := func(chains string) string {
		return `{"configs": [{"@type": "x.BootstrapConfigDump"}, {"@type": "x.ClustersConfigDump"}, {"@type": "x.ListenersConfigDump", "dynamic_listeners": [
		{"active_state": {"listener": {"name": "virtualInbound", "filter_chains": [` + chains + `]}}, "draining_state": {"listener": {"name": "virtualInbound", "old": "x"}}}]}]}`
	}
	tls := `{"name": "virtualInbound", "filter_chain_match": {"transport_protocol": "tls"}, "timeout": "1s"}`
	plain := `{"name": "virtualInbound", "filter_chain_match": {"transport_protocol": "raw_buffer"}, "timeout": "2s"}`
	from := parse(t, dump(tls+","+plain))
	to := parse(t, dump(strings.Replace(tls, "1s", "9s", 1)+","+plain))
	want := []Change{{`listener virtualInbound: filter_chains[virtualInbound for {"transport_protocol":"tls"}].timeout`, "1s", "9s"}}
	if diff := cmp.Diff(want, Diff(from, to)); diff != "" {
		t.Error(diff)
	}
}

func TestFirstFieldIsOneChange(t *testing.T) {
	from, to := Config{"cluster a: lb": "{}", "cluster a: tls": "{}"}, Config{"cluster a: lb.threshold": "{}"}
	want := []Change{{"cluster a: lb.threshold", "", "{}"}, {"cluster a: tls", "{}", ""}}
	if diff := cmp.Diff(want, Diff(from, to)); diff != "" {
		t.Error(diff)
	}
}

func TestParseRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"no JSON":           "Envoy",
		"an unknown sort":   `{"configs": [{"@type": "type.googleapis.com/envoy.admin.v3.NewConfigDump"}]}`,
		"without listeners": `{"configs": [{"@type": "x.BootstrapConfigDump"}, {"@type": "x.ClustersConfigDump"}]}`,
	} {
		if _, err := Parse([]byte(text)); err == nil {
			t.Errorf("%s is read", name)
		}
	}
}

func TestGrouped(t *testing.T) {
	from := Config{"cluster a: x": "1", "cluster b: x": "1", "cluster b: y": "1", "cluster old: x": "1", "cluster old: y": "1", "bootstrap: z": "1", "secret default": "given"}
	to := Config{"cluster a: x": "2", "cluster b: x": "2", "cluster b: y": "1", "listener new: x": "1", "listener new: y": "2", "bootstrap: z": "2", "secret default": "given", "secret ROOTCA": "given"}
	want := []Group{
		{Kind: "bootstrap", Path: "z", Was: "1", Is: "2"},
		{Kind: "cluster", Path: "x", Was: "1", Is: "2", Resources: []string{"a", "b"}},
		{Kind: "cluster", Was: "given", Resources: []string{"old"}},
		{Kind: "listener", Is: "given", Resources: []string{"new"}},
		{Kind: "secret", Is: "given", Resources: []string{"ROOTCA"}},
	}
	if diff := cmp.Diff(want, Grouped(from, to)); diff != "" {
		t.Error(diff)
	}
}
