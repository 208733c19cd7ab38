package suites

import (
	. "github.com/onsi/gomega"
	networking "istio.io/api/networking/v1alpha3"

	"twohop/internal/check"
	"twohop/internal/manifest"
	"twohop/internal/subject"
)

// The younger rule for the partner's host says nothing of TLS. Its name sorts
// before the older one's, so that the name does not decide what age should.
const (
	youngerRule   = "a-younger-rule"
	youngerSubset = "younger"
	youngerLimit  = 5
)

var _ = Claim("T1-merge", func(s *Setup) Experiment[twoRules] {
	return Experiment[twoRules]{
		Arrange: vary(addYounger(s, "add a younger rule for the partner's host, with the same exportTo", ".")),
		Check:   merged,
		Control: vary(addYounger(s, "leave out the younger rule's exportTo")),
		Cause:   youngerAlone,
		Flips:   mergedFlips(s),
	}
})

var _ = Claim("T1-export", func(s *Setup) Experiment[twoRules] {
	return Experiment[twoRules]{
		Arrange: vary(addYounger(s, "add a younger rule for the partner's host, without exportTo")),
		Check:   merged,
		Cause:   youngerAlone,
		Control: vary(addYounger(s, "give the younger rule the older one's exportTo", ".")),
		Flips:   mergedFlips(s),
	}
})

func addYounger(s *Setup, change string, exportTo ...string) Variation {
	return s.AddYounger(change, s.Subject.Hop2Rule, youngerRule, &networking.DestinationRule{
		Host: s.Subject.ExternalHost, ExportTo: exportTo,
		TrafficPolicy: &networking.TrafficPolicy{ConnectionPool: &networking.ConnectionPoolSettings{
			Tcp: &networking.ConnectionPoolSettings_TCPSettings{MaxConnections: youngerLimit},
		}},
		Subsets: []*networking.Subset{{Name: youngerSubset}},
	})
}

// twoRules is hop 2 under two DestinationRules.
type twoRules struct {
	hop2 *check.Cluster
	call *Call
}

// merged states what the guide says of two rules for one host.
func merged(t *T) twoRules {
	hop2 := t.Cluster(t.Gateway, t.Subject.Hop2Cluster())
	hop2.Is(BeTrue())
	hop2.Fact("maxConnections", hop2.Pool.MaxConnections, Equal(t.Subject.Hop2Pool.MaxConnections))
	hop2.Fact("TLS transport socket", hop2.TLS != nil, BeTrue())
	t.Cluster(t.Gateway, subject.ClusterName(t.Subject.ExternalPort, youngerSubset, t.Subject.ExternalHost)).Is(BeTrue())
	call := t.Call()
	call.Status(Equal(200))
	return twoRules{hop2, call}
}

// mergedFlips are the facts of merged that turn on whether the rules merge.
// Either way there is the cluster, and one of the younger rule's subset.
func mergedFlips(s *Setup) []string {
	hop2 := "gateway, " + s.Subject.Hop2Cluster()
	return []string{hop2 + ": maxConnections", hop2 + ": TLS transport socket", "curl: HTTP status"}
}

// youngerAlone states what istiod does with two rules whose exportTo differ: it
// keeps them apart (pilot/pkg/model/destination_rule.go, mergeDestinationRule)
// and takes the last of the list (pilot/pkg/model/sidecar.go, DestinationRule).
func youngerAlone(_ *T, saw twoRules) {
	saw.hop2.Fact("maxConnections, the younger rule's", saw.hop2.Pool.MaxConnections, Equal(uint32(youngerLimit)))
	saw.hop2.Fact("TLS transport socket", saw.hop2.TLS != nil, BeFalse())
	plaintextToTLS(saw.call)
}

