package suites

import (
	. "github.com/onsi/gomega"
	networking "istio.io/api/networking/v1alpha3"

	"twohop/internal/manifest"
)

// Trap 3: a call that should go through the gateway, and where it went. What the
// sidecar sees is limited to the gateway's namespace, because an HTTP port 80 of
// anybody else's would bring a listener that is not the guide's.

// Clusters of istiod's own that every proxy has.
const (
	passthrough = "PassthroughCluster"
	blackHole   = "BlackHoleCluster"
)

var _ = Claim("T3-se-port", func(s *Setup) Experiment[*Call] {
	return Experiment[*Call]{
		Arrange: vary(allowAny(s), dropMeshRoute(s)),
		Check: func(t *T) *Call {
			call := t.Call()
			bypasses(t, call, t.Subject.BypassCluster())
			return call
		},
		Control: vary(unregisterAppPort(s)),
		Cause:   passesThrough,
		Flips:   []string{"sidecar: upstream cluster"},
	}
})

var _ = Claim("T3-passthrough", func(s *Setup) Experiment[*Call] {
	return Experiment[*Call]{
		Arrange: vary(allowAny(s), dropMeshRoute(s), unregisterAppPort(s)),
		Check: func(t *T) *Call {
			call := t.Call()
			call.Status(Equal(200))
			bypasses(t, call, passthrough)
			call.Fact("partner: TLS version", call.PartnerLog().TLS, BeEmpty())
			return call
		},
		Control: vary(registerAppPort(s)),
		Cause:   ridesServiceEntry,
		Flips:   []string{"curl: HTTP status", "sidecar: upstream cluster"},
	}
})

var _ = Claim("T3-registry-only", func(s *Setup) Experiment[*Call] {
	return Experiment[*Call]{
		Arrange: vary(registryOnly(s), dropMeshRoute(s)),
		Check:   blocked,
		Cause:   ridesServiceEntry,
		Control: vary(unregisterAppPort(s)),
		Flips:   blockedFlips,
	}
})

var _ = Claim("T3-registry-only-2", func(s *Setup) Experiment[*Call] {
	return Experiment[*Call]{
		Arrange: vary(registryOnly(s), dropMeshRoute(s), unregisterAppPort(s)),
		Check:   blocked,
		Control: vary(allowAny(s)),
		Cause:   passesThrough,
		Flips:   blockedFlips,
	}
})

var _ = Claim("T3-real-lock", func(s *Setup) Experiment[*Call] {
	return Experiment[*Call]{
		Arrange: vary(registryOnly(s), hideServiceEntry(s), addBystander(s), dropMeshRoute(s)),
		Check: func(t *T) *Call {
			call := t.Call()
			blockedByRoute(call)
			return call
		},
		Control: vary(exportServiceEntry(s, "export it to everybody", "*")),
		Cause:   ridesServiceEntry,
		Flips:   []string{"curl: HTTP status", "sidecar: route", "partner: requests of this token"},
	}
})

var _ = Claim("T3-real-lock-2", func(s *Setup) Experiment[*Call] {
	return Experiment[*Call]{
		Arrange: vary(seesOnly(s, "the gateway's Service", s.Subject.GatewayFQDN()), dropMeshRoute(s)),
		Check:   blocked,
		Control: vary(registryOnly(s)),
		Cause:   ridesServiceEntry,
		Flips:   blockedFlips,
	}
})

var _ = Claim("T3-real-lock-3", func(s *Setup) Experiment[*Call] {
	return Experiment[*Call]{
		Arrange: vary(registryOnly(s), hideServiceEntry(s)),
		Check:   goesThrough,
		Cause: func(t *T, call *Call) {
			call.Status(Equal(0))
			swallowed(call)
			call.Fact("gateway: requests of this token", len(call.GatewayLines), Equal(0))
		},
		Control: vary(addBystander(s)),
		Flips:   append([]string{"curl: HTTP status", "partner: requests of this token"}, bypassFlips...),
	}
})

var _ = Claim("T3-real-lock-4", func(s *Setup) Experiment[*Call] {
	// The bystander's listener for HTTP on port 80 is there throughout: what the
	// call lacks is the route in it.
	return Experiment[*Call]{
		Arrange: vary(addBystander(s), seesOnly(s, "the gateway's Service and the bystander", s.Subject.GatewayFQDN(), serviceFQDN(s, bystander))),
		Check:   goesThrough,
		Cause: func(_ *T, call *Call) {
			blockedByRoute(call)
			call.Fact("gateway: requests of this token", len(call.GatewayLines), Equal(0))
		},
		Control: vary(registryOnly(s)),
		Flips:   append([]string{"curl: HTTP status", "partner: requests of this token"}, bypassFlips...),
	}
})

var _ = Claim("T3-80-hack", func(s *Setup) Experiment[*Call] {
	return Experiment[*Call]{
		Arrange: vary(allowAny(s), unregisterAppPort(s)),
		Check:   goesThrough,
		Cause:   passesThrough,
		Control: vary(addBystander(s)),
		Flips:   bypassFlips,
	}
})

