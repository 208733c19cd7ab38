package upgrade

import (
	"bytes"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"testing"

	"twohop"
	"twohop/internal/claim"
	"twohop/internal/given"
	"twohop/internal/verdict"
	"twohop/versions"
)

func sample(istio, seen string, proxy given.Config) *Recording {
	r := &Recording{Proxies: map[string]given.Config{"sidecar": proxy, "gateway": {"secret default": "given"}}}
	r.Verdict.Run.ID, r.Verdict.Run.Istio, r.Verdict.Run.Rules = istio, istio, "rules of "+istio
	r.Verdict.Run.Notes = []string{"the proxies run upstream Envoy, without Istio's own filters"}
	r.Verdict.Claims = []verdict.Result{{ID: "G1", Statement: "It holds.", Verdict: claim.Supported, Expected: claim.Supported,
		Finding: verdict.Finding{Claim: "G1", Check: &verdict.Trial{Facts: []verdict.Fact{{Name: "TLS", Seen: seen, OK: true}}}}}}
	return r
}

func TestCompare(t *testing.T) {
	saved := meanings
	t.Cleanup(func() { meanings = saved })
	meanings = []meaning{{regexp.MustCompile(`^cluster: connect_timeout$`), "how long a connection may take", []claim.ID{"G1"}}}
	from := sample("1.30", "TLSv1.2", given.Config{"cluster a: connect_timeout": "10s", "cluster b: connect_timeout": "10s", "cluster c: connect_timeout": "10s", "cluster a: lb": "x"})
	to := sample("1.31", "TLSv1.3", given.Config{"cluster a: connect_timeout": "5s", "cluster b: connect_timeout": "5s", "cluster c: connect_timeout": "5s", "cluster a: lb": "x"})
	a := Compare(from, to, "rules of 1.31")
	var md, text, j bytes.Buffer
	for _, err := range []error{a.WriteMarkdown(&md), a.WriteText(&text, verdict.TextOptions{}), a.WriteJSON(&j)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{
		"From Istio 1.30 to 1.31: of 1 claims, none changes its verdict; 1 value that was seen differs; the proxies' configuration differs in 1 place.",
		"| G1 | check | TLS | TLSv1.2 | TLSv1.3 |",
		"| 3 clusters, a among them | connect_timeout | 10s | 5s | how long a connection may take (G1) |",
		"### The configuration of the gateway\n\nNone.",
		"The recording of Istio 1.30 was judged by other rules", "upstream Envoy",
	} {
		if !strings.Contains(md.String(), want) {
			t.Errorf("the Markdown lacks %q:\n%s", want, md.String())
		}
	}
	if !strings.Contains(text.String(), "3 clusters, a among them: connect_timeout\n      10s → 5s\n      how long") || a.Same() {
		t.Errorf("same: %v\n%s", a.Same(), text.String())
	}
	if same := Compare(from, from, "rules of 1.30"); !same.Same() || len(same.Notes) != 1 {
		t.Errorf("a line compared with itself: %+v", same)
	}
}

// Each meaning is that of a field which Envoy has, and of no field before it in the list.
func TestMeaningsAreReached(t *testing.T) {
	fields := []string{
		"cluster: common_lb_config.healthy_panic_threshold", "cluster: circuit_breakers.thresholds[1].max_connections", "cluster: connect_timeout",
		"cluster: upstream_connection_options.tcp_keepalive.keepalive_time",
		"cluster: typed_extension_protocol_options.envoy.extensions.upstreams.http.v3.HttpProtocolOptions.common_http_protocol_options.max_connection_duration",
		"cluster: typed_extension_protocol_options.envoy.extensions.upstreams.http.v3.HttpProtocolOptions.common_http_protocol_options.idle_timeout",
		"cluster: typed_extension_protocol_options.envoy.extensions.upstreams.http.v3.HttpProtocolOptions.common_http_protocol_options.max_requests_per_connection",
		"cluster: outlier_detection.max_ejection_percent",
		"cluster: typed_extension_protocol_options.envoy.extensions.upstreams.http.v3.HttpProtocolOptions.explicit_http_config.http2_protocol_options",
		"cluster: transport_socket.typed_config.sni",
		"cluster: transport_socket.typed_config.common_tls_context.combined_validation_context.default_validation_context.match_typed_subject_alt_names[1].matcher.exact",
		"cluster: transport_socket.typed_config.common_tls_context.tls_certificate_sds_secret_configs[default].sds_config.ads",
		"cluster: transport_socket.typed_config.@type", "cluster: type", "secret: ",
		"route configuration: virtual_hosts[a].routes[1].route.retry_policy.num_retries", "listener: filter_chains[1].filter_chain_match.server_names",
		"listener: filter_chains[1].filters[hcm].typed_config.forward_client_cert_details", "listener: filter_chains[1].transport_socket.typed_config.require_client_certificate",
		"listener: access_log[envoy.access_loggers.file].typed_config.path", "listener: filter_chains[1].filters[envoy.filters.network.rbac].typed_config.rules",
		"route configuration: virtual_hosts[a].domains", "bootstrap: layered_runtime.layers[static].static_layer.x",
	}
	if len(fields) != len(meanings) {
		t.Fatalf("%d fields for %d meanings", len(fields), len(meanings))
	}
	for i, field := range fields {
		kind, path, _ := strings.Cut(field, ": ")
		if got := explain(given.Group{Kind: kind, Path: path}); got.Meaning != meanings[i].means {
			t.Errorf("%s means %q, want %q", field, got.Meaning, meanings[i].means)
		}
	}
	for _, field := range []string{"cluster: typed_extension_protocol_options.x.upstream_http_protocol_options.y", "route configuration: virtual_hosts[a].routes[1].route.timeout", "cluster: lb_policy"} {
		kind, path, _ := strings.Cut(field, ": ")
		if got := explain(given.Group{Kind: kind, Path: path}); got.Meaning != "" {
			t.Errorf("%s means %q; the catalogue does not know", field, got.Meaning)
		}
	}
}

func TestMeaningsNameClaims(t *testing.T) {
	for _, m := range meanings {
		for _, id := range m.claims {
			if _, err := claim.ByID(id); err != nil {
				t.Errorf("%s: %v", m.what, err)
			}
		}
	}
}

func TestPack(t *testing.T) {
	packed, err := sample("1.30", "x", given.Config{"a": "b"}).Pack()
	if err != nil {
		t.Fatal(err)
	}
	r, err := Unpack(packed)
	if err != nil || r.Proxies["sidecar"]["a"] != "b" || r.Verdict.Claims[0].Check.Facts[0].Seen != "x" {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := Unpack([]byte("x")); err == nil {
		t.Error("no recording is read as one")
	}
}

// What is shipped of a line is of every claim, and as the registry expects it. That it was
// judged by other rules than today's is said, and is no failure: "make matrix" records anew.
func TestShippedRecordings(t *testing.T) {
	files, err := fs.Glob(versions.Recordings, "*.json.gz")
	if err != nil || len(files) < 2 {
		t.Fatalf("%v, %v: there are to be two lines at least", files, err)
	}
	for _, name := range files {
		packed, err := versions.Recordings.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		r, err := Unpack(packed)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		line := strings.TrimSuffix(name, ".json.gz")
		pins, err := os.ReadFile("../../versions/" + line + ".env")
		if err != nil {
			t.Errorf("%s is of a line that is not pinned: %v", name, err)
		}
		for pin, got := range map[string]string{"ISTIO_REVISION": r.Verdict.Run.IstioRevision, "K8S_VERSION": r.Verdict.Run.Kubernetes, "ENVOY_VERSION": r.Verdict.Run.Envoy} {
			if !strings.Contains(string(pins), pin+"="+got+"\n") {
				t.Errorf("%s has %s %q, and versions/%s.env another one: run \"make matrix\"", name, pin, got, line)
			}
		}
		if r.Verdict.Run.Istio != line {
			t.Errorf("%s is of Istio %s", name, r.Verdict.Run.Istio)
		}
		if r.Verdict.Run.Rules != twohop.Rules() {
			t.Logf("%s is stale: it was judged by other rules (harness %s); \"make matrix\" records it anew", name, r.Verdict.Run.HarnessCommit)
		}
		was := map[claim.ID]claim.Verdict{}
		for _, c := range r.Verdict.Claims {
			was[c.ID] = c.Verdict
		}
		for _, c := range claim.All() {
			if was[c.ID] != c.Expect(line) {
				t.Errorf("%s has %s %q, and the registry expects %s: run \"make matrix\"", name, c.ID, was[c.ID], c.Expect(line))
			}
		}
		for _, p := range proxies {
			if len(r.Proxies[p.name]) < 100 {
				t.Errorf("%s: the %s was given %d fields only", name, p.name, len(r.Proxies[p.name]))
			}
		}
	}
}
