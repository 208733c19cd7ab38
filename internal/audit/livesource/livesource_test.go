package livesource

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"twohop/internal/channel"
	"twohop/internal/objects"
	"twohop/internal/walk"
)

func gather(t *testing.T, s *Source, o Options) *Snapshot {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	got, err := s.Gather(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func missing(s *Snapshot) string {
	var b strings.Builder
	for _, m := range s.Missing {
		b.WriteString(m.What + ": " + m.Why + "\n")
	}
	return b.String()
}

func TestGather(t *testing.T) {
	a := served(t)
	withProxies(t, a)
	s := gather(t, a.start(t), Options{})
	if got := missing(s); got != "" {
		t.Errorf("missing:\n%s", got)
	}
	if s.User != "auditor" || s.Cluster.Version != "v1.36.1" || s.Cluster.Context != "c" {
		t.Errorf("%q %+v", s.User, s.Cluster)
	}
	want := channel.Settings{Domain: "corp.local", RootNamespace: "istio-system", TrustDomain: "corp.local", OutboundKnown: true}
	if diff := cmp.Diff(want, s.Settings); diff != "" {
		t.Error(diff)
	}
	if !strings.Contains(s.MeshConfig(), "REGISTRY_ONLY") || strings.Contains(s.MeshConfig(), "hunter2") {
		t.Errorf("mesh configuration:\n%s", s.MeshConfig())
	}
	wantPods := []Pod{
		{Namespace: "app", Name: "client-77-bbbbb", Owner: objects.Ref{Kind: "Deployment", Namespace: "app", Name: "client"}, Alike: 2, Ready: true, HasProxy: true},
		{Namespace: "egress", Name: "gw-6d5f-aaaaa", Owner: objects.Ref{Kind: "Deployment", Namespace: "egress", Name: "gw"}, Alike: 1, Ready: true, HasProxy: true, Revision: "default"},
	}
	if diff := cmp.Diff(wantPods, s.Pods); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]Access{{Namespace: "egress", Account: "gw", Answer: AccessAllowed}}, s.Accounts); diff != "" {
		t.Error(diff)
	}
	all := ""
	for _, o := range s.Objects.All {
		all += string(o.JSON)
	}
	for _, word := range []string{"hunter2", "managedFields", "last-applied", "loadBalancer", "stranger"} {
		if strings.Contains(all, word) {
			t.Errorf("the objects hold %q", word)
		}
	}
	for _, word := range []string{`"resourceVersion":"7"`, "2026-01-01", "10.1.0.2", "ISTIO_META_DNS_CAPTURE", "only-gateway", `"kind":"EndpointSlice"`} {
		if !strings.Contains(all, word) {
			t.Errorf("the objects do not hold %q", word)
		}
	}
	m := channel.Read(s.Objects, s.Settings)
	channels := m.Find()
	if len(channels) != 1 || channels[0].Host != "api.partner.example.com" || len(channels[0].Routers) != 1 || len(channels[0].Callers) != 1 {
		t.Fatalf("%d channels: %+v", len(channels), channels)
	}
	if len(m.Unknown) > 0 || len(m.Assumed) > 0 {
		t.Errorf("unknown %v, assumed %v", m.Unknown, m.Assumed)
	}
	for w, replica := range map[*channel.Workload]string{channels[0].Routers[0]: "istiod-1", channels[0].Callers[0]: "istiod-2"} {
		p := s.Proxy(w)
		if p == nil || p.Envoy == nil || p.Istiod[replica] == nil || len(p.Istiod) != 1 {
			t.Fatalf("%s: %+v", w, p)
		}
		raw, err := p.Envoy.JSON()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := walk.Parse(raw); err != nil {
			t.Error(err)
		}
		if strings.Contains(string(raw), "BootstrapConfigDump") {
			t.Error("the bootstrap is kept")
		}
		want := Sync{Istiod: replica, Compared: true, Unacknowledged: []string{"clusters"}, Errors: map[string]string{"Cluster": "no healthy"},
			ProxyIstio: "1.29.4", IstiodIstio: "1.31.0-alpha.1", MinorsApart: 2, Warming: p.Sync.Warming, Rejected: p.Sync.Rejected}
		if diff := cmp.Diff(want, p.Sync); diff != "" {
			t.Error(diff)
		}
		if p.Stats["cluster_manager.cds.update_rejected"] != "2" || p.Info.Envoy != "1.39.3" {
			t.Errorf("%+v %+v", p.Stats, p.Info)
		}
	}
}

