package suites

import (
	"time"

	. "github.com/onsi/gomega"
	"google.golang.org/protobuf/types/known/durationpb"
	networking "istio.io/api/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"

	"twohop/internal/check"
	"twohop/internal/envoy"
	"twohop/internal/manifest"
)

var _ = Claim("H1-unpaired", func(s *Setup) Experiment[*Call] {
	return Experiment[*Call]{
		Arrange: vary(hop1TLS(s, "drop hop 1's tls from the DestinationRule", nil)),
		Check: func(t *T) *Call {
			server := t.FilterChain(t.Gateway, t.Subject.GatewayPort, t.Subject.ExternalHost)
			server.Fact("present", server.Present, BeTrue())
			server.Fact("requires a client certificate", server.RequiresClientCertificate(), BeTrue())
			hop1 := t.Cluster(t.Sidecar, t.Subject.Hop1Cluster())
			hop1.Is(BeTrue())
			hop1.Fact("TLS transport socket", hop1.TLS != nil, BeFalse())

			call := t.Call()
			call.Status(Equal(503))
			call.Fact("sidecar: response flags", call.SidecarLog().ResponseFlags, ContainElement("UC"))
			call.Fact("gateway: requests of this token", len(call.GatewayLines), Equal(0))
			call.Because("gateway: why it refused the connection", call.RefusedLog().DownstreamTransportFailureReason, ContainSubstring("HTTP_REQUEST"))
			return call
		},
		Control: vary(hop1MutualTLS(s, "hop 1 is ISTIO_MUTUAL again", s.Subject.ExternalHost)),
		Cause:   passesBothHops,
		Flips: []string{
			"client sidecar, *: TLS transport socket", "curl: HTTP status", "sidecar: response flags",
			"gateway: requests of this token", "gateway: why it refused the connection",
		},
	}
})

var _ = Claim("H1-sni-align", func(s *Setup) Experiment[*Call] {
	wrong := s.Unique("sni") + ".example.com"
	return noFilterChain(s, "give hop 1 an SNI that is not the Gateway's host", wrong, wrong)
})

var _ = Claim("H1-sni-omitted", func(s *Setup) Experiment[*Call] {
	return noFilterChain(s, "leave out hop 1's SNI", "", "outbound_.8443_.partner_."+s.Subject.GatewayFQDN())
})

// noFilterChain sets hop 1's SNI and checks what a gateway does whose filter
// chains are for other names.
func noFilterChain(s *Setup, change, sni, sent string) Experiment[*Call] {
	return Experiment[*Call]{
		Arrange: vary(hop1MutualTLS(s, change, sni)),
		Check: func(t *T) *Call {
			call := t.Call()
			call.Status(Equal(503))
			call.Fact("sidecar: response flags", call.SidecarLog().ResponseFlags, ContainElement("UF"))
			call.Because("sidecar: transport failure", call.SidecarLog().UpstreamTransportFailureReason, ContainSubstring("Connection_reset_by_peer"))
			call.Fact("gateway: requests of this token", len(call.GatewayLines), Equal(0))
			call.Fact("gateway: SNI of the refused connections", call.RefusedLog().RequestedServerName, Equal(sent))
			call.Fact("gateway: response flags of the refused connections", check.Flags(call.RefusedLog()), Equal("NR"))
			call.Because("gateway: why it refused the connections", call.RefusedLog().ResponseCodeDetails, Equal("filter_chain_not_found"))
			return call
		},
		Control: vary(hop1MutualTLS(s, "hop 1's SNI is the Gateway's host", s.Subject.ExternalHost)),
		Cause:   passesBothHops,
		Flips:   []string{"curl: HTTP status", "sidecar: *", "gateway: *"},
	}
}

// hop1MutualTLS puts hop 1 on ISTIO_MUTUAL with an SNI.
func hop1MutualTLS(s *Setup, change, sni string) Variation {
	return hop1TLS(s, change, &networking.ClientTLSSettings{Mode: networking.ClientTLSSettings_ISTIO_MUTUAL, Sni: sni})
}

