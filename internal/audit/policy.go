package audit

import (
	"fmt"
	"slices"
	"strings"

	api "istio.io/api/security/v1beta1"

	"twohop/internal/channel"
	"twohop/internal/walk"
)

// answer is what a rule says of a caller's requests: whether it takes all of them, or
// depends on what the audit does not know of a request, such as its path.
type answer int

const (
	no answer = iota
	depends
	yes
)

// authorize asks the gateway's AuthorizationPolicies about a caller, in Istio's order:
// CUSTOM, DENY, ALLOW (istio.io/docs/concepts/security, implicit enablement).
func (e *egress) authorize(w *channel.Workload, router *channel.Workload, in walk.Way) {
	policies := e.policiesOf(router)
	var allow *channel.AuthorizationPolicy
	var deny *blame
	allowed := no
	open := Finding{ID: "20", Severity: Low, Status: Unknown, Hop: 1, Proxy: name(router), Wanted: "a look at the policy by hand"}
	for _, p := range policies {
		for i, r := range p.Spec.GetRules() {
			takes := e.covers(p, r, w, in)
			at := blame{object: p.Object, field: fmt.Sprintf("spec.rules[%d]", i)}
			switch action := p.Spec.GetAction(); {
			case takes == no || action == api.AuthorizationPolicy_AUDIT:
			case action == api.AuthorizationPolicy_ALLOW:
				allowed = max(allowed, takes)
			case action == api.AuthorizationPolicy_CUSTOM:
				open.Severity, open.Seen = Medium, "the external authorizer "+p.Spec.GetProvider().GetName()+" decides on requests of "+principal(e.Mesh, w)
				e.find(open, at)
			case takes == depends:
				open.Seen = "it denies some requests of " + principal(e.Mesh, w) + ": which ones depends on more than the host, port and caller"
				e.find(open, at)
			default:
				at.seen = "it denies " + principal(e.Mesh, w)
				deny = &at
			}
		}
		if p.Spec.GetAction() == api.AuthorizationPolicy_ALLOW && allow == nil {
			allow = p
		}
	}
	switch {
	case deny != nil:
		e.denied[router] = append(e.denied[router], denial{w, *deny})
	case allow != nil && allowed == no:
		e.denied[router] = append(e.denied[router], denial{w, e.notCovered(allow, w)})
	default:
		e.allowed[router]++
	}
}

// notCovered says what of a policy does not take a caller's requests: who calls, or what
// is called.
func (e *egress) notCovered(p *channel.AuthorizationPolicy, w *channel.Workload) blame {
	who := principal(e.Mesh, w)
	for i, r := range p.Spec.GetRules() {
		if len(r.GetTo()) > 0 && e.covers(p, &api.Rule{From: r.GetFrom(), When: r.GetWhen()}, w, walk.Way{}) != no {
			return blame{object: p.Object, field: fmt.Sprintf("spec.rules[%d].to", i), seen: "the rule is for " + who + ", but not for the host or port that the gateway sees", wanted: "hosts and ports of the gateway's own: " + e.Sample() + ", and the port that its pods listen on"}
		}
	}
	return blame{object: p.Object, field: "spec.rules", seen: "no rule allows " + who, wanted: "a rule whose source is the caller's principal"}
}

// denial is a caller that a policy turns away.
type denial struct {
	caller *channel.Workload
	blame  blame
}

// policies says what came of it. Policies that turn all callers away are a mistake; those
// that turn some away may be meant so, unless a name in them is almost the caller's.
func (e *egress) policies() {
	for _, r := range e.Routers {
		if r.Proxy != channel.Router || !slices.Contains(e.reached, r) {
			continue
		}
		if e.unread(Finding{ID: "20", Severity: High, Hop: 1, Proxy: name(r)}, "security.istio.io", "authorizationpolicies", r.Namespace, e.Mesh.RootNamespace) {
			continue
		}
		e.made("20")
		for _, d := range e.denied[r] {
			f := Finding{ID: "20", Severity: Critical, Hop: 1, Proxy: name(r), Wanted: "an AuthorizationPolicy that allows the callers", Claim: "H1-identity"}
			if e.allowed[r] > 0 {
				f.Severity = Low
				if e.almostNamed(r, d) {
					f.Severity = High
				}
			}
			e.find(f, d.blame)
		}
		if len(e.policiesOf(r)) == 0 {
			b := missing("AuthorizationPolicy", r.Namespace, "")
			e.find(Finding{ID: "20", Severity: Low, Hop: 1, Proxy: name(r), Seen: "no AuthorizationPolicy selects the gateway: any workload in the mesh can use it", Wanted: "an ALLOW AuthorizationPolicy that lists the callers' principals"}, b)
		}
	}
}

// almostNamed reports whether a policy names somebody who differs from the caller by a
// letter or two, and is nobody of the input.
func (e *egress) almostNamed(router *channel.Workload, d denial) bool {
	for _, p := range e.policiesOf(router) {
		for _, r := range p.Spec.GetRules() {
			for _, f := range r.GetFrom() {
				for _, n := range f.GetSource().GetPrincipals() {
					nobody := !slices.ContainsFunc(e.Mesh.Workloads, func(w *channel.Workload) bool { return principal(e.Mesh, w) == n })
					if nobody && channel.Near(n, principal(e.Mesh, d.caller)) {
						return true
					}
				}
				for _, n := range f.GetSource().GetNamespaces() {
					if channel.Near(n, d.caller.Namespace) {
						return true
					}
				}
			}
		}
	}
	return false
}

