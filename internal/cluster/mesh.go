package cluster

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"twohop/internal/subject"
)

// operatorKey annotates the namespace of a further control plane that is complete,
// with a hash of what it was installed by.
const operatorKey = "twohop/operator"

// Mesh sees to it that the control plane of a lab is up. That of the first lab came
// up with the cluster; a further one is installed where it is not there yet, and
// goes with the cluster.
func (c *Cluster) Mesh(ctx context.Context, s subject.Subject, log io.Writer) error {
	if s.ControlPlane == subject.Default().ControlPlane {
		return nil
	}
	operator, err := c.Config.Istio.Operator(s)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(operator)
	want := hex.EncodeToString(sum[:])
	namespaces := c.Kube.Typed.CoreV1().Namespaces()
	ns, err := namespaces.Get(ctx, s.ControlPlane.Namespace, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		// Before istioctl makes it without the label: istiod has to see its own.
		ns, err = namespaces.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
			Name: s.ControlPlane.Namespace, Labels: map[string]string{subject.LabLabel: strconv.Itoa(s.Lab)}}}, metav1.CreateOptions{})
	}
	if err != nil {
		return fmt.Errorf("the namespace of lab %d's control plane: %w", s.Lab, err)
	}
	if ns.Annotations[operatorKey] == want {
		return nil
	}
	if err := c.installIstio(ctx, s, log); err != nil {
		return err
	}
	// istioctl has labelled it meanwhile.
	if ns, err = namespaces.Get(ctx, ns.Name, metav1.GetOptions{}); err == nil {
		metav1.SetMetaDataAnnotation(&ns.ObjectMeta, operatorKey, want)
		_, err = namespaces.Update(ctx, ns, metav1.UpdateOptions{})
	}
	if err != nil {
		return fmt.Errorf("mark lab %d's control plane as complete: %w", s.Lab, err)
	}
	return nil
}

func (c *Cluster) installIstio(ctx context.Context, s subject.Subject, log io.Writer) error {
	if err := c.Config.Istio.install(ctx, c.Kube, s, log); err != nil {
		return c.explainIstio(err, s.ControlPlane)
	}
	return nil
}
