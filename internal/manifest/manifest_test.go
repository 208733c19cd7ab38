package manifest

import (
	"encoding/base64"
	"slices"
	"strconv"
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

func editor(t *testing.T, n int, domain string) *Editor {
	t.Helper()
	s, _ := Numbered(n, domain)
	certificates, err := NewCertificates(s)
	if err != nil {
		t.Fatal(err)
	}
	baseline, err := Baseline(n, domain, Images{Client: "client:1", Partner: "partner:1"}, certificates)
	if err != nil {
		t.Fatal(err)
	}
	return NewEditor(baseline, certificates)
}

func text(t *testing.T, objects ...k8s.Object) string {
	t.Helper()
	raw, err := YAML(objects...)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func apply(t *testing.T, s *Set, v Variation) *Set {
	t.Helper()
	next, err := v.Apply(s)
	if err != nil {
		t.Fatal(err)
	}
	return next
}

func config(name, value string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}, Data: map[string]string{"k": value}}
}

// A lab's mesh knows its namespaces by a label, and a further one's pods its control plane.
func TestALabBelongsToItsMesh(t *testing.T) {
	for lab, revision := range map[int]string{1: "", 2: "lab-2"} {
		injected := 0
		for _, o := range editor(t, lab, "").Baseline.Objects() {
			switch o := o.(type) {
			case *corev1.Namespace:
				if got := o.Labels[subject.LabLabel]; got != strconv.Itoa(lab) {
					t.Errorf("lab %d: namespace %s has the label %q", lab, o.Name, got)
				}
			case *appsv1.Deployment:
				labels := o.Spec.Template.Labels
				want := ""
				if labels["sidecar.istio.io/inject"] == "true" {
					want = revision
					injected++
				}
				if got := labels["istio.io/rev"]; got != want {
					t.Errorf("lab %d: the pods of %s ask for revision %q, not %q", lab, o.Name, got, want)
				}
			}
		}
		if injected < 3 {
			t.Errorf("lab %d: %d Deployments with a proxy", lab, injected)
		}
	}
}

// The given set stays as it is, whatever a variation does.
func TestApplyIsPure(t *testing.T) {
	e := editor(t, 1, "")
	s := e.Subject
	pair, err := e.Certificates.ClientCA.Issue(ClientName)
	if err != nil {
		t.Fatal(err)
	}
	files := Files{Secret: "files", Dir: "/d", Frozen: "/f"}
	for _, v := range []Variation{
		e.Hop1Port("edit", func(p *networking.TrafficPolicy_PortTrafficPolicy) { p.Tls = nil }),
		e.VirtualService("drop", func(vs *networking.VirtualService) { DropRoute(vs, MeshRouteName) }),
		e.GatewayServer("edit", func(srv *networking.Server) { srv.Tls = nil }),
		e.ServiceEntry("drop", func(se *networking.ServiceEntry) { DropEntryPort(se, uint32(s.AppPort)) }),
		e.OtherPort("port", Port{Number: 444, Target: 443, Header: "x"}),
		e.RemoveDestinationRule("remove", s.Hop1Rule),
		e.Rotate("rotate", pair),
		e.SecondGateway("second"),
		e.RouteVia("via", s.Unbound),
		e.MountFiles("mount", files, map[string][]byte{"tls.crt": pair.CertPEM}),
		e.PartnerName("name").Has("addresses", "10.0.0.1"),
		e.Scope("scope", networking.OutboundTrafficPolicy_REGISTRY_ONLY, "./*"),
		e.AllowAtGateway("allow", s.Client),
		Input("input", "time", "300s"),
		Edit("labels", s.Gateway.Namespace, s.Gateway.Deployment, func(d *appsv1.Deployment) { d.Labels = map[string]string{"a": "b"} }),
	} {
		before, was := text(t, e.Baseline.Objects()...), e.Baseline.Subject
		next := apply(t, e.Baseline, v)
		if diff := cmp.Diff(before, text(t, e.Baseline.Objects()...)); diff != "" || e.Baseline.Subject != was || len(e.Baseline.Inputs) != 0 {
			t.Errorf("%s changed the set that it was given:\n%s", v.Change, diff)
		}
		if again := apply(t, e.Baseline, v); text(t, next.Objects()...) != text(t, again.Objects()...) {
			t.Errorf("%s is another one the second time", v.Change)
		}
		d, err := Diff(e.Baseline, next)
		if err != nil || d.Empty() && next.Subject == was && len(next.Inputs) == 0 {
			t.Errorf("%s changes nothing: %v", v.Change, err)
		}
	}
}