// The suffix is whatever istiod was started with (make e2e DOMAIN=…), and the
// one that is not in the registry is the other one.
var _ = Claim("H1-domain", func(s *Setup) Experiment[*Call] {
	elsewhere := s.Subject
	if elsewhere.Domain = "homelab.local"; elsewhere.Domain == s.Subject.Domain {
		elsewhere.Domain = "cluster.local"
	}
	name := func(change, host string) Variation {
		return manifest.Together(change,
			s.Hop1DestinationRule(change, func(dr *networking.DestinationRule) { dr.Host = host }),
			s.VirtualService(change, func(vs *networking.VirtualService) { manifest.Destination(manifest.MeshRoute(vs)).Host = host }))
	}
	return Experiment[*Call]{
		Arrange: vary(name("name the gateway under another suffix than the registry's", elsewhere.GatewayFQDN())),
		Check: func(t *T) *Call {
			t.Cluster(t.Sidecar, elsewhere.Hop1Cluster()).Is(BeFalse())
			t.Cluster(t.Sidecar, t.Subject.Hop1Cluster()).Is(BeFalse())
			call := t.Call()
			call.Status(Equal(503))
			call.Fact("sidecar: response flags", check.Flags(call.SidecarLog()), Equal("NC"))
			call.Because("sidecar: response code details", call.SidecarLog().ResponseCodeDetails, Equal("cluster_not_found"))
			call.Fact("gateway: requests of this token", len(call.GatewayLines), Equal(0))
			return call
		},
		Control: vary(name("name it as the registry does", s.Subject.GatewayFQDN())),
		Cause:   passesBothHops,
		Flips: []string{
			"client sidecar, " + s.Subject.Hop1Cluster() + ": present", "curl: HTTP status", "sidecar: response flags",
			"sidecar: response code details", "gateway: requests of this token",
		},
	}
})

var _ = Claim("H1-host-align", func(s *Setup) Experiment[*Call] {
	const atGateway = "at-the-gateway"
	return Experiment[*Call]{
		Arrange: vary(
			s.VirtualService("the VirtualService keeps hop 1's route only", func(vs *networking.VirtualService) {
				vs.Gateways = []string{"mesh"}
				manifest.DropRoute(vs, manifest.GatewayRouteName)
			}),
			s.AddVirtualService("hop 2's route is in one of its own, for another host", atGateway, hop2Route(s, "other."+s.Subject.ExternalHost)),
		),
		Check: func(t *T) *Call {
			call := t.Call()
			call.Status(Equal(404))
			call.Fact("sidecar: upstream cluster", call.SidecarLog().UpstreamCluster, HavePrefix(t.Subject.Hop1Cluster()))
			// Hop 1 stands: the gateway terminated its TLS, and reset nothing.
			call.Fact("sidecar: response flags", call.SidecarLog().ResponseFlags, BeEmpty())
			call.Fact("gateway: connections refused", len(call.RefusedLines), Equal(0))
			call.Fact("gateway: requests of this token", len(call.GatewayLines), Equal(1))
			call.Fact("gateway: SNI of hop 1", call.GatewayLog().RequestedServerName, Equal(t.Subject.ExternalHost))
			call.Fact("gateway: TLS version of hop 1", call.GatewayLog().DownstreamTLSVersion, MatchRegexp(modernTLS))
			call.Fact("gateway: response flags", check.Flags(call.GatewayLog()), Equal("NR"))
			call.Because("gateway: response code details", call.GatewayLog().ResponseCodeDetails, Equal("route_not_found"))
			call.Fact("partner: requests of this token", len(call.PartnerLines), Equal(0))
			return call
		},
		Control: vary(s.AddVirtualService("hop 2's route is for the host that is called", atGateway, hop2Route(s, s.Subject.ExternalHost))),
		Cause:   passesBothHops,
		Flips:   []string{"curl: HTTP status", "gateway: response *", "partner: requests of this token"},
	}
})

// hop2Route is the baseline's route at the gateway, for a host.
func hop2Route(s *Setup, host string) *networking.VirtualService {
	vs := s.BaselineVirtualService()
	vs.Hosts, vs.Gateways = []string{host}, []string{s.Subject.Gateway.Namespace + "/" + s.Subject.GatewayName}
	manifest.DropRoute(vs, manifest.MeshRouteName)
	return vs
}

// rbacDenied begins Envoy's response code details where no policy allows a
// request (source/extensions/filters/http/rbac).
const rbacDenied = "rbac_access_denied_matched_policy[none]"

// twoCallers are the calls of the application and of a second one.
type twoCallers struct{ first, second *Call }

