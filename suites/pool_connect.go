package suites

import (
	"time"

	. "github.com/onsi/gomega"
	"google.golang.org/protobuf/types/known/durationpb"
	networking "istio.io/api/networking/v1alpha3"

	"twohop/internal/check"
)

func connectTimeout(s *Setup, change string, d time.Duration) Variation {
	return hop2Pool(s, change, func(pool *networking.ConnectionPoolSettings) { pool.Tcp.ConnectTimeout = durationpb.New(d) })
}

// unanswered makes a call into the black hole and states how it ended, but not
// when: the kernel dropped its connection attempts, and Envoy gave up for want
// of an answer and not for a refusal.
func unanswered(t *T) *Call {
	before := t.SwallowedConnects()
	call := t.Call(check.Patience(20 * time.Second))
	call.Status(Equal(503))
	call.Fact("gateway: response flags", call.GatewayLog().ResponseFlags, ContainElement("UF"))
	call.Because("gateway: details", call.GatewayLog().ResponseCodeDetails, ContainSubstring("connection_timeout"))
	t.SwallowedConnects().GrewBecause(before, BeNumerically(">", 0))
	return call
}

// givesUpAfter is an experiment on how long one attempt to connect takes.
func givesUpAfter(s *Setup, d time.Duration, arrange ...Variation) Experiment[*Call] {
	const other = time.Second
	return Experiment[*Call]{
		Arrange: append(vary(
			s.PartnerPort("the partner does not answer", silentPort),
			noRetries(s, "the routes do not retry"),
		), arrange...),
		Check: func(t *T) *Call {
			hop2 := t.Cluster(t.Gateway, t.Subject.Hop2Cluster())
			hop2.Fact("connectTimeout", hop2.Pool.ConnectTimeout, Equal(d))
			call := unanswered(t)
			call.Fact("gateway: attempts", call.GatewayLog().UpstreamRequestAttemptCount, BeNumerically("==", 1))
			call.Fact("gateway: duration of the request", call.GatewayLog().Duration, takes(d))
			return call
		},
		Cause: func(_ *T, call *Call) {
			call.Fact("gateway: duration of the request, by the other value", call.GatewayLog().Duration, takes(other))
		},
		Control: vary(connectTimeout(s, "connectTimeout 1s", other)),
		Flips:   []string{"gateway, *: connectTimeout", "gateway: duration of the request"},
	}
}

var _ = Claim("P-connect-timeout", func(s *Setup) Experiment[*Call] {
	return givesUpAfter(s, 3*time.Second)
})

var _ = Claim("P-connect-timeout-2", func(s *Setup) Experiment[*Call] {
	return givesUpAfter(s, 10*time.Second, hop2Pool(s, "drop connectTimeout", func(pool *networking.ConnectionPoolSettings) {
		pool.Tcp.ConnectTimeout = nil
	}))
})

var _ = Claim("P-connect-timeout-3", func(s *Setup) Experiment[*Call] {
	// pilot/pkg/networking/core/route/retry, newRetryPolicy: two retries, on
	// connect-failure among others.
	const timeout = time.Second
	return Experiment[*Call]{
		Arrange: vary(
			s.PartnerPort("the partner does not answer", silentPort),
			connectTimeout(s, "connectTimeout 1s", timeout),
		),
		Check: func(t *T) *Call {
			call := unanswered(t)
			call.Fact("sidecar: duration of the request", call.SidecarLog().Duration, takes(timeout))
			return call
		},
		Cause: func(_ *T, call *Call) {
			call.Fact("gateway: attempts", call.GatewayLog().UpstreamRequestAttemptCount, BeNumerically("==", 3))
			call.Fact("gateway: the retries are used up", call.GatewayLog().ResponseFlags, ContainElement("URX"))
			call.Fact("sidecar: attempts", call.SidecarLog().UpstreamRequestAttemptCount, BeNumerically("==", 1))
			call.Fact("sidecar: duration of the request, three times the value", call.SidecarLog().Duration, takes(3*timeout))
		},
		Control: vary(noRetries(s, "the routes do not retry")),
		Flips:   []string{"sidecar: duration of the request"},
	}
})
