package rehearse

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"twohop/internal/channel"
	"twohop/internal/computed"
	"twohop/internal/objects"
	"twohop/internal/state"
)

var update = flag.Bool("update", false, "capture the dumps of testdata from the helper")

const (
	host         = "api.partner.example.com"
	envoyVersion = "1.39.3"
)

func dump(t testing.TB, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// program is an Envoy that is there already; a test fetches none.
func program(t testing.TB) string {
	t.Helper()
	path := os.Getenv("TWOHOP_ENVOY")
	if path == "" {
		cache, err := state.Dir()
		if err != nil {
			t.Fatal(err)
		}
		if path, _, err = kept(cache, envoyVersion); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(path); err != nil {
		t.Skipf("no Envoy: %v: rehearse once, which fetches it, or set TWOHOP_ENVOY to one; nothing was tried", err)
	}
	return path
}

// helper is the program with istiod's code, newest first.
func helper(t testing.TB) string {
	t.Helper()
	if path := os.Getenv("TWOHOP_COMPUTED"); path != "" {
		return path
	}
	cache, err := state.Dir()
	if err != nil {
		t.Fatal(err)
	}
	found, err := filepath.Glob(filepath.Join(cache, "computed-*", "twohop-computed-"+computed.DefaultLine))
	if err != nil {
		t.Fatal(err)
	}
	if len(found) == 0 {
		t.Skip("no helper with istiod's code: audit once, which compiles it, or set TWOHOP_COMPUTED to one; nothing was tried")
	}
	slices.SortFunc(found, func(a, b string) int { return modified(t, b).Compare(modified(t, a)) })
	return found[0]
}

func modified(t testing.TB, path string) time.Time {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.ModTime()
}

// sceneOf is the fixtures' channel with dumps that were captured from the helper.
func sceneOf(t testing.TB) Scene {
	return Scene{
		Envoy:    program(t),
		Sidecar:  Proxy{Name: "client", Namespace: "twohop-app", Account: "client", Dump: dump(t, "sidecar")},
		Gateways: []Proxy{{Name: "partner-egressgateway", Namespace: "twohop-egress", Account: "partner-egressgateway", Dump: dump(t, "gateway")}},
		Partner:  Partner{Hosts: []string{host}},
		Calls:    []Call{{Host: host, Port: 80}},
	}
}

func run(t *testing.T, s Scene) *Outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	o, err := Run(ctx, s)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("ready after %v, done after %v", o.Ready, o.Took)
	for _, r := range o.Results {
		t.Logf("%s port %d: %d %s, sidecar %v, gateway %v, %d at the partner, %d connections", r.Variation, r.Call.Port, r.Status, r.Error, Flags(r.Sidecar), Flags(r.Gateway), len(r.Partner), len(r.Handshakes))
	}
	return o
}

// TestFixtures goes all the way: YAML, istiod's code, two Envoys, the partner.
func TestFixtures(t *testing.T) {
	set := &objects.Set{}
	files, err := filepath.Glob("../../fixtures/[123]0-*.yaml")
	if err != nil || len(files) != 3 {
		t.Fatalf("%d fixtures (%v), not 3", len(files), err)
	}
	if err := set.Read(nil, files...); err != nil {
		t.Fatal(err)
	}
	m := channel.Read(set, channel.DefaultSettings())
	channels := m.Find()
	if len(channels) != 1 {
		t.Fatalf("%d channels, not 1", len(channels))
	}
	istiod, err := computed.Start(t.Context(), helper(t))
	if err != nil {
		t.Fatal(err)
	}
	defer istiod.Close()
	proxies, _ := m.Proxies()
	answer, err := istiod.Ask(m, "", proxies)
	if err != nil {
		t.Fatal(err)
	}
	scenes := Scenes(m, channels[0], answer.Dumps, answer.Pods)
	if len(scenes) != 1 || len(scenes[0].Gateways) != 1 {
		t.Fatalf("not one scene with one gateway: %d", len(scenes))
	}
	scene := scenes[0]
	if *update {
		for name, raw := range map[string][]byte{"sidecar": scene.Sidecar.Dump, "gateway": scene.Gateways[0].Dump} {
			var b bytes.Buffer
			if err := json.Indent(&b, raw, "", " "); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join("testdata", name+".json"), b.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	scene.Envoy = program(t)
	asInLife(t, run(t, scene))
}

func TestCaptured(t *testing.T) { asInLife(t, run(t, sceneOf(t))) }

// asInLife is what the lab says of the fixtures.
func asInLife(t *testing.T, o *Outcome) {
	t.Helper()
	if len(o.Rejected) > 0 || len(o.Unknown) > 0 || len(o.Assumed) > 0 {
		t.Errorf("rejected %v, unknown %v, assumed %v", o.Rejected, o.Unknown, o.Assumed)
	}
	want := map[Variation]int{Plain: 200, WrongName: 503, WrongCA: 503, OtherClients: 400, Again: 200, GatewayAway: 503}
	for _, r := range o.Results {
		if r.Status != want[r.Variation] {
			t.Errorf("%s: %d, want %d (%s)", r.Variation, r.Status, want[r.Variation], r.Body)
		}
		switch r.Variation {
		case Plain, Again:
			if !r.Reached() || !r.ThroughGateway() || len(r.Partner) != 1 {
				t.Fatalf("%s: reached %v, through the gateway %v, %d requests", r.Variation, r.Reached(), r.ThroughGateway(), len(r.Partner))
			}
			p := r.Partner[0]
			if p.Verify != "SUCCESS" || p.DN != "CN=partner-client-credential" || p.SNI != host || p.TLS != "TLSv1.3" || p.Token != r.Token || p.At != AtTLS {
				t.Errorf("%s: the partner saw %s", r.Variation, p.Raw)
			}
			if p.XFCC == nil || !strings.Contains(*p.XFCC, "URI=spiffe://cluster.local/ns/twohop-app/sa/client") {
				t.Errorf("%s: the application's identity is not in x-forwarded-client-cert: %s", r.Variation, p.Raw)
			}
			if len(r.Gateway) != 1 || r.Gateway[0].DownstreamPeerURISAN != "spiffe://cluster.local/ns/twohop-app/sa/client" {
				t.Errorf("%s: the gateway's log: %+v", r.Variation, r.Gateway)
			}
		case WrongName, WrongCA:
			if len(r.Partner) > 0 || len(r.Handshakes) == 0 || !slices.Contains(Flags(r.Gateway), "UF") {
				t.Errorf("%s: %d requests, %d connections, flags %v", r.Variation, len(r.Partner), len(r.Handshakes), Flags(r.Gateway))
			}
			for _, h := range r.Handshakes {
				if h.Error == "" || h.SNI != host {
					t.Errorf("%s: a handshake succeeded: %+v", r.Variation, h)
				}
			}
		case OtherClients:
			if r.Reached() || !r.ThroughGateway() || !strings.HasPrefix(r.Partner[0].Verify, "FAILED:") || r.Partner[0].DN == "" {
				t.Errorf("%s: %+v", r.Variation, r.Partner)
			}
		case GatewayAway:
			if len(r.Handshakes) > 0 || len(r.Gateway) > 0 || !slices.Contains(Flags(r.Sidecar), "UF") {
				t.Errorf("%s: %d connections, flags %v", r.Variation, len(r.Handshakes), Flags(r.Sidecar))
			}
		}
	}
}

// altered is a dump in which a text stands for another; it has to occur.
func altered(t *testing.T, name, old, new string) []byte {
	t.Helper()
	raw := dump(t, name)
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(b.String(), old) {
		t.Fatalf("%s.json has no %s", name, old)
	}
	return []byte(strings.ReplaceAll(b.String(), old, new))
}

// TestFaults holds what a fault looks like to the witnesses.
func TestFaults(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(t *testing.T, s *Scene)
		status int // of the plain call
		check  func(t *testing.T, o *Outcome, r Result)
	}{
		"no secret": {
			change: func(t *testing.T, s *Scene) { s.Missing = []string{"partner-client-credential"} },
			status: 503,
			check: func(t *testing.T, o *Outcome, r Result) {
				if len(o.Rejected) > 0 {
					t.Errorf("rejected: %v", o.Rejected)
				}
				if len(r.Gateway) != 1 || !r.Gateway[0].HasFlag("UF") || !strings.Contains(r.Gateway[0].UpstreamTransportFailureReason, "Secret_is_not_supplied_by_SDS") {
					t.Errorf("the gateway's log: %s", r.Gateway[0].Raw)
				}
			},
		},
		"the Service leads to a port that the gateway does not have": {
			change: func(t *testing.T, s *Scene) {
				s.Sidecar.Dump = altered(t, "sidecar", `"port_value":8443}}},"health_status"`, `"port_value":8444}}},"health_status"`)
			},
			status: 503,
			check: func(t *testing.T, o *Outcome, r Result) {
				if len(r.Gateway) > 0 || !slices.Contains(Flags(r.Sidecar), "UF") {
					t.Errorf("sidecar %v, gateway %v", Flags(r.Sidecar), Flags(r.Gateway))
				}
			},
		},
		"the SAN pin is lost": {
			change: func(t *testing.T, s *Scene) {
				s.Gateways[0].Dump = altered(t, "gateway", `"match_subject_alt_names":[{"exact":"`+host+`"}]`, `"match_subject_alt_names":[]`)
			},
			status: 200,
			check: func(t *testing.T, o *Outcome, r Result) {
				for _, other := range o.Results {
					if other.Variation == WrongName && !other.Reached() {
						t.Errorf("a partner with another name was refused: %d", other.Status)
					}
				}
			},
		},
		"hop 1 in plaintext": {
			change: func(t *testing.T, s *Scene) {
				s.Sidecar.Dump = withoutTLS(t, "sidecar", "outbound|8443|partner|partner-egressgateway.twohop-egress.svc.cluster.local")
			},
			status: 503,
			check: func(t *testing.T, o *Outcome, r Result) {
				if len(r.Gateway) == 0 || r.Gateway[0].By != "listener" || len(r.Partner) > 0 {
					t.Errorf("the gateway's log: %+v", r.Gateway)
				}
			},
		},
		"no client certificate": {
			change: func(t *testing.T, s *Scene) {
				s.Gateways[0].Dump = altered(t, "gateway", `"tls_certificate_sds_secret_configs":[{"name":"kubernetes://partner-client-credential","sds_config":{"ads":{},"resource_api_version":"V3"}}],`, "")
			},
			status: 400,
			check: func(t *testing.T, o *Outcome, r Result) {
				if len(r.Partner) != 1 || r.Partner[0].Verify != "NONE" || !strings.Contains(string(r.Body), "No required SSL certificate was sent") {
					t.Errorf("the partner saw %+v and said %s", r.Partner, r.Body)
				}
			},
		},
		"the call's port has no listener": {
			change: func(t *testing.T, s *Scene) { s.Calls[0].Port = 8080; s.Partner.PlainPorts = []int{80, 8080} },
			status: 200,
			check: func(t *testing.T, o *Outcome, r Result) {
				if r.ThroughGateway() || len(r.Partner) != 1 || r.Partner[0].At != AtDirect || r.Sidecar[0].UpstreamCluster != "PassthroughCluster" {
					t.Errorf("partner %+v, sidecar %+v", r.Partner, r.Sidecar)
				}
			},
		},
		"TLS of the application's own": {
			change: func(t *testing.T, s *Scene) { s.Calls[0].Port, s.Calls[0].TLS = 443, true },
			status: 400, // the application has no certificate
			check: func(t *testing.T, o *Outcome, r Result) {
				if r.ThroughGateway() || len(r.Sidecar) != 1 || r.Sidecar[0].By != "tcp" || r.Partner[0].Verify != "NONE" {
					t.Errorf("partner %+v, sidecar %+v", r.Partner, r.Sidecar)
				}
			},
		},
		"plaintext to the partner's port for TLS": {
			change: func(t *testing.T, s *Scene) {
				s.Gateways[0].Dump = altered(t, "gateway", `"route":{"cluster":"outbound|443||`+host, `"route":{"cluster":"outbound|80||`+host)
			},
			status: 400,
			check: func(t *testing.T, o *Outcome, r Result) {
				if !r.ThroughGateway() || !strings.Contains(string(r.Body), "The plain HTTP request was sent to HTTPS port") {
					t.Errorf("the partner said %s", r.Body)
				}
			},
		},
		"a cluster that Envoy refuses": {
			change: func(t *testing.T, s *Scene) {
				s.Gateways[0].Dump = altered(t, "gateway", `"dns_refresh_rate":"60s"`, `"dns_refresh_rate":"0s"`)
			},
			status: 503,
			check: func(t *testing.T, o *Outcome, r Result) {
				if len(o.Rejected) == 0 || !strings.HasPrefix(o.Rejected[0].Details, "outbound|443||"+host+": Proto constraint validation failed (ClusterValidationError.DnsRefreshRate") {
					t.Errorf("rejected: %v", o.Rejected)
				}
				if !slices.Contains(Flags(r.Gateway), "NC") {
					t.Errorf("flags %v", Flags(r.Gateway))
				}
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := sceneOf(t)
			tt.change(t, &s)
			o := run(t, s)
			r := o.Results[0]
			if r.Status != tt.status {
				t.Errorf("%d %s, want %d: %s", r.Status, r.Error, tt.status, r.Body)
			}
			if reached := tt.status == http.StatusOK; r.Reached() != reached {
				t.Errorf("reached: %v", r.Reached())
			}
			tt.check(t, o, r)
		})
	}
}

// withoutTLS is a dump whose cluster of that name connects in plaintext.
func withoutTLS(t *testing.T, name, cluster string) []byte {
	t.Helper()
	tree, err := decode(dump(t, name))
	if err != nil {
		t.Fatal(err)
	}
	found := false
	each(tree, func(o object) {
		if o["name"] == cluster && o["transport_socket"] != nil {
			found = true
			delete(o, "transport_socket")
		}
	})
	if !found {
		t.Fatalf("%s.json has no cluster %s with TLS", name, cluster)
	}
	return encode(tree)
}
