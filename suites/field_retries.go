package suites

import (
	"fmt"
	"time"

	. "github.com/onsi/gomega"
	"google.golang.org/protobuf/types/known/durationpb"
	networking "istio.io/api/networking/v1alpha3"

	"twohop/internal/check"
	"twohop/internal/manifest"
)

var _ = Claim("F-h2", func(s *Setup) Experiment[*Call] {
	policy := func(change string, p networking.ConnectionPoolSettings_HTTPSettings_H2UpgradePolicy) Variation {
		return hop2Pool(s, change, func(pool *networking.ConnectionPoolSettings) {
			pool.Http = &networking.ConnectionPoolSettings_HTTPSettings{H2UpgradePolicy: p}
		})
	}
	return Experiment[*Call]{
		Arrange: vary(policy("hop 2's h2UpgradePolicy is UPGRADE", networking.ConnectionPoolSettings_HTTPSettings_UPGRADE)),
		Check: func(t *T) *Call {
			hop2 := t.Cluster(t.Gateway, t.Subject.Hop2Cluster())
			hop2.Is(BeTrue())
			hop2.Fact("HTTP version", string(hop2.Pool.Protocol), Equal("http2"))
			call := t.Call()
			call.Status(Equal(503))
			call.Because("gateway: transport failure", call.GatewayLog().UpstreamTransportFailureReason, ContainSubstring("NO_APPLICATION_PROTOCOL"))
			call.Fact("gateway: requests of this token", len(call.GatewayLines), Equal(1))
			call.Fact("partner: requests of this token", len(call.PartnerLines), Equal(0))
			return call
		},
		Cause: func(_ *T, call *Call) {
			call.Status(Equal(200))
			call.Fact("gateway: HTTP version of hop 2", call.GatewayLog().UpstreamProtocol, Equal("HTTP/1.1"))
			call.Fact("partner: HTTP version", call.PartnerLog().Protocol, Equal("HTTP/1.1"))
		},
		Control: vary(policy("hop 2's h2UpgradePolicy is DO_NOT_UPGRADE", networking.ConnectionPoolSettings_HTTPSettings_DO_NOT_UPGRADE)),
		Flips:   []string{"gateway, *: HTTP version", "curl: HTTP status", "gateway: transport failure", "partner: requests of this token"},
	}
})

// retries gives routes of the VirtualService, by name, a retry policy.
func retries(s *Setup, change string, policy *networking.HTTPRetry, routes ...string) Variation {
	return s.VirtualService(change, func(vs *networking.VirtualService) {
		for _, name := range routes {
			manifest.Route(vs, name).Retries = policy.DeepCopy()
		}
	})
}

// twice retries on whatever can happen, without a pause worth the name.
var twice = &networking.HTTPRetry{Attempts: 2, RetryOn: "5xx,reset", Backoff: durationpb.New(time.Millisecond)}

// hangsUp leads hop 2 to a partner that ends each connection at its first request.
func hangsUp(s *Setup) Variation {
	return s.OtherPort("the partner hangs up without a response", manifest.Port{Number: 444, Target: hangsUpPort})
}

// hungUp states that a call failed because the partner hung up, by each of the
// gateway's lines about it.
func hungUp(c *Call) {
	c.Status(Equal(503))
	var details []string
	for _, l := range c.GatewayLines {
		if len(details) == 0 || details[len(details)-1] != l.ResponseCodeDetails {
			details = append(details, l.ResponseCodeDetails)
		}
	}
	c.Because("gateway: response code details", details, ConsistOf("upstream_reset_before_response_started{connection_termination}"))
}

