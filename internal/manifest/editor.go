package manifest

import (
	networking "istio.io/api/networking/v1alpha3"
	security "istio.io/api/security/v1beta1"
	istiotype "istio.io/api/type/v1beta1"
	istio "istio.io/client-go/pkg/apis/networking/v1"
	istiosecurity "istio.io/client-go/pkg/apis/security/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"twohop/internal/subject"
)

// Editor writes variations of one subject. Its methods find Istio's objects, and
// what lies in them, by their names.
type Editor struct {
	Subject subject.Subject
	// Baseline is the subject as the fixtures have it.
	Baseline     *Set
	Certificates *Certificates
}

// NewEditor edits a subject that has this baseline.
func NewEditor(baseline *Set, certificates *Certificates) *Editor {
	return &Editor{Subject: baseline.Subject, Baseline: baseline, Certificates: certificates}
}

// InGateway names an object in the gateway's namespace.
func (e *Editor) InGateway(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Namespace: e.Subject.Gateway.Namespace}
}

// DestinationRule edits a DestinationRule in the gateway's namespace.
func (e *Editor) DestinationRule(change, name string, edit func(*networking.DestinationRule)) Variation {
	return Edit(change, e.Subject.Gateway.Namespace, name, func(o *istio.DestinationRule) { edit(&o.Spec) })
}

// Hop1DestinationRule edits the rule of hop 1, which shapes the sidecar's cluster.
func (e *Editor) Hop1DestinationRule(change string, edit func(*networking.DestinationRule)) Variation {
	return e.DestinationRule(change, e.Subject.Hop1Rule, edit)
}

// Hop2DestinationRule edits the rule of hop 2, which shapes the gateway's cluster.
func (e *Editor) Hop2DestinationRule(change string, edit func(*networking.DestinationRule)) Variation {
	return e.DestinationRule(change, e.Subject.Hop2Rule, edit)
}

// Hop1Port edits hop 1's settings: those of the subset's port.
func (e *Editor) Hop1Port(change string, edit func(*networking.TrafficPolicy_PortTrafficPolicy)) Variation {
	return e.Hop1DestinationRule(change, func(dr *networking.DestinationRule) { edit(e.Hop1Settings(dr)) })
}

// Hop2Port edits hop 2's settings: those of the external host's port.
func (e *Editor) Hop2Port(change string, edit func(*networking.TrafficPolicy_PortTrafficPolicy)) Variation {
	return e.Hop2DestinationRule(change, func(dr *networking.DestinationRule) { edit(e.Hop2Settings(dr)) })
}

// Hop1Settings are the port settings of hop 1's rule.
func (e *Editor) Hop1Settings(dr *networking.DestinationRule) *networking.TrafficPolicy_PortTrafficPolicy {
	return e.Hop1SettingsOf(dr, uint32(e.Subject.GatewayPort))
}

// Hop1SettingsOf is Hop1Settings where the gateway's Service has another port
// than in the fixtures.
func (e *Editor) Hop1SettingsOf(dr *networking.DestinationRule, port uint32) *networking.TrafficPolicy_PortTrafficPolicy {
	return PortSettings(Subset(dr, e.Subject.Subset).TrafficPolicy, port)
}

// Hop2Settings are the port settings of hop 2's rule.
func (e *Editor) Hop2Settings(dr *networking.DestinationRule) *networking.TrafficPolicy_PortTrafficPolicy {
	return PortSettings(dr.TrafficPolicy, uint32(e.Subject.ExternalPort))
}

// VirtualService edits the subject's VirtualService.
func (e *Editor) VirtualService(change string, edit func(*networking.VirtualService)) Variation {
	return Edit(change, e.Subject.Gateway.Namespace, e.Subject.VirtualService, func(o *istio.VirtualService) { edit(&o.Spec) })
}

// ServiceEntry edits the subject's ServiceEntry.
func (e *Editor) ServiceEntry(change string, edit func(*networking.ServiceEntry)) Variation {
	return Edit(change, e.Subject.Gateway.Namespace, e.Subject.ServiceEntry, func(o *istio.ServiceEntry) { edit(&o.Spec) })
}

// Gateway edits the subject's Gateway.
func (e *Editor) Gateway(change string, edit func(*networking.Gateway)) Variation {
	return Edit(change, e.Subject.Gateway.Namespace, e.Subject.GatewayName, func(o *istio.Gateway) { edit(&o.Spec) })
}

// gatewayPortName is the name of the Gateway's port in the fixtures.
const gatewayPortName = "https-partner"

// GatewayServer edits the Gateway's server of hop 1.
func (e *Editor) GatewayServer(change string, edit func(*networking.Server)) Variation {
	return e.Gateway(change, func(gw *networking.Gateway) { edit(Server(gw, gatewayPortName)) })
}

// GatewayServicePort edits the one port of the gateway's Service.
func (e *Editor) GatewayServicePort(change string, edit func(*corev1.ServicePort)) Variation {
	return Edit(change, e.Subject.Gateway.Namespace, e.Subject.GatewayService, func(s *corev1.Service) {
		if len(s.Spec.Ports) != 1 {
			panic(missing{"the gateway's Service has not one port"})
		}
		edit(&s.Spec.Ports[0])
	})
}