// By default nothing is asked but what the plan says: lists, gets, reviews, port-forwards,
// and nothing of Secrets.
func TestAskedByDefault(t *testing.T) {
	for name, forbids := range map[string]func(verb, resource, namespace string) bool{
		"all may be read":           nil,
		"nothing may be read":       func(string, string, string) bool { return true },
		"only namespaces, each one": func(verb, _, namespace string) bool { return namespace == "" && verb == "list" },
	} {
		t.Run(name, func(t *testing.T) {
			a := served(t)
			withProxies(t, a)
			a.forbids = forbids
			s := gather(t, a.start(t), Options{})
			for _, r := range a.requests() {
				method, path, _ := strings.Cut(r, " ")
				at := parsePath(method, strings.SplitN(path, "?", 2)[0])
				switch {
				case strings.Contains(path, "secrets"), strings.Contains(path, "exec"), strings.Contains(path, "ephemeral"), strings.Contains(path, "watch"):
					t.Errorf("it asked %s", r)
				case method == http.MethodGet:
				case method == http.MethodPost && (strings.HasSuffix(strings.SplitN(at.resource, ".", 2)[0], "reviews") || at.resource == "pods/portforward"):
				default:
					t.Errorf("it asked %s", r)
				}
			}
			if len(s.Asked) == 0 {
				t.Error("the snapshot does not say what was asked")
			}
			t.Log(strings.Join(s.Asked, "\n"))
		})
	}
}

func TestGuard(t *testing.T) {
	a := served(t)
	s := a.start(t)
	for _, r := range []struct{ method, path string }{
		{http.MethodGet, "/api/v1/namespaces/egress/secrets/partner-client"}, {http.MethodGet, "/api/v1/secrets"}, {http.MethodGet, "/api/v1/namespaces/egress/configmaps"},
		{http.MethodPost, "/api/v1/namespaces/egress/pods/x/exec"}, {http.MethodGet, "/api/v1/namespaces/egress/pods/x/exec"}, {http.MethodGet, "/api/v1/namespaces/egress/pods/x/log"},
		{http.MethodPatch, "/api/v1/namespaces/egress/pods/x/ephemeralcontainers"}, {http.MethodDelete, "/api/v1/namespaces/egress/pods/x"},
		{http.MethodPost, "/api/v1/namespaces/egress/pods"}, {http.MethodPost, "/api/v1/namespaces/egress/serviceaccounts/default/token"}, {http.MethodGet, "/api/v1/pods?watch=1"},
		{http.MethodGet, "/metrics"}, {http.MethodPost, "/apis"},
	} {
		err := s.typed.Discovery().RESTClient().Verb(r.method).RequestURI(r.path).Do(t.Context()).Error()
		if err == nil || !strings.Contains(err.Error(), "does not make this request") {
			t.Errorf("%s %s: %v", r.method, r.path, err)
		}
	}
	if got := a.requests(); len(got) > 0 {
		t.Errorf("the server was asked %v", got)
	}
}

