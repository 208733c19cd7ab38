// Package lab is the subject under test, on a cluster: it deploys the
// fixtures, varies them, restores them, and knows when a change has reached
// both proxies. It judges nothing.
package lab

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/e2e-framework/klient/decoder"
	"sigs.k8s.io/e2e-framework/klient/k8s"

	"twohop/fixtures"
	"twohop/internal/cluster"
	"twohop/internal/kube"
	"twohop/internal/observe"
	"twohop/internal/subject"
	partnernginx "twohop/partner-nginx"
)

// Timeouts bound the lab's waits. Each is several times what the step needs on
// two busy cores; a step that takes longer is broken, not slow.
var Timeouts = struct {
	Ready   time.Duration // a pod of the lab: 2 to 4 s
	Push    time.Duration // a change to reach both proxies: 0.1 to 0.3 s
	Line    time.Duration // a log line to arrive: up to 0.3 s
	Secret  time.Duration // an SDS secret to become ACTIVE: up to 15 s
	Removal time.Duration // a namespace to go: 5 to 10 s
}{
	Ready:   90 * time.Second,
	Push:    15 * time.Second,
	Line:    10 * time.Second,
	Secret:  20 * time.Second,
	Removal: 60 * time.Second,
}

// Images of the lab's own workloads, as the cluster names them.
type Images struct{ Client, Partner string }

// Lab is a deployed subject with its witnesses.
type Lab struct {
	Subject subject.Subject
	Kube    *kube.Client
	PKI     *partnernginx.PKI
	// Credential is the client certificate that hop 2 presents at baseline.
	Credential *partnernginx.Pair

	Sidecar, Gateway *observe.Proxy
	// Second holds the pods of SecondClient and SecondGateway; nil where there is none.
	Second          struct{ Sidecar, Gateway *observe.Proxy }
	Partner, Istiod *observe.Log
	PartnerPod      *corev1.Pod
	IstiodPod       string
	// Istioctl is the path of the program, for what only it can say.
	Istioctl string
	// PartnerIP is the address of the partner's Service.
	PartnerIP string
	attached  context.Context
	detach    context.CancelFunc

	home     subject.Subject // the subject at baseline
	images   Images
	baseline []k8s.Object
	touched  map[key]k8s.Object // nil: not part of the baseline
	undo     []func(*Lab)       // ends of distortions
	rolling  map[key]bool       // Deployments whose pods may be other ones now
	moved    bool               // a Service was changed, so its endpoints will be
	sentinel int
	pilot    *observe.Istiod
	written  written
}

// key names an object in the cluster.
type key struct{ kind, namespace, name string }

// New prepares lab number n (1 is the default) and deploys nothing yet.
//
// domain is istiod's --domain; empty is the default. Only names in istiod's
// registry follow it: what DNS serves keeps the cluster's own.
func New(client *kube.Client, n int, domain string, images Images) (*Lab, error) {
	pki, err := partnernginx.NewPKI()
	if err != nil {
		return nil, err
	}
	s, renames := subject.Numbered(n), subject.Renames(n)
	if domain != "" && domain != s.Domain {
		if renames == nil {
			renames = map[string]string{}
		}
		s.Domain = domain
		fqdn := func(s subject.Subject, gateway subject.Workload) string {
			s.Gateway = gateway
			return s.GatewayFQDN()
		}
		fixed := subject.Default()
		renames[fqdn(fixed, fixed.Gateway)] = fqdn(s, s.Gateway)
		renames[fqdn(fixed, fixed.Unbound)] = fqdn(s, s.Unbound)
	}
	l := &Lab{Subject: s, home: s, Kube: client, PKI: pki, images: images, touched: map[key]k8s.Object{}, rolling: map[key]bool{}}
	if l.baseline, err = l.objects(renames); err != nil {
		return nil, err
	}
	return l, nil
}

// objects are the baseline: fixtures, partner, and what is made at run time.
func (l *Lab) objects(renames map[string]string) ([]k8s.Object, error) {
	var all []k8s.Object
	for _, source := range []fs.FS{fixtures.Files, partnernginx.Files} {
		decoded, err := decoder.DecodeAllFiles(context.Background(), source, "*.yaml")
		if err != nil {
			return nil, fmt.Errorf("decode the fixtures: %w", err)
		}
		all = append(all, decoded...)
	}
	for i, o := range all {
		renamed, err := rename(o, renames)
		if err != nil {
			return nil, err
		}
		all[i] = renamed
	}
	made, err := l.generated()
	if err != nil {
		return nil, err
	}
	all = append(all, made...)
	for _, o := range all {
		if d, ok := o.(*appsv1.Deployment); ok {
			l.fit(d, made)
		}
	}
	return all, nil
}

