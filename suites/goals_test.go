package suites

import (
	"context"
	"fmt"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/types"
	networking "istio.io/api/networking/v1alpha3"

	"twohop/internal/envoy"
	"twohop/internal/lab"
	"twohop/internal/observe"
	"twohop/internal/subject"
	"twohop/internal/trial"
)

var _ = Claim("G1", func(t *trial.T) trial.Experiment {
	var call *trial.Call
	return trial.Experiment{
		Check: func(ctx context.Context, t *trial.T) error {
			hop1, err := t.Cluster(ctx, t.Sidecar, t.Subject.Hop1Cluster())
			if err != nil {
				return err
			}
			tls := hop1.TLSOrZero()
			hop1.Fact("TLS transport socket", hop1.TLS != nil, BeTrue())
			hop1.Fact("SNI", tls.SNI, Equal(t.Subject.ExternalHost))
			hop1.Fact("client certificate by SDS", tls.CertificateSDS, ConsistOf("default"))
			hop1.Fact("CA by SDS", tls.ValidationSDS, Equal("ROOTCA"))
			hop1.Fact("server identity, filled in by istiod", tls.SANs, ContainElement(HaveSuffix(t.Subject.SPIFFE(t.Subject.Gateway))))

			if call, err = t.Call(ctx); err != nil {
				return err
			}
			call.Status(Equal(200))
			call.Fact("sidecar: carrying cluster", call.Left().UpstreamCluster, HavePrefix(t.Subject.Hop1Cluster()))
			call.Fact("gateway: requests of this token", len(call.Gateway), Equal(1))
			call.Fact("gateway: SNI of hop 1", call.Through().RequestedServerName, Equal(t.Subject.ExternalHost))
			call.Fact("gateway: the caller's identity", call.Through().DownstreamPeerURISAN, Equal(t.Subject.SPIFFE(t.Subject.Client)))
			return nil
		},
		Control: []lab.Variation{t.DestinationRule("drop hop 1's tls from the DestinationRule", t.Subject.Hop1Rule, func(dr *networking.DestinationRule) {
			dr.Subsets[0].TrafficPolicy.PortLevelSettings[0].Tls = nil
		})},
		Cause: func(ctx context.Context, t *trial.T) error {
			call.Status(Equal(503))
			call.Fact("sidecar: response flags", trial.Flags(call.Left()), Equal("UC"))
			call.Fact("gateway: requests of this token", len(call.Gateway), Equal(0))
			return nil
		},
	}
})

var _ = Claim("G2", func(t *trial.T) trial.Experiment {
	var call *trial.Call
	return trial.Experiment{
		Check: func(ctx context.Context, t *trial.T) error {
			secret := "kubernetes://" + t.Subject.Credential
			hop2, err := t.Cluster(ctx, t.Gateway, t.Subject.Hop2Cluster())
			if err != nil {
				return err
			}
			tls := hop2.TLSOrZero()
			hop2.Fact("client certificate by SDS", tls.CertificateSDS, ConsistOf(secret))
			hop2.Fact("CA by SDS", tls.ValidationSDS, Equal(secret+"-cacert"))
			hop2.Fact("server names accepted", tls.SANs, ContainElement(HaveSuffix("exact:"+t.Subject.ExternalHost)))
			for _, name := range []string{secret, secret + "-cacert"} {
				s, err := t.Secret(ctx, t.Gateway, name)
				if err != nil {
					return err
				}
				s.Fact("state", s.State, Equal(envoy.SecretActive))
			}
			if call, err = t.Call(ctx); err != nil {
				return err
			}
			call.Status(Equal(200))
			call.Fact("partner: verification of the client certificate", call.Arrived().Verify, Equal("SUCCESS"))
			call.Fact("partner: subject of the client certificate", call.Arrived().DN, Equal("CN=egress-client"))
			call.Fact("partner: serial of the client certificate, as in the Secret", call.Arrived().Serial, Equal(t.Credential.Serial()))
			call.Fact("partner: SNI of hop 2", call.Arrived().SNI, Equal(t.Subject.ExternalHost))
			call.Fact("partner: the caller is the gateway", call.Arrived().Peer, Equal(t.Gateway.IP))
			return nil
		},
		Control: []lab.Variation{simpleHop2(t)},
		Cause:   refusedForWantOfCertificate(&call),
	}
})

