package kube_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	istionetworking "istio.io/client-go/pkg/apis/networking/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"twohop/internal/kube"
	"twohop/internal/kube/kubetest"
)

func pod(name string, labels map[string]string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "ns", Labels: labels}}
}

func TestNewSaysWhichKubeconfig(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := kube.New(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("%v does not name %s", err, path)
	}
}

func TestPods(t *testing.T) {
	app := map[string]string{"app": "client"}
	going := pod("going", app)
	now := metav1.Now()
	going.DeletionTimestamp, going.Finalizers = &now, []string{"x"}
	other := pod("other-namespace", app)
	other.Namespace = "elsewhere"
	_, client := kubetest.New(t, pod("a", app), pod("b", map[string]string{"app": "other"}), going, other)
	ctx := t.Context()

	pods, err := client.Pods(ctx, "ns", "app=client")
	var names []string
	for _, p := range pods {
		names = append(names, p.Name)
	}
	if diff := cmp.Diff([]string{"a"}, names); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	if p, err := client.Pod(ctx, "ns", "app=client"); err != nil || p.Name != "a" {
		t.Errorf("%v, %v", p, err)
	}
	if _, err := client.Pod(ctx, "ns", "app=nobody"); err == nil || !strings.Contains(err.Error(), `one pod "app=nobody" in ns and found 0`) {
		t.Errorf("%v", err)
	}
}

func TestDryRunCreate(t *testing.T) {
	server, client := kubetest.New(t)
	const document = `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: r, namespace: ns }
spec: { host: h }
`
	raw, err := client.DryRunCreate(t.Context(), document)
	if err != nil || !strings.Contains(string(raw), `"name":"r"`) {
		t.Errorf("%s, %v", raw, err)
	}
	if o := server.Get(t, &istionetworking.DestinationRule{ObjectMeta: metav1.ObjectMeta{Name: "r", Namespace: "ns"}}); o != nil {
		t.Error("a dry run stored the object")
	}

	// A refusal is an answer.
	server.Refuse(func(string, string) error {
		return apierrors.NewInvalid(schema.GroupKind{Kind: "DestinationRule"}, "r", nil)
	})
	raw, err = client.DryRunCreate(t.Context(), document)
	if err != nil || !strings.Contains(string(raw), `"kind":"Status"`) || !strings.Contains(string(raw), "is invalid") {
		t.Errorf("%s, %v", raw, err)
	}

	for name, tt := range map[string]struct{ document, says string }{
		"no YAML":             {"a: [", "no YAML"},
		"a kind of nobody":    {"apiVersion: networking.istio.io/v1\nkind: Nothing\nmetadata: { name: r }", "Nothing"},
		"a group of nobody":   {"apiVersion: nothing.example.com/v1\nkind: Nothing\nmetadata: { name: r }", "nothing.example.com"},
		"a document too poor": {"just words", "metadata"},
	} {
		t.Run(name, func(t *testing.T) {
			if raw, err := client.DryRunCreate(t.Context(), tt.document); err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%s, %v; want an error that says %q", raw, err, tt.says)
			}
		})
	}
}

// A server that cannot be reached has not answered.
func TestDryRunCreateNeedsAnAnswer(t *testing.T) {
	_, client := kubetest.New(t)
	ctx, cancel := context.WithCancel(t.Context())
	const document = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: { name: r, namespace: ns }"
	if _, err := client.DryRunCreate(ctx, document); err != nil { // knows the kinds from now on
		t.Fatal(err)
	}
	cancel()
	if raw, err := client.DryRunCreate(ctx, document); err == nil || !strings.Contains(err.Error(), "ask the API server about a DestinationRule") {
		t.Errorf("%s, %v", raw, err)
	}
}

func deployment(generation, observed int64, updated, available, all int32) *appsv1.Deployment {
	replicas := int32(1)
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "d", Namespace: "ns", Generation: generation},
		Spec:       appsv1.DeploymentSpec{Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "d"}}},
		Status: appsv1.DeploymentStatus{ObservedGeneration: observed, UpdatedReplicas: updated,
			AvailableReplicas: available, Replicas: all},
	}
}

