package suites

import (
	"context"
	"time"

	. "github.com/onsi/gomega"
	"google.golang.org/protobuf/types/known/durationpb"
	networking "istio.io/api/networking/v1alpha3"

	"twohop/internal/envoy"
	"twohop/internal/lab"
	"twohop/internal/observe"
	"twohop/internal/trial"
)

var _ = Claim("H1-unpaired", func(t *trial.T) trial.Experiment {
	var call *trial.Call
	return trial.Experiment{
		Arrange: []lab.Variation{hop1TLS(t, "drop hop 1's tls from the DestinationRule", nil)},
		Check: func(ctx context.Context, t *trial.T) (err error) {
			hop1, err := t.Cluster(ctx, t.Sidecar, t.Subject.Hop1Cluster())
			if err != nil {
				return err
			}
			hop1.Fact("TLS transport socket", hop1.TLS != nil, BeFalse())
			if call, err = t.Call(ctx); err != nil {
				return err
			}
			call.Status(Equal(503))
			call.Fact("sidecar: response flags", call.Left().ResponseFlags, ContainElement("UC"))
			call.Fact("gateway: requests of this token", len(call.Gateway), Equal(0))
			call.Fact("gateway: why the connection was refused", call.Turned().DownstreamTransportFailureReason, ContainSubstring("HTTP_REQUEST"))
			return nil
		},
		Control: []lab.Variation{hop1TLS(t, "hop 1 is ISTIO_MUTUAL again", &networking.ClientTLSSettings{
			Mode: networking.ClientTLSSettings_ISTIO_MUTUAL, Sni: t.Subject.ExternalHost,
		})},
		Cause: passesBothHops(&call),
	}
})

var _ = Claim("H1-sni-align", func(t *trial.T) trial.Experiment {
	wrong := trial.Unique() + ".example.com"
	return noFilterChain(t, "give hop 1 an SNI that is not the Gateway's host", wrong, wrong)
})

var _ = Claim("H1-sni-omitted", func(t *trial.T) trial.Experiment {
	return noFilterChain(t, "leave out hop 1's SNI", "", "outbound_.8443_.partner_."+t.Subject.GatewayFQDN())
})

// The suffix is whatever istiod was started with (make e2e DOMAIN=…), and the
// one that is not in the registry is the other one.
var _ = Claim("H1-domain", func(t *trial.T) trial.Experiment {
	var call *trial.Call
	registered := t.Subject.GatewayFQDN()
	elsewhere := t.Subject
	if elsewhere.Domain = "homelab.local"; elsewhere.Domain == t.Subject.Domain {
		elsewhere.Domain = "cluster.local"
	}
	name := func(change, host string) lab.Variation {
		return lab.Together(change,
			t.DestinationRule(change, t.Subject.Hop1Rule, func(dr *networking.DestinationRule) { dr.Host = host }),
			t.VirtualService(change, func(vs *networking.VirtualService) { vs.Http[0].Route[0].Destination.Host = host }))
	}
	return trial.Experiment{
		Arrange: []lab.Variation{name("name the gateway under another suffix than the registry's", elsewhere.GatewayFQDN())},
		Check: func(ctx context.Context, t *trial.T) error {
			for _, unknown := range []string{elsewhere.Hop1Cluster(), t.Subject.Hop1Cluster()} {
				c, err := t.Cluster(ctx, t.Sidecar, unknown)
				if err != nil {
					return err
				}
				c.Fact("present", c.Present, BeFalse())
			}
			var err error
			if call, err = t.Call(ctx); err != nil {
				return err
			}
			call.Status(Equal(503))
			call.Fact("sidecar: response flags", trial.Flags(call.Left()), Equal("NC"))
			call.Fact("sidecar: response code details", call.Left().ResponseCodeDetails, Equal("cluster_not_found"))
			call.Fact("gateway: requests of this token", len(call.Gateway), Equal(0))
			return nil
		},
		Control: []lab.Variation{name("name it as the registry does", registered)},
		Cause:   passesBothHops(&call),
	}
})

