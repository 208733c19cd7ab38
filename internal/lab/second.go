package lab

import (
	"context"
	"fmt"
	"maps"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/e2e-framework/klient/k8s"

	"twohop/internal/observe"
	"twohop/internal/subject"
)

// secondLabel tells a second pod from the subject's own, whose labels it
// shares otherwise: what selects the one selects the other.
const secondLabel = "twohop-second"

// SecondClient runs another application beside the subject's: another pod with
// a sidecar and a service account of its own, which is found in
// l.Second.Sidecar. It disturbs nobody, so it stays for as long as the lab does,
// and only the first claim that wants it waits for it.
func (l *Lab) SecondClient(change string) Variation {
	return Variation{Change: change, do: func(ctx context.Context, l *Lab) (Applied, error) {
		w := l.home.SecondClient()
		account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: w.ServiceAccount, Namespace: w.Namespace}}
		d := l.another(l.home.Client, w)
		a, err := applied(account, d)
		if err != nil || l.Second.Sidecar != nil {
			return a, err
		}
		for _, o := range []k8s.Object{account, d} {
			if err := l.put(ctx, o); err != nil {
				return a, err
			}
		}
		if err := l.Kube.WaitDeployment(ctx, w.Namespace, w.Deployment, Timeouts.Ready); err != nil {
			return a, err
		}
		l.Second.Sidecar, err = l.attachTo(ctx, w)
		return a, err
	}}
}

// SecondGateway runs another pod of the gateway, behind the same Service and
// under the same service account, which is found in l.Second.Gateway. It takes
// its share of the traffic, so Restore takes it away.
func (l *Lab) SecondGateway(change string) Variation {
	return Variation{Change: change, do: func(ctx context.Context, l *Lab) (Applied, error) {
		w := l.home.SecondGateway()
		d := l.another(l.home.Gateway, w)
		l.touch(d)
		delete(l.rolling, keyOf(d)) // waited for here: the first gateway does not restart
		if err := l.put(ctx, d); err != nil {
			return Applied{}, err
		}
		if err := l.Kube.WaitDeployment(ctx, w.Namespace, w.Deployment, Timeouts.Ready); err != nil {
			return Applied{}, err
		}
		var err error
		if l.Second.Gateway, err = l.attachTo(ctx, w); err != nil {
			return Applied{}, err
		}
		if err := l.awaitGateways(ctx, l.Gateway.IP, l.Second.Gateway.IP); err != nil {
			return Applied{}, err
		}
		return applied(d)
	}}
}

// another is a copy of a workload's Deployment under another name and account.
func (l *Lab) another(of, w subject.Workload) *appsv1.Deployment {
	base, ok := l.find(key{"Deployment", of.Namespace, of.Deployment}).(*appsv1.Deployment)
	if !ok {
		panic(fmt.Sprintf("the fixtures have no Deployment %s", of)) // a unit test reads them
	}
	d := base.DeepCopy()
	d.Name = w.Deployment
	mark := map[string]string{secondLabel: w.Deployment}
	d.Spec.Selector.MatchLabels = mark
	maps.Copy(d.Spec.Template.Labels, mark)
	d.Spec.Template.Spec.ServiceAccountName = w.ServiceAccount
	return d
}

// attachSecond attaches anew to the second pods that are there.
func (l *Lab) attachSecond(ctx context.Context) (err error) {
	for _, p := range []struct {
		into **observe.Proxy
		of   subject.Workload
	}{{&l.Second.Sidecar, l.home.SecondClient()}, {&l.Second.Gateway, l.home.SecondGateway()}} {
		if *p.into != nil {
			if *p.into, err = l.attachTo(ctx, p.of); err != nil {
				return err
			}
		}
	}
	return nil
}

// attachTo connects to a second workload's pod for as long as the lab is attached.
func (l *Lab) attachTo(ctx context.Context, w subject.Workload) (*observe.Proxy, error) {
	pod, err := l.Kube.Pod(ctx, w.Namespace, secondLabel+"="+w.Deployment)
	if err != nil {
		return nil, err
	}
	return observe.AttachPod(l.attached, l.Kube, w, pod.Name, pod.Status.PodIP)
}

// removeSecondGateway takes away the second gateway that a killed run left, and
// waits until the application's sidecar has only the first.
func (l *Lab) removeSecondGateway(ctx context.Context) error {
	w := l.home.SecondGateway()
	err := l.Kube.Objects().Delete(ctx, &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: w.Deployment, Namespace: w.Namespace}})
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return fmt.Errorf("delete the second gateway: %w", err)
	}
	return l.awaitGateways(ctx, l.Gateway.IP)
}

// awaitGateways waits until hop 1 has exactly these addresses as its hosts.
func (l *Lab) awaitGateways(ctx context.Context, ips ...string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, Timeouts.Ready, fmt.Errorf("%v went by", Timeouts.Ready))
	defer cancel()
	want := map[string]bool{}
	for _, ip := range ips {
		want[fmt.Sprintf("%s:%d", ip, l.home.GatewayPort)] = true
	}
	err := poll(ctx, func() (bool, string, error) {
		all, err := Statuses(ctx, l.Sidecar)
		if err != nil {
			return false, "", err
		}
		have := map[string]bool{}
		for _, status := range all {
			if status.Name == l.home.Hop1Cluster() {
				for _, host := range status.Hosts {
					// A host that is there may still be held back, and gets no call then.
					have[host.Address] = len(host.Flags) == 0 && (host.EDSHealth == "" || host.EDSHealth == "HEALTHY")
				}
			}
		}
		return maps.Equal(have, want), fmt.Sprint(have), nil
	})
	if err != nil {
		return fmt.Errorf("wait until hop 1's hosts are %v: %w", want, err)
	}
	return nil
}

// OneGateway takes the second gateway away again.
func (l *Lab) OneGateway(change string) Variation {
	return Variation{Change: change, do: func(ctx context.Context, l *Lab) (Applied, error) {
		l.Second.Gateway = nil
		w := l.home.SecondGateway()
		return Applied{Command: fmt.Sprintf("kubectl delete -n %s deployment %s", w.Namespace, w.Deployment)}, l.removeSecondGateway(ctx)
	}}
}