var _ = Claim("H1-identity", func(s *Setup) Experiment[twoCallers] {
	return Experiment[twoCallers]{
		Arrange: vary(
			s.SecondClient("run a second application, under a service account of its own"),
			s.FreshHop1("make one request per connection of hop 1"),
			s.AllowAtGateway("allow only the first one's identity at the gateway", s.Subject.Client),
		),
		Check: func(t *T) twoCallers {
			saw := twoCallers{first: t.Call(), second: t.CallFrom(t.SecondSidecar)}
			first, second := saw.first, saw.second
			first.StatusOf("first client", Equal(200))
			first.Fact("gateway: the first caller's identity", first.GatewayLog().DownstreamPeerURISAN, Equal(t.Subject.SPIFFE(t.Subject.Client)))
			second.StatusOf("second client", Equal(403))
			second.Fact("gateway: the second caller's identity", second.GatewayLog().DownstreamPeerURISAN, Equal(t.Subject.SPIFFE(t.Subject.SecondClient())))
			second.Because("gateway: response code details", second.GatewayLog().ResponseCodeDetails, HavePrefix(rbacDenied))
			second.Fact("partner: the second one's requests", len(second.PartnerLines), Equal(0))
			return saw
		},
		Control: vary(s.AllowAtGateway("allow the second one's identity instead", s.Subject.SecondClient())),
		Cause: func(_ *T, saw twoCallers) {
			saw.first.StatusOf("first client", Equal(403))
			saw.first.Because("gateway: response code details of the first one", saw.first.GatewayLog().ResponseCodeDetails, HavePrefix(rbacDenied))
			saw.second.StatusOf("second client", Equal(200))
		},
		Flips: []string{
			"first client: HTTP status", "second client: HTTP status", "gateway: response code details", "partner: the second one's requests",
		},
	}
})

var _ = Claim("H1-identity-2", func(s *Setup) Experiment[*Call] {
	return Experiment[*Call]{
		Arrange: vary(
			s.SecondClient("run a second application, under a service account that nobody mentions"),
			s.FreshHop1("make one request per connection of hop 1"),
		),
		Check: func(t *T) *Call {
			call := t.CallFrom(t.SecondSidecar)
			call.Status(Equal(403))
			call.Fact("gateway: the caller's identity", call.GatewayLog().DownstreamPeerURISAN, Equal(t.Subject.SPIFFE(t.Subject.SecondClient())))
			call.Because("gateway: response code details", call.GatewayLog().ResponseCodeDetails, HavePrefix(rbacDenied))
			call.Fact("partner: requests of this token", len(call.PartnerLines), Equal(0))
			return call
		},
		Cause: func(_ *T, call *Call) {
			presented(call, s.Certificates.Credential.Serial())
		},
		Control: vary(s.AllowAtGateway("allow only the first application's identity at the gateway", s.Subject.Client)),
		Flips:   []string{"curl: HTTP status", "gateway: response code details", "partner: requests of this token"},
	}
})

// hop1HTTP sets the http part of hop 1's connectionPool.
func hop1HTTP(s *Setup, change string, http *networking.ConnectionPoolSettings_HTTPSettings) Variation {
	return s.Hop1Port(change, func(p *networking.TrafficPolicy_PortTrafficPolicy) { p.ConnectionPool.Http = http })
}

var _ = Claim("H1-per-pod", func(s *Setup) Experiment[*Call] {
	// A limit of one request at a time and one request that is held use the
	// limit up. maxConnections would not do: each of Envoy's worker threads may
	// open one connection beyond it (source/common/conn_pool/conn_pool_base.cc,
	// tryCreateNewConnection).
	const header, samePod = "x-hold", "call from the same pod"
	return Experiment[*Call]{
		Arrange: vary(
			s.SecondClient("run a second application pod"),
			hop1HTTP(s, "allow one request at a time on hop 1", &networking.ConnectionPoolSettings_HTTPSettings{Http2MaxRequests: 1}),
			delayed(s, "delay requests with a header of ours at the gateway", header),
		),
		Check: func(t *T) *Call {
			for _, p := range []*check.Proxy{t.Sidecar, t.SecondSidecar} {
				hop1 := t.Cluster(p, t.Subject.Hop1Cluster())
				hop1.Fact("maxConnections", hop1.Pool.MaxConnections, Equal(t.Subject.Hop1Pool.MaxConnections))
				hop1.Fact("maxRequests", hop1.Pool.MaxRequests, Equal(uint32(1)))
			}
			held := t.InFlight(t.Sidecar, t.Subject.Hop1Cluster(), header+": yes")
			held.Active("before the call", BeNumerically("==", 1))
			from := t.SecondSidecar
			if given(t, samePod, false) {
				from = t.Sidecar
			}
			call := t.CallFrom(from)
			held.Active("after the call", BeNumerically("==", 1))
			held.Release()
			call.StatusOf("curl, while a pod's one request is under way", Equal(200))
			call.Fact("sidecar: upstream cluster", call.SidecarLog().UpstreamCluster, HavePrefix(t.Subject.Hop1Cluster()))
			return call
		},
		Control: vary(manifest.Input("call from the pod whose request is under way", samePod, true)),
		Cause: func(_ *T, call *Call) {
			call.Status(Equal(503))
			call.Fact("sidecar: response flags", check.Flags(call.SidecarLog()), Equal("UO"))
			call.Because("sidecar: response code details", call.SidecarLog().ResponseCodeDetails, ContainSubstring("overflow"))
			call.Fact("gateway: requests of this token", len(call.GatewayLines), Equal(0))
		},
		Flips: []string{"curl, while a pod's one request is under way: HTTP status"},
	}
})

