package audit

import (
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"

	"twohop/internal/channel"
	"twohop/internal/objects"
)

// network judges NetworkPolicies: whether callers are kept from leaving by themselves,
// and whether they still reach the gateway.
func (e *egress) network() {
	var unlocked []*channel.Workload
	for _, w := range e.Callers {
		if w.Assumed != "" {
			continue
		}
		if e.unread(Finding{ID: "15", Severity: Medium}, networkingv1.GroupName, "networkpolicies", w.Namespace) {
			continue
		}
		e.made("15")
		policies := e.egressPolicies(w)
		if len(policies) == 0 {
			unlocked = append(unlocked, w)
			continue
		}
		e.cutOff(w, policies)
	}
	if len(unlocked) == 0 {
		return
	}
	b := missing("NetworkPolicy", unlocked[0].Namespace, "")
	b.wanted = "an egress NetworkPolicy that allows callers only the gateway, istiod and DNS, and a CNI plugin that enforces it"
	e.find(Finding{ID: "15", Severity: Low, Hop: 0, Seen: "no NetworkPolicy restricts egress of " + unlocked[0].Ref.String()}, b)
}

// egressPolicies are those that limit a workload's egress.
func (e *egress) egressPolicies(w *channel.Workload) (found []*channel.NetworkPolicy) {
	for _, p := range e.Mesh.Network {
		// Without policyTypes, the API server sets Egress if there is an egress rule
		// (k8s.io/kubernetes/pkg/apis/networking/v1/defaults.go).
		limits := slices.Contains(p.Spec.PolicyTypes, networkingv1.PolicyTypeEgress) || len(p.Spec.PolicyTypes) == 0 && len(p.Spec.Egress) > 0
		if p.Namespace != w.Namespace || !limits {
			continue
		}
		all := slices.ContainsFunc(p.Spec.Egress, func(r networkingv1.NetworkPolicyEgressRule) bool { return len(r.To) == 0 && len(r.Ports) == 0 })
		if selects(&p.Spec.PodSelector, w.Labels) && !all {
			found = append(found, p)
		}
	}
	return found
}

func selects(s *metav1.LabelSelector, have map[string]string) bool {
	selector, err := metav1.LabelSelectorAsSelector(s)
	return err == nil && selector.Matches(labels.Set(have))
}

// cutOff finds a caller whose policies do not let it reach any of the gateway's pods.
// Whether the network enforces them is not known.
func (e *egress) cutOff(w *channel.Workload, policies []*channel.NetworkPolicy) {
	for _, r := range e.Routers {
		if r.Proxy != channel.Router {
			continue
		}
		for _, p := range policies {
			for _, rule := range p.Spec.Egress {
				if e.peers(rule.To, p.Namespace, r) && e.portsOpen(rule.Ports, r) {
					return
				}
			}
		}
	}
	if len(e.Routers) == 0 {
		return
	}
	e.find(Finding{
		ID: "15", Severity: Medium, Hop: 1, Proxy: name(w), Title: "The network lets callers reach the gateway",
		Seen:   "no NetworkPolicy of " + w.Ref.String() + " allows a connection to " + e.Routers[0].Ref.String(),
		Wanted: "an egress rule that allows the gateway pods on their target port",
	}, of(policies[0].Object, "spec.egress"))
}

func (e *egress) peers(to []networkingv1.NetworkPolicyPeer, namespace string, r *channel.Workload) bool {
	if len(to) == 0 {
		return true
	}
	return slices.ContainsFunc(to, func(p networkingv1.NetworkPolicyPeer) bool {
		if p.IPBlock != nil {
			return true // the pods' addresses are not known
		}
		if p.NamespaceSelector == nil && r.Namespace != namespace {
			return false
		}
		if p.NamespaceSelector != nil && !selects(p.NamespaceSelector, e.namespaceLabels(r.Namespace)) {
			return false
		}
		return p.PodSelector == nil || selects(p.PodSelector, r.Labels)
	})
}

// namespaceLabels are a namespace's, with the one that the API server sets.
func (e *egress) namespaceLabels(name string) map[string]string {
	all := map[string]string{"kubernetes.io/metadata.name": name}
	if o := e.Mesh.Set.Find(objects.Ref{Kind: "Namespace", Name: name}); o != nil {
		for k, v := range o.Labels {
			all[k] = v
		}
	}
	return all
}

// portsOpen reports whether a rule's ports have one on which the gateway listens.
func (e *egress) portsOpen(ports []networkingv1.NetworkPolicyPort, r *channel.Workload) bool {
	if len(ports) == 0 {
		return true
	}
	listens := map[int]bool{}
	if v := e.Views[r]; v.Config != nil {
		for _, l := range v.Config.Listeners {
			listens[l.Port] = true
		}
	}
	return slices.ContainsFunc(ports, func(p networkingv1.NetworkPolicyPort) bool {
		if p.Protocol != nil && *p.Protocol != "TCP" {
			return false
		}
		if p.Port == nil {
			return true
		}
		if p.Port.Type == intstr.String {
			return r.Ports[p.Port.StrVal] > 0
		}
		from, to := int(p.Port.IntVal), int(p.Port.IntVal)
		if p.EndPort != nil {
			to = int(*p.EndPort)
		}
		for port := range listens {
			if port >= from && port <= to {
				return true
			}
		}
		return len(listens) == 0
	})
}
