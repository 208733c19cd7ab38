package livesource

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A private key in a dump is never kept.
func TestRedactDump(t *testing.T) {
	raw := dump(t, "gateway")
	if _, notes, err := redactDump(raw); err != nil || len(notes) > 0 {
		t.Errorf("%v %v", notes, err)
	}
	if _, _, err := redactDump(withKey(t, raw)); err == nil || !strings.Contains(err.Error(), "thrown away") {
		t.Error(err)
	}
	_, private := pair(t)
	for name, inside := range map[string]string{
		"PEM":      fmt.Sprintf(`{"x":%q}`, private),
		"base64":   fmt.Sprintf(`{"x":%s}`, mustJSON(t, private)), // []byte is base64 in JSON
		"a field":  `{"common_tls_context":{"tls_certificates":[{"private_key":{"inline_string":"abc-key"}}]}}`,
		"in camel": `{"commonTlsContext":{"tlsCertificates":[{"privateKey":{"inlineBytes":"YWJjLWtleQ=="}}]}}`,
		"password": `{"password":{"inline_string":"abc-key"}}`,
	} {
		clean, notes, err := redactDump([]byte(`{"configs":[{"@type":"a.ClustersConfigDump","c":` + inside + `}]}`))
		if err != nil || len(notes) != 1 || !strings.Contains(notes[0], "ClustersConfigDump") {
			t.Errorf("%s: %v %v", name, notes, err)
		}
		for _, secret := range []string{"abc-key", "YWJjLWtleQ", "LS0tLS1CRUdJTiBF", "PRIVATE KEY"} {
			if bytes.Contains(clean, []byte(secret)) {
				t.Errorf("%s: %s", name, clean)
			}
		}
		if !json.Valid(clean) {
			t.Errorf("%s: %s", name, clean)
		}
	}
	kept := `{"configs":[{"@type":"a.ClustersConfigDump","c":{"private_key":{"filename":"/etc/key.pem"}}}]}`
	if clean, notes, err := redactDump([]byte(kept)); err != nil || len(notes) > 0 || !strings.Contains(string(clean), "/etc/key.pem") {
		t.Errorf("%s %v %v", clean, notes, err)
	}
	for _, text := range []string{"", "{}", `{"configs":[]}`, `{"configs":[1]}`} {
		if _, _, err := redactDump([]byte(text)); err == nil {
			t.Errorf("%q was read", text)
		}
	}
}

func mustJSON(t *testing.T, v any) []byte {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// An unredacted dump is missing, not kept.
func TestUnredacted(t *testing.T) {
	a := served(t)
	withProxies(t, a)
	a.ports["egress/gw-6d5f-aaaaa:15000"] = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/config_dump" {
			_, _ = w.Write(withKey(t, dump(t, "gateway")))
			return
		}
		fmt.Fprint(w, `{}`)
	})
	s := gather(t, a.start(t), Options{})
	if got := missing(s); !strings.Contains(got, "Envoy's own configuration of router egress/gw-6d5f-aaaaa: a private key is in the config dump") || !strings.Contains(got, "the version of router egress/gw-6d5f-aaaaa") {
		t.Error(got)
	}
	if s.Proxies[0].Envoy != nil || s.Proxies[0].Sync.Compared {
		t.Errorf("%+v", s.Proxies[0])
	}
}