// BaselineVirtualService is a copy of the VirtualService as the fixtures have it.
func (e *Editor) BaselineVirtualService() *networking.VirtualService {
	return &must[*istio.VirtualService](e.Baseline, e.Subject.Gateway.Namespace, e.Subject.VirtualService).Spec
}

// BaselineServiceEntry is a copy of the ServiceEntry as the fixtures have it.
func (e *Editor) BaselineServiceEntry() *istio.ServiceEntry {
	return must[*istio.ServiceEntry](e.Baseline, e.Subject.Gateway.Namespace, e.Subject.ServiceEntry)
}

// BaselineDestinationRule is a copy of a DestinationRule as the fixtures have it.
func (e *Editor) BaselineDestinationRule(name string) *networking.DestinationRule {
	return &must[*istio.DestinationRule](e.Baseline, e.Subject.Gateway.Namespace, name).Spec
}

// AddVirtualService puts a VirtualService beside the subject's.
func (e *Editor) AddVirtualService(change, name string, spec *networking.VirtualService) Variation {
	return Add(change, &istio.VirtualService{ObjectMeta: e.InGateway(name), Spec: *spec.DeepCopy()})
}

// AddDestinationRule puts a DestinationRule beside the subject's, in a namespace.
func AddDestinationRule(change, namespace, name string, spec *networking.DestinationRule) Variation {
	return Add(change, &istio.DestinationRule{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace}, Spec: *spec.DeepCopy()})
}

// AddYounger puts a DestinationRule beside one of the subject's, for the same
// host and younger than it: among rules of one second istiod goes by name
// (pilot/pkg/model, sortConfigBySelectorAndCreationTime).
func (e *Editor) AddYounger(change, than, name string, spec *networking.DestinationRule) Variation {
	v := AddDestinationRule(change, e.Subject.Gateway.Namespace, name, spec)
	v.Before = []Condition{Aged{Key{"DestinationRule", e.Subject.Gateway.Namespace, than}}}
	return v
}

// RemoveDestinationRule takes one of the subject's away.
func (e *Editor) RemoveDestinationRule(change, name string) Variation {
	return Remove(change, &istio.DestinationRule{ObjectMeta: e.InGateway(name)})
}

// OtherServiceEntry is one that has nothing to do with the subject.
func (e *Editor) OtherServiceEntry(host string) *istio.ServiceEntry {
	return &istio.ServiceEntry{
		ObjectMeta: e.InGateway("unrelated"),
		Spec: networking.ServiceEntry{
			Hosts: []string{host}, Location: networking.ServiceEntry_MESH_EXTERNAL, Resolution: networking.ServiceEntry_DNS,
			Ports: []*networking.ServicePort{{Number: 443, Name: "tls", Protocol: "TLS"}},
		},
	}
}

// SentinelDomain is the suffix of the hosts by which the lab tells a push.
const SentinelDomain = "sentinel.invalid"

// Scope limits what the application's sidecar sees and where it lets calls go. Hosts
// are "namespace/name", as in a Sidecar resource; the lab's sentinel stays visible.
func (e *Editor) Scope(change string, mode networking.OutboundTrafficPolicy_Mode, hosts ...string) Variation {
	hosts = append(hosts[:len(hosts):len(hosts)], e.Subject.Gateway.Namespace+"/*."+SentinelDomain)
	return Add(change, &istio.Sidecar{
		ObjectMeta: metav1.ObjectMeta{Name: "scope", Namespace: e.Subject.Client.Namespace},
		Spec: networking.Sidecar{
			Egress:                []*networking.IstioEgressListener{{Hosts: hosts}},
			OutboundTrafficPolicy: &networking.OutboundTrafficPolicy{Mode: mode},
		},
	})
}

// FreshHop1 gives each request a hop 1 connection of its own. A policy at the
// gateway is part of a filter chain, and living connections keep the chain that
// they came in by.
func (e *Editor) FreshHop1(change string) Variation {
	return e.Hop1Port(change, func(p *networking.TrafficPolicy_PortTrafficPolicy) {
		p.ConnectionPool.Http = &networking.ConnectionPoolSettings_HTTPSettings{MaxRequestsPerConnection: 1}
	})
}

// AllowAtGateway puts an AuthorizationPolicy on the gateway that lets only
// these workloads through, by their identities.
func (e *Editor) AllowAtGateway(change string, callers ...subject.Workload) Variation {
	source := &security.Source{}
	for _, w := range callers {
		// A principal is a SPIFFE id without its scheme.
		source.Principals = append(source.Principals, e.Subject.SPIFFE(w)[len("spiffe://"):])
	}
	selector := must[*istio.Gateway](e.Baseline, e.Subject.Gateway.Namespace, e.Subject.GatewayName).Spec.Selector
	return Add(change, &istiosecurity.AuthorizationPolicy{
		ObjectMeta: e.InGateway("callers"),
		Spec: security.AuthorizationPolicy{
			Selector: &istiotype.WorkloadSelector{MatchLabels: selector},
			Action:   security.AuthorizationPolicy_ALLOW,
			Rules:    []*security.Rule{{From: []*security.Rule_From{{Source: source}}}},
		},
	})
}

// AddHTTPService puts a Service with HTTP on port 80 and nothing behind it into
// the gateway's namespace.
func (e *Editor) AddHTTPService(change, name string) Variation {
	return Add(change, &corev1.Service{
		ObjectMeta: e.InGateway(name),
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "http", Port: 80}}},
	})
}
