package lab

import (
	"context"
	"fmt"
	"maps"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"twohop/internal/envoy"
	"twohop/internal/observe"
	"twohop/internal/subject"
)

// GatewayPod starts another gateway beside the subject's, without traffic, as a
// service account of its own name that may do to Secrets what the rule says.
// Nothing waits until it is ready: a gateway that lacks a secret is not for 15 s.
func (l *Lab) GatewayPod(change, name string, rule rbacv1.PolicyRule) Variation {
	ns := l.Subject.Gateway.Namespace
	template := l.baselineGateway().Spec.Template
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name, Annotations: template.Annotations}, Spec: template.Spec}
	pod.Labels = maps.Clone(template.Labels)
	pod.Spec.ServiceAccountName = name
	for _, label := range []string{"app", "istio"} { // no Service and no Deployment may take it for its own
		if _, ok := pod.Labels[label]; ok {
			pod.Labels[label] = name
		}
	}
	return Together(change,
		Add(change, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}}),
		Allow(change, ns, name, rule),
		Add(change, pod))
}

func (l *Lab) baselineGateway() *appsv1.Deployment {
	for _, o := range l.Baseline() {
		if d, ok := o.(*appsv1.Deployment); ok && d.Name == l.Subject.Gateway.Deployment && d.Namespace == l.Subject.Gateway.Namespace {
			return d
		}
	}
	panic("the fixtures have no gateway") // a unit test reads them
}

// AttachGatewayPod connects to a GatewayPod once its Envoy answers.
func (l *Lab) AttachGatewayPod(ctx context.Context, name string) (*observe.Proxy, error) {
	w := subject.Workload{Namespace: l.Subject.Gateway.Namespace, Deployment: name, ServiceAccount: name, Proxy: l.Subject.Gateway.Proxy}
	ctx, cancel := context.WithTimeoutCause(ctx, Timeouts.Ready, fmt.Errorf("%v went by", Timeouts.Ready))
	defer cancel()
	var p *observe.Proxy
	err := poll(ctx, func() (bool, string, error) {
		pod, err := l.Kube.Typed.CoreV1().Pods(w.Namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return false, "", err
		}
		runs := slices.ContainsFunc(pod.Status.ContainerStatuses, func(c corev1.ContainerStatus) bool { return c.Name == w.Proxy && c.State.Running != nil })
		if !runs || pod.Status.PodIP == "" {
			return false, "the pod is " + string(pod.Status.Phase), nil
		}
		// Envoy starts after its container, and a port-forward ends with the first
		// connection that is refused.
		attached, detach := context.WithCancel(l.attached)
		if p, err = observe.AttachPod(attached, l.Kube, w, name, pod.Status.PodIP); err == nil {
			_, err = p.Admin(ctx, observe.ServerPath)
		}
		if err != nil {
			detach()
			return false, err.Error(), nil
		}
		p.DistortLike(l.Gateway)
		context.AfterFunc(l.attached, detach)
		return true, "", nil
	})
	if err != nil {
		return nil, fmt.Errorf("wait until the proxy of pod %s/%s answers: %w", w.Namespace, name, err)
	}
	return p, nil
}

// AwaitDecision waits until a proxy holds a secret, or istiod's log says that
// the proxy's service account may not have it.
func (l *Lab) AwaitDecision(ctx context.Context, p *observe.Proxy, secret string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, Timeouts.Secret, fmt.Errorf("%v went by", Timeouts.Secret))
	defer cancel()
	denial := observe.Contains(p.Workload.ServiceAccount + "/" + p.Workload.Namespace + " is not authorized to read secrets")
	err := AwaitSecret(ctx, p, func(all []envoy.Secret) bool {
		return len(l.Istiod.Matching(denial)) > 0 ||
			slices.ContainsFunc(all, func(s envoy.Secret) bool { return s.Name == secret && s.State == envoy.SecretActive })
	})
	if err != nil {
		return fmt.Errorf("neither has %s/%s the secret %s nor does istiod's log refuse it: %w", p.Workload.Namespace, p.Pod, secret, err)
	}
	return nil
}

// Files is a Secret mounted into the gateway in two ways. Dir follows the
// Secret; Frozen is mounted with subPath, which the kubelet never updates.
type Files struct{ Secret, Dir, Frozen string }

// MountFiles restarts the gateway with a credential Secret mounted as files.
func (l *Lab) MountFiles(change string, f Files, data map[string][]byte) Variation {
	ns := l.Subject.Gateway.Namespace
	return Together(change,
		Secret(change, ns, f.Secret, data),
		Edit(change, ns, l.Subject.Gateway.Deployment, func(d *appsv1.Deployment) {
			pod := &d.Spec.Template.Spec
			pod.Volumes = append(pod.Volumes, corev1.Volume{Name: f.Secret, VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: f.Secret}}})
			proxy := &pod.Containers[0]
			proxy.VolumeMounts = append(proxy.VolumeMounts, corev1.VolumeMount{Name: f.Secret, MountPath: f.Dir, ReadOnly: true})
			for _, file := range slices.Sorted(maps.Keys(data)) {
				proxy.VolumeMounts = append(proxy.VolumeMounts, corev1.VolumeMount{Name: f.Secret, MountPath: f.Frozen + "/" + file, SubPath: file, ReadOnly: true})
			}
		}))
}

// RenewFiles replaces the mounted Secret, and waits until the kubelet has
// written the gateway's files. It does so at its next look at the pod, within a
// minute or so; an annotation makes it look now.
func (l *Lab) RenewFiles(change string, f Files, data map[string][]byte, serial string) Variation {
	return Secret(change, l.Subject.Gateway.Namespace, f.Secret, data).and(func(ctx context.Context, l *Lab) error {
		ctx, cancel := context.WithTimeoutCause(ctx, Timeouts.Ready, fmt.Errorf("%v went by", Timeouts.Ready))
		defer cancel()
		look := fmt.Sprintf(`{"metadata":{"annotations":{"twohop/files":%q}}}`, serial)
		if _, err := l.Kube.Typed.CoreV1().Pods(l.Gateway.Workload.Namespace).Patch(ctx, l.Gateway.Pod, types.MergePatchType, []byte(look), metav1.PatchOptions{}); err != nil {
			return fmt.Errorf("annotate the gateway's pod: %w", err)
		}
		err := poll(ctx, func() (bool, string, error) {
			now, err := l.FileSerial(ctx, f.Dir)
			return now == serial, now, err
		})
		if err != nil {
			return fmt.Errorf("the gateway's %s does not hold the certificate %s: %w", f.Dir, serial, err)
		}
		return nil
	})
}

// FileSerial is the serial of the certificate in a folder of the gateway.
func (l *Lab) FileSerial(ctx context.Context, dir string) (string, error) {
	raw, _, err := l.Kube.Exec(ctx, l.Gateway.Workload.Namespace, l.Gateway.Pod, l.Gateway.Workload.Proxy, "cat", dir+"/tls.crt")
	if err != nil {
		return "", err
	}
	certs, err := envoy.ParseCertificates(raw)
	if err != nil {
		return "", err
	}
	return certs[0].Serial, nil
}