func TestDiff(t *testing.T) {
	from := NewSet(subject.Default(), config("kept", "1"), config("edited", "1"), config("removed", "1"))
	to := from.Clone()
	to.Put(config("added", "1"))
	to.Put(config("kept", "1")) // put, and the same
	to.Put(config("edited", "2"))
	if err := to.Remove(KeyOf(config("removed", ""))); err != nil {
		t.Fatal(err)
	}
	d, err := Diff(from, to)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]k8s.Object{config("added", "1"), config("edited", "2")}, d.Put); diff != "" {
		t.Errorf("put, in the order of the edits: -want +got:\n%s", diff)
	}
	if diff := cmp.Diff([]Key{{"ConfigMap", "ns", "removed"}}, d.Remove); diff != "" || d.Empty() {
		t.Error(diff)
	}
	if same, err := Diff(from, from.Clone()); err != nil || !same.Empty() {
		t.Errorf("%v, %v", same, err)
	}
	applied, err := d.Applied()
	if err != nil || len(applied) != 2 || applied[0].Command != "kubectl apply -f -" || applied[1].Command != "kubectl delete -n ns configmap removed" || applied[1].YAML != nil {
		t.Errorf("%v, %v", applied, err)
	}
	if err := to.Remove(KeyOf(config("removed", ""))); err == nil || err.Error() != "there is no ConfigMap ns/removed to remove" {
		t.Error(err)
	}
}

func TestObjectsAreCopies(t *testing.T) {
	given := config("a", "1")
	s := NewSet(subject.Default(), given)
	given.Data["k"] = "2"
	s.Objects()[0].(*corev1.ConfigMap).Data["k"] = "3"
	s.Find(KeyOf(given)).(*corev1.ConfigMap).Data["k"] = "4"
	if got := s.Find(KeyOf(given)).(*corev1.ConfigMap).Data["k"]; got != "1" {
		t.Errorf("the set was changed from outside: %s", got)
	}
}

func TestLookUpsByName(t *testing.T) {
	e := editor(t, 1, "")
	ns := e.Subject.Gateway.Namespace
	nothing := func(*networking.TrafficPolicy_PortTrafficPolicy) {}
	for _, tt := range []struct {
		v    Variation
		says string
	}{
		{e.VirtualService("c", func(vs *networking.VirtualService) { Route(vs, "hop3") }), "c: no route hop3; there are [hop1, hop2]"},
		{e.VirtualService("c", func(vs *networking.VirtualService) { DropRoute(vs, "hop3") }), "c: no route hop3"},
		{e.VirtualService("c", func(vs *networking.VirtualService) { InsertRouteBefore(vs, "hop3", nil) }), "c: no route hop3"},
		{e.VirtualService("c", func(vs *networking.VirtualService) {
			MeshRoute(vs).Route = nil
			Destination(MeshRoute(vs))
		}), "c: route hop1 has 0 destinations, not one"},
		{e.VirtualService("c", func(vs *networking.VirtualService) { GatewayRoute(vs).Match = nil; OnlyMatch(GatewayRoute(vs)) }), "c: route hop2 has 0 matches, not one"},
		{e.Hop2DestinationRule("c", func(dr *networking.DestinationRule) { PortSettings(dr.TrafficPolicy, 99) }), "c: no portLevelSettings of port 99; there are [443]"},
		{e.Hop2DestinationRule("c", func(dr *networking.DestinationRule) { DropPortSettings(nil, 99) }), "c: no portLevelSettings of port 99; there are []"},
		{e.Hop1DestinationRule("c", func(dr *networking.DestinationRule) { Subset(dr, "v2") }), "c: no subset v2; there are [partner]"},
		{e.ServiceEntry("c", func(se *networking.ServiceEntry) { EntryPort(se, 99) }), "c: no port 99; there are [80, 443]"},
		{e.ServiceEntry("c", func(se *networking.ServiceEntry) { DropEntryPort(se, 99) }), "c: no port 99"},
		{e.Gateway("c", func(gw *networking.Gateway) { Server(gw, "http") }), "c: no server of port http; there are [https-partner]"},
		{e.DestinationRule("c", "none", func(*networking.DestinationRule) {}), "c: there is no DestinationRule " + ns + "/none"},
		{Edit("c", ns, e.Subject.Hop1Rule, func(*istio.VirtualService) {}), "c: there is no VirtualService " + ns + "/" + e.Subject.Hop1Rule},
		{e.RemoveDestinationRule("c", "none"), "c: there is no DestinationRule " + ns + "/none to remove"},
		{e.OneGateway("c"), "c: there is no Deployment " + ns + "/second-partner-egressgateway to remove"},
		{Together("all", e.RemoveDestinationRule("c", e.Subject.Hop2Rule), e.Hop2Port("d", nothing)), "all: there is no DestinationRule"},
	} {
		next, err := tt.v.Apply(e.Baseline)
		if err == nil || !strings.Contains(err.Error(), tt.says) || next != nil && err == nil {
			t.Errorf("%v does not say %q", err, tt.says)
		}
	}
}

// Whatever else panics is a mistake of the edit, and not a lookup that failed.
func TestOtherPanicsGoOn(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("the panic is lost")
		}
	}()
	e := editor(t, 1, "")
	_, _ = e.VirtualService("c", func(vs *networking.VirtualService) { _ = vs.Http[99] }).Apply(e.Baseline)
}