func TestWaitDeployment(t *testing.T) {
	for _, tt := range []struct {
		name  string
		at    *appsv1.Deployment
		ready bool
	}{
		{"ready", deployment(2, 2, 1, 1, 1), true},
		{"not yet observed", deployment(2, 1, 1, 1, 1), false},
		{"an old pod is left", deployment(2, 2, 1, 1, 2), false},
		{"the new pod is not available", deployment(2, 2, 1, 0, 1), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, client := kubetest.New(t, tt.at)
			err := client.WaitDeployment(t.Context(), "ns", "d", 300*time.Millisecond)
			if (err == nil) != tt.ready {
				t.Errorf("%v", err)
			}
		})
	}
	t.Run("becomes ready", func(t *testing.T) {
		server, client := kubetest.New(t, deployment(2, 1, 0, 0, 1))
		done := make(chan error, 1)
		go func() { done <- client.WaitDeployment(t.Context(), "ns", "d", 20*time.Second) }()
		server.Put(t, deployment(2, 2, 1, 1, 1))
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Run("does not exist", func(t *testing.T) {
		_, client := kubetest.New(t)
		err := client.WaitDeployment(t.Context(), "ns", "d", 300*time.Millisecond)
		if err == nil || !strings.Contains(err.Error(), "ns/d was not available after 300ms: it does not exist") {
			t.Error(err)
		}
	})
	t.Run("says what its pods suffer from", func(t *testing.T) {
		sick := pod("d-1", map[string]string{"app": "d"})
		sick.Status = corev1.PodStatus{
			Phase:      corev1.PodPending,
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionFalse, Message: "containers with unready status: [app]"}},
			ContainerStatuses: []corev1.ContainerStatus{{Name: "app",
				State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImageNeverPull", Message: "not there"}}}},
		}
		event := &corev1.Event{ObjectMeta: metav1.ObjectMeta{Name: "d-1", Namespace: "ns"}, Type: corev1.EventTypeWarning, Reason: "Failed", Message: "cannot pull",
			InvolvedObject: corev1.ObjectReference{Name: "d-1"}}
		_, client := kubetest.New(t, deployment(1, 1, 1, 0, 1), sick, event)
		err := client.WaitDeployment(t.Context(), "ns", "d", time.Minute)
		for _, part := range []string{"ns/d cannot become available: pod ns/d-1 is Pending", "containers with unready status", "container app waits: ErrImageNeverPull not there", "event Failed: cannot pull"} {
			if err == nil || !strings.Contains(err.Error(), part) {
				t.Errorf("%v does not say %q", err, part)
			}
		}
	})
	t.Run("is given up with its context", func(t *testing.T) {
		_, client := kubetest.New(t, deployment(1, 1, 1, 0, 1))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := client.WaitDeployment(ctx, "ns", "d", 20*time.Second); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

func TestWaitGone(t *testing.T) {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "ns"}}
	_, client := kubetest.New(t, ns)
	if err := client.WaitGone(t.Context(), "never-was", 5*time.Second); err != nil {
		t.Error(err)
	}
	if err := client.WaitGone(t.Context(), "ns", 300*time.Millisecond); err == nil || !strings.Contains(err.Error(), "ns was not gone after 300ms") {
		t.Error(err)
	}
	done := make(chan error, 1)
	go func() { done <- client.WaitGone(t.Context(), "ns", 20*time.Second) }()
	if err := client.Objects().Delete(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestPodSelector(t *testing.T) {
	_, client := kubetest.New(t, deployment(1, 1, 1, 1, 1))
	if got, err := client.PodSelector(t.Context(), "ns", "d"); err != nil || got != "app=d" {
		t.Errorf("%q, %v", got, err)
	}
	_, err := client.PodSelector(t.Context(), "ns", "e")
	if err == nil || !strings.Contains(err.Error(), "ns/e") {
		t.Errorf("%v", err)
	}
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Code != http.StatusNotFound {
		t.Errorf("the API server's answer is lost in %v", err)
	}
}
