package manifest

import (
	"crypto/x509"
	"encoding/pem"
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	networking "istio.io/api/networking/v1alpha3"
	istio "istio.io/client-go/pkg/apis/networking/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/e2e-framework/klient/k8s"

	"twohop/internal/subject"
)

var update = flag.Bool("update", false, "write the golden files")

// Two runs have other certificates, and all else is the same: what the subject of
// lab 2 under a domain is, is written down.
func TestBaselineOfLab2UnderADomain(t *testing.T) {
	const golden = "testdata/baseline-2-example.internal.yaml"
	e := editor(t, 2, "example.internal")
	var rendered []k8s.Object
	for _, o := range e.Baseline.Objects() {
		if secret, ok := o.(*corev1.Secret); ok { // certificates are made anew each time
			for name := range secret.Data {
				secret.Data[name] = []byte("certificate or key")
			}
		}
		if d, ok := o.(*appsv1.Deployment); ok && d.Spec.Template.Annotations["twohop/inputs"] != "" {
			d.Spec.Template.Annotations["twohop/inputs"] = "hash"
		}
		rendered = append(rendered, o)
	}
	got := text(t, rendered...)
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("go test ./internal/manifest -update writes it: -want +got:\n%s", diff)
	}
}

// istiod's --domain renames Services in its registry, and nothing in DNS: each
// gateway is named by it in every object, and the partner's Service in none.
func TestDomain(t *testing.T) {
	for _, n := range []int{1, 2} {
		e := editor(t, n, "example.internal")
		s, all := e.Subject, text(t, e.Baseline.Objects()...)
		for _, gateway := range []subject.Workload{s.Gateway, s.Unbound} {
			name := s.GatewayService + "." + gateway.Namespace + ".svc."
			if !strings.Contains(all, name+"example.internal") || strings.Contains(all, name+"cluster.local") {
				t.Errorf("lab %d: %sexample.internal is not what names the gateway everywhere", n, name)
			}
		}
		if partner := s.PartnerService + "." + s.Partner.Namespace + ".svc.cluster.local"; !strings.Contains(all, partner) {
			t.Errorf("lab %d: %s is not there, which is a name in DNS", n, partner)
		}
	}
}

// A second lab shares no name with the first that both would write to.
func TestLabsShareNoName(t *testing.T) {
	first, second := editor(t, 1, ""), editor(t, 2, "")
	names := map[Key]bool{}
	for _, o := range first.Baseline.Objects() {
		names[KeyOf(o)] = true
	}
	all := second.Baseline.Objects()
	if len(names) != len(all) {
		t.Fatalf("%d objects, and %d in the second lab", len(names), len(all))
	}
	for _, o := range all {
		if names[KeyOf(o)] {
			t.Errorf("both labs have %s", KeyOf(o))
		}
		for line := range strings.Lines(text(t, o)) {
			for old, renamed := range subject.Renames(2) {
				if strings.Contains(strings.ReplaceAll(line, renamed, ""), old) {
					t.Errorf("%s names the first lab's %s: %s", KeyOf(o), old, strings.TrimSpace(line))
				}
			}
		}
	}
	if got := Destination(MeshRoute(second.BaselineVirtualService())).Host; got != second.Subject.GatewayFQDN() {
		t.Errorf("the second lab's calls go to %s", got)
	}
}

func TestRenameKeepsTypesAndKeys(t *testing.T) {
	o := &corev1.ConfigMap{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: metav1.ObjectMeta{Name: "old", Namespace: "old", Labels: map[string]string{"old": "x-old-y"}},
		BinaryData: map[string][]byte{"b": {0, 1, 2}},
	}
	got, err := rename(o, map[string]string{"old": "new"})
	if err != nil {
		t.Fatal(err)
	}
	want := o.DeepCopy()
	want.Name, want.Namespace, want.Labels = "new", "new", map[string]string{"old": "x-new-y"}
	if diff := cmp.Diff(k8s.Object(want), got); diff != "" {
		t.Error(diff)
	}
	if o.Name != "old" {
		t.Error("the original was renamed")
	}
	if got, err := rename(o, nil); err != nil || got != k8s.Object(o) {
		t.Errorf("no names: %v, %v", got, err)
	}
}

// The partner restarts for other certificates, and for nothing else.
func TestDeployments(t *testing.T) {
	e := editor(t, 1, "")
	inputs := func(e *Editor) string {
		return must[*appsv1.Deployment](e.Baseline, e.Subject.Partner.Namespace, e.Subject.Partner.Deployment).Spec.Template.Annotations["twohop/inputs"]
	}
	again, err := Baseline(1, "", Images{Client: "client:1", Partner: "partner:1"}, e.Certificates)
	if err != nil {
		t.Fatal(err)
	}
	if a, b := inputs(e), inputs(NewEditor(again, e.Certificates)); a == "" || a != b {
		t.Errorf("%q, and %q of the same certificates", a, b)
	}
	if a, b := inputs(e), inputs(editor(t, 1, "")); a == b {
		t.Errorf("other certificates, and %q too", b)
	}
	images := map[string]int{}
	for _, o := range e.Baseline.Objects() {
		if d, ok := o.(*appsv1.Deployment); ok {
			for _, c := range d.Spec.Template.Spec.Containers {
				images[c.Image]++
			}
		}
	}
	if images["client:1"] == 0 || images["partner:1"] == 0 || images["twohop/client"]+images["twohop/partner"] > 0 {
		t.Errorf("%v", images)
	}
}

