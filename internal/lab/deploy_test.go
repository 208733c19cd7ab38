package lab

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	networking "istio.io/api/networking/v1alpha3"
	security "istio.io/api/security/v1beta1"
	istio "istio.io/client-go/pkg/apis/networking/v1"
	istiosecurity "istio.io/client-go/pkg/apis/security/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/e2e-framework/klient/k8s"

	"twohop/internal/manifest"
	"twohop/internal/subject"
)

// What a run that was killed left would be part of what the next one judges.
func TestDeployTakesAwayWhatIsForeign(t *testing.T) {
	w := newWorld(t, 1)
	s := w.subject()
	meta := func(namespace, name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: namespace, Name: name}
	}
	foreign := []k8s.Object{
		&istio.Sidecar{ObjectMeta: meta(s.Client.Namespace, "scope"), Spec: networking.Sidecar{}},
		&istiosecurity.AuthorizationPolicy{ObjectMeta: meta(s.Gateway.Namespace, "callers"), Spec: security.AuthorizationPolicy{}},
		&istio.DestinationRule{ObjectMeta: meta(s.Gateway.Namespace, "younger"), Spec: networking.DestinationRule{Host: "h"}},
		&istio.VirtualService{ObjectMeta: meta(s.Client.Namespace, "other"), Spec: networking.VirtualService{}},
		&corev1.Service{ObjectMeta: meta(s.Gateway.Namespace, "plain")},
		&corev1.Secret{ObjectMeta: meta(s.Gateway.Namespace, "second-credential")},
	}
	kept := []k8s.Object{
		&corev1.ConfigMap{ObjectMeta: meta(s.Client.Namespace, "istio-ca-root-cert")},
		&istio.DestinationRule{ObjectMeta: meta("somebodys", "own"), Spec: networking.DestinationRule{Host: "h"}},
		&istio.ServiceEntry{ObjectMeta: meta(s.Gateway.Namespace, sentinelName), Spec: networking.ServiceEntry{Hosts: []string{"s0.sentinel.invalid"}}},
	}
	for _, o := range slices.Concat(foreign, kept) {
		w.server.Put(t, o)
	}
	if err := w.Deploy(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, o := range foreign {
		if w.server.Get(t, o) != nil {
			t.Errorf("%s is left", manifest.KeyOf(o))
		}
	}
	for _, o := range kept {
		if w.server.Get(t, o) == nil {
			t.Errorf("%s is gone", manifest.KeyOf(o))
		}
	}
	w.sameAsBaseline(t)
	if w.Touched() {
		t.Error("a fresh lab passes for touched")
	}
}

func TestForeignObjectsThatCannotBeRemoved(t *testing.T) {
	w := newWorld(t, 1)
	w.server.Put(t, &istio.Sidecar{ObjectMeta: metav1.ObjectMeta{Namespace: w.subject().Client.Namespace, Name: "scope"}})
	w.server.Refuse(func(verb, path string) error {
		if verb == "delete" {
			return apierrors.NewForbidden(schema.GroupResource{Resource: "sidecars"}, "scope", errors.New("not now"))
		}
		return nil
	})
	if err := w.Deploy(t.Context()); err == nil || !strings.Contains(err.Error(), "delete Sidecar twohop-app/scope, which an earlier run has left") {
		t.Error(err)
	}
}

// Namespaces come first, and pods last: a pod needs what it mounts.
func TestDeployOrder(t *testing.T) {
	w := deployed(t, 1)
	stage := 0
	for _, write := range w.server.Writes() {
		at := 1
		switch {
		case strings.Contains(write, "create /api/v1/namespaces/") && strings.Count(write, "/") == 4:
			at = 0
		case strings.Contains(write, "/deployments/"):
			at = 2
		case strings.HasSuffix(write, sentinelName):
			continue
		}
		if at < stage {
			t.Errorf("%s came too late", write)
		}
		stage = at
	}
}

func TestDeployWaits(t *testing.T) {
	for _, tt := range []struct {
		name    string
		arrange func(*world)
		says    string
	}{
		{"for the partner's Service to lead to its pod alone", func(w *world) { w.deaf = 3 }, "it answered 7 of 10 requests"},
		{"for hop 1's hosts to be the gateways", func(w *world) { w.stale = "10.9.9.9" }, "wait until hop 1's hosts are"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, 1)
			w.limits.Ready = 500 * time.Millisecond
			tt.arrange(w)
			if err := w.Deploy(t.Context()); err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%v does not say %q", err, tt.says)
			}
		})
	}
}

func TestProve(t *testing.T) {
	for _, tt := range []struct {
		name    string
		arrange func(*world)
		says    string
	}{
		{"the baseline", func(*world) {}, ""},
		{"a partner that verified nothing", func(w *world) { w.verify = "NONE" }, "the partner says verify=NONE"},
		{"another certificate", func(w *world) { w.serial = "00FF" }, "serial="},
		{"a call that the gateway did not see", func(w *world) { w.calls = map[subject.Role]int{subject.Sidecar: 1, subject.Partner: 1} }, "the gateway logs the call 0 times"},
		{"a mirror", func(w *world) {
			w.calls = map[subject.Role]int{subject.Sidecar: 1, subject.Gateway: 1, subject.Partner: 2}
		}, "the partner logs the call 2 times, not once"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := deployed(t, 1)
			tt.arrange(w)
			err := w.Prove(t.Context())
			if (err == nil) != (tt.says == "") || err != nil && !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%v, want %q", err, tt.says)
			}
		})
	}
}

func TestRemove(t *testing.T) {
	w := deployed(t, 2)
	if err := w.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, name := range w.subject().Namespaces() {
		if w.server.Get(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}) != nil {
			t.Errorf("%s is left", name)
		}
	}
	if err := w.Remove(t.Context()); err != nil {
		t.Errorf("once more: %v", err)
	}
}

func TestNumberedLabsUseTheirOwnNamespaces(t *testing.T) {
	w := deployed(t, 3)
	if err := w.Vary(t.Context(), exportHop2(w.Editor())); err != nil {
		t.Fatal(err)
	}
	for _, write := range w.server.Writes() {
		if strings.Contains(write, "/namespaces/twohop") && !strings.Contains(write, "-3/") && !strings.HasSuffix(write, "-3") {
			t.Errorf("lab 3 wrote to %s", write)
		}
	}
}
