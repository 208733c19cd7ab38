package audit

import (
	"fmt"
	"slices"
	"strings"

	api "istio.io/api/security/v1beta1"
	security "istio.io/client-go/pkg/apis/security/v1"

	"twohop/internal/channel"
	"twohop/internal/objects"
	"twohop/internal/walk"
)

// authorize asks the gateway's AuthorizationPolicies about a caller.
func (e *egress) authorize(w *channel.Workload, router *channel.Workload, in walk.Way) {
	policies := e.policiesOf(router)
	allows := false
	var deny *blame
	allowed := false
	for _, p := range policies {
		switch p.spec.GetAction() {
		case api.AuthorizationPolicy_ALLOW:
			allows = true
			for _, r := range p.spec.GetRules() {
				allowed = allowed || e.covers(r, w, in)
			}
		case api.AuthorizationPolicy_DENY:
			for i, r := range p.spec.GetRules() {
				if e.covers(r, w, in) {
					deny = &blame{object: p.object, field: fmt.Sprintf("spec.rules[%d]", i), seen: "it denies " + principal(e.Mesh, w)}
				}
			}
		}
	}
	switch {
	case deny != nil:
		e.denied[router] = append(e.denied[router], denial{w, *deny})
	case allows && !allowed:
		for _, p := range policies {
			if p.spec.GetAction() == api.AuthorizationPolicy_ALLOW {
				e.denied[router] = append(e.denied[router], denial{w, e.notCovered(p, w)})
				break
			}
		}
	default:
		e.allowed[router]++
	}
}

// notCovered says what of a policy does not take a caller's requests: who calls, or what
// is called.
func (e *egress) notCovered(p policy, w *channel.Workload) blame {
	who := principal(e.Mesh, w)
	for i, r := range p.spec.GetRules() {
		if len(r.GetTo()) > 0 && e.covers(&api.Rule{From: r.GetFrom(), When: r.GetWhen()}, w, walk.Way{}) {
			return blame{object: p.object, field: fmt.Sprintf("spec.rules[%d].to", i), seen: "the rule is for " + who + ", but not for the host or port that the gateway sees", wanted: "hosts and ports of the gateway's own: " + e.Sample() + ", and the port that its pods listen on"}
		}
	}
	return blame{object: p.object, field: "spec.rules", seen: "no rule allows " + who, wanted: "a rule whose source is the caller's principal"}
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
		for _, d := range e.denied[r] {
			f := Finding{ID: "20", Severity: Critical, Hop: 1, Proxy: name(r), Wanted: "an AuthorizationPolicy that allows the callers", Claim: "H1-identity"}
			if e.allowed[r] > 0 {
				f.Severity = Low
				if e.almostNamed(d) {
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
func (e *egress) almostNamed(d denial) bool {
	for _, p := range e.policiesOf(e.Routers[0]) {
		for _, r := range p.spec.GetRules() {
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

type policy struct {
	object *objects.Object
	spec   *api.AuthorizationPolicy
}

// policiesOf are those that act on a proxy.
func (e *egress) policiesOf(w *channel.Workload) (found []policy) {
	for _, o := range e.Mesh.Set.Kind("security.istio.io", "AuthorizationPolicy") {
		var p security.AuthorizationPolicy
		if o.Decode(&p) != nil || o.Namespace != w.Namespace && o.Namespace != e.Mesh.RootNamespace {
			continue
		}
		if labels := p.Spec.GetSelector().GetMatchLabels(); len(labels) > 0 && !w.Selected(labels) || len(p.Spec.GetTargetRefs()) > 0 || p.Spec.GetTargetRef() != nil {
			continue
		}
		found = append(found, policy{o, &p.Spec})
	}
	return found
}

func principal(m *channel.Mesh, w *channel.Workload) string {
	return fmt.Sprintf("%s/ns/%s/sa/%s", m.TrustDomain, w.Namespace, w.Account)
}

// covers reports whether a rule takes a caller's requests. What depends on the request
// beyond its host counts as met.
func (e *egress) covers(r *api.Rule, w *channel.Workload, in walk.Way) bool {
	who := principal(e.Mesh, w)
	from := len(r.GetFrom()) == 0
	for _, f := range r.GetFrom() {
		s := f.GetSource()
		ok := anyOf(s.GetPrincipals(), who) && noneOf(s.GetNotPrincipals(), who) &&
			anyOf(s.GetNamespaces(), w.Namespace) && noneOf(s.GetNotNamespaces(), w.Namespace)
		if accounts := s.GetServiceAccounts(); len(accounts) > 0 {
			ok = ok && slices.ContainsFunc(accounts, func(a string) bool { return a == w.Namespace+"/"+w.Account || a == w.Account })
		}
		from = from || ok
	}
	to := len(r.GetTo()) == 0
	for _, t := range r.GetTo() {
		o := t.GetOperation()
		host := e.Sample()
		port := fmt.Sprint(in.Sample.Port)
		to = to || (anyOf(lower(o.GetHosts()), strings.ToLower(host)) || anyOf(lower(o.GetHosts()), strings.ToLower(host)+":"+port)) &&
			noneOf(lower(o.GetNotHosts()), strings.ToLower(host)) && anyOf(o.GetPorts(), port) && noneOf(o.GetNotPorts(), port)
	}
	for _, c := range r.GetWhen() {
		if c.GetKey() == "connection.sni" && !anyOf(c.GetValues(), in.Sample.ServerName) {
			return false
		}
		if c.GetKey() == "source.namespace" && !anyOf(c.GetValues(), w.Namespace) || c.GetKey() == "source.principal" && !anyOf(c.GetValues(), who) {
			return false
		}
	}
	return from && to
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
