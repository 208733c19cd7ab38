package manifest

import (
	"fmt"

	networking "istio.io/api/networking/v1alpha3"
)

// Port is another port of the external host. Where no port has been before no
// cluster has been either: nothing old keeps serving while its secrets are
// awaited, and no connection of it is left.
type Port struct {
	Number uint32
	// Target is the port of the partner's Service: which kind of partner.
	Target uint32
	// Header leads only requests that have it to this port; without one all go.
	Header string
	// Settings change the copy of hop 2's settings that this port gets.
	Settings func(*networking.TrafficPolicy_PortTrafficPolicy)
}

// OtherPort leads hop 2 to another port. The rule comes first: a ServiceEntry's
// port that istiod pushes before it has a cluster without TLS (claim F-order).
func (e *Editor) OtherPort(change string, p Port) Variation {
	return Together(change, e.PortRule(change, p), e.PortRoute(change, p))
}

// PortRule gives another port of the external host hop 2's settings.
func (e *Editor) PortRule(change string, p Port) Variation {
	return e.Hop2DestinationRule(change, func(dr *networking.DestinationRule) {
		entry := e.Hop2Settings(dr).DeepCopy()
		entry.Port.Number = p.Number
		if p.Settings != nil {
			p.Settings(entry)
		}
		dr.TrafficPolicy.PortLevelSettings = append(dr.TrafficPolicy.PortLevelSettings, entry)
	})
}

// PortRoute registers a port of the external host and leads hop 2 there.
func (e *Editor) PortRoute(change string, p Port) Variation {
	return Together(change,
		e.ServiceEntry(change, func(se *networking.ServiceEntry) {
			se.Ports = append(se.Ports, &networking.ServicePort{Number: p.Number, Name: fmt.Sprintf("tls-%d", p.Number), Protocol: "TLS", TargetPort: p.Target})
		}),
		e.VirtualService(change, func(vs *networking.VirtualService) {
			if p.Header == "" {
				Destination(GatewayRoute(vs)).Port.Number = p.Number
				return
			}
			route := GatewayRoute(vs).DeepCopy()
			Destination(route).Port.Number = p.Number
			route.Name = fmt.Sprintf("%s-%d", GatewayRouteName, p.Number)
			OnlyMatch(route).Headers = map[string]*networking.StringMatch{p.Header: {}}
			InsertRouteBefore(vs, GatewayRouteName, route)
		}))
}

// PartnerPort leads the external host's TLS port to another port of the
// partner's Service: to another kind of partner.
func (e *Editor) PartnerPort(change string, target uint32) Variation {
	return e.PartnerPortOf(change, uint32(e.Subject.ExternalPort), target)
}

// PartnerPortOf is PartnerPort for another port of the external host.
func (e *Editor) PartnerPortOf(change string, number, target uint32) Variation {
	return e.ServiceEntry(change, func(se *networking.ServiceEntry) { EntryPort(se, number).TargetPort = target })
}
