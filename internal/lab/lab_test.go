package lab

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	networking "istio.io/api/networking/v1alpha3"
	istio "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"twohop/internal/manifest"
	"twohop/internal/subject"
)

func configMap(name, value string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "twohop-egress"}, Data: map[string]string{"k": value}}
}

func hop2Rule() *istio.DestinationRule {
	s := subject.Default()
	return &istio.DestinationRule{ObjectMeta: metav1.ObjectMeta{Name: s.Hop2Rule, Namespace: s.Gateway.Namespace}}
}

func simpleHop2(e *manifest.Editor) manifest.Variation {
	return e.Hop2Port("hop 2 is SIMPLE", func(p *networking.TrafficPolicy_PortTrafficPolicy) { p.Tls.Mode = networking.ClientTLSSettings_SIMPLE })
}

func exportHop2(e *manifest.Editor) manifest.Variation {
	return e.Hop2DestinationRule("export it", func(dr *networking.DestinationRule) { dr.ExportTo = []string{"*"} })
}

func TestVaryAndRestore(t *testing.T) {
	for _, tt := range []struct {
		name      string
		vary      func(*world, *manifest.Editor) []manifest.Variation
		there     func(*testing.T, *world) // what has to be so in between
		untouched bool
	}{
		{name: "nothing", vary: func(*world, *manifest.Editor) []manifest.Variation { return nil }, untouched: true},
		{
			name: "an input", untouched: true,
			vary: func(*world, *manifest.Editor) []manifest.Variation {
				return []manifest.Variation{manifest.Input("send 300s", "time", "300s")}
			},
		},
		{
			name: "an edit",
			vary: func(_ *world, e *manifest.Editor) []manifest.Variation { return []manifest.Variation{simpleHop2(e)} },
			there: func(t *testing.T, w *world) {
				if mode := w.server.Get(t, hop2Rule()).(*istio.DestinationRule).Spec.TrafficPolicy.PortLevelSettings[0].Tls.Mode; mode != networking.ClientTLSSettings_SIMPLE {
					t.Errorf("the edit is not there: %v", mode)
				}
			},
		},
		{
			name: "two edits of one object",
			vary: func(_ *world, e *manifest.Editor) []manifest.Variation {
				return []manifest.Variation{simpleHop2(e), exportHop2(e)}
			},
			there: func(t *testing.T, w *world) {
				got := w.server.Get(t, hop2Rule()).(*istio.DestinationRule)
				if got.Spec.ExportTo[0] != "*" || got.Spec.TrafficPolicy.PortLevelSettings[0].Tls.Mode != networking.ClientTLSSettings_SIMPLE {
					t.Errorf("the second edit lost the first: %v", &got.Spec)
				}
			},
		},
		{
			name: "an addition, and another of its name",
			vary: func(*world, *manifest.Editor) []manifest.Variation {
				return []manifest.Variation{manifest.Add("add a", configMap("a", "1")), manifest.Add("change a", configMap("a", "2"))}
			},
			there: func(t *testing.T, w *world) {
				if got, ok := w.server.Get(t, configMap("a", "")).(*corev1.ConfigMap); !ok || got.Data["k"] != "2" {
					t.Errorf("%v", got)
				}
			},
		},
		{
			name: "a replacement",
			vary: func(w *world, e *manifest.Editor) []manifest.Variation {
				s := w.subject()
				return []manifest.Variation{simpleHop2(e), manifest.Secret("another credential", s.Gateway.Namespace, s.Credential, map[string][]byte{"cert": []byte("x")})}
			},
			there: func(t *testing.T, w *world) {
				s := w.subject()
				got := w.server.Get(t, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: s.Credential, Namespace: s.Gateway.Namespace}}).(*corev1.Secret)
				if got.Data["tls.crt"] != nil || got.Data["cert"] == nil {
					t.Errorf("the replacement is a mixture: %v", got.Data)
				}
			},
		},
		{
			name: "a removal",
			vary: func(*world, *manifest.Editor) []manifest.Variation {
				return []manifest.Variation{manifest.Remove("remove hop 2's rule", hop2Rule())}
			},
			there: func(t *testing.T, w *world) {
				if w.server.Get(t, hop2Rule()) != nil {
					t.Error("what was removed is there")
				}
			},
		},
		{
			name: "an addition and its removal", untouched: true,
			vary: func(*world, *manifest.Editor) []manifest.Variation {
				return []manifest.Variation{manifest.Add("add a", configMap("a", "1")), manifest.Remove("remove a", configMap("a", ""))}
			},
		},
		{
			name: "another gateway",
			vary: func(w *world, e *manifest.Editor) []manifest.Variation {
				return []manifest.Variation{e.RouteVia("lead hop 1 to the gateway without a Role", e.Subject.Unbound)}
			},
			there: func(t *testing.T, w *world) {
				if p, err := w.Source.Pod(subject.Gateway); err != nil || p.Namespace != w.home.Subject.Unbound.Namespace {
					t.Errorf("the gateway is %+v, %v", p, err)
				}
			},
		},
		{
			name: "a second gateway",
			vary: func(_ *world, e *manifest.Editor) []manifest.Variation {
				return []manifest.Variation{e.SecondGateway("another pod of the gateway")}
			},
			there: func(t *testing.T, w *world) {
				if p, err := w.Source.Pod(subject.SecondGateway); err != nil || !strings.HasPrefix(p.Name, "second-") {
					t.Errorf("the second gateway is %+v, %v", p, err)
				}
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := deployed(t, 1)
			w.sameAsBaseline(t)
			if err := w.Vary(t.Context(), tt.vary(w, w.Editor())...); err != nil {
				t.Fatal(err)
			}
			if w.Touched() == tt.untouched {
				t.Errorf("touched: %v", w.Touched())
			}
			if tt.there != nil {
				tt.there(t, w)
			}
			if err := w.Restore(t.Context()); err != nil {
				t.Fatal(err)
			}
			if w.Touched() {
				t.Error("the lab says that it is touched after Restore")
			}
			w.sameAsBaseline(t)
			if w.server.Get(t, configMap("a", "")) != nil {
				t.Error("an addition is left")
			}
			if _, err := w.Source.Pod(subject.SecondGateway); err == nil {
				t.Error("a second gateway is still attached to")
			}
			if p, err := w.Source.Pod(subject.Gateway); err != nil || p.Namespace != w.home.Subject.Gateway.Namespace {
				t.Errorf("the gateway is %+v, %v", p, err)
			}
		})
	}
}

