package lab

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	networking "istio.io/api/networking/v1alpha3"
	istio "istio.io/client-go/pkg/apis/networking/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/e2e-framework/klient/k8s"
	"sigs.k8s.io/yaml"

	"twohop/internal/observe"
	"twohop/internal/probe"
	"twohop/internal/subject"
)

// Variation is one deliberate change of the subject. Restore undoes it.
type Variation struct {
	// Change says what is done, as a person would ("drop the DestinationRule's tls").
	Change string
	do     func(ctx context.Context, l *Lab) (Applied, error)
}

// Applied is what a variation did, as a person would do it by hand.
type Applied struct {
	Command string
	YAML    []byte // for `kubectl apply -f -`; nil for a deletion
}

// Edit changes an object of the subject. T is its type, so its kind.
func Edit[T k8s.Object](change, namespace, name string, edit func(T)) Variation {
	return Variation{Change: change, do: func(ctx context.Context, l *Lab) (Applied, error) {
		current := newObject[T]()
		// Beforehand: a call that is interrupted may have made the change.
		l.touch(named(newObject[T](), namespace, name))
		err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
			if err := l.Kube.Objects().Get(ctx, name, namespace, current); err != nil {
				return err
			}
			edit(current)
			return l.update(ctx, current)
		})
		if err == nil {
			err = ctx.Err() // which RetryOnConflict takes for the end of its own patience, and drops
		}
		if err != nil {
			return Applied{}, wrap("edit", named(current, namespace, name), err)
		}
		l.touch(current)
		return applied(current)
	}}
}

// Add creates an object that is not part of the baseline, or replaces one.
func Add(change string, o k8s.Object) Variation {
	return Variation{Change: change, do: func(ctx context.Context, l *Lab) (Applied, error) {
		l.touch(o)
		if err := l.put(ctx, o); err != nil {
			return Applied{}, err
		}
		return applied(o)
	}}
}

// Remove deletes an object.
func Remove(change string, o k8s.Object) Variation {
	return Variation{Change: change, do: func(ctx context.Context, l *Lab) (Applied, error) {
		l.touch(o)
		k := keyOf(o)
		if err := l.delete(ctx, o); err != nil {
			return Applied{}, wrap("delete", o, err)
		}
		return Applied{Command: fmt.Sprintf("kubectl delete -n %s %s %s", k.namespace, strings.ToLower(k.kind), k.name)}, nil
	}}
}

// Input changes nothing in the cluster: what differs is what the check sends.
func Input(change string, set func()) Variation {
	return Variation{Change: change, do: func(context.Context, *Lab) (Applied, error) {
		set()
		return Applied{}, nil
	}}
}

// Undone is a variation that says what it changes, and changes nothing: with
// it a mutant shows what a claim is worth whose change was not made.
func (v Variation) Undone() Variation { return Input(v.Change, func() {}) }

// Live makes a variation wait until the proxies have it, before the next one is made.
func (v Variation) Live() Variation {
	return v.and(func(ctx context.Context, l *Lab) error { return l.Barrier(ctx) })
}

// Distortion changes a witness and not the cluster, until Restore.
func Distortion(change string, begin, end func(*Lab)) Variation {
	return Variation{Change: change, do: func(_ context.Context, l *Lab) (Applied, error) {
		begin(l)
		l.undo = append(l.undo, end)
		return Applied{}, nil
	}}
}

// DestinationRule, and its siblings below, edit an Istio object in the gateway's namespace.
func (l *Lab) DestinationRule(change, name string, edit func(*networking.DestinationRule)) Variation {
	return Edit(change, l.Subject.Gateway.Namespace, name, func(o *istio.DestinationRule) { edit(&o.Spec) })
}

// VirtualService edits the subject's VirtualService.
func (l *Lab) VirtualService(change string, edit func(*networking.VirtualService)) Variation {
	return Edit(change, l.Subject.Gateway.Namespace, l.Subject.VirtualService, func(o *istio.VirtualService) { edit(&o.Spec) })
}

// BaselineVirtualService is the VirtualService as the fixtures have it.
func (l *Lab) BaselineVirtualService() *networking.VirtualService {
	for _, o := range l.Baseline() {
		if vs, ok := o.(*istio.VirtualService); ok {
			return &vs.Spec
		}
	}
	panic("the fixtures have no VirtualService") // a unit test reads them
}

