package lab

import (
	"context"
	"fmt"
	"time"

	networking "istio.io/api/networking/v1alpha3"
	security "istio.io/api/security/v1beta1"
	istiotype "istio.io/api/type/v1beta1"
	istio "istio.io/client-go/pkg/apis/networking/v1"
	istiosecurity "istio.io/client-go/pkg/apis/security/v1"
	corev1 "k8s.io/api/core/v1"
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

// AddYounger puts a DestinationRule beside one of the subject's, for the same host
// and younger than it: creation times are whole seconds, and among equals
// istiod goes by name (pilot/pkg/model, sortConfigBySelectorAndCreationTime).
func (l *Lab) AddYounger(change, than, name string, spec *networking.DestinationRule) Variation {
	add := AddDestinationRule(change, l.home.Gateway.Namespace, name, spec)
	return Variation{Change: change, do: func(ctx context.Context, l *Lab) (Applied, error) {
		older := &istio.DestinationRule{}
		if err := l.Kube.Objects().Get(ctx, than, l.home.Gateway.Namespace, older); err != nil {
			return Applied{}, fmt.Errorf("look up the age of DestinationRule %s: %w", than, err)
		}
		select {
		case <-time.After(time.Until(older.CreationTimestamp.Add(time.Second))):
		case <-ctx.Done():
			return Applied{}, fmt.Errorf("wait until DestinationRule %s is a second old: %w", than, context.Cause(ctx))
		}
		return add.do(ctx, l)
	}}
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

// Scope limits what the application's sidecar sees and where it lets calls go. Hosts
// are "namespace/name", as in a Sidecar resource; the lab's sentinel stays visible.
func (l *Lab) Scope(change string, mode networking.OutboundTrafficPolicy_Mode, hosts ...string) Variation {
	hosts = append(hosts[:len(hosts):len(hosts)], l.home.Gateway.Namespace+"/*."+sentinelDomain)
	return Add(change, &istio.Sidecar{
		ObjectMeta: metav1.ObjectMeta{Name: "scope", Namespace: l.home.Client.Namespace},
		Spec: networking.Sidecar{
			Egress:                []*networking.IstioEgressListener{{Hosts: hosts}},
			OutboundTrafficPolicy: &networking.OutboundTrafficPolicy{Mode: mode},
		},
	})
}

// FreshHop1 gives each request a hop 1 connection of its own. A policy at the
// gateway is part of a filter chain, and living connections keep the chain that
// they came in by.
func (l *Lab) FreshHop1(change string) Variation {
	return l.DestinationRule(change, l.home.Hop1Rule, func(dr *networking.DestinationRule) {
		dr.Subsets[0].TrafficPolicy.PortLevelSettings[0].ConnectionPool.Http = &networking.ConnectionPoolSettings_HTTPSettings{MaxRequestsPerConnection: 1}
	})
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

// GatewayPortName renames the port of the gateway's Service.
func (l *Lab) GatewayPortName(change, name string) Variation {
	return Edit(change, l.home.Gateway.Namespace, l.home.GatewayService, func(s *corev1.Service) { s.Spec.Ports[0].Name = name })
}

// AddHTTPService puts a Service with HTTP on port 80 and nothing behind it into
// the gateway's namespace.
func (l *Lab) AddHTTPService(change, name string) Variation {
	return Add(change, &corev1.Service{
		ObjectMeta: l.inGateway(name),
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "http", Port: 80}}},
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