// Forbidden lists are missing, whatever the reviews say.
func TestForbidden(t *testing.T) {
	for _, lies := range []bool{false, true} {
		a := served(t)
		a.lies = lies
		a.forbids = func(_, resource, namespace string) bool {
			return resource == "destinationrules.networking.istio.io" || resource == "networkpolicies.networking.k8s.io" && namespace != "egress" ||
				resource == "subjectaccessreviews.authorization.k8s.io" || resource == "pods/portforward"
		}
		s := gather(t, a.start(t), Options{})
		got := missing(s)
		for _, want := range []string{
			"destinationrules.networking.istio.io in app, egress, istio-system, other: this account may not list",
			"networkpolicies.networking.k8s.io in app, istio-system, other: this account may not list",
			"whether account gw may list secrets in egress: this account may not create subjectaccessreviews",
			"Envoy's own configuration of router egress/gw-6d5f-aaaaa: this account may not create pods/portforward",
			"what istiod would send",
		} {
			if !strings.Contains(got, want) {
				t.Errorf("lies %v: %q is not in\n%s", lies, want, got)
			}
		}
		if len(s.Objects.Kind("networking.k8s.io", "NetworkPolicy")) != 1 || len(s.Objects.Kind("networking.istio.io", "VirtualService")) != 1 {
			t.Errorf("what may be read was not: %d objects", len(s.Objects.All))
		}
		if s.Accounts[0].Answer != AccessUnknown {
			t.Errorf("%+v", s.Accounts)
		}
		if refused := slices.ContainsFunc(a.requests(), func(r string) bool { return strings.Contains(r, "/destinationrules") }); refused != lies {
			t.Errorf("reviews lie: %v; a list that they forbid was asked for: %v", lies, refused)
		}
	}
}

func TestNamespacesOnly(t *testing.T) {
	a := served(t)
	a.forbids = func(_, _, namespace string) bool { return namespace == "" }
	s := gather(t, a.start(t, "egress", "app"), Options{NoProxies: true})
	for _, r := range a.requests() {
		if strings.HasPrefix(r, "GET /apis/networking.istio.io/v1/virtualservices") || strings.Contains(r, "/namespaces/other/") {
			t.Errorf("it asked %s", r)
		}
	}
	if got := missing(s); !strings.Contains(got, "objects of namespaces that were not asked for") {
		t.Error(got)
	}
	if len(s.Objects.Kind("networking.istio.io", "VirtualService")) != 1 {
		t.Error("the VirtualService was not read")
	}
}

func TestPages(t *testing.T) {
	for name, change := range map[string]func(*apiserver){
		"all":              func(*apiserver) {},
		"a token expires":  func(a *apiserver) { a.expire = map[string]bool{"services": true} },
		"the second fails": func(a *apiserver) { a.rejects = map[string]bool{"services": true} },
	} {
		t.Run(name, func(t *testing.T) {
			a := served(t)
			for i := range 1200 {
				a.objects["services"] = append(a.objects["services"], map[string]any{"metadata": map[string]any{"name": "s" + string(rune('a'+i%26)) + strings.Repeat("x", i/26), "namespace": "app"}, "spec": map[string]any{}})
			}
			change(a)
			s := gather(t, a.start(t), Options{NoProxies: true})
			pages := 0
			for _, r := range a.requests() {
				if r == "GET /api/v1/services" || strings.HasPrefix(r, "GET /api/v1/services?") {
					pages++
				}
			}
			n := len(s.Objects.Kind("", "Service"))
			if a.rejects != nil {
				if n != 0 || !strings.Contains(missing(s), "services: could not list services") {
					t.Errorf("%d Services; missing:\n%s", n, missing(s))
				}
				return
			}
			if n != 1201 || pages != 3 {
				t.Errorf("%d Services in %d requests", n, pages)
			}
		})
	}
}

func TestTruncatedList(t *testing.T) {
	for _, text := range []string{"", "[]", "{}", `{"kind":"List","items":[{}`, `{"kind":"Status","items":[]}`, `{"kind":"List"}`, `{"kind":"List","items":{}}`} {
		if _, err := readList(strings.NewReader(text), func(item decode) error { return item(&struct{}{}) }); err == nil {
			t.Errorf("%s was read", text)
		}
	}
}