// BaselineServiceEntry is a copy of the ServiceEntry as the fixtures have it.
func (l *Lab) BaselineServiceEntry() *istio.ServiceEntry {
	for _, o := range l.Baseline() {
		if se, ok := o.(*istio.ServiceEntry); ok && se.Name == l.Subject.ServiceEntry && se.Namespace == l.Subject.Gateway.Namespace {
			return se
		}
	}
	panic("the fixtures have no ServiceEntry") // a unit test reads them
}

// GatewayAccount restarts the gateway as another service account, which is
// made if it is not there.
func (l *Lab) GatewayAccount(change, account string) Variation {
	ns := l.Subject.Gateway.Namespace
	edit := Edit(change, ns, l.Subject.Gateway.Deployment, func(d *appsv1.Deployment) {
		d.Spec.Template.Spec.ServiceAccountName = account
	})
	add := Add(change, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: account, Namespace: ns}})
	return Variation{Change: change, do: func(ctx context.Context, l *Lab) (Applied, error) {
		if _, err := add.do(ctx, l); err != nil {
			return Applied{}, err
		}
		return edit.do(ctx, l)
	}}
}

// Bind gives a service account the Role that the gateway's own has.
func (l *Lab) Bind(change, account string) Variation {
	ns := l.Subject.Gateway.Namespace
	return Add(change, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: account, Namespace: ns},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: l.Subject.Gateway.ServiceAccount + "-sds"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: account, Namespace: ns}},
	})
}

// Through leads hop 1 to another gateway of the lab, which is the subject's
// gateway until Restore. Its Service and rules have the names of the first one's.
func (l *Lab) Through(change string, gateway subject.Workload) Variation {
	to := l.home
	if gateway != l.home.Gateway {
		to.Gateway = gateway
	}
	edit := l.VirtualService(change, func(vs *networking.VirtualService) {
		vs.Http[0].Route[0].Destination.Host = to.GatewayFQDN()
	})
	return Variation{Change: change, do: func(ctx context.Context, l *Lab) (Applied, error) {
		a, err := edit.do(ctx, l)
		if err != nil {
			return a, err
		}
		l.Subject = to
		l.rolling[key{"Deployment", gateway.Namespace, gateway.Deployment}] = true
		return a, nil
	}}
}

// SwapUnbound takes the gateway that has the Role for the one that has not.
func (l *Lab) SwapUnbound(change string) Variation {
	return Distortion(change,
		func(l *Lab) { l.Subject.Unbound = l.home.Gateway },
		func(l *Lab) { l.Subject.Unbound = l.home.Unbound })
}

// OtherServiceEntry is one that has nothing to do with the subject.
func (l *Lab) OtherServiceEntry(host string) *istio.ServiceEntry {
	return &istio.ServiceEntry{
		ObjectMeta: metav1.ObjectMeta{Name: "unrelated", Namespace: l.Subject.Gateway.Namespace},
		Spec: networking.ServiceEntry{
			Hosts: []string{host}, Location: networking.ServiceEntry_MESH_EXTERNAL, Resolution: networking.ServiceEntry_DNS,
			Ports: []*networking.ServicePort{{Number: 443, Name: "tls", Protocol: "TLS"}},
		},
	}
}

// Home is the subject at baseline.
func (l *Lab) Home() subject.Subject { return l.home }

// ServiceEntry edits the subject's ServiceEntry.
func (l *Lab) ServiceEntry(change string, edit func(*networking.ServiceEntry)) Variation {
	return Edit(change, l.Subject.Gateway.Namespace, l.Subject.ServiceEntry, func(o *istio.ServiceEntry) { edit(&o.Spec) })
}

// GatewayServer edits the subject's Gateway.
func (l *Lab) GatewayServer(change string, edit func(*networking.Gateway)) Variation {
	return Edit(change, l.Subject.Gateway.Namespace, l.Subject.GatewayName, func(o *istio.Gateway) { edit(&o.Spec) })
}

// Vary makes the changes in turn and returns once both proxies have them.
func (l *Lab) Vary(ctx context.Context, variations ...Variation) ([]Applied, error) {
	var done []Applied
	for _, v := range variations {
		a, err := v.do(ctx, l)
		if err != nil {
			return done, fmt.Errorf("%s: %w", v.Change, err)
		}
		done = append(done, a)
	}
	if err := l.settle(ctx); err != nil {
		return done, err
	}
	return done, l.Barrier(ctx)
}

