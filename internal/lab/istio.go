package lab

import (
	networking "istio.io/api/networking/v1alpha3"
	security "istio.io/api/security/v1beta1"
	istiotype "istio.io/api/type/v1beta1"
	istio "istio.io/client-go/pkg/apis/networking/v1"
	istiosecurity "istio.io/client-go/pkg/apis/security/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"twohop/internal/subject"
)

// AddVirtualService puts a VirtualService beside the subject's, in the
// gateway's namespace.
func (l *Lab) AddVirtualService(change, name string, spec *networking.VirtualService) Variation {
	return Add(change, &istio.VirtualService{ObjectMeta: l.inGateway(name), Spec: *spec.DeepCopy()})
}

// AddDestinationRule puts a DestinationRule beside the subject's, in a namespace.
func AddDestinationRule(change, namespace, name string, spec *networking.DestinationRule) Variation {
	return Add(change, &istio.DestinationRule{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace}, Spec: *spec.DeepCopy()})
}

// RemoveDestinationRule takes one of the subject's away.
func (l *Lab) RemoveDestinationRule(change, name string) Variation {
	return Remove(change, &istio.DestinationRule{ObjectMeta: l.inGateway(name)})
}

// BaselineDestinationRule is a DestinationRule as the fixtures have it.
func (l *Lab) BaselineDestinationRule(name string) *networking.DestinationRule {
	dr, ok := l.find(key{"DestinationRule", l.home.Gateway.Namespace, name}).(*istio.DestinationRule)
	if !ok {
		panic("the fixtures have no DestinationRule " + name) // a unit test reads them
	}
	return dr.Spec.DeepCopy()
}

// SidecarScope limits what the proxies of the application's namespace see and may do.
func (l *Lab) SidecarScope(change string, spec *networking.Sidecar) Variation {
	return Add(change, &istio.Sidecar{ObjectMeta: metav1.ObjectMeta{Name: "scope", Namespace: l.home.Client.Namespace}, Spec: *spec.DeepCopy()})
}

// AllowAtGateway puts an AuthorizationPolicy on the gateway that lets only
// these workloads through, by their identities.
func (l *Lab) AllowAtGateway(change string, callers ...subject.Workload) Variation {
	source := &security.Source{}
	for _, w := range callers {
		// A principal is a SPIFFE id without its scheme.
		source.Principals = append(source.Principals, l.home.SPIFFE(w)[len("spiffe://"):])
	}
	return Add(change, &istiosecurity.AuthorizationPolicy{
		ObjectMeta: l.inGateway("callers"),
		Spec: security.AuthorizationPolicy{
			Selector: &istiotype.WorkloadSelector{MatchLabels: l.gatewayLabels()},
			Action:   security.AuthorizationPolicy_ALLOW,
			Rules:    []*security.Rule{{From: []*security.Rule_From{{Source: source}}}},
		},
	})
}

// gatewayLabels select the gateway's pods, as the fixtures' Gateway does.
func (l *Lab) gatewayLabels() map[string]string {
	gateway, ok := l.find(key{"Gateway", l.home.Gateway.Namespace, l.home.GatewayName}).(*istio.Gateway)
	if !ok {
		panic("the fixtures have no Gateway " + l.home.GatewayName) // a unit test reads them
	}
	return gateway.Spec.Selector
}

func (l *Lab) inGateway(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Namespace: l.home.Gateway.Namespace}
}