func TestOtherPort(t *testing.T) {
	e := editor(t, 1, "")
	next := apply(t, e.Baseline, e.OtherPort("port", Port{Number: 444, Target: 8446, Header: "x-other", Settings: func(p *networking.TrafficPolicy_PortTrafficPolicy) {
		p.Tls.CredentialName = "second"
	}}))
	ns := e.Subject.Gateway.Namespace
	dr := must[*istio.DestinationRule](next, ns, e.Subject.Hop2Rule)
	if got := PortSettings(dr.Spec.TrafficPolicy, 444).Tls.CredentialName; got != "second" {
		t.Errorf("the new port's credential is %s", got)
	}
	if got := e.Hop2Settings(&dr.Spec).Tls.CredentialName; got != e.Subject.Credential {
		t.Errorf("the old port's credential is %s", got)
	}
	if got := EntryPort(&must[*istio.ServiceEntry](next, ns, e.Subject.ServiceEntry).Spec, 444).TargetPort; got != 8446 {
		t.Errorf("target port %d", got)
	}
	vs := &must[*istio.VirtualService](next, ns, e.Subject.VirtualService).Spec
	var names []string
	for _, r := range vs.Http {
		names = append(names, r.Name)
	}
	if diff := cmp.Diff([]string{"hop1", "hop2-444", "hop2"}, names); diff != "" {
		t.Error(diff)
	}
	if Destination(GatewayRoute(vs)).Port.Number != 443 || len(OnlyMatch(GatewayRoute(vs)).Headers) != 0 || OnlyMatch(Route(vs, "hop2-444")).Headers["x-other"] == nil {
		t.Errorf("%v", vs.Http)
	}
	d, err := Diff(e.Baseline, next)
	if err != nil {
		t.Fatal(err)
	}
	var order []string
	for _, o := range d.Put {
		order = append(order, o.GetName())
	}
	if diff := cmp.Diff([]string{e.Subject.Hop2Rule, e.Subject.ServiceEntry, e.Subject.VirtualService}, order); diff != "" {
		t.Errorf("a port that is registered before its rule has a cluster without TLS:\n%s", diff)
	}
}

func TestRouteVia(t *testing.T) {
	e := editor(t, 1, "")
	next := apply(t, e.Baseline, e.RouteVia("via", e.Subject.Unbound))
	if next.Subject.Gateway != e.Subject.Unbound || e.Baseline.Subject.Gateway == e.Subject.Unbound {
		t.Errorf("%v", next.Subject.Gateway)
	}
	vs := must[*istio.VirtualService](next, e.Subject.Gateway.Namespace, e.Subject.VirtualService)
	if got := Destination(MeshRoute(&vs.Spec)).Host; got != next.Subject.GatewayFQDN() {
		t.Error(got)
	}
}

func TestCertificatesOfTheBaseline(t *testing.T) {
	e := editor(t, 1, "")
	c := e.Certificates
	partner, err := c.Partner()
	if err != nil || partner.Cert.VerifyHostname(e.Subject.ExternalHost) != nil {
		t.Errorf("%v", err)
	}
	if err := c.Credential.Cert.CheckSignatureFrom(certificate(t, c.ClientCA.CertPEM)); err != nil {
		t.Error(err)
	}
	if err := c.Credential.Cert.CheckSignatureFrom(certificate(t, c.Stranger.CertPEM)); err == nil {
		t.Error("a stranger's CA has signed the credential")
	}
	crl, err := c.ServerCA.Revoke(partner.Cert)
	if err != nil || !strings.Contains(string(crl), "X509 CRL") || IsPrivateKey(crl) {
		t.Errorf("%s, %v", crl, err)
	}
	here := must[*corev1.Secret](e.Baseline, e.Subject.Gateway.Namespace, e.Subject.Credential)
	unbound := must[*corev1.Secret](e.Baseline, e.Subject.Unbound.Namespace, e.Subject.Credential)
	if diff := cmp.Diff(here.Data, unbound.Data); diff != "" || len(here.Data["tls.key"]) == 0 {
		t.Errorf("the two gateways differ in more than their Roles:\n%s", diff)
	}
	if SDSCAName("s") != "kubernetes://s-cacert" {
		t.Error(SDSCAName("s"))
	}
}

func certificate(t *testing.T, raw []byte) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(raw)
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