// settle waits for the pods of Deployments that were changed, and attaches to
// them; and for the endpoints of a changed Service.
func (l *Lab) settle(ctx context.Context) error {
	if l.moved {
		if err := l.awaitEndpoints(ctx); err != nil {
			return err
		}
		l.moved = false
	}
	if len(l.rolling) == 0 {
		return nil
	}
	for k := range l.rolling {
		if err := l.Kube.WaitDeployment(ctx, k.namespace, k.name, Timeouts.Ready); err != nil {
			return err
		}
	}
	clear(l.rolling)
	if err := l.Attach(ctx); err != nil {
		return err
	}
	return l.awaitPartner(ctx)
}

// inARow is how often the partner has to answer before its Service is believed
// to lead to it alone: with another pod behind it too, each answer is a toss-up.
const inARow = 10

// awaitPartner waits until the partner's Service leads to the pod that is there
// now, and to no other: kube-proxy learns of both up to a second after the
// Deployment says that it is available. It asks from the gateway's pod, past
// every proxy, on a connection for each request.
func (l *Lab) awaitPartner(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, Timeouts.Ready, fmt.Errorf("%v went by", Timeouts.Ready))
	defer cancel()
	err := poll(ctx, func() (bool, string, error) {
		token := "ready-" + probe.NewToken()
		_, _, err := l.Kube.Exec(ctx, l.Gateway.Workload.Namespace, l.Gateway.Pod, l.Gateway.Workload.Proxy,
			"curl", "--silent", "--show-error", "--output", "/dev/null", "--max-time", "2", "--header", "Connection: close",
			fmt.Sprintf("http://%s%s-[1-%d]", l.PartnerIP, probe.Path(token), inARow))
		if err != nil {
			return false, err.Error(), nil
		}
		if err := l.FlushPartner(ctx); err != nil {
			return false, "", err
		}
		answered := len(l.Partner.Matching(observe.Contains(token)))
		return answered == inARow, fmt.Sprintf("it answered %d of %d requests", answered, inARow), nil
	})
	if err != nil {
		return fmt.Errorf("wait until %s answers from pod %s: %w", l.PartnerIP, l.PartnerPod.Name, err)
	}
	return nil
}

// Restore puts back whatever variations touched, and waits until the proxies
// have it. Workloads that were touched are waited for and attached to anew.
func (l *Lab) Restore(ctx context.Context) error {
	second, rotated := l.Second.Gateway != nil, l.rotated()
	if err := l.putBack(ctx); err != nil {
		return err
	}
	if err := l.settle(ctx); err != nil {
		return err
	}
	if rotated {
		if err := l.retire(ctx); err != nil {
			return err
		}
	}
	if second {
		if err := l.awaitGateways(ctx, l.Gateway.IP); err != nil {
			return err
		}
	}
	return l.Barrier(ctx)
}

// putBack writes the baseline over whatever was touched, and waits for nothing.
func (l *Lab) putBack(ctx context.Context) error {
	for _, undo := range l.undo {
		undo(l)
	}
	l.undo = nil
	for k, o := range l.touched {
		if base := l.find(k); base != nil {
			if err := l.put(ctx, base); err != nil {
				return err
			}
		} else if err := l.delete(ctx, o); err != nil && !apierrors.IsNotFound(err) {
			return wrap("delete", o, err)
		}
		if k.kind == "Deployment" {
			if l.find(k) != nil {
				l.rolling[k] = true
			} else {
				delete(l.rolling, k)
			}
		}
		l.moved = l.moved || k.kind == "Service"
		delete(l.touched, k)
	}
	l.Second.Gateway = nil
	if l.Subject.Gateway != l.home.Gateway {
		l.Subject = l.home
		l.rolling[key{"Deployment", l.home.Gateway.Namespace, l.home.Gateway.Deployment}] = true
	}
	return nil
}

// Touched reports whether anything differs from the baseline.
func (l *Lab) Touched() bool { return len(l.touched) > 0 || len(l.undo) > 0 }

