package lab

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	istio "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/e2e-framework/klient/k8s"

	"twohop/internal/manifest"
	"twohop/internal/subject"
)

// Vary makes the changes in turn and returns once the proxies have them.
func (l *Lab) Vary(ctx context.Context, variations ...manifest.Variation) error {
	for _, v := range variations {
		if err := l.vary(ctx, v); err != nil {
			return fmt.Errorf("%s: %w", v.Change, err)
		}
	}
	if err := l.settle(ctx); err != nil {
		return err
	}
	return l.Barrier(ctx)
}

func (l *Lab) vary(ctx context.Context, v manifest.Variation) error {
	for _, c := range v.Before {
		if err := l.await(ctx, c); err != nil {
			return err
		}
	}
	next, err := v.Apply(l.current)
	if err != nil {
		return err
	}
	if err := l.become(ctx, next); err != nil {
		return err
	}
	if v.Stays {
		if err := l.keep(v); err != nil {
			return err
		}
	}
	for _, c := range v.After {
		if err := l.await(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// keep makes a change that stays part of the baseline. One that is part of it already
// is not noted again.
func (l *Lab) keep(v manifest.Variation) error {
	home, err := v.Apply(l.home)
	if err != nil {
		return err
	}
	diff, err := manifest.Diff(l.home, home)
	if err != nil {
		return err
	}
	if !diff.Empty() {
		l.home, l.stays = home, append(l.stays, v)
	}
	return nil
}

// become writes what leads from the current set to another one, in the order of
// the changes, and waits for nothing.
func (l *Lab) become(ctx context.Context, next *manifest.Set) error {
	diff, err := manifest.Diff(l.current, next)
	if err != nil {
		return err
	}
	l.unfinished(next, &diff)
	before := l.current
	// Beforehand: a call that is interrupted may have made the change, and Restore
	// has to undo it.
	l.current = next
	for _, o := range diff.Put {
		k := manifest.KeyOf(o)
		if err := l.apart(ctx, before, k, o); err != nil {
			return err
		}
		l.note(k, false)
		if err := l.put(ctx, o); err != nil {
			return err
		}
		delete(l.doubtful, k)
	}
	for _, k := range diff.Remove {
		if err := l.apart(ctx, before, k, nil); err != nil {
			return err
		}
		l.note(k, true)
		if err := l.remove(ctx, k); err != nil {
			return err
		}
		delete(l.doubtful, k)
	}
	if before.Subject.Gateway != next.Subject.Gateway {
		l.rolling[subject.Gateway] = true
		g := next.Subject.Gateway
		l.waiting[manifest.Key{Kind: "Deployment", Namespace: g.Namespace, Name: g.Deployment}] = true
	}
	return nil
}

// apart waits for what was written before a DestinationRule leaves its host: o has
// another one, or is nil. istiod finds the clusters that lose the rule by the rules
// that the proxy's last push was computed from (pilot/pkg/networking/core,
// deltaFromDestinationRules). If another rule's push comes just before, it may be
// computed from the new rules already, and then a subset's cluster stays in Envoy
// that no rule has any more.
func (l *Lab) apart(ctx context.Context, before *manifest.Set, k manifest.Key, o k8s.Object) error {
	if k.Kind != "DestinationRule" || !l.pending.any("DestinationRule") || len(l.rolling)+len(l.waiting) > 0 {
		return nil
	}
	was, _ := before.Find(k).(*istio.DestinationRule)
	is, _ := o.(*istio.DestinationRule)
	if was == nil || is != nil && is.Spec.Host == was.Spec.Host {
		return nil
	}
	return l.Barrier(ctx)
}

// unfinished adds to a difference what an earlier one did not get to, and marks
// all of it as doubtful until it is written.
func (l *Lab) unfinished(next *manifest.Set, diff *manifest.Difference) {
	changed := map[manifest.Key]bool{}
	for _, o := range diff.Put {
		changed[manifest.KeyOf(o)] = true
	}
	for _, k := range diff.Remove {
		changed[k] = true
	}
	for k := range l.doubtful {
		if changed[k] {
			continue
		}
		if o := next.Find(k); o != nil {
			diff.Put = append(diff.Put, o)
		} else {
			diff.Remove = append(diff.Remove, k)
		}
	}
	for k := range changed {
		l.doubtful[k] = true
	}
}

// note remembers what a change of an object sets in motion.
func (l *Lab) note(k manifest.Key, removed bool) {
	s := l.home.Subject
	switch k.Kind {
	case "Service":
		l.moved = l.moved || k.Name == s.GatewayService && k.Namespace == s.Gateway.Namespace
	case "Pod":
		l.rolling[subject.ExtraGateway(k.Name)] = true
	case "Deployment":
		for role, w := range map[subject.Role]subject.Workload{
			subject.Sidecar: s.Client, subject.Gateway: s.Gateway, subject.Partner: s.Partner,
			subject.SecondSidecar: s.SecondClient(), subject.SecondGateway: s.SecondGateway(),
		} {
			if w.Namespace == k.Namespace && w.Deployment == k.Name {
				l.rolling[role] = true
				l.scaled = l.scaled || role == subject.SecondGateway
			}
		}
		delete(l.waiting, k)
		if !removed {
			l.waiting[k] = true
		}
	}
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
	for k := range l.waiting {
		if err := l.kube.WaitDeployment(ctx, k.Namespace, k.Name, l.limits.Ready); err != nil {
			return err
		}
		delete(l.waiting, k)
	}
	if len(l.rolling) == 0 {
		return nil
	}
	for role := range l.rolling {
		if name, ok := role.ExtraGatewayPod(); ok && l.current.Find(manifest.Key{Kind: "Pod", Namespace: l.home.Subject.Gateway.Namespace, Name: name}) == nil {
			l.Source.Dismiss(role)
		}
	}
	if err := l.attach(ctx); err != nil {
		return err
	}
	if err := l.attachGatewayPods(ctx); err != nil {
		return err
	}
	if l.rolling[subject.Partner] {
		if err := l.awaitPartner(ctx); err != nil {
			return err
		}
	}
	if l.scaled {
		if err := l.awaitGateways(ctx); err != nil {
			return err
		}
		l.scaled = false
	}
	clear(l.rolling)
	return nil
}

// Return takes back what was changed since a set was the subject, but for what stays:
// the set may not know of what an earlier claim has left there.
func (l *Lab) Return(ctx context.Context, to *manifest.Set) error {
	next := to.Clone()
	for _, v := range l.stays {
		var err error
		if next, err = v.Apply(next); err != nil {
			return err
		}
	}
	return l.become(ctx, next)
}

// Plant makes changes that Restore comes back to, instead of the fixtures: a
// mutant's fault.
func (l *Lab) Plant(ctx context.Context, variations ...manifest.Variation) error {
	if err := l.Vary(ctx, variations...); err != nil {
		return err
	}
	l.home = l.current.Clone()
	return nil
}

// Uproot makes the fixtures what Restore comes back to again. Nothing stays: what
// claims have left since is taken away too.
func (l *Lab) Uproot() { l.home, l.stays = l.fixtures.Clone(), nil }

// Touched reports whether anything differs from the baseline.
func (l *Lab) Touched() bool {
	diff, err := manifest.Diff(l.home, l.current)
	return err != nil || !diff.Empty() || l.current.Subject != l.home.Subject || len(l.waiting) > 0 || len(l.doubtful) > 0 || l.retiring
}

// Restore puts the baseline back, and waits until the proxies have it. Workloads
// that were touched are waited for and attached to anew.
func (l *Lab) Restore(ctx context.Context) error {
	l.retiring = l.retiring || l.rotated()
	if err := l.become(ctx, l.home.Clone()); err != nil {
		return err
	}
	if err := l.settle(ctx); err != nil {
		return err
	}
	if l.retiring {
		if err := l.retire(ctx); err != nil {
			return err
		}
		l.retiring = false
	}
	return l.Barrier(ctx)
}

// rotated says that living connections of hop 2 may present another certificate
// than the baseline's. A gateway that restarts has none.
func (l *Lab) rotated() bool {
	s := l.home.Subject
	gateway := manifest.Key{Kind: "Deployment", Namespace: s.Gateway.Namespace, Name: s.Gateway.Deployment}
	diff, err := manifest.Diff(l.current, l.home)
	if err != nil {
		return true
	}
	if slices.ContainsFunc(diff.Put, func(o k8s.Object) bool { return manifest.KeyOf(o) == gateway }) {
		return false
	}
	credential := manifest.Key{Kind: "Secret", Namespace: s.Gateway.Namespace, Name: s.Credential}
	was, _ := l.home.Find(credential).(*corev1.Secret)
	is, _ := l.current.Find(credential).(*corev1.Secret)
	// Another annotation, say, is no other certificate.
	if was == nil || is == nil {
		return (was == nil) != (is == nil)
	}
	return !maps.EqualFunc(was.Data, is.Data, bytes.Equal) || !maps.Equal(was.StringData, is.StringData)
}

// within bounds a wait; the limit is its cause.
func within(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, limit, fmt.Errorf("%v went by", limit))
}