var _ = Claim("G2-control", func(t *trial.T) trial.Experiment {
	var call *trial.Call
	return trial.Experiment{
		Arrange: []lab.Variation{simpleHop2(t)},
		Check: func(ctx context.Context, t *trial.T) (err error) {
			if call, err = t.Call(ctx); err != nil {
				return err
			}
			return refusedForWantOfCertificate(&call)(ctx, t)
		},
		Control: []lab.Variation{t.DestinationRule("hop 2 is MUTUAL again", t.Subject.Hop2Rule, func(dr *networking.DestinationRule) {
			hop2TLS(dr).Mode = networking.ClientTLSSettings_MUTUAL
		})},
		Cause: func(ctx context.Context, t *trial.T) error {
			call.Status(Equal(200))
			call.Fact("partner: verification of the client certificate", call.Arrived().Verify, Equal("SUCCESS"))
			return nil
		},
	}
})

// simpleHop2 takes the client certificate away from hop 2 and leaves the CA.
func simpleHop2(t *trial.T) lab.Variation {
	return t.DestinationRule("hop 2 is SIMPLE, with the same CA", t.Subject.Hop2Rule, func(dr *networking.DestinationRule) {
		hop2TLS(dr).Mode = networking.ClientTLSSettings_SIMPLE
	})
}

func hop2TLS(dr *networking.DestinationRule) *networking.ClientTLSSettings {
	return dr.TrafficPolicy.PortLevelSettings[0].Tls
}

// refusedForWantOfCertificate is what a partner says to a client without a
// certificate: a 400 with its reason, although both hops were encrypted.
func refusedForWantOfCertificate(call **trial.Call) func(context.Context, *trial.T) error {
	return func(_ context.Context, t *trial.T) error {
		c := *call
		c.Status(Equal(400))
		c.Fact("partner's answer", string(c.Body), ContainSubstring("No required SSL certificate was sent"))
		c.Fact("partner's error log", c.PartnerSaid(), ContainSubstring("client sent no required SSL certificate"))
		c.Fact("partner: verification of the client certificate", c.Arrived().Verify, Equal("NONE"))
		c.Fact("gateway: requests of this token", len(c.Gateway), Equal(1))
		return nil
	}
}

var _ = Claim("G3", func(t *trial.T) trial.Experiment {
	// Where each hop's cluster has to have which values, and where none.
	s := t.Subject
	check := func(ctx context.Context, t *trial.T) error {
		hop1, err := t.Cluster(ctx, t.Sidecar, s.Hop1Cluster())
		if err != nil {
			return err
		}
		hop2, err := t.Cluster(ctx, t.Gateway, s.Hop2Cluster())
		if err != nil {
			return err
		}
		for _, p := range []*observe.Proxy{t.Sidecar, t.Gateway} {
			if err := t.AgreesWithIstioctl(ctx, p); err != nil {
				return err
			}
		}
		poolIs(hop1, s.Hop1Pool)
		poolIs(hop2, s.Hop2Pool)
		// The same host on the other proxy has none of it.
		bypass, err := t.Cluster(ctx, t.Sidecar, s.Hop2Cluster())
		if err != nil {
			return err
		}
		bypass.Fact("maxConnections", bypass.Pool.MaxConnections, Not(Equal(s.Hop2Pool.MaxConnections)))
		bypass.Fact("tcpKeepalive", bypass.Pool.Keepalive, BeNil())
		hop2.Fact("maxConnections is not hop 1's", hop2.Pool.MaxConnections, Not(Equal(s.Hop1Pool.MaxConnections)))
		// The gateway sees hop 1's rule too and compiles it, but opens no
		// connection with it.
		call, err := t.Call(ctx)
		if err != nil {
			return err
		}
		call.Status(Equal(200))
		return opens(ctx, t)
	}
	swapped := []lab.Variation{
		maxConnections(t, "hop 1's rule gets hop 2's maxConnections", s.Hop1Rule, s.Hop2Pool.MaxConnections),
		maxConnections(t, "hop 2's rule gets hop 1's", s.Hop2Rule, s.Hop1Pool.MaxConnections),
	}
	return trial.Experiment{
		Check:   check,
		Control: swapped,
		Cause: func(ctx context.Context, t *trial.T) error {
			hop1, err := t.Cluster(ctx, t.Sidecar, s.Hop1Cluster())
			if err != nil {
				return err
			}
			hop2, err := t.Cluster(ctx, t.Gateway, s.Hop2Cluster())
			if err != nil {
				return err
			}
			hop1.Fact("maxConnections, swapped", hop1.Pool.MaxConnections, Equal(s.Hop2Pool.MaxConnections))
			hop2.Fact("maxConnections, swapped", hop2.Pool.MaxConnections, Equal(s.Hop1Pool.MaxConnections))
			return nil
		},
	}
})