// A port that is registered before its rule has a cluster without TLS.
func TestAPortHasItsRuleFirst(t *testing.T) {
	w := deployed(t, 1)
	before := len(w.server.Writes())
	if err := w.Vary(t.Context(), w.Editor().OtherPort("another port", manifest.Port{Number: 444, Target: 443})); err != nil {
		t.Fatal(err)
	}
	s := w.subject()
	want := []string{s.Hop2Rule, s.ServiceEntry, s.VirtualService}
	if diff := cmp.Diff(want, namesOf(w.server.Writes()[before:], want)); diff != "" {
		t.Errorf("-wanted +written:\n%s", diff)
	}
}

// namesOf are those of the names that were written, in that order.
func namesOf(writes, names []string) (order []string) {
	for _, write := range writes {
		if name := write[strings.LastIndex(write, "/")+1:]; slices.Contains(names, name) {
			order = append(order, name)
		}
	}
	return order
}

// A second client disturbs nobody: it is made once, and stays.
func TestASecondClientStays(t *testing.T) {
	w := deployed(t, 1)
	second := w.Editor().SecondClient("another application")
	if err := w.Vary(t.Context(), second, simpleHop2(w.Editor())); err != nil {
		t.Fatal(err)
	}
	first, err := w.Source.Pod(subject.SecondSidecar)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Restore(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.sameAsBaseline(t)
	if p, err := w.Source.Pod(subject.SecondSidecar); err != nil || p != first || w.Touched() {
		t.Errorf("after Restore: %+v, %v; touched %v", p, err, w.Touched())
	}
	// A later claim does not know of it, and goes back to a set without it.
	before := len(w.server.Writes())
	if err := w.Return(t.Context(), w.Baseline()); err != nil {
		t.Fatal(err)
	}
	if err := w.Vary(t.Context(), second); err != nil {
		t.Fatal(err)
	}
	if again := namesOf(w.server.Writes()[before:], []string{"second-client"}); len(again) > 0 {
		t.Errorf("it was written again: %v", again)
	}
	if len(w.stays) != 1 {
		t.Errorf("what stays was noted %d times", len(w.stays))
	}
	// A mutant is planted beside it, and its end takes both away.
	if err := w.Plant(t.Context(), exportHop2(w.Editor())); err != nil {
		t.Fatal(err)
	}
	if err := w.Restore(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Source.Pod(subject.SecondSidecar); err != nil {
		t.Errorf("it is gone under the mutant: %v", err)
	}
	w.Uproot()
	if err := w.Restore(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Source.Pod(subject.SecondSidecar); err == nil {
		t.Error("it outlived the mutant")
	}
	before = len(w.server.Writes())
	if err := w.Return(t.Context(), w.Baseline()); err != nil {
		t.Fatal(err)
	}
	if again := namesOf(w.server.Writes()[before:], []string{"second-client"}); len(again) > 0 {
		t.Errorf("Return brought it back: %v", again)
	}
	w.sameAsBaseline(t)
	// Whoever wants it then gets it, to stay.
	if err := w.Vary(t.Context(), second); err != nil {
		t.Fatal(err)
	}
	if err := w.Restore(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Source.Pod(subject.SecondSidecar); err != nil {
		t.Errorf("it did not stay: %v", err)
	}
	// Another run's Deploy begins without it.
	if err := w.Deploy(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Source.Pod(subject.SecondSidecar); err == nil {
		t.Error("it outlived a new deployment")
	}
}

// What could not be restored is still known to be changed.
func TestRestoreThatFails(t *testing.T) {
	w := deployed(t, 1)
	hop2 := w.subject().Hop2Rule
	if err := w.Vary(t.Context(), exportHop2(w.Editor())); err != nil {
		t.Fatal(err)
	}
	w.server.Refuse(func(verb, path string) error {
		if strings.HasSuffix(path, "/destinationrules/"+hop2) {
			return apierrors.NewForbidden(schema.GroupResource{Resource: "destinationrules"}, hop2, errors.New("not now"))
		}
		return nil
	})
	if err := w.Restore(t.Context()); err == nil || !strings.Contains(err.Error(), "DestinationRule twohop-egress/"+hop2) || !strings.Contains(err.Error(), "not now") {
		t.Errorf("%v does not say what could not be restored, and why", err)
	}
	if !w.Touched() {
		t.Error("the lab passes for untouched")
	}
	w.server.Refuse(nil)
	if err := w.Restore(t.Context()); err != nil || w.Touched() {
		t.Errorf("a second try: %v, touched %v", err, w.Touched())
	}
	w.sameAsBaseline(t)
}

func TestVaryThatFails(t *testing.T) {
	w := deployed(t, 1)
	nothing := w.Editor().DestinationRule("edit nothing", "no-such-rule", func(*networking.DestinationRule) {})
	err := w.Vary(t.Context(), manifest.Add("add a", configMap("a", "1")), nothing)
	if err == nil || !strings.Contains(err.Error(), "edit nothing: there is no DestinationRule twohop-egress/no-such-rule") {
		t.Errorf("%v does not say which variation failed", err)
	}
	if !w.Touched() {
		t.Error("the first one was made")
	}
	if err := w.Restore(t.Context()); err != nil {
		t.Error(err)
	}
	w.sameAsBaseline(t)
	if w.server.Get(t, configMap("a", "")) != nil {
		t.Error("an addition is left")
	}
}

// An edit that is interrupted is no edit that was made, and is undone all the same.
func TestEditThatIsInterrupted(t *testing.T) {
	w := deployed(t, 1)
	ctx, interrupt := context.WithCancel(t.Context())
	interrupt()
	err := w.Vary(ctx, exportHop2(w.Editor()))
	if !errors.Is(err, context.Canceled) || !w.Touched() {
		t.Errorf("%v; touched %v", err, w.Touched())
	}
	if err := w.Restore(t.Context()); err != nil {
		t.Error(err)
	}
	w.sameAsBaseline(t)
}

// Return takes back what was changed since, and keeps what was changed before.
func TestReturn(t *testing.T) {
	w := deployed(t, 1)
	if err := w.Vary(t.Context(), exportHop2(w.Editor())); err != nil {
		t.Fatal(err)
	}
	checkpoint := w.Set()
	if err := w.Vary(t.Context(), simpleHop2(w.Editor()), manifest.Add("add a", configMap("a", "1"))); err != nil {
		t.Fatal(err)
	}
	if err := w.Return(t.Context(), checkpoint); err != nil {
		t.Fatal(err)
	}
	got := w.server.Get(t, hop2Rule()).(*istio.DestinationRule)
	if got.Spec.ExportTo[0] != "*" || got.Spec.TrafficPolicy.PortLevelSettings[0].Tls.Mode != networking.ClientTLSSettings_MUTUAL {
		t.Errorf("%v", &got.Spec)
	}
	if w.server.Get(t, configMap("a", "")) != nil {
		t.Error("an addition is left")
	}
}

// A rotated certificate lives on in connections: Restore replaces hop 2's
// cluster, once the gateway holds the baseline's again.
func TestRestoreEndsConnectionsOfARotatedCertificate(t *testing.T) {
	w := deployed(t, 1)
	pair, err := w.Certificates.ClientCA.Issue(manifest.ClientName)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Vary(t.Context(), w.Editor().Rotate("rotate", pair)); err != nil {
		t.Fatal(err)
	}
	before := len(w.server.Writes())
	if err := w.Restore(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := w.subject()
	order := namesOf(w.server.Writes()[before:], []string{s.Credential, s.Hop2Rule})
	if diff := cmp.Diff([]string{s.Credential, s.Hop2Rule, s.Hop2Rule}, order); diff != "" {
		t.Errorf("-wanted +written:\n%s", diff)
	}
	w.sameAsBaseline(t)
}

// A Secret of which only an annotation changes holds the same certificate.
func TestRestoreLeavesConnectionsOfTheSameCertificate(t *testing.T) {
	w := deployed(t, 1)
	s := w.subject()
	touch := manifest.Edit("annotate", s.Gateway.Namespace, s.Credential, func(o *corev1.Secret) { o.Annotations = map[string]string{"a": "b"} })
	if err := w.Vary(t.Context(), touch); err != nil {
		t.Fatal(err)
	}
	before := len(w.server.Writes())
	if err := w.Restore(t.Context()); err != nil {
		t.Fatal(err)
	}
	order := namesOf(w.server.Writes()[before:], []string{s.Credential, s.Hop2Rule})
	if diff := cmp.Diff([]string{s.Credential}, order); diff != "" {
		t.Errorf("-wanted +written:\n%s", diff)
	}
	w.sameAsBaseline(t)
}

func TestConditionsThatAreAwaited(t *testing.T) {
	w := deployed(t, 1)
	w.limits.Secret = 50 * time.Millisecond
	err := w.Vary(t.Context(), exportHop2(w.Editor()).Holding(manifest.SDSName(w.subject().Credential), "00FF"))
	if err == nil || !strings.Contains(err.Error(), "the gateway has no ACTIVE secret kubernetes://partner-client-credential with serial 00FF") {
		t.Error(err)
	}
	if err := w.Restore(t.Context()); err != nil {
		t.Error(err)
	}
}

// Whoever edits a copy of the baseline does not edit the baseline.
func TestBaselineIsACopy(t *testing.T) {
	w := newWorld(t, 1)
	for _, set := range []*manifest.Set{w.Baseline(), w.Set(), w.Editor().Baseline} {
		set.Put(configMap("a", "1"))
		if err := set.Remove(manifest.KeyOf(hop2Rule())); err != nil {
			t.Fatal(err)
		}
	}
	for _, set := range []*manifest.Set{w.Baseline(), w.Set()} {
		if set.Find(manifest.KeyOf(configMap("a", ""))) != nil || set.Find(manifest.KeyOf(hop2Rule())) == nil {
			t.Error("the baseline was changed from outside")
		}
	}
}

func TestNamed(t *testing.T) {
	for _, o := range deployed(t, 1).Baseline().Objects() {
		k := manifest.KeyOf(o)
		got, err := named(k)
		if err != nil || manifest.KeyOf(got) != k || fmt.Sprintf("%T", got) != fmt.Sprintf("%T", o) {
			t.Errorf("%s: %T, %v", k, got, err)
		}
	}
	if o, err := named(manifest.Key{Kind: "Nothing"}); err == nil {
		t.Errorf("%T", o)
	}
}

// A Restore that failed after it had written the Secret leaves connections of the
// other certificate, which the next one has to end.
func TestConnectionsAreEndedByTheNextRestore(t *testing.T) {
	w := deployed(t, 1)
	pair, err := w.Certificates.ClientCA.Issue(manifest.ClientName)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Vary(t.Context(), w.Editor().Rotate("rotate", pair)); err != nil {
		t.Fatal(err)
	}
	s := w.subject()
	w.server.Refuse(func(_, path string) error {
		if strings.HasSuffix(path, "/destinationrules/"+s.Hop2Rule) {
			return apierrors.NewForbidden(schema.GroupResource{Resource: "destinationrules"}, s.Hop2Rule, errors.New("not now"))
		}
		return nil
	})
	if err := w.Restore(t.Context()); err == nil || !w.Touched() {
		t.Fatalf("%v, touched %v", err, w.Touched())
	}
	w.server.Refuse(nil)
	before := len(w.server.Writes())
	if err := w.Restore(t.Context()); err != nil || w.Touched() {
		t.Fatalf("%v, touched %v", err, w.Touched())
	}
	if order := namesOf(w.server.Writes()[before:], []string{s.Hop2Rule}); len(order) < 2 {
		t.Errorf("hop 2's cluster was not replaced: %v", order)
	}
	w.sameAsBaseline(t)
}