func TestNoIstio(t *testing.T) {
	a := served(t)
	delete(a.groups, "networking.istio.io")
	if _, err := a.start(t).Gather(t.Context(), Options{}); err == nil || !strings.Contains(err.Error(), "has no Istio") {
		t.Error(err)
	}
}

func TestSaveAndLoad(t *testing.T) {
	a := served(t)
	withProxies(t, a)
	s := gather(t, a.start(t), Options{})
	dir := filepath.Join(t.TempDir(), "snapshot")
	if err := s.Save(dir); err != nil {
		t.Fatal(err)
	}
	if err := s.Save(dir); err == nil || !strings.Contains(err.Error(), "is not empty") {
		t.Error(err)
	}
	loaded, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(s, loaded, cmp.Comparer(func(a, b *Dump) bool {
		if a == nil || b == nil {
			return a == b
		}
		x, err1 := a.JSON()
		y, err2 := b.JSON()
		return err1 == nil && err2 == nil && string(x) == string(y)
	}), cmp.Comparer(func(a, b *objects.Object) bool { return a.Ref == b.Ref && string(a.JSON) == string(b.JSON) }), cmpopts.IgnoreUnexported(objects.Set{})); diff != "" {
		t.Error(diff)
	}
	var files []string
	err = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files = append(files, path)
			raw, err := os.ReadFile(path)
			if err != nil || strings.Contains(string(raw), "PRIVATE KEY") || strings.Contains(string(raw), "hunter2") {
				t.Errorf("%s holds a secret, or %v", path, err)
			}
		}
		return err
	})
	if err != nil || len(files) != 6 {
		t.Errorf("%v: %v", files, err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for what, damage := range map[string]func() error{
			"is cut":  func() error { return os.WriteFile(file, raw[:len(raw)/2], 0o600) },
			"is gone": func() error { return os.Remove(file) },
		} {
			if err := damage(); err != nil {
				t.Fatal(err)
			}
			if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), file) {
				t.Errorf("%s %s: %v", file, what, err)
			}
		}
		if err := os.WriteFile(file, raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestExportEnv(t *testing.T) {
	a := served(t)
	s := gather(t, a.start(t), Options{NoProxies: true})
	raw, err := ExportEnv(s)
	if err != nil {
		t.Fatal(err)
	}
	set := &objects.Set{}
	if err := set.Parse("env.yaml", raw); err != nil {
		t.Fatal(err)
	}
	for _, ref := range []objects.Ref{
		{Kind: "Namespace", Name: "app"}, {Kind: "Service", Namespace: "egress", Name: "gw"}, {Kind: "Pod", Namespace: "egress", Name: "gw"}, {Kind: "Pod", Namespace: "app", Name: "client"},
		{Kind: "ServiceAccount", Namespace: "egress", Name: "gw"}, {Kind: "ConfigMap", Namespace: "istio-system", Name: "istio"},
	} {
		if set.Find(ref) == nil {
			t.Errorf("%s is not in\n%s", ref, raw)
		}
	}
	for _, word := range []string{"hunter2", "10.0.0.9", "10.1.0", "pod-template-hash", "Secret"} {
		if strings.Contains(string(raw), word) {
			t.Errorf("%q is in\n%s", word, raw)
		}
	}
	// With the repository's own objects, the channel is whole and nothing is assumed.
	for _, kind := range []string{"VirtualService", "Gateway", "DestinationRule", "ServiceEntry"} {
		set.All = append(set.All, s.Objects.Kind("networking.istio.io", kind)...)
	}
	m := channel.Read(set, s.Settings)
	if channels := m.Find(); len(channels) != 1 || len(channels[0].Routers) != 1 || len(channels[0].Callers) != 1 || len(m.Assumed) > 0 {
		t.Errorf("%d channels, assumed %v", len(channels), m.Assumed)
	}
}