var _ = Claim("T2-typo-hop2", func(s *Setup) Experiment[*Call] {
	host := func(change, host string) Variation {
		return s.Hop2DestinationRule(change, func(dr *networking.DestinationRule) { dr.Host = host })
	}
	return Experiment[*Call]{
		Arrange: vary(host("put a letter too many into the host of hop 2's rule", "x"+s.Subject.ExternalHost)),
		Check: func(t *T) *Call {
			hop2 := t.Cluster(t.Gateway, t.Subject.Hop2Cluster())
			hop2.Is(BeTrue())
			hop2.Fact("DestinationRule", hop2.DestinationRule(), BeEmpty())
			hop2.Fact("TLS transport socket", hop2.TLS != nil, BeFalse())
			call := t.Call()
			plaintextToTLS(call)
			return call
		},
		Control: vary(host("write the host as the ServiceEntry does", s.Subject.ExternalHost)),
		Cause:   passesBothHops,
		Flips: []string{
			"gateway, *: DestinationRule", "gateway, *: TLS transport socket", "curl: HTTP status", "partner: TLS version", "partner's response",
		},
	}
})

var _ = Claim("T2-typo-hop1", func(s *Setup) Experiment[*Call] {
	host := func(change, host string) Variation {
		return s.Hop1DestinationRule(change, func(dr *networking.DestinationRule) { dr.Host = host })
	}
	return Experiment[*Call]{
		Arrange: vary(host("put a letter too many into the host of hop 1's rule", "x"+s.Subject.GatewayFQDN())),
		// A cluster "without a rule" is a cluster first of all. That it has no rule
		// is not asked for here: with the right host it has one.
		Check: func(t *T) *Call {
			t.Cluster(t.Sidecar, t.Subject.Hop1Cluster()).Is(BeTrue())
			call := t.Call()
			call.Fact("sidecar: requests of this token", len(call.SidecarLines), Equal(1))
			call.Fact("sidecar: response flags", call.SidecarLog().ResponseFlags, Not(ContainElement("NC")))
			call.Fact("sidecar: response code details", call.SidecarLog().ResponseCodeDetails, Not(Equal("cluster_not_found")))
			return call
		},
		Cause: func(t *T, call *Call) {
			call.Status(Equal(503))
			call.Fact("sidecar: response flags", check.Flags(call.SidecarLog()), Equal("NC"))
			call.Because("sidecar: response code details", call.SidecarLog().ResponseCodeDetails, Equal("cluster_not_found"))
			call.Fact("gateway: requests of this token", len(call.GatewayLines), Equal(0))
			// The cluster without a rule is the Service's own, which no route names.
			unnamed := t.Cluster(t.Sidecar, subject.ClusterName(t.Subject.GatewayPort, "", t.Subject.GatewayFQDN()))
			unnamed.Is(BeTrue())
			unnamed.Fact("DestinationRule", unnamed.DestinationRule(), BeEmpty())
		},
		Control: vary(host("write the host as istiod's registry has it", s.Subject.GatewayFQDN())),
		Flips:   []string{"client sidecar, *: present", "sidecar: response flags", "sidecar: response code details"},
	}
})

var _ = Claim("T2-short", func(s *Setup) Experiment[*Call] {
	short := s.BaselineDestinationRule(s.Subject.Hop1Rule)
	short.Host = s.Subject.GatewayService
	return Experiment[*Call]{
		Arrange: vary(
			s.RemoveDestinationRule("take hop 1's rule out of the gateway's namespace", s.Subject.Hop1Rule),
			manifest.AddDestinationRule("put it into the application's, with a short host", s.Subject.Client.Namespace, s.Subject.Hop1Rule, short),
		),
		Check: func(t *T) *Call {
			t.Cluster(t.Sidecar, t.Subject.Hop1Cluster()).Is(BeFalse())
			call := t.Call()
			call.Status(Equal(503))
			call.Fact("sidecar: response flags", check.Flags(call.SidecarLog()), Equal("NC"))
			call.Because("sidecar: response code details", call.SidecarLog().ResponseCodeDetails, Equal("cluster_not_found"))
			return call
		},
		Control: vary(manifest.AddDestinationRule("put it, as short, into the gateway's namespace", s.Subject.Gateway.Namespace, s.Subject.Hop1Rule, short)),
		Cause:   passesBothHops,
		Flips:   []string{"client sidecar, *: present", "curl: HTTP status", "sidecar: response flags", "sidecar: response code details"},
	}
})
