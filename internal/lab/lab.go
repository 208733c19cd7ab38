// Package lab is the subject under test on a cluster: it deploys the manifests,
// carries out variations of them, restores them, and knows when a change has
// reached both proxies. It is the only room that writes the subject to a cluster.
// It judges nothing, and must not import a room that does.
package lab

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/e2e-framework/klient/k8s"

	"twohop/internal/cluster"
	"twohop/internal/kube"
	"twohop/internal/manifest"
	"twohop/internal/observe"
	"twohop/internal/observe/live"
	"twohop/internal/subject"
)

// Lab is a deployed subject.
type Lab struct {
	// Source is the lab's pods as a source of observations.
	Source *live.Source
	// Certificates are those of the subject at baseline, with their keys.
	Certificates *manifest.Certificates

	kube     *kube.Client
	limits   observe.Limits
	fixtures *manifest.Set // as it is deployed
	home     *manifest.Set // the baseline: the fixtures, and what stays
	current  *manifest.Set // as it should be now
	stays    []manifest.Variation

	// What a change has set in motion, and settle waits for.
	rolling  map[subject.Role]bool // whose pods may be other ones now
	waiting  map[manifest.Key]bool // Deployments to wait for
	doubtful map[manifest.Key]bool // objects whose write did not come to its end
	retiring bool                  // hop 2's connections may present another certificate
	moved    bool                  // the gateway's Service was changed, so its endpoints will be
	scaled   bool                  // the second gateway has come or gone
	pending  pendingWrites
	sentinel int
	// host is the sentinel's; it has to be another one after a ServiceEntry was written.
	host    string
	newHost bool
}

// New prepares lab number n (1 is the default) under istiod's --domain (empty:
// the default), and deploys nothing yet.
func New(client *kube.Client, source *live.Source, n int, domain string, images manifest.Images, limits observe.Limits) (*Lab, error) {
	s, _ := manifest.Numbered(n, domain)
	certificates, err := manifest.NewCertificates(s)
	if err != nil {
		return nil, err
	}
	baseline, err := manifest.Baseline(n, domain, images, certificates)
	if err != nil {
		return nil, err
	}
	l := &Lab{Source: source, Certificates: certificates, kube: client, limits: limits, fixtures: baseline,
		rolling: map[subject.Role]bool{}, waiting: map[manifest.Key]bool{}, doubtful: map[manifest.Key]bool{}}
	l.reset()
	source.Push = l.pushToGateway
	return l, nil
}

func (l *Lab) reset() {
	l.home, l.current = l.fixtures.Clone(), l.fixtures.Clone()
	clear(l.doubtful)
	l.retiring, l.stays, l.newHost = false, nil, true
}

// Baseline is the subject as it is deployed.
func (l *Lab) Baseline() *manifest.Set { return l.fixtures.Clone() }

// Editor writes variations of the subject.
func (l *Lab) Editor() *manifest.Editor {
	return manifest.NewEditor(l.Baseline(), l.Certificates)
}

// Set is the subject as it should be now.
func (l *Lab) Set() *manifest.Set { return l.current.Clone() }

func (l *Lab) subject() subject.Subject { return l.current.Subject }

// Deploy brings the whole baseline up, takes away what an earlier run left, and
// attaches to the pods.
func (l *Lab) Deploy(ctx context.Context) error {
	l.reset()
	if err := l.removeForeign(ctx); err != nil {
		return err
	}
	if err := l.apply(ctx, l.home.Objects()); err != nil {
		return err
	}
	// The partner starts anew with each run's certificates. Meanwhile the proxies get
	// what was written.
	group, starting := errgroup.WithContext(ctx)
	group.Go(func() error { return l.attachPartner(starting) })
	group.Go(func() error {
		s := l.subject()
		for _, w := range []subject.Workload{s.Client, s.Gateway} {
			if err := l.kube.WaitDeployment(starting, w.Namespace, w.Deployment, l.limits.Ready); err != nil {
				return err
			}
		}
		if err := l.attachProxies(starting); err != nil {
			return err
		}
		if err := l.Barrier(starting); err != nil {
			return err
		}
		return l.awaitGateways(starting)
	})
	if err := group.Wait(); err != nil {
		return err
	}
	return l.awaitPartner(ctx)
}

// attach connects to the pods that now play the roles.
func (l *Lab) attach(ctx context.Context) error {
	if err := l.attachPartner(ctx); err != nil {
		return err
	}
	return l.attachProxies(ctx)
}