// noFilterChain sets hop 1's SNI and checks what a gateway does whose filter
// chains are for other names.
func noFilterChain(t *trial.T, change, sni, sent string) trial.Experiment {
	var call *trial.Call
	return trial.Experiment{
		Arrange: []lab.Variation{hop1TLS(t, change, &networking.ClientTLSSettings{Mode: networking.ClientTLSSettings_ISTIO_MUTUAL, Sni: sni})},
		Check: func(ctx context.Context, t *trial.T) (err error) {
			if call, err = t.Call(ctx); err != nil {
				return err
			}
			call.Status(Equal(503))
			call.Fact("sidecar: response flags", call.Left().ResponseFlags, ContainElement("UF"))
			call.Fact("sidecar: transport failure", call.Left().UpstreamTransportFailureReason, ContainSubstring("Connection_reset_by_peer"))
			call.Fact("gateway: requests of this token", len(call.Gateway), Equal(0))
			call.Fact("gateway: SNI of the connections refused", call.Turned().RequestedServerName, Equal(sent))
			call.Fact("gateway: response flags of these", trial.Flags(call.Turned()), Equal("NR"))
			call.Fact("gateway: why they were refused", call.Turned().ResponseCodeDetails, Equal("filter_chain_not_found"))
			return nil
		},
		Control: []lab.Variation{hop1TLS(t, "hop 1's SNI is the Gateway's host", &networking.ClientTLSSettings{
			Mode: networking.ClientTLSSettings_ISTIO_MUTUAL, Sni: t.Subject.ExternalHost,
		})},
		Cause: passesBothHops(&call),
	}
}

// hop1TLS sets the tls of hop 1's port.
func hop1TLS(t *trial.T, change string, tls *networking.ClientTLSSettings) lab.Variation {
	return t.DestinationRule(change, t.Subject.Hop1Rule, func(dr *networking.DestinationRule) {
		dr.Subsets[0].TrafficPolicy.PortLevelSettings[0].Tls = tls
	})
}

// passesBothHops is the cause of a check that was for a broken hop 1: the call
// went the way that the guide describes.
func passesBothHops(call **trial.Call) func(context.Context, *trial.T) error {
	return func(_ context.Context, t *trial.T) error {
		c := *call
		c.Status(Equal(200))
		c.Fact("sidecar: carrying cluster", c.Left().UpstreamCluster, HavePrefix(t.Subject.Hop1Cluster()))
		c.Fact("gateway: requests of this token", len(c.Gateway), Equal(1))
		c.Fact("gateway: SNI of hop 1", c.Through().RequestedServerName, Equal(t.Subject.ExternalHost))
		c.Fact("partner: the caller is the gateway", c.Arrived().Peer, Equal(t.Gateway.IP))
		return nil
	}
}

var _ = Claim("H1-host-align", func(t *trial.T) trial.Experiment {
	var call *trial.Call
	atGateway := "at-the-gateway"
	return trial.Experiment{
		Arrange: []lab.Variation{
			t.VirtualService("the VirtualService keeps hop 1's route only", func(vs *networking.VirtualService) {
				vs.Gateways, vs.Http = []string{"mesh"}, vs.Http[:1]
			}),
			t.AddVirtualService("hop 2's route is in one of its own, for another host", atGateway, hop2Route(t, "other."+t.Subject.ExternalHost)),
		},
		Check: func(ctx context.Context, t *trial.T) (err error) {
			if call, err = t.Call(ctx); err != nil {
				return err
			}
			call.Status(Equal(404))
			call.Fact("sidecar: carrying cluster", call.Left().UpstreamCluster, HavePrefix(t.Subject.Hop1Cluster()))
			call.Fact("gateway: SNI of hop 1", call.Through().RequestedServerName, Equal(t.Subject.ExternalHost))
			call.Fact("gateway: response flags", trial.Flags(call.Through()), Equal("NR"))
			call.Fact("gateway: response code details", call.Through().ResponseCodeDetails, Equal("route_not_found"))
			call.Fact("partner: requests of this token", len(call.Partner), Equal(0))
			return nil
		},
		Control: []lab.Variation{t.AddVirtualService("hop 2's route is for the host that is called", atGateway, hop2Route(t, t.Subject.ExternalHost))},
		Cause:   passesBothHops(&call),
	}
})

// hop2Route is the baseline's route at the gateway, for a host.
func hop2Route(t *trial.T, host string) *networking.VirtualService {
	vs := t.BaselineVirtualService()
	vs.Hosts, vs.Gateways, vs.Http = []string{host}, vs.Gateways[1:], vs.Http[1:]
	return vs
}

