package suites

import (
	"time"

	. "github.com/onsi/gomega"
	networking "istio.io/api/networking/v1alpha3"

	"twohop/internal/check"
	"twohop/internal/manifest"
)

var _ = Claim("P-port-replaces", func(s *Setup) Experiment[*check.Cluster] {
	return Experiment[*check.Cluster]{
		Arrange: vary(s.Hop2DestinationRule("the connectionPool moves to the top level; the port entry keeps its tls", func(dr *networking.DestinationRule) {
			port := s.Hop2Settings(dr)
			dr.TrafficPolicy.ConnectionPool, port.ConnectionPool = port.ConnectionPool, nil
		})),
		Check: func(t *T) *check.Cluster {
			hop2 := t.Cluster(t.Gateway, t.Subject.Hop2Cluster())
			hop2.Fact("TLS, from the port entry", hop2.TLS != nil, BeTrue())
			hop2.Fact("maxConnections", hop2.Pool.MaxConnections, Equal(unlimited))
			hop2.Fact("tcpKeepalive", hop2.Pool.Keepalive, BeNil())
			hop2.Fact("connectTimeout", hop2.Pool.ConnectTimeout, Equal(10*time.Second))
			// The same host's port without an entry has the top level's pool.
			poolIs(t.Cluster(t.Gateway, t.Subject.BypassCluster()), t.Subject.Hop2Pool)
			carries(t)
			return hop2
		},
		Cause: func(t *T, hop2 *check.Cluster) { poolIs(hop2, t.Subject.Hop2Pool) },
		Control: vary(s.Hop2DestinationRule("the port entry repeats the connectionPool", func(dr *networking.DestinationRule) {
			s.Hop2Settings(dr).ConnectionPool = dr.TrafficPolicy.ConnectionPool
		})),
		Flips: []string{"gateway, outbound|443|*: maxConnections", "gateway, outbound|443|*: tcpKeepalive", "gateway, outbound|443|*: connectTimeout"},
	}
})

// Limits by which a check tells the level that one came from.
const atTop, atSubset = 71, 72

// hop1Levels sets a connectionPool at the top level of hop 1's rule, and in its
// subset what put writes there, which gets hop 1's tls.
func hop1Levels(s *Setup, change string, put func(subset *networking.TrafficPolicy, tls *networking.ClientTLSSettings)) Variation {
	tls := s.Hop1Settings(s.BaselineDestinationRule(s.Subject.Hop1Rule)).Tls
	return s.Hop1DestinationRule(change, func(dr *networking.DestinationRule) {
		dr.TrafficPolicy = &networking.TrafficPolicy{ConnectionPool: connections(atTop)}
		subset := manifest.Subset(dr, s.Subject.Subset)
		subset.TrafficPolicy = &networking.TrafficPolicy{}
		put(subset.TrafficPolicy, tls.DeepCopy())
	})
}

// tlsOnly is a port entry of hop 1 that sets nothing but tls.
func tlsOnly(s *Setup, tls *networking.ClientTLSSettings) []*networking.TrafficPolicy_PortTrafficPolicy {
	return []*networking.TrafficPolicy_PortTrafficPolicy{{Port: &networking.PortSelector{Number: uint32(s.Subject.GatewayPort)}, Tls: tls}}
}

// hop1Limit is an experiment on the limit that hop 1's cluster gets, while its
// traffic flows, and on the limit that the control gives it.
func hop1Limit(arrange Variation, limit uint32, control Variation, whose string, then uint32) Experiment[*check.Cluster] {
	return Experiment[*check.Cluster]{
		Arrange: vary(arrange),
		Check: func(t *T) *check.Cluster {
			hop1 := t.Cluster(t.Sidecar, t.Subject.Hop1Cluster())
			hop1.Fact("SNI, from the subset's tls", hop1.TLSOrZero().SNI, Equal(t.Subject.ExternalHost))
			hop1.Fact("maxConnections", hop1.Pool.MaxConnections, Equal(limit))
			carries(t)
			return hop1
		},
		Cause: func(_ *T, hop1 *check.Cluster) {
			hop1.Fact("maxConnections, "+whose, hop1.Pool.MaxConnections, Equal(then))
		},
		Control: vary(control),
		Flips:   []string{"client sidecar, *: maxConnections"},
	}
}

var _ = Claim("P-subset-replaces", func(s *Setup) Experiment[*check.Cluster] {
	// pilot/pkg/model, MergeTrafficPolicy: a block of the subset replaces the
	// top level's if it is set, or if the subset has an entry for the port.
	return hop1Limit(
		hop1Levels(s, "connectionPool at the top level, only tls in the subset", func(subset *networking.TrafficPolicy, tls *networking.ClientTLSSettings) {
			subset.Tls = tls
		}), unlimited,
		hop1Levels(s, "the subset has its tls in a port entry", func(subset *networking.TrafficPolicy, tls *networking.ClientTLSSettings) {
			subset.PortLevelSettings = tlsOnly(s, tls)
		}), "the top level's", atTop)
})

var _ = Claim("P-subset-replaces-2", func(s *Setup) Experiment[*check.Cluster] {
	return hop1Limit(
		hop1Levels(s, "a connectionPool at the top level and in the subset, only tls in the subset's port entry", func(subset *networking.TrafficPolicy, tls *networking.ClientTLSSettings) {
			subset.ConnectionPool = connections(atSubset)
			subset.PortLevelSettings = tlsOnly(s, tls)
		}), unlimited,
		hop1Levels(s, "the subset has its tls beside its connectionPool, without a port entry", func(subset *networking.TrafficPolicy, tls *networking.ClientTLSSettings) {
			subset.ConnectionPool = connections(atSubset)
			subset.Tls = tls
		}), "the subset's", atSubset)
})

var _ = Claim("P-subset-replaces-3", func(s *Setup) Experiment[*check.Cluster] {
	http := &networking.ConnectionPoolSettings_HTTPSettings{MaxRequestsPerConnection: 1000}
	return hop1Limit(
		hop1Levels(s, "connectionPool.tcp at the top level, connectionPool.http in the subset", func(subset *networking.TrafficPolicy, tls *networking.ClientTLSSettings) {
			subset.Tls = tls
			subset.ConnectionPool = &networking.ConnectionPoolSettings{Http: http}
		}), unlimited,
		hop1Levels(s, "the subset has a tcp part of its own", func(subset *networking.TrafficPolicy, tls *networking.ClientTLSSettings) {
			subset.Tls = tls
			subset.ConnectionPool = connections(atSubset)
			subset.ConnectionPool.Http = http
		}), "the subset's", atSubset)
})