// policiesOf are those that act on a proxy.
func (e *egress) policiesOf(w *channel.Workload) (found []*channel.AuthorizationPolicy) {
	for _, p := range e.Mesh.Authorization {
		if p.Namespace != w.Namespace && p.Namespace != e.Mesh.RootNamespace {
			continue
		}
		if labels := p.Spec.GetSelector().GetMatchLabels(); len(labels) > 0 && !w.Selected(labels) || len(p.Spec.GetTargetRefs()) > 0 || p.Spec.GetTargetRef() != nil {
			continue
		}
		found = append(found, p)
	}
	return found
}

func principal(m *channel.Mesh, w *channel.Workload) string {
	return fmt.Sprintf("%s/ns/%s/sa/%s", m.TrustDomain, w.Namespace, w.Account)
}

// covers says whether a policy's rule takes a caller's requests. Each part of it can only
// narrow what the others take.
func (e *egress) covers(p *channel.AuthorizationPolicy, r *api.Rule, w *channel.Workload, in walk.Way) answer {
	who := principal(e.Mesh, w)
	from := first(r.GetFrom(), func(f *api.Rule_From) answer {
		s := f.GetSource()
		// An account without a namespace is one of the policy's own
		// (pilot/pkg/security/authz/model/generator.go, serviceAccountRegex).
		account := func(a string) bool {
			return a == w.Namespace+"/"+w.Account || a == w.Account && p.Namespace == w.Namespace
		}
		if len(s.GetServiceAccounts()) > 0 && !slices.ContainsFunc(s.GetServiceAccounts(), account) || slices.ContainsFunc(s.GetNotServiceAccounts(), account) ||
			!anyOf(s.GetPrincipals(), who) || !noneOf(s.GetNotPrincipals(), who) || !anyOf(s.GetNamespaces(), w.Namespace) || !noneOf(s.GetNotNamespaces(), w.Namespace) {
			return no
		}
		return unlessSet(s.GetRequestPrincipals(), s.GetNotRequestPrincipals(), s.GetIpBlocks(), s.GetNotIpBlocks(), s.GetRemoteIpBlocks(), s.GetNotRemoteIpBlocks())
	})
	to := first(r.GetTo(), func(t *api.Rule_To) answer {
		o := t.GetOperation()
		host, port := strings.ToLower(e.Sample()), fmt.Sprint(in.Sample.Port)
		if !anyOf(lower(o.GetHosts()), host) && !anyOf(lower(o.GetHosts()), host+":"+port) || !noneOf(lower(o.GetNotHosts()), host) || !anyOf(o.GetPorts(), port) || !noneOf(o.GetNotPorts(), port) {
			return no
		}
		return unlessSet(o.GetPaths(), o.GetNotPaths(), o.GetMethods(), o.GetNotMethods())
	})
	when := yes
	for _, c := range r.GetWhen() {
		when = min(when, e.meets(c, w, in))
	}
	return min(from, to, when)
}

// first is the best answer of alternatives; yes where there are none.
func first[T any](alternatives []T, of func(T) answer) answer {
	if len(alternatives) == 0 {
		return yes
	}
	best := no
	for _, one := range alternatives {
		best = max(best, of(one))
	}
	return best
}

// unlessSet is depends if a condition is set of which the audit knows nothing.
func unlessSet(conditions ...[]string) answer {
	if slices.ContainsFunc(conditions, func(c []string) bool { return len(c) > 0 }) {
		return depends
	}
	return yes
}

// meets says whether a caller's requests meet a condition.
func (e *egress) meets(c *api.Condition, w *channel.Workload, in walk.Way) answer {
	value, known := map[string]string{
		"connection.sni": in.Sample.ServerName, "source.namespace": w.Namespace, "source.principal": principal(e.Mesh, w), "destination.port": fmt.Sprint(in.Sample.Port),
	}[c.GetKey()]
	switch {
	case !known:
		return depends
	case anyOf(c.GetValues(), value) && noneOf(c.GetNotValues(), value):
		return yes
	}
	return no
}

func lower(list []string) (out []string) {
	for _, s := range list {
		out = append(out, strings.ToLower(s))
	}
	return out
}

// anyOf reports whether a list has a value, by Istio's patterns; an empty list has all.
func anyOf(patterns []string, value string) bool {
	return len(patterns) == 0 || slices.ContainsFunc(patterns, func(p string) bool { return pattern(p, value) })
}

func noneOf(patterns []string, value string) bool {
	return !slices.ContainsFunc(patterns, func(p string) bool { return pattern(p, value) })
}

func pattern(p, value string) bool {
	switch {
	case p == "*":
		return value != ""
	case strings.HasPrefix(p, "*"):
		return strings.HasSuffix(value, p[1:])
	case strings.HasSuffix(p, "*"):
		return strings.HasPrefix(value, p[:len(p)-1])
	}
	return p == value
}