// delayed makes the gateway hold requests with a header back for a minute.
func delayed(s *Setup, change, header string) Variation {
	return s.VirtualService(change, func(vs *networking.VirtualService) {
		route := manifest.GatewayRoute(vs).DeepCopy()
		route.Name += "-delayed"
		manifest.OnlyMatch(route).Headers = map[string]*networking.StringMatch{header: {}}
		route.Fault = &networking.HTTPFaultInjection{Delay: &networking.HTTPFaultInjection_Delay{
			HttpDelayType: &networking.HTTPFaultInjection_Delay_FixedDelay{FixedDelay: durationpb.New(time.Minute)},
			Percentage:    &networking.Percent{Value: 100},
		}}
		manifest.InsertRouteBefore(vs, manifest.GatewayRouteName, route)
	})
}

var _ = Claim("H1-http", func(s *Setup) Experiment[pooledCalls] {
	const requests, perConnection = 4, 2
	const idle = 900 * time.Second
	return Experiment[pooledCalls]{
		Arrange: vary(hop1HTTP(s, "give hop 1 http settings", &networking.ConnectionPoolSettings_HTTPSettings{
			MaxRequestsPerConnection: perConnection, IdleTimeout: durationpb.New(idle),
		})),
		Check: func(t *T) pooledCalls {
			saw := pooledCalls{hop1: t.Cluster(t.Sidecar, t.Subject.Hop1Cluster())}
			saw.hop1.Is(BeTrue())
			saw.hop1.Fact("idleTimeout", saw.hop1.Pool.IdleTimeout, Equal(idle))
			saw.hop1.Fact("maxRequestsPerConnection", saw.hop1.Pool.MaxRequestsPerConnection, Equal(uint32(perConnection)))
			saw.calls = t.Sequential(requests, time.Millisecond).Calls()
			saw.calls[0].Fact("curl: responses with 200", check.Answered(saw.calls, 200), Equal(requests))
			saw.connections(Equal(requests / perConnection))
			return saw
		},
		Control: vary(hop1HTTP(s, "drop the http settings", nil)),
		Cause: func(_ *T, saw pooledCalls) {
			saw.hop1.Fact("maxRequestsPerConnection", saw.hop1.Pool.MaxRequestsPerConnection, BeNil())
			saw.connections(Equal(1))
		},
		Flips: []string{"*: idleTimeout", "*: maxRequestsPerConnection", "gateway: connections of hop 1 *"},
	}
})

// pooledCalls is hop 1's cluster and the calls of one client through it.
type pooledCalls struct {
	hop1  *check.Cluster
	calls []*Call
}

// connections states how many connections of hop 1 the gateway got for the calls.
func (saw pooledCalls) connections(want OmegaMatcher) {
	ids := map[uint64]bool{}
	for _, c := range saw.calls {
		if id := c.GatewayLog().ConnectionID; id != nil {
			ids[*id] = true
		}
	}
	saw.calls[0].Fact("gateway: connections of hop 1 for four requests of one client", len(ids), want)
}

var _ = Claim("H1-protocol", func(s *Setup) Experiment[*Call] {
	name := func(change, port string) Variation {
		return s.GatewayServicePort(change, func(p *corev1.ServicePort) { p.Name = port })
	}
	return Experiment[*Call]{
		Arrange: vary(name("name the gateway Service's port http2", "http2")),
		Check: func(t *T) *Call {
			hop1 := t.Cluster(t.Sidecar, t.Subject.Hop1Cluster())
			hop1.Is(BeTrue())
			hop1.Fact("HTTP version", hop1.Pool.Protocol, Equal(envoy.ProtocolHTTP2))
			call := t.Call()
			call.Status(Equal(200))
			call.Fact("sidecar: protocol of hop 1", call.SidecarLog().UpstreamProtocol, Equal("HTTP/2"))
			call.Fact("gateway: protocol of hop 1", call.GatewayLog().Protocol, Equal("HTTP/2"))
			return call
		},
		Control: vary(name("name it https", "https")),
		Cause: func(_ *T, call *Call) {
			call.Status(Equal(200))
			call.Fact("sidecar: protocol of hop 1", call.SidecarLog().UpstreamProtocol, Equal("HTTP/1.1"))
			call.Fact("gateway: protocol of hop 1", call.GatewayLog().Protocol, Equal("HTTP/1.1"))
		},
		Flips: []string{"client sidecar, *: HTTP version", "sidecar: protocol of hop 1", "gateway: protocol of hop 1"},
	}
})