// attachPartner waits for the partner, and connects to it.
func (l *Lab) attachPartner(ctx context.Context) error {
	s := l.subject()
	if err := l.kube.WaitDeployment(ctx, s.Partner.Namespace, s.Partner.Deployment, l.limits.Ready); err != nil {
		return err
	}
	if err := l.attachDeployment(ctx, subject.Partner, s.Partner, s.Partner.Container, false); err != nil {
		return err
	}
	service, err := l.kube.Typed.CoreV1().Services(s.Partner.Namespace).Get(ctx, s.PartnerService, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("find the partner's address: %w", err)
	}
	l.Source.ServePartner(service.Spec.ClusterIP)
	return nil
}

// attachProxies connects to istiod and to the proxies that there are.
func (l *Lab) attachProxies(ctx context.Context) error {
	s := l.subject()
	istiod, err := cluster.IstiodPod(ctx, l.kube, s.ControlPlane)
	if err != nil {
		return err
	}
	if err := l.Source.Attach(ctx, subject.Istiod, istiod, "discovery", false); err != nil {
		return err
	}
	for _, p := range []struct {
		role subject.Role
		of   subject.Workload
	}{
		{subject.Sidecar, s.Client}, {subject.Gateway, s.Gateway},
		{subject.SecondSidecar, s.SecondClient()}, {subject.SecondGateway, s.SecondGateway()},
	} {
		if !l.current.Has(p.of) {
			l.Source.Dismiss(p.role)
			continue
		}
		if err := l.attachDeployment(ctx, p.role, p.of, p.of.Proxy, true); err != nil {
			return err
		}
	}
	return nil
}

func (l *Lab) attachDeployment(ctx context.Context, role subject.Role, w subject.Workload, container string, proxy bool) error {
	selector, err := l.kube.PodSelector(ctx, w.Namespace, w.Deployment)
	if err != nil {
		return err
	}
	if role == subject.Sidecar || role == subject.Gateway { // whose selectors pick the second ones too
		selector += ",!" + manifest.SecondLabel
	}
	pod, err := l.kube.Pod(ctx, w.Namespace, selector)
	if err != nil {
		return err
	}
	return l.Source.Attach(ctx, role, pod, container, proxy)
}

// attachGatewayPods connects to gateway pods without traffic once their Envoys
// answer.
func (l *Lab) attachGatewayPods(ctx context.Context) error {
	for _, o := range l.current.Objects() {
		pod, ok := o.(*corev1.Pod)
		if !ok {
			continue
		}
		if err := l.attachGatewayPod(ctx, pod.Namespace, pod.Name); err != nil {
			return err
		}
	}
	return nil
}

func (l *Lab) attachGatewayPod(ctx context.Context, namespace, name string) error {
	role, container := subject.ExtraGateway(name), l.subject().Gateway.Proxy
	ctx, cancel := within(ctx, l.limits.Ready)
	defer cancel()
	err := observe.Poll(ctx, func() (bool, string, error) {
		pod, err := l.kube.Typed.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return false, "", err
		}
		runs := slices.ContainsFunc(pod.Status.ContainerStatuses, func(c corev1.ContainerStatus) bool { return c.Name == container && c.State.Running != nil })
		if !runs || pod.Status.PodIP == "" {
			return false, "the pod is " + string(pod.Status.Phase), nil
		}
		// Envoy starts after its container, and a port-forward ends with the first
		// connection that is refused.
		if err = l.Source.Attach(ctx, role, pod, container, true); err == nil {
			_, err = l.Source.Admin(ctx, role, observe.ServerPath)
		}
		if err != nil {
			l.Source.Dismiss(role)
			return false, err.Error(), nil
		}
		return true, "", nil
	})
	if err != nil {
		return fmt.Errorf("wait until the proxy of pod %s/%s answers: %w", namespace, name, err)
	}
	return nil
}

// Remove deletes the lab's namespaces, with all that is in them.
func (l *Lab) Remove(ctx context.Context) error {
	var errs []error
	for _, name := range l.fixtures.Subject.Namespaces() {
		err := l.kube.Objects().Delete(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
		if err != nil && !apierrors.IsNotFound(err) {
			errs = append(errs, fmt.Errorf("delete namespace %s: %w", name, err))
		}
	}
	for _, name := range l.fixtures.Subject.Namespaces() {
		errs = append(errs, l.kube.WaitGone(ctx, name, l.limits.Removal))
	}
	l.pending.forget()
	return errors.Join(errs...)
}

// apply creates or updates: namespaces first, pods last, the rest in between.
func (l *Lab) apply(ctx context.Context, objects []k8s.Object) error {
	rank := func(o k8s.Object) int {
		switch o.(type) {
		case *corev1.Namespace:
			return 0
		case *appsv1.Deployment:
			return 2
		}
		return 1
	}
	for stage := range 3 {
		group, ctx := errgroup.WithContext(ctx)
		group.SetLimit(8)
		for _, o := range objects {
			if rank(o) == stage {
				group.Go(func() error { return l.put(ctx, o) })
			}
		}
		if err := group.Wait(); err != nil {
			return err
		}
	}
	return nil
}
