package channel

import (
	"slices"
	"strings"
	"testing"

	"twohop/fixtures"
	"twohop/internal/objects"
)

func meshOf(t *testing.T, text string) *Mesh {
	t.Helper()
	set := &objects.Set{}
	if err := set.Parse("test.yaml", []byte(text)); err != nil {
		t.Fatal(err)
	}
	return Read(set, DefaultSettings())
}

func theFixtures(t *testing.T) string {
	t.Helper()
	var all []string
	for _, name := range []string{"10-client.yaml", "20-gateway.yaml", "30-egress.yaml"} {
		raw, err := fixtures.Files.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(raw))
	}
	return strings.Join(all, "\n---\n")
}

const host = "api.partner.example.com"

func TestTheFixturesAreOneChannel(t *testing.T) {
	m := meshOf(t, theFixtures(t))
	found := m.Find()
	if len(found) != 1 || found[0].Host != host {
		t.Fatalf("%+v", found)
	}
	c := found[0]
	if len(c.Callers) != 1 || c.Callers[0].Name != "client" || len(c.Routers) != 1 || c.Routers[0].Proxy != Router || len(c.Services) != 1 || len(c.Hop1) != 1 || len(c.Hop2) != 1 || len(c.Entries) != 1 {
		t.Errorf("%+v", c)
	}
	if !slices.Equal(c.Ports, []Port{{Number: 80, Routed: true}}) {
		t.Errorf("%+v", c.Ports)
	}
	if len(m.Assumed) > 0 {
		t.Errorf("nothing has to be assumed: %v", m.Assumed)
	}
}

// Whatever one object says wrong, the host is still known to be meant for a gateway.
func TestAChannelSurvivesAMistakeInOneObject(t *testing.T) {
	for _, edit := range [][2]string{
		{"  hosts: [api.partner.example.com]\n  gateways", "  hosts: [api.partnr.example.com]\n  gateways"},
		{"      hosts: [api.partner.example.com]", "      hosts: [api.patrner.example.com]"},
		{"  host: api.partner.example.com\n  exportTo", "  host: api.partner.example.co\n  exportTo"},
		{"  hosts: [api.partner.example.com]\n  location", "  hosts: [pi.partner.example.com]\n  location"},
		{"gateways: [mesh, twohop-egress/egress-partner]", "gateways: [twohop-egress/egress-partner]"},
	} {
		text := strings.Replace(theFixtures(t), edit[0], edit[1], 1)
		if text == theFixtures(t) {
			t.Fatalf("the fixtures do not have %q", edit[0])
		}
		found := meshOf(t, text).Find()
		if len(found) != 1 || found[0].Host != host {
			var hosts []string
			for _, c := range found {
				hosts = append(hosts, c.Host)
			}
			t.Errorf("%q: channels %v", edit[1], hosts)
		}
	}
}

func TestWithoutGatewayAndCallerTheyAreAssumed(t *testing.T) {
	raw, err := fixtures.Files.ReadFile("30-egress.yaml")
	if err != nil {
		t.Fatal(err)
	}
	m := meshOf(t, string(raw))
	found := m.Find()
	if len(found) != 1 || len(found[0].Callers) != 1 || found[0].Callers[0].Assumed == "" || len(found[0].Routers) != 1 || found[0].Routers[0].Assumed == "" {
		t.Fatalf("%+v", found)
	}
	if len(m.Assumed) != 3 {
		t.Errorf("gateway, Service and caller: %q", m.Assumed)
	}
}

func TestWhatIsNotUnderstoodIsNamed(t *testing.T) {
	m := meshOf(t, `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: r, namespace: n }
---
apiVersion: v1
kind: Namespace
metadata: { name: a, labels: { istio.io/dataplane-mode: ambient } }
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: v, namespace: n }
spec: { hosts: [a], http: [{ delegate: { name: gone } }] }
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: d, namespace: n }
spec: { host: a, trafficPolicy: { tls: { mode: NONSENSE } } }
`)
	if len(m.Unknown) != 4 {
		t.Errorf("%+v", m.Unknown)
	}
}

func TestInjection(t *testing.T) {
	pod := func(namespace, labels, annotations, spec string) Proxy {
		m := meshOf(t, namespace+"\n---\napiVersion: v1\nkind: Pod\nmetadata: { name: p, namespace: n, labels: {"+labels+"}, annotations: {"+annotations+"} }\nspec: { containers: [{ name: app, image: app }]"+spec+" }\n")
		return m.Workloads[0].Proxy
	}
	ns := func(labels string) string {
		return "apiVersion: v1\nkind: Namespace\nmetadata: { name: n, labels: {" + labels + "} }"
	}
	for _, x := range []struct {
		namespace, labels, annotations, spec string
		want                                 Proxy
	}{
		{ns("istio-injection: enabled"), "", "", "", Sidecar},
		{ns("istio.io/rev: canary"), "", "", "", Sidecar},
		{ns(""), "", "", "", None},
		{ns(""), `sidecar.istio.io/inject: "true"`, "", "", Sidecar},
		{ns("istio-injection: enabled"), `sidecar.istio.io/inject: "false"`, "", "", None},
		{ns("istio-injection: disabled"), `sidecar.istio.io/inject: "true"`, "", "", None},
		{ns("istio-injection: enabled"), "", `sidecar.istio.io/inject: "false"`, "", None},
		{ns("istio-injection: enabled"), "", "inject.istio.io/templates: gateway", "", Router},
		{ns("istio-injection: enabled"), "", "", ", hostNetwork: true", None},
		{ns("istio.io/dataplane-mode: ambient"), "", "", "", None},
	} {
		if got := pod(x.namespace, x.labels, x.annotations, x.spec); got != x.want {
			t.Errorf("%+v: %s", x, got)
		}
	}
}

func TestNear(t *testing.T) {
	for _, x := range []struct {
		a, b string
		want bool
	}{
		{"api.example.com", "api.exmaple.com", true}, {"api.example.com", "ap.example.com", true}, {"api.example.com", "api.example.com", false},
		{"api.example.com", "www.example.com", false}, {"abc", "abd", false},
	} {
		if Near(x.a, x.b) != x.want || Near(x.b, x.a) != x.want {
			t.Errorf("%s, %s", x.a, x.b)
		}
	}
}
