package lab

import (
	"context"
	"fmt"
	"slices"

	networking "istio.io/api/networking/v1alpha3"
)

// Together makes one change of several.
func Together(change string, variations ...Variation) Variation {
	return Variation{Change: change, do: func(ctx context.Context, l *Lab) (Applied, error) {
		var all Applied
		for _, v := range variations {
			a, err := v.do(ctx, l)
			if err != nil {
				return all, err
			}
			if len(a.YAML) == 0 && a.Command != "" || len(all.YAML) == 0 && all.Command != "" {
				all.Command += "\n" + a.Command // a deletion has no document to join
				continue
			}
			if all.Command = a.Command; len(all.YAML) > 0 {
				all.YAML = append(all.YAML, "---\n"...)
			}
			all.YAML = append(all.YAML, a.YAML...)
		}
		return all, nil
	}}
}

// Port is another port of the external host. Where no port has been before no
// cluster has been either: nothing old keeps serving while its secrets are
// awaited, and no connection of it is left.
type Port struct {
	Number uint32
	// Target is the port of the partner's Service: which kind of partner.
	Target uint32
	// Header leads only requests that have it to this port; without one all go.
	Header string
	// Settings change a copy of hop 2's entry in the DestinationRule.
	Settings func(*networking.TrafficPolicy_PortTrafficPolicy)
}

// Hop2Port gives another port of the external host settings of its own in hop 2's
// rule, registers it, and leads hop 2 there. istiod has read the rule before the
// port is there: F-order shows what comes of the other order.
func (l *Lab) Hop2Port(change string, p Port) Variation {
	return Together(change,
		l.PortRule(change, p).and(func(ctx context.Context, l *Lab) error { return l.awaitRead(ctx) }),
		l.PortRoute(change, p))
}

// PortRule gives a port settings of its own in hop 2's rule.
func (l *Lab) PortRule(change string, p Port) Variation {
	return l.DestinationRule(change, l.Subject.Hop2Rule, func(dr *networking.DestinationRule) {
		entry := dr.TrafficPolicy.PortLevelSettings[0].DeepCopy()
		entry.Port.Number = p.Number
		if p.Settings != nil {
			p.Settings(entry)
		}
		dr.TrafficPolicy.PortLevelSettings = append(dr.TrafficPolicy.PortLevelSettings, entry)
	})
}

// PortRoute registers a port of the external host and leads hop 2 there.
func (l *Lab) PortRoute(change string, p Port) Variation {
	return Together(change,
		l.ServiceEntry(change, func(se *networking.ServiceEntry) {
			se.Ports = append(se.Ports, &networking.ServicePort{Number: p.Number, Name: fmt.Sprintf("tls-%d", p.Number), Protocol: "TLS", TargetPort: p.Target})
		}),
		l.VirtualService(change, func(vs *networking.VirtualService) {
			hop2 := slices.IndexFunc(vs.Http, func(r *networking.HTTPRoute) bool { return r.Name == "hop2" })
			route := vs.Http[hop2].DeepCopy()
			route.Route[0].Destination.Port.Number = p.Number
			if p.Header == "" {
				vs.Http[hop2] = route
				return
			}
			route.Name = "hop2-other"
			route.Match[0].Headers = map[string]*networking.StringMatch{p.Header: {}}
			vs.Http = slices.Insert(vs.Http, hop2, route)
		}))
}

// PartnerPort leads the external host's TLS port to another port of the
// partner's Service: to another kind of partner.
func (l *Lab) PartnerPort(change string, target uint32) Variation {
	return l.ServiceEntry(change, func(se *networking.ServiceEntry) {
		for _, port := range se.Ports {
			if int(port.Number) == l.Subject.ExternalPort {
				port.TargetPort = target
			}
		}
	})
}

// PartnerPortOf is PartnerPort for another port of the external host.
func (l *Lab) PartnerPortOf(change string, number, target uint32) Variation {
	return l.ServiceEntry(change, func(se *networking.ServiceEntry) {
		for _, port := range se.Ports {
			if port.Number == number {
				port.TargetPort = target
			}
		}
	})
}