var _ = Claim("G4", func(t *trial.T) trial.Experiment {
	var call *trial.Call
	return trial.Experiment{
		Arrange: []lab.Variation{t.VirtualService("drop the mesh route from the VirtualService", func(vs *networking.VirtualService) {
			vs.Http = vs.Http[1:]
		})},
		Check: func(ctx context.Context, t *trial.T) (err error) {
			if call, err = t.Call(ctx); err != nil {
				return err
			}
			call.Fact("gateway: requests of this token, up to a later connection's line", len(call.Gateway), Equal(0))
			call.Fact("sidecar: carrying cluster", call.Left().UpstreamCluster, HavePrefix(t.Subject.BypassCluster()))
			call.Fact("partner: the caller is the application's pod", call.Arrived().Peer, Equal(t.Sidecar.IP))
			call.Fact("partner: TLS version", call.Arrived().TLS, BeEmpty())
			call.Status(Equal(400))
			call.Fact("partner's answer", string(call.Body), ContainSubstring("The plain HTTP request was sent to HTTPS port"))
			return nil
		},
		Control: []lab.Variation{t.VirtualService("the mesh route is back", func(vs *networking.VirtualService) {
			vs.Http = t.BaselineVirtualService().Http
		})},
		Cause: func(ctx context.Context, t *trial.T) error {
			call.Status(Equal(200))
			call.Fact("gateway: requests of this token", len(call.Gateway), Equal(1))
			call.Fact("partner: the caller is the gateway", call.Arrived().Peer, Equal(t.Gateway.IP))
			call.Fact("sidecar: carrying cluster", call.Left().UpstreamCluster, HavePrefix(t.Subject.Hop1Cluster()))
			return nil
		},
	}
})

// opens states who opened connections with hop 1's cluster: the sidecar, and
// never the gateway.
func opens(ctx context.Context, t *trial.T) error {
	for _, p := range []struct {
		proxy *observe.Proxy
		want  types.GomegaMatcher
	}{{t.Sidecar, BeNumerically(">", 0)}, {t.Gateway, BeNumerically("==", 0)}} {
		if err := t.Connections(ctx, p.proxy, t.Subject.Hop1Cluster(), p.want); err != nil {
			return err
		}
	}
	return nil
}

// poolIs states a hop's pool as its cluster has it.
func poolIs(c *trial.Cluster, want subject.Pool) {
	c.Fact("maxConnections", c.Pool.MaxConnections, Equal(want.MaxConnections))
	c.Fact("connectTimeout", c.Pool.ConnectTimeout, Equal(want.ConnectTimeout))
	keepalive := envoy.Keepalive{}
	if c.Pool.Keepalive != nil {
		keepalive = *c.Pool.Keepalive
	}
	c.Fact("tcpKeepalive time", keepalive.Time, Equal(want.KeepaliveTime))
	c.Fact("tcpKeepalive interval", keepalive.Interval, Equal(want.KeepaliveInterval))
	c.Fact("tcpKeepalive probes", keepalive.Probes, Equal(want.KeepaliveProbes))
}