// generated are the objects that cannot be fixtures: certificates of a PKI that
// lives as long as the lab, and nginx's configuration, which is a file.
func (l *Lab) generated() ([]k8s.Object, error) {
	s := l.Subject
	server, err := l.PKI.ServerFiles(s.ExternalHost)
	if err != nil {
		return nil, err
	}
	if l.Credential, err = l.PKI.ClientCA.Issue(strings.TrimPrefix(partnernginx.ClientDN, "CN=")); err != nil {
		return nil, err
	}
	conf := map[string]string{}
	for _, name := range []string{"nginx.conf", "echo.conf"} {
		raw, err := fs.ReadFile(partnernginx.Files, name)
		if err != nil {
			return nil, err
		}
		conf[name] = string(raw)
	}
	forUnbound := l.CredentialSecret(s.Credential, l.Credential)
	forUnbound.Namespace = s.Unbound.Namespace
	return []k8s.Object{
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "partner-conf", Namespace: s.Partner.Namespace}, Data: conf},
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "partner-pki", Namespace: s.Partner.Namespace}, Data: server},
		l.CredentialSecret(s.Credential, l.Credential),
		forUnbound,
	}, nil
}

// CredentialSecret is a Secret in the gateway's namespace with a client
// certificate and the CA that hop 2 verifies the partner with.
func (l *Lab) CredentialSecret(name string, pair *partnernginx.Pair) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: l.Subject.Gateway.Namespace},
		Data:       map[string][]byte{"tls.crt": pair.CertPEM, "tls.key": pair.KeyPEM, "ca.crt": l.PKI.ServerCA.CertPEM},
	}
}

// fit puts the lane's images in, and makes a partner restart when its
// configuration or its certificates changed.
func (l *Lab) fit(d *appsv1.Deployment, made []k8s.Object) {
	for i := range d.Spec.Template.Spec.Containers {
		c := &d.Spec.Template.Spec.Containers[i]
		switch c.Image {
		case "twohop/client":
			c.Image = l.images.Client
		case "twohop/partner":
			c.Image = l.images.Partner
		}
	}
	if d.Name == l.Subject.Partner.Deployment && d.Namespace == l.Subject.Partner.Namespace {
		raw, _ := json.Marshal(made) // plain maps of bytes and strings
		sum := sha256.Sum256(raw)
		if d.Spec.Template.Annotations == nil {
			d.Spec.Template.Annotations = map[string]string{}
		}
		d.Spec.Template.Annotations["twohop/inputs"] = hex.EncodeToString(sum[:8])
	}
}