// Barrier returns once everything written before it is live in both proxies.
// It waits until istiod has read it all. Then it writes a ServiceEntry that no
// earlier push can have held and a DestinationRule for it, waits until both
// proxies have the cluster of the rule's subset, and then until each has taken
// listeners and routes of that push or a later one: istiod pushes clusters first
// (pilot/pkg/xds, PushOrder), so a visible cluster alone proves too little.
//
// istiod watches each kind of object by itself, and has read an object somewhat
// before it hears of the change, so that a ServiceEntry may still overtake a
// DestinationRule on a busy machine. What comes by one watch keeps its order:
// hence a sentinel of both kinds, which claims vary most.
func (l *Lab) Barrier(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, Timeouts.Push, fmt.Errorf("%v went by", Timeouts.Push))
	defer cancel()
	if err := l.awaitRead(ctx); err != nil {
		return err
	}
	l.sentinel++
	host := fmt.Sprintf("s%d-%d.%s", time.Now().UnixNano(), l.sentinel, sentinelDomain)
	se := &istio.ServiceEntry{
		ObjectMeta: metav1.ObjectMeta{Name: "twohop-sentinel", Namespace: l.Subject.Gateway.Namespace},
		Spec: networking.ServiceEntry{
			Hosts: []string{host},
			// Other labs of the mesh need not hear of it: each push costs them.
			ExportTo:   []string{l.home.Client.Namespace, l.home.Gateway.Namespace, l.home.Unbound.Namespace},
			Location:   networking.ServiceEntry_MESH_EXTERNAL,
			Resolution: networking.ServiceEntry_STATIC,
			// A port that nothing else uses: an HTTP port would bring a listener
			// of its own, and that would change the subject.
			Ports:     []*networking.ServicePort{{Number: sentinelPort, Name: "tls", Protocol: "TLS"}},
			Endpoints: []*networking.WorkloadEntry{{Address: "127.0.0.1"}},
		},
	}
	dr := &istio.DestinationRule{
		ObjectMeta: se.ObjectMeta,
		Spec: networking.DestinationRule{
			Host:     host,
			ExportTo: se.Spec.ExportTo,
			Subsets:  []*networking.Subset{{Name: sentinelSubset}},
		},
	}
	group, writing := errgroup.WithContext(ctx)
	for _, o := range []k8s.Object{se, dr} {
		group.Go(func() error { return l.put(writing, o) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for _, p := range l.proxies() {
		if err := awaitPush(ctx, p, "|"+sentinelSubset+"|"+host); err != nil {
			return err
		}
		if err := awaitWarm(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

const (
	sentinelPort   = 15999
	sentinelDomain = "sentinel.invalid"
	sentinelSubset = "sentinel"
)

// newObject makes an empty object of a pointer type.
func newObject[T k8s.Object]() T {
	return reflect.New(reflect.TypeFor[T]().Elem()).Interface().(T)
}

func named(o k8s.Object, namespace, name string) k8s.Object {
	o.SetNamespace(namespace)
	o.SetName(name)
	return o
}

func (l *Lab) touch(o k8s.Object) {
	k := keyOf(o)
	l.touched[k] = o.DeepCopyObject().(k8s.Object)
	l.moved = l.moved || k.kind == "Service"
	if k.kind == "Deployment" {
		l.rolling[k] = true
	}
}

func (l *Lab) find(k key) k8s.Object {
	for _, o := range l.baseline {
		if keyOf(o) == k {
			return o
		}
	}
	return nil
}

// applied renders objects as a person would write them. A private key is left
// out: it belongs to a PKI that went with the lab.
func applied(objects ...k8s.Object) (Applied, error) {
	raw, err := Manifest(objects...)
	return Applied{Command: "kubectl apply -f -", YAML: raw}, err
}

// Manifest renders objects as YAML documents, without what the API server adds
// and without private keys.
func Manifest(objects ...k8s.Object) ([]byte, error) {
	var b strings.Builder
	for i, o := range objects {
		o = o.DeepCopyObject().(k8s.Object)
		k := keyOf(o)
		o.SetManagedFields(nil)
		o.SetResourceVersion("")
		o.SetUID("")
		o.SetCreationTimestamp(metav1.Time{})
		o.SetGeneration(0)
		if secret, ok := o.(*corev1.Secret); ok {
			const leftOut = "left out: a key of the lab's own, throw-away PKI\n"
			for name := range secret.Data {
				if strings.HasSuffix(name, "key") {
					secret.Data[name] = []byte(leftOut)
				}
			}
			for name := range secret.StringData {
				if strings.HasSuffix(name, "key") {
					secret.StringData[name] = leftOut
				}
			}
		}
		raw, err := yaml.Marshal(o)
		if err != nil {
			return nil, fmt.Errorf("render %s: %w", describe(o), err)
		}
		text := string(raw)
		if o.GetObjectKind().GroupVersionKind().Empty() {
			group, err := groupVersion(o)
			if err != nil {
				return nil, err
			}
			text = fmt.Sprintf("apiVersion: %s\nkind: %s\n%s", group, k.kind, text)
		}
		if i > 0 {
			b.WriteString("---\n")
		}
		b.WriteString(text)
	}
	return []byte(b.String()), nil
}