func maxConnections(t *trial.T, change, rule string, n uint32) lab.Variation {
	return t.DestinationRule(change, rule, func(dr *networking.DestinationRule) {
		policy := dr.TrafficPolicy
		if len(dr.Subsets) > 0 {
			policy = dr.Subsets[0].TrafficPolicy
		}
		policy.PortLevelSettings[0].ConnectionPool.Tcp.MaxConnections = int32(n)
	})
}

var _ = Claim("G3-yaml", func(t *trial.T) trial.Experiment {
	keepaliveTime := "300"
	var answer *trial.Answer
	return trial.Experiment{
		Check: func(ctx context.Context, t *trial.T) (err error) {
			answer, err = t.TryApply(ctx, fmt.Sprintf(`apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: as-first-written, namespace: %s}
spec:
  host: %s
  trafficPolicy:
    connectionPool:
      tcp:
        tcpKeepalive: {time: %s, interval: 30s, probes: 3}
`, t.Subject.Gateway.Namespace, t.Subject.ExternalHost, keepaliveTime))
			if err != nil {
				return err
			}
			answer.Fact("accepted", answer.Accepted, BeTrue())
			return nil
		},
		Cause: func(_ context.Context, t *trial.T) error {
			answer.Fact("message", answer.Message, And(ContainSubstring("tcpKeepalive.time"), ContainSubstring("must be of type string")))
			return nil
		},
		Control: []lab.Variation{lab.Input("write the time as 300s", func() { keepaliveTime = "300s" })},
	}
})

var _ = Claim("G2-rbac", func(t *trial.T) trial.Experiment {
	// istiod caches a denial for a minute, by service account
	// (pilot/pkg/credentials/kube, cacheTTL): granting the Role to an account
	// that was refused shows nothing for that long. So there are two gateways
	// that differ in the Role alone, and the control is to lead hop 1 to the
	// other one.
	var call *trial.Call
	secret := "kubernetes://" + t.Subject.Credential
	secretIs := func(ctx context.Context, t *trial.T, name string, state envoy.SecretState) error {
		s, err := t.Secret(ctx, t.Gateway, name)
		if err != nil {
			return err
		}
		s.Fact("state", s.State, Equal(state))
		return nil
	}
	return trial.Experiment{
		Arrange: []lab.Variation{t.Through("lead hop 1 to a gateway whose service account has no Role", t.Subject.Unbound)},
		Check: func(ctx context.Context, t *trial.T) (err error) {
			// A claim that took the ServiceEntry away gave this gateway a new cluster:
			// until Envoy has waited 15 s for its secret there is none.
			if err := t.AwaitWarm(ctx, t.Gateway); err != nil {
				return err
			}
			if call, err = t.Call(ctx); err != nil {
				return err
			}
			call.Status(Equal(503))
			call.Fact("gateway: response flags", call.Through().ResponseFlags, ContainElement("UF"))
			call.Fact("gateway: transport failure", call.Through().UpstreamTransportFailureReason, ContainSubstring("Secret_is_not_supplied_by_SDS"))
			if err := secretIs(ctx, t, secret, envoy.SecretWarming); err != nil {
				return err
			}
			if err := secretIs(ctx, t, secret+"-cacert", envoy.SecretActive); err != nil {
				return err
			}
			account := t.Subject.Gateway.ServiceAccount + "/" + t.Subject.Gateway.Namespace
			line, path, err := t.IstiodSaid(ctx, account, "not authorized to read secrets")
			if err != nil {
				return err
			}
			t.Fact("istiod's log about "+account, line, ContainSubstring("is not authorized to read secrets"), path)
			return nil
		},
		Control: []lab.Variation{t.Through("lead hop 1 to the gateway whose service account has the Role", t.Home().Gateway)},
		Cause: func(ctx context.Context, t *trial.T) error {
			call.Status(Equal(200))
			call.Fact("partner: verification of the client certificate", call.Arrived().Verify, Equal("SUCCESS"))
			return secretIs(ctx, t, secret, envoy.SecretActive)
		},
	}
}, SpecPriority(-1)) // last, while the gateway without a Role warms up