func TestDifferences(t *testing.T) {
	has := dump(t, "gateway")
	wants := bytes.ReplaceAll(has, []byte(`"partner.example.com"`), []byte(`"other.example.com"`))
	p := &Proxy{Envoy: pack(has), Istiod: map[string]*Dump{"istiod-1": pack(wants)}}
	p.compare(nil)
	if !p.Sync.Compared || p.Sync.Istiod != "istiod-1" || p.Sync.MinorsApart != -1 {
		t.Errorf("%+v", p.Sync)
	}
	kinds := map[string]bool{}
	for _, d := range p.Sync.Differences {
		if d.Where != "both" {
			t.Errorf("%+v", d)
		}
		kinds[d.Kind] = true
	}
	if !kinds["cluster"] || !kinds["listener"] {
		t.Errorf("%+v", p.Sync.Differences)
	}
	p = &Proxy{Envoy: pack(has), Istiod: map[string]*Dump{"istiod-1": pack(dump(t, "client"))}}
	p.compare(nil)
	if !slices.ContainsFunc(p.Sync.Differences, func(d Difference) bool { return d.Where == "istiod" }) ||
		!slices.ContainsFunc(p.Sync.Differences, func(d Difference) bool { return d.Where == "envoy" }) {
		t.Errorf("%+v", p.Sync.Differences)
	}
	p = &Proxy{Envoy: pack([]byte(`{"configs":[{"@type":"a.ClustersConfigDump"}]}`)), Istiod: map[string]*Dump{}}
	p.compare(nil)
	if p.Sync.Compared || len(p.Notes) != 1 {
		t.Errorf("%+v", p)
	}
}

// istiod's spelling becomes Envoy's; keys of maps stay.
func TestSpelledAsEnvoy(t *testing.T) {
	got, err := spelledAsEnvoy([]byte(`{"configs":[{"@type":"x.ClustersConfigDump","dynamicActiveClusters":[{"cluster":{"transportSocketMatches":[{"match":{"tlsMode":"istio"},"transportSocket":{"typedConfig":{"@type":"t"}}}],
"metadata":{"filterMetadata":{"istio":{"defaultOriginalPort":8080}}},"connectTimeout":"1.500s","maxRequests":4294967295}}]}]}`))
	want := `{"configs":[{"@type":"x.ClustersConfigDump","dynamic_active_clusters":[{"cluster":{"connect_timeout":"1.500s","max_requests":4294967295,"metadata":{"filter_metadata":{"istio":{"defaultOriginalPort":8080}}},` +
		`"transport_socket_matches":[{"match":{"tlsMode":"istio"},"transport_socket":{"typed_config":{"@type":"t"}}}]}}]}]}`
	if diff := cmp.Diff(want, string(got)); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	// What is in Envoy's spelling stays as it is.
	if again, err := spelledAsEnvoy(got); err != nil || string(again) != want {
		t.Errorf("%v %s", err, again)
	}
}

func TestMinorsApart(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{
		{"1.31.0", "1.31.4", 0}, {"1.29.2", "1.31.0-alpha.1", 2}, {"1.31-dev", "1.30.0", 1}, {"", "1.31.0", -1}, {"unknown", "1.31.0", -1}, {"2.0.0", "1.31.0", -1},
	} {
		if got := minorsApart(tt.a, tt.b); got != tt.want {
			t.Errorf("%q and %q: %d, not %d", tt.a, tt.b, got, tt.want)
		}
	}
	for text, want := range map[string]string{"1.31.0-abc-Clean": "1.31.0", "1.31.0-alpha.1-abc-Modified": "1.31.0-alpha.1", `{"version":"1.32.0"}`: "1.32.0", "dev": "dev"} {
		if got := istiodVersion([]byte(text)); got != want {
			t.Errorf("%q: %q", text, got)
		}
	}
}

// istiod wants a token: without leave, that is missing; with it, one is sent.
func TestToken(t *testing.T) {
	guarded := func(t *testing.T) *apiserver {
		a := served(t)
		withProxies(t, a)
		for name, handler := range a.ports {
			if strings.HasSuffix(name, ":15014") {
				a.ports[name] = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path != "/version" && r.Header.Get("Authorization") != "Bearer hunter2" {
						w.WriteHeader(http.StatusUnauthorized)
						return
					}
					handler.ServeHTTP(w, r)
				})
			}
		}
		return a
	}
	s := gather(t, guarded(t).start(t), Options{})
	if got := missing(s); !strings.Contains(got, "istiod wants to know who asks") || s.Proxies[0].Envoy == nil || len(s.Proxies[0].Istiod) > 0 {
		t.Error(got)
	}
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("hunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s = gather(t, guarded(t).start(t), Options{TokenFile: file})
	if got := missing(s); got != "" || len(s.Proxies[0].Istiod) != 1 || len(s.Proxies[1].Istiod) != 1 {
		t.Error(got)
	}
	a := guarded(t)
	gather(t, a.start(t), Options{RequestToken: true})
	if !slices.Contains(a.requests(), "POST /api/v1/namespaces/egress/serviceaccounts/default/token") {
		t.Errorf("no token was asked for: %v", a.requests())
	}
}