// Deploy brings the whole baseline up and attaches the witnesses.
func (l *Lab) Deploy(ctx context.Context) error {
	if err := l.apply(ctx, l.baseline); err != nil {
		return err
	}
	group, waiting := errgroup.WithContext(ctx)
	for _, w := range []subject.Workload{l.Subject.Client, l.Subject.Gateway, l.Subject.Partner} {
		group.Go(func() error { return l.Kube.WaitDeployment(waiting, w.Namespace, w.Deployment, Timeouts.Ready) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	l.Second.Sidecar, l.Second.Gateway = nil, nil
	if err := l.Attach(ctx); err != nil {
		return err
	}
	if err := l.awaitPartner(ctx); err != nil {
		return err
	}
	if err := l.Barrier(ctx); err != nil {
		return err
	}
	return l.removeSecondGateway(ctx) // which a killed run may have left
}

// Attach connects to the pods that now stand for the subject's workloads.
func (l *Lab) Attach(ctx context.Context) error {
	l.Detach()
	l.attached, l.detach = context.WithCancel(context.WithoutCancel(ctx))
	for _, p := range []struct {
		into **observe.Proxy
		of   subject.Workload
	}{{&l.Sidecar, l.Subject.Client}, {&l.Gateway, l.Subject.Gateway}} {
		selector, err := l.Kube.PodSelector(ctx, p.of.Namespace, p.of.Deployment)
		if err != nil {
			return err
		}
		if *p.into, err = observe.Attach(l.attached, l.Kube, p.of, selector+",!"+secondLabel); err != nil {
			return err
		}
	}
	if err := l.attachSecond(ctx); err != nil {
		return err
	}
	selector, err := l.Kube.PodSelector(ctx, l.Subject.Partner.Namespace, l.Subject.Partner.Deployment)
	if err != nil {
		return err
	}
	if l.PartnerPod, err = l.Kube.Pod(ctx, l.Subject.Partner.Namespace, selector); err != nil {
		return err
	}
	if l.Partner, err = observe.Follow(l.attached, l.Kube, l.PartnerPod.Namespace, l.PartnerPod.Name, l.Subject.Partner.Container); err != nil {
		return err
	}
	istiod, err := cluster.IstiodPod(ctx, l.Kube)
	if err != nil {
		return err
	}
	l.IstiodPod = istiod.Name
	if l.Istiod, err = observe.Follow(l.attached, l.Kube, istiod.Namespace, istiod.Name, "discovery"); err != nil {
		return err
	}
	if l.pilot, err = observe.AttachIstiod(l.attached, l.Kube, istiod.Namespace, istiod.Name); err != nil {
		return err
	}
	service, err := l.Kube.Typed.CoreV1().Services(l.Subject.Partner.Namespace).Get(ctx, l.Subject.PartnerService, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("find the partner's address: %w", err)
	}
	l.PartnerIP = service.Spec.ClusterIP
	return nil
}

// Detach ends the connections to the pods.
func (l *Lab) Detach() {
	if l.detach != nil {
		l.detach()
	}
}

// Remove deletes the lab's namespaces, with all that is in them.
func (l *Lab) Remove(ctx context.Context) error {
	l.Detach()
	var errs []error
	for _, name := range l.Subject.Namespaces() {
		err := l.Kube.Objects().Delete(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
		if err != nil && !apierrors.IsNotFound(err) {
			errs = append(errs, fmt.Errorf("delete namespace %s: %w", name, err))
		}
	}
	for _, name := range l.Subject.Namespaces() {
		errs = append(errs, l.Kube.WaitGone(ctx, name, Timeouts.Removal))
	}
	l.written.forget()
	return errors.Join(errs...)
}

// Baseline returns copies of the objects that make the lab, in the order in
// which they are applied.
func (l *Lab) Baseline() []k8s.Object {
	copies := make([]k8s.Object, len(l.baseline))
	for i, o := range l.baseline {
		copies[i] = o.DeepCopyObject().(k8s.Object)
	}
	return copies
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

// put makes the cluster's object what the given one says. Nearly always there is
// one, and a Create in vain costs a call of Istio's webhook.
func (l *Lab) put(ctx context.Context, want k8s.Object) error {
	o := want.DeepCopyObject().(k8s.Object)
	current := want.DeepCopyObject().(k8s.Object)
	err := l.Kube.Objects().Get(ctx, want.GetName(), want.GetNamespace(), current)
	if apierrors.IsNotFound(err) {
		if err := l.Kube.Objects().Create(ctx, o); err != nil {
			return wrap("create", want, err)
		}
		l.written.note(o, o.GetResourceVersion())
		return nil
	}
	if err != nil {
		return wrap("get", want, err)
	}
	if _, ok := want.(*corev1.Namespace); ok {
		return nil
	}
	o.SetResourceVersion(current.GetResourceVersion())
	if service, ok := o.(*corev1.Service); ok { // the address is the API server's choice
		service.Spec.ClusterIP = current.(*corev1.Service).Spec.ClusterIP
		service.Spec.ClusterIPs = current.(*corev1.Service).Spec.ClusterIPs
	}
	return wrap("update", want, l.update(ctx, o))
}

func (l *Lab) update(ctx context.Context, o k8s.Object) error {
	err := l.Kube.Objects().Update(ctx, o)
	if err == nil {
		l.written.note(o, o.GetResourceVersion())
	}
	return err
}

func (l *Lab) delete(ctx context.Context, o k8s.Object) error {
	err := l.Kube.Objects().Delete(ctx, o)
	if err == nil || apierrors.IsNotFound(err) {
		l.written.note(o, "")
	}
	return err
}

func wrap(verb string, o k8s.Object, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %s: %w", verb, describe(o), err)
}

func describe(o k8s.Object) string {
	k := keyOf(o)
	return fmt.Sprintf("%s %s/%s", k.kind, k.namespace, k.name)
}

func keyOf(o k8s.Object) key {
	kind := o.GetObjectKind().GroupVersionKind().Kind
	if kinds, _, err := scheme.Scheme.ObjectKinds(o); kind == "" && err == nil {
		kind = kinds[0].Kind
	}
	return key{kind, o.GetNamespace(), o.GetName()}
}

// rename replaces names wherever they stand in an object's strings: names of
// namespaces are parts of host names.
func rename(o k8s.Object, names map[string]string) (k8s.Object, error) {
	if len(names) == 0 {
		return o, nil
	}
	raw, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	var tree any
	if err := json.Unmarshal(raw, &tree); err != nil {
		return nil, err
	}
	var pairs []string
	for _, old := range slices.Sorted(maps.Keys(names)) {
		pairs = append(pairs, old, names[old])
	}
	replacer := strings.NewReplacer(pairs...)
	var walk func(any) any
	walk = func(v any) any {
		switch v := v.(type) {
		case string:
			return replacer.Replace(v)
		case []any:
			for i := range v {
				v[i] = walk(v[i])
			}
		case map[string]any:
			for k := range v {
				v[k] = walk(v[k])
			}
		}
		return v
	}
	if raw, err = json.Marshal(walk(tree)); err != nil {
		return nil, err
	}
	renamed, err := scheme.Scheme.New(o.GetObjectKind().GroupVersionKind())
	if err != nil {
		return nil, err
	}
	return renamed.(k8s.Object), json.Unmarshal(raw, renamed)
}