var _ = Claim("F-retry-count", func(s *Setup) Experiment[*Call] {
	return Experiment[*Call]{
		Arrange: vary(hangsUp(s)),
		Check: func(t *T) *Call {
			call := t.Call()
			hungUp(call)
			call.Fact("gateway: requests of this token", len(call.GatewayLines), Equal(1))
			call.Fact("gateway: attempts at the partner", call.GatewayLog().UpstreamRequestAttemptCount, BeNumerically("==", 1))
			call.Fact("gateway: response flags", call.GatewayLog().ResponseFlags, ConsistOf("UC"))
			call.Fact("partner: requests of this token", len(call.PartnerLines), Equal(1))
			return call
		},
		Cause: func(_ *T, call *Call) {
			call.Fact("gateway: attempts at the partner, all in all", call.GatewayLog().UpstreamRequestAttemptCount, BeNumerically("==", 3))
			call.Fact("gateway: response flags, retries used up", call.GatewayLog().ResponseFlags, ContainElement("URX"))
			call.Fact("partner: requests of this token, all in all", len(call.PartnerLines), Equal(3))
		},
		Control: vary(retries(s, "ask for two retries at the gateway, on resets too", twice, manifest.GatewayRouteName)),
		Flips:   []string{"gateway: attempts at the partner", "gateway: response flags", "partner: requests of this token"},
	}
})

var _ = Claim("F-retry-count-2", func(s *Setup) Experiment[*Call] {
	return Experiment[*Call]{
		Arrange: vary(hangsUp(s), retries(s, "ask for two retries on each route", twice, manifest.MeshRouteName, manifest.GatewayRouteName)),
		Check: func(t *T) *Call {
			call := t.Call()
			hungUp(call)
			call.Fact("gateway: requests of this token", len(call.GatewayLines), Equal(1))
			call.Fact("partner: requests of this token", len(call.PartnerLines), Equal(3))
			return call
		},
		Cause: func(_ *T, call *Call) {
			call.Fact("sidecar: attempts at the gateway", call.SidecarLog().UpstreamRequestAttemptCount, BeNumerically("==", 3))
			call.Fact("gateway: requests of this token, one for each attempt", len(call.GatewayLines), Equal(3))
			call.Fact("partner: requests of this token, all in all", len(call.PartnerLines), Equal(9))
		},
		Control: vary(retries(s, "attempts: 0 on hop 1's route", &networking.HTTPRetry{}, manifest.MeshRouteName)),
		Flips:   []string{"gateway: requests of this token", "partner: requests of this token"},
	}
})

var _ = Claim("F-idle-race", func(s *Setup) Experiment[[]*Call] {
	const idle, pause = 200 * time.Millisecond, time.Second
	return Experiment[[]*Call]{
		Arrange: vary(
			s.OtherPort("the partner gives connections up after half a second", manifest.Port{Number: 444, Target: givesUpPort}),
			noRetries(s, "no retries, which would hide it"),
		),
		Check: func(t *T) []*Call {
			calls := t.Sequential(2, pause).Calls()
			first, second := calls[0], calls[1]
			onceEach(calls)
			connection := func(c *Call) *uint64 { return c.GatewayLog().UpstreamConnectionID }
			first.StatusOf("first call: curl", Equal(200))
			if !first.Fact("first call: gateway's connection", connection(first), Not(BeNil())) {
				t.Abort("the gateway's log names no connection of the first call, so none can be the same")
			}
			second.Fact("second call: gateway's connection, that of the first", connection(second), Equal(*connection(first)))
			second.StatusOf("second call: curl", Equal(503))
			second.Fact("second call: gateway's response flags", check.Flags(second.GatewayLog()), Equal("UC"))
			second.Because("second call: gateway's response code details", second.GatewayLog().ResponseCodeDetails, ContainSubstring("connection_termination"))
			return calls
		},
		Cause: func(_ *T, calls []*Call) {
			second := calls[1]
			second.StatusOf("second call: curl", Equal(200))
			second.Fact("partner: the connection is a new one", second.PartnerLog().Connection, Not(Equal(calls[0].PartnerLog().Connection)))
			second.Fact("partner: requests so far on it", second.PartnerLog().ConnectionRequests, BeNumerically("==", 1))
		},
		Control: vary(s.Hop2DestinationRule(fmt.Sprintf("the gateway gives idle connections up after %v", idle), func(dr *networking.DestinationRule) {
			manifest.PortSettings(dr.TrafficPolicy, 444).ConnectionPool.Http = &networking.ConnectionPoolSettings_HTTPSettings{IdleTimeout: durationpb.New(idle)}
		})),
		Flips: []string{"second call: *"},
	}
})