var _ = Claim("H1-identity", func(t *trial.T) trial.Experiment {
	var first, second *trial.Call
	return trial.Experiment{
		Arrange: []lab.Variation{
			t.SecondClient("run a second application, under a service account of its own"),
			t.FreshHop1("make one request per connection of hop 1"),
			t.AllowAtGateway("allow only the first one's identity at the gateway", t.Subject.Client),
		},
		Check: func(ctx context.Context, t *trial.T) (err error) {
			if first, err = t.Call(ctx); err != nil {
				return err
			}
			first.Fact("first client: HTTP status", first.HTTPCode, Equal(200))
			first.Fact("gateway: the first caller's identity", first.Through().DownstreamPeerURISAN, Equal(t.Subject.SPIFFE(t.Subject.Client)))
			if second, err = t.CallFrom(ctx, t.Second.Sidecar); err != nil {
				return err
			}
			second.Fact("second client: HTTP status", second.HTTPCode, Equal(403))
			second.Fact("gateway: the second caller's identity", second.Through().DownstreamPeerURISAN, Equal(t.Subject.SPIFFE(t.Second.Sidecar.Workload)))
			second.Fact("gateway: response code details", second.Through().ResponseCodeDetails, HavePrefix("rbac_access_denied_matched_policy[none]"))
			second.Fact("partner: the second one's requests", len(second.Partner), Equal(0))
			return nil
		},
		Control: []lab.Variation{t.AllowAtGateway("allow the second one's identity instead", t.Subject.SecondClient())},
		Cause: func(_ context.Context, t *trial.T) error {
			first.Fact("first client: HTTP status", first.HTTPCode, Equal(403))
			first.Fact("first client: answer", string(first.Body), ContainSubstring("RBAC: access denied"))
			second.Fact("second client: HTTP status", second.HTTPCode, Equal(200))
			return nil
		},
	}
})

var _ = Claim("H1-identity-2", func(t *trial.T) trial.Experiment {
	var call *trial.Call
	return trial.Experiment{
		Arrange: []lab.Variation{
			t.SecondClient("run a second application, under a service account that nobody mentions"),
			t.FreshHop1("make one request per connection of hop 1"),
		},
		Check: func(ctx context.Context, t *trial.T) (err error) {
			if call, err = t.CallFrom(ctx, t.Second.Sidecar); err != nil {
				return err
			}
			call.Status(Equal(403))
			call.Fact("partner: requests of this token", len(call.Partner), Equal(0))
			return nil
		},
		Cause: func(_ context.Context, t *trial.T) error {
			call.Status(Equal(200))
			call.Fact("gateway: the caller's identity", call.Through().DownstreamPeerURISAN, Equal(t.Subject.SPIFFE(t.Subject.SecondClient())))
			call.Fact("partner: serial of the client certificate", call.Arrived().Serial, Equal(t.Credential.Serial()))
			return nil
		},
		Control: []lab.Variation{t.AllowAtGateway("allow only the first application's identity at the gateway", t.Subject.Client)},
	}
})

// hop1HTTP sets the http part of hop 1's connectionPool.
func hop1HTTP(t *trial.T, change string, http *networking.ConnectionPoolSettings_HTTPSettings) lab.Variation {
	return t.DestinationRule(change, t.Subject.Hop1Rule, func(dr *networking.DestinationRule) {
		dr.Subsets[0].TrafficPolicy.PortLevelSettings[0].ConnectionPool.Http = http
	})
}

var _ = Claim("H1-per-pod", func(t *trial.T) trial.Experiment {
	// A limit of one request at a time and one request that is held use the
	// limit up. maxConnections would not do: each of Envoy's worker threads may
	// open one connection beyond it (source/common/conn_pool/conn_pool_base.cc,
	// tryCreateNewConnection).
	const held = "x-hold: yes"
	var call *trial.Call
	sameAsHeld := false
	return trial.Experiment{
		Arrange: []lab.Variation{
			t.SecondClient("run a second application pod"),
			hop1HTTP(t, "allow one request at a time on hop 1", &networking.ConnectionPoolSettings_HTTPSettings{Http2MaxRequests: 1}),
			t.VirtualService("delay requests with a header of ours at the gateway", func(vs *networking.VirtualService) {
				delayed := vs.Http[1].DeepCopy()
				delayed.Match[0].Headers = map[string]*networking.StringMatch{"x-hold": {MatchType: &networking.StringMatch_Exact{Exact: "yes"}}}
				delayed.Fault = &networking.HTTPFaultInjection{Delay: &networking.HTTPFaultInjection_Delay{
					HttpDelayType: &networking.HTTPFaultInjection_Delay_FixedDelay{FixedDelay: durationpb.New(time.Minute)},
					Percentage:    &networking.Percent{Value: 100},
				}}
				vs.Http = []*networking.HTTPRoute{vs.Http[0], delayed, vs.Http[1]}
			}),
		},
		Check: func(ctx context.Context, t *trial.T) error {
			for _, p := range []*observe.Proxy{t.Sidecar, t.Second.Sidecar} {
				hop1, err := t.Cluster(ctx, p, t.Subject.Hop1Cluster())
				if err != nil {
					return err
				}
				hop1.Fact("maxConnections", hop1.Pool.MaxConnections, Equal(t.Subject.Hop1Pool.MaxConnections))
				hop1.Fact("maxRequests", hop1.Pool.MaxRequests, Equal(uint32(1)))
			}
			busy, err := t.Hold(ctx, t.Sidecar, t.Subject.Hop1Cluster(), held)
			if err != nil {
				return err
			}
			from := t.Second.Sidecar
			if sameAsHeld {
				from = t.Sidecar
			}
			if call, err = t.CallFrom(ctx, from); err != nil {
				return err
			}
			call.Fact("curl, while a pod's one request is under way: HTTP status", call.HTTPCode, Equal(200))
			return busy.Release(ctx)
		},
		Control: []lab.Variation{lab.Input("call from the pod whose request is under way", func() { sameAsHeld = true })},
		Cause: func(_ context.Context, t *trial.T) error {
			call.Status(Equal(503))
			call.Fact("sidecar: response flags", trial.Flags(call.Left()), Equal("UO"))
			call.Fact("sidecar: response code details", call.Left().ResponseCodeDetails, ContainSubstring("overflow"))
			call.Fact("gateway: requests of this token", len(call.Gateway), Equal(0))
			return nil
		},
	}
})