// A name that is part of another's would be answered with the other's configuration.
func TestConfusedName(t *testing.T) {
	a := served(t)
	withProxies(t, a)
	handler := a.ports["istio-system/istiod-1:15014"]
	a.ports["istio-system/istiod-1:15014"] = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/debug/syncz" {
			reply(w, []map[string]string{{"proxy": "gw-6d5f-aaaaa.egress"}, {"proxy": "big-gw-6d5f-aaaaa.egress"}})
			return
		}
		handler.ServeHTTP(w, r)
	})
	if got := missing(gather(t, a.start(t), Options{})); !strings.Contains(got, "its name is part of big-gw-6d5f-aaaaa.egress") {
		t.Error(got)
	}
}

func pair(t *testing.T) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "client"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: raw}))
}

// With leave, exactly the Secrets that are named are read, and of them the public half.
func TestReadSecrets(t *testing.T) {
	a := served(t)
	certificate, key := pair(t)
	_, otherKey := pair(t)
	a.objects["secrets"] = []map[string]any{
		{"metadata": map[string]any{"name": "partner-client", "namespace": "egress"}, "type": "kubernetes.io/tls",
			"data": map[string]any{"tls.crt": []byte(certificate + key), "tls.key": []byte(key), "cert": []byte(certificate), "key": []byte(otherKey), "ca.crt": []byte("no PEM")}},
		{"metadata": map[string]any{"name": "another", "namespace": "egress"}, "data": map[string]any{}},
	}
	s := gather(t, a.start(t), Options{NoProxies: true, ReadSecrets: true})
	var asked []string
	for _, r := range a.requests() {
		if strings.Contains(r, "secrets") {
			asked = append(asked, r)
		}
	}
	if diff := cmp.Diff([]string{"GET /api/v1/namespaces/egress/secrets/partner-client", "GET /api/v1/namespaces/egress/secrets/partner-client-cacert"}, asked); diff != "" {
		t.Error(diff)
	}
	if len(s.Secrets) != 2 || s.Secrets[1].Exists || s.Secrets[1].Name != "partner-client-cacert" {
		t.Fatalf("%+v", s.Secrets)
	}
	got := s.Secrets[0]
	if diff := cmp.Diff(map[string]bool{"tls.crt": true, "cert": false}, got.KeyMatches); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"ca.crt", "cert", "key", "tls.crt", "tls.key"}, got.Keys); diff != "" {
		t.Error(diff)
	}
	if len(got.Problems) != 1 || len(got.Certificates["tls.crt"]) != 1 {
		t.Errorf("%+v", got)
	}
	dir := filepath.Join(t.TempDir(), "snapshot")
	if err := s.Save(dir); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, indexFile))
	if err != nil || bytes.Contains(raw, []byte("PRIVATE")) || !bytes.Contains(raw, []byte("BEGIN CERTIFICATE")) {
		t.Errorf("%v\n%s", err, raw)
	}
}

func TestPlan(t *testing.T) {
	s := served(t).start(t)
	plan := strings.Join(s.Plan(Options{}), "\n")
	for _, want := range []string{"No request is about Secrets", "list in all namespaces", "port-forwards", "15000", "15014", "destinationrules.networking.istio.io"} {
		if !strings.Contains(plan, want) {
			t.Errorf("%q is not in\n%s", want, plan)
		}
	}
	if plan := strings.Join(s.Plan(Options{NoProxies: true, ReadSecrets: true, RequestToken: true}), "\n"); strings.Contains(plan, "portforward") || !strings.Contains(plan, "get the Secrets") || !strings.Contains(plan, "tokens") {
		t.Error(plan)
	}
}
