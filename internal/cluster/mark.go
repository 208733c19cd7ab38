package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"twohop/internal/kube"
	"twohop/internal/state"
)

// A ConfigMap in kube-system says what a cluster of ours is: complete, of which
// fingerprint, and whether it was left up on purpose. It goes with the cluster.
const (
	markName       = "twohop"
	fingerprintKey = "fingerprint"
	keptKey        = "kept"
	isKept         = "true"
)

// seal marks the cluster as complete. It is the last step of Up: a cluster
// without the mark was interrupted, and is never reused.
func (c *Cluster) seal(ctx context.Context, fingerprint string, keep bool) error {
	mark := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: markName, Namespace: metav1.NamespaceSystem},
		Data:       map[string]string{fingerprintKey: fingerprint},
	}
	if keep {
		mark.Data[keptKey] = isKept
	}
	if _, err := c.Kube.Typed.CoreV1().ConfigMaps(mark.Namespace).Create(ctx, mark, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("mark the cluster as complete: %w", err)
	}
	return c.version(ctx)
}

// markKept makes what a killed run left a cluster that is kept.
func (c *Cluster) markKept(ctx context.Context) error {
	marks := c.Kube.Typed.CoreV1().ConfigMaps(metav1.NamespaceSystem)
	mark, err := marks.Get(ctx, markName, metav1.GetOptions{})
	if err == nil && mark.Data[keptKey] != isKept {
		mark.Data[keptKey] = isKept
		_, err = marks.Update(ctx, mark, metav1.UpdateOptions{})
	}
	if err != nil {
		return fmt.Errorf("mark the cluster as kept: %w", err)
	}
	return nil
}

// Kept reports whether a complete cluster of that name is up and was left up on
// purpose. One whose API server does not answer is of no use to anybody, and
// counts as what a killed run left.
func Kept(ctx context.Context, name string) (bool, error) {
	kubeconfig, err := state.Kubeconfig(name)
	if err != nil {
		return false, err
	}
	_, mark, _ := readMark(ctx, kubeconfig)
	return mark[keptKey] == isKept, nil
}

// mismatch says why an existing cluster cannot be reused, or "" if it can.
func (c *Cluster) mismatch(ctx context.Context, want string) string {
	client, mark, why := readMark(ctx, c.Kubeconfig)
	if why == "" && mark[fingerprintKey] != want {
		why = "its images, versions or Istio settings differ"
	}
	if why == "" {
		c.Kube = client
	}
	return why
}

// readMark reads a cluster's mark, or says why it has none that can be read.
func readMark(ctx context.Context, kubeconfig string) (client *kube.Client, mark map[string]string, why string) {
	if _, err := os.Stat(kubeconfig); errors.Is(err, os.ErrNotExist) {
		return nil, nil, "its kubeconfig is gone"
	}
	client, err := kube.New(kubeconfig)
	if err != nil {
		return nil, nil, err.Error()
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	object, err := client.Typed.CoreV1().ConfigMaps(metav1.NamespaceSystem).Get(ctx, markName, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil, "its creation was interrupted"
	case err != nil:
		return nil, nil, "its API server does not answer: " + oneLine(err).Error()
	}
	return client, object.Data, ""
}