var _ = Claim("H1-http", func(t *trial.T) trial.Experiment {
	const requests, perConnection = 4, 2
	var hop1 *trial.Cluster
	var calls []*trial.Call
	connections := func() int { return distinct(calls, func(c *trial.Call) any { return *c.Through().ConnectionID }) }
	return trial.Experiment{
		Arrange: []lab.Variation{hop1HTTP(t, "give hop 1 http settings", &networking.ConnectionPoolSettings_HTTPSettings{
			MaxRequestsPerConnection: perConnection, IdleTimeout: durationpb.New(900 * time.Second),
		})},
		Check: func(ctx context.Context, t *trial.T) (err error) {
			if hop1, err = t.Cluster(ctx, t.Sidecar, t.Subject.Hop1Cluster()); err != nil {
				return err
			}
			hop1.Fact("idleTimeout", hop1.Pool.IdleTimeout, Equal(900*time.Second))
			hop1.Fact("maxRequestsPerConnection", hop1.Pool.MaxRequestsPerConnection, Equal(uint32(perConnection)))
			if calls, err = t.Keep(ctx, requests, time.Millisecond).Calls(ctx); err != nil {
				return err
			}
			calls[0].Fact("gateway: connections of hop 1 for four requests of one client", connections(), Equal(requests/perConnection))
			return nil
		},
		Control: []lab.Variation{hop1HTTP(t, "drop the http settings", nil)},
		Cause: func(_ context.Context, t *trial.T) error {
			hop1.Fact("maxRequestsPerConnection", hop1.Pool.MaxRequestsPerConnection, BeNil())
			calls[0].Fact("gateway: connections of hop 1 for four requests of one client", connections(), Equal(1))
			return nil
		},
	}
})

// distinct counts the values of a key over calls.
func distinct(calls []*trial.Call, key func(*trial.Call) any) int {
	seen := map[any]bool{}
	for _, c := range calls {
		seen[key(c)] = true
	}
	return len(seen)
}

var _ = Claim("H1-protocol", func(t *trial.T) trial.Experiment {
	var call *trial.Call
	var hop1 *trial.Cluster
	return trial.Experiment{
		Arrange: []lab.Variation{t.GatewayPortName("name the gateway Service's port http2", "http2")},
		Check: func(ctx context.Context, t *trial.T) (err error) {
			if hop1, err = t.Cluster(ctx, t.Sidecar, t.Subject.Hop1Cluster()); err != nil {
				return err
			}
			hop1.Fact("HTTP version", hop1.Pool.Protocol, Equal(envoy.ProtocolHTTP2))
			if call, err = t.Call(ctx); err != nil {
				return err
			}
			call.Status(Equal(200))
			call.Fact("sidecar: protocol of hop 1", call.Left().UpstreamProtocol, Equal("HTTP/2"))
			call.Fact("gateway: protocol of hop 1", call.Through().Protocol, Equal("HTTP/2"))
			return nil
		},
		Control: []lab.Variation{t.GatewayPortName("name it https", "https")},
		Cause: func(_ context.Context, t *trial.T) error {
			call.Status(Equal(200))
			call.Fact("sidecar: protocol of hop 1", call.Left().UpstreamProtocol, Equal("HTTP/1.1"))
			call.Fact("gateway: protocol of hop 1", call.Through().Protocol, Equal("HTTP/1.1"))
			return nil
		},
	}
})