func TestTogether(t *testing.T) {
	a, b := Aged{Key{Name: "a"}}, Holds{Secret: "b"}
	add := Add("one", config("x", "1"))
	add.Before = []Condition{a}
	stays := Add("two", config("y", "1")).Waiting(b)
	stays.Stays = true
	both := Together("both", add, Input("i", "n", 1), stays, add.Undone()).Live()
	if diff := cmp.Diff([]Condition{a}, both.Before); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]Condition{b, Live{}}, both.After); diff != "" || !both.Stays {
		t.Errorf("stays %v\n%s", both.Stays, diff)
	}
	got := apply(t, NewSet(subject.Default()), both)
	if len(got.Objects()) != 2 || got.Inputs["n"] != 1 {
		t.Errorf("%v", got)
	}
	if Together("c", add).Stays {
		t.Error("it stays without having been asked to")
	}
}

func TestUndone(t *testing.T) {
	e := editor(t, 1, "")
	v := e.RemoveDestinationRule("remove", e.Subject.Hop1Rule).Live().Undone()
	next := apply(t, e.Baseline, v)
	d, err := Diff(e.Baseline, next)
	if err != nil || !d.Empty() || v.Change != "remove" || len(v.After) != 0 || len(v.Before) != 0 {
		t.Errorf("%+v, %v, %v", v, d, err)
	}
	if next == e.Baseline {
		t.Error("the set is the given one itself")
	}
}

func TestWaitingDoesNotShare(t *testing.T) {
	base := Add("a", config("a", "1")).Waiting(Live{}, Live{}, Live{})
	one, two := base.Holding("s", "1"), base.Holding("s", "2")
	if one.After[3].(Holds).Serial != "1" || two.After[3].(Holds).Serial != "2" {
		t.Errorf("%v, %v", one.After, two.After)
	}
}

func TestChanges(t *testing.T) {
	if got := Changes(nil); got != "" {
		t.Errorf("%q", got)
	}
	if got := Changes([]Variation{{Change: "a"}, {Change: "b"}}); got != "a; b" {
		t.Errorf("%q", got)
	}
}

// No private key is in what is kept or printed, whatever its key is called; the
// objects themselves keep theirs.
func TestYAMLLeavesPrivateKeysOut(t *testing.T) {
	e := editor(t, 1, "")
	pair := e.Certificates.Credential
	secrets := []k8s.Object{
		e.CredentialSecret("as-usual", pair),
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "generic", Namespace: "ns"}, Data: map[string][]byte{"key": pair.KeyPEM, "cert": pair.CertPEM,
			"both": slices.Concat(pair.CertPEM, pair.KeyPEM), "placeholder": []byte(KeyPlaceholder + "x")}},
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "as-text", Namespace: "ns"}, StringData: map[string]string{"whatever": string(pair.KeyPEM), "note": "kept"}},
	}
	all := append(e.Baseline.Objects(), secrets...)
	for _, o := range all { // what an API server adds
		o.SetManagedFields([]metav1.ManagedFieldsEntry{{Manager: "somebody"}})
		o.SetCreationTimestamp(metav1.Now())
		o.SetGeneration(7)
		o.SetResourceVersion("8")
		o.SetUID("9")
	}
	got := text(t, all...)
	for _, added := range []string{"managedFields", "resourceVersion", "uid:", "generation:", "PRIVATE KEY", KeyPlaceholder} {
		if strings.Contains(got, added) {
			t.Errorf("%q is in the manifest", added)
		}
	}
	for _, field := range strings.Fields(got) {
		if raw, err := base64.StdEncoding.DecodeString(field); err == nil && IsPrivateKey(raw) {
			t.Errorf("a private key is in the manifest, in base64: %.40s", field)
		}
	}
	if !strings.Contains(got, "note: kept") || !strings.Contains(got, base64.StdEncoding.EncodeToString(pair.CertPEM)) {
		t.Error("what is no key is gone from the manifest")
	}
	if n := strings.Count(got, base64.StdEncoding.EncodeToString([]byte(leftOut))); n < 4 {
		t.Errorf("%d keys are marked as left out", n)
	}
	if got := secrets[1].(*corev1.Secret); string(got.Data["key"]) != string(pair.KeyPEM) || got.ResourceVersion != "8" {
		t.Error("YAML took the key out of the object itself")
	}
	documents := strings.Split(got, "\n---\n")
	if len(documents) != len(all) {
		t.Fatalf("%d documents of %d objects", len(documents), len(all))
	}
	for i, d := range documents {
		if !strings.Contains(d, "apiVersion: ") || !strings.Contains(d, "kind: "+KeyOf(all[i]).Kind+"\n") {
			t.Errorf("document %d does not say what it is:\n%.200s", i+1, d)
		}
	}
}