var _ = Claim("T3-80-hack-2", func(s *Setup) Experiment[*Call] {
	ns := s.Subject.Gateway.Namespace + "/"
	return Experiment[*Call]{
		Arrange: vary(allowAny(s), unregisterAppPort(s), addBystander(s)),
		Check:   goesThrough,
		Control: vary(s.Scope("hide that service from the application", networking.OutboundTrafficPolicy_ALLOW_ANY, ns+s.Subject.GatewayFQDN(), ns+s.Subject.ExternalHost)),
		Cause:   passesThrough,
		Flips:   bypassFlips,
	}
})

func allowAny(s *Setup) Variation {
	return s.Scope("ALLOW_ANY, and the application sees the gateway's namespace", networking.OutboundTrafficPolicy_ALLOW_ANY, s.Subject.Gateway.Namespace+"/*")
}

func registryOnly(s *Setup) Variation {
	return s.Scope("REGISTRY_ONLY, and the application sees the gateway's namespace", networking.OutboundTrafficPolicy_REGISTRY_ONLY, s.Subject.Gateway.Namespace+"/*")
}

// seesOnly hides from the application what is not one of these hosts of the
// gateway's namespace.
func seesOnly(s *Setup, what string, hosts ...string) Variation {
	var visible []string
	for _, host := range hosts {
		visible = append(visible, s.Subject.Gateway.Namespace+"/"+host)
	}
	return s.Scope("REGISTRY_ONLY, and the application sees "+what+" alone", networking.OutboundTrafficPolicy_REGISTRY_ONLY, visible...)
}

// unregisterAppPort leaves the ServiceEntry with the port of hop 2, as in the guide.
func unregisterAppPort(s *Setup) Variation {
	return s.ServiceEntry("register hop 2's port only in the ServiceEntry", func(se *networking.ServiceEntry) {
		manifest.DropEntryPort(se, uint32(s.Subject.AppPort))
	})
}

func registerAppPort(s *Setup) Variation {
	return s.ServiceEntry("register the port that is called, too", func(se *networking.ServiceEntry) {
		baseline := s.BaselineServiceEntry()
		se.Ports = append(se.Ports, manifest.EntryPort(&baseline.Spec, uint32(s.Subject.AppPort)))
	})
}

const bystander = "bystander"

func serviceFQDN(s *Setup, name string) string {
	return name + "." + s.Subject.Gateway.Namespace + ".svc." + s.Subject.Domain
}

// addBystander brings the sidecar a listener for HTTP on port 80.
func addBystander(s *Setup) Variation {
	return s.AddHTTPService("add an HTTP service on port 80 that nobody calls", bystander)
}

func hideServiceEntry(s *Setup) Variation {
	return exportServiceEntry(s, "export the ServiceEntry to the gateway's namespace alone", ".")
}

func exportServiceEntry(s *Setup, change string, to ...string) Variation {
	return s.ServiceEntry(change, func(se *networking.ServiceEntry) { se.ExportTo = to })
}

// bypasses states that the call came to the partner straight from the
// application, by a cluster of its sidecar.
func bypasses(t *T, c *Call, cluster string) {
	c.Fact("sidecar: upstream cluster", c.SidecarLog().UpstreamCluster, Equal(cluster))
	c.Fact("gateway: requests of this token", len(c.GatewayLines), Equal(0))
	c.Fact("partner: requests of this token", len(c.PartnerLines), Equal(1))
	c.Fact("partner: the caller is the application's pod", c.PartnerLog().Peer, Equal(t.Sidecar.IP))
}

func passesThrough(t *T, c *Call) {
	c.Status(Equal(200))
	bypasses(t, c, passthrough)
}

// ridesServiceEntry states that the call bypassed the gateway by the
// ServiceEntry's own cluster, and so in plaintext to the partner's TLS port.
func ridesServiceEntry(t *T, c *Call) {
	c.Status(Equal(400))
	c.Because("partner's response", string(c.Body), ContainSubstring("The plain HTTP request was sent to HTTPS port"))
	bypasses(t, c, t.Subject.BypassCluster())
}

// blocked checks that the call did not come to the partner at all.
func blocked(t *T) *Call {
	call := t.Call()
	swallowed(call)
	return call
}

// swallowed states that the call ended in the sidecar, in the cluster without
// hosts that REGISTRY_ONLY has for what it does not know.
func swallowed(c *Call) {
	c.Because("sidecar: upstream cluster", c.SidecarLog().UpstreamCluster, Equal(blackHole))
	c.Fact("partner: requests of this token", len(c.PartnerLines), Equal(0))
}

// blockedFlips are the facts of blocked.
var blockedFlips = []string{"sidecar: upstream cluster", "partner: requests of this token"}

// blockedByRoute states that the sidecar answered the call itself, by the route
// that REGISTRY_ONLY puts last.
func blockedByRoute(c *Call) {
	c.Status(Equal(502))
	c.Because("sidecar: route", c.SidecarLog().RouteName, Equal("block_all"))
	c.Fact("partner: requests of this token", len(c.PartnerLines), Equal(0))
}

// goesThrough checks that the call takes both hops.
func goesThrough(t *T) *Call {
	call := t.Call()
	passesBothHops(t, call)
	return call
}

// bypassFlips are the facts of goesThrough that a bypass turns whose call arrives.
var bypassFlips = []string{
	"sidecar: upstream cluster", "gateway: requests of this token", "gateway: SNI of hop 1", "partner: the caller is the gateway",
}
