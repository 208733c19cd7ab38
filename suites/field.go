package suites

import (
	"time"

	. "github.com/onsi/gomega"
	networking "istio.io/api/networking/v1alpha3"
	typev1beta1 "istio.io/api/type/v1beta1"
	istio "istio.io/client-go/pkg/apis/networking/v1"

	"twohop/internal/analysis"
	"twohop/internal/check"
	"twohop/internal/envoy"
	"twohop/internal/manifest"
	"twohop/internal/subject"
	partnernginx "twohop/partner-nginx"
)

var _ = Claim("F-analyze-blind", func(s *Setup) Experiment[*check.Analysis] {
	missing := s.Unique("no-secret")
	return Experiment[*check.Analysis]{
		Arrange: vary(hop2TLS(s, "hop 2's rule names a Secret that does not exist", func(tls *networking.ClientTLSSettings) { tls.CredentialName = missing })),
		Check: func(t *T) *check.Analysis {
			all := t.Analyze()
			all.Fact("messages that name the missing Secret", analysis.Codes(all.Naming(missing)), Not(BeEmpty()))
			return all
		},
		Cause: func(t *T, all *check.Analysis) {
			all.Fact("messages about hop 2's rule", analysis.Codes(all.Of("DestinationRule", t.Subject.Hop2Rule)), ConsistOf(noCAMessage(t)))
			// And yet the gateway asked for it, in vain.
			istiodSays(t, "the Secret", missing, t.Subject.Gateway.Namespace+"/"+missing+" not found")
		},
		Control: vary(manifest.Add("a Gateway names the missing Secret too", &istio.Gateway{
			ObjectMeta: s.InGateway("names-a-missing-secret"),
			Spec: networking.Gateway{
				Selector: map[string]string{"app": s.Subject.Gateway.Deployment},
				Servers: []*networking.Server{{
					Port:  &networking.Port{Number: 8999, Name: "https-missing", Protocol: "HTTPS"},
					Hosts: []string{"missing." + s.Subject.ExternalHost},
					Tls:   &networking.ServerTLSSettings{Mode: networking.ServerTLSSettings_SIMPLE, CredentialName: missing},
				}},
			},
		})),
		Flips: []string{"istioctl analyze: messages that name the missing Secret"},
	}
})

// noCAMessage is the analyzer's about hop 2's rule: no CA is set.
func noCAMessage(t *T) string {
	return "IST0129 DestinationRule " + t.Subject.Gateway.Namespace + "/" + t.Subject.Hop2Rule
}

var _ = Claim("F-analyze-noise", func(s *Setup) Experiment[*check.Analysis] {
	return Experiment[*check.Analysis]{
		Check: func(t *T) *check.Analysis {
			all := t.Analyze()
			all.Fact("messages about hop 2's rule", analysis.Codes(all.Of("DestinationRule", t.Subject.Hop2Rule)), BeEmpty())
			// The rule is there, and the setup works.
			hop2 := t.Cluster(t.Gateway, t.Subject.Hop2Cluster())
			hop2.Fact("DestinationRule", hop2.DestinationRule(), HaveSuffix("/"+t.Subject.Hop2Rule))
			presented(t.Call(), s.Certificates.Credential.Serial())
			return all
		},
		Cause: func(t *T, all *check.Analysis) {
			all.Fact("that no CA is set for hop 2's rule", analysis.Codes(all.Naming("no caCertificates are set to validate server identity")),
				ContainElement(noCAMessage(t)))
			// And yet the partner is verified, with the Secret's ca.crt.
			hop2 := t.Cluster(t.Gateway, t.Subject.Hop2Cluster())
			hop2.Fact("CA by SDS", hop2.TLSOrZero().ValidationSDS, Equal(manifest.SDSCAName(t.Subject.Credential)))
		},
		Control: vary(s.Hop2DestinationRule("hop 2's rule selects the gateway's workload", func(dr *networking.DestinationRule) {
			dr.WorkloadSelector = &typev1beta1.WorkloadSelector{MatchLabels: map[string]string{"app": s.Subject.Gateway.Deployment}}
		})),
		Flips: []string{"istioctl analyze: messages about hop 2's rule"},
	}
})

// certificateError is what nginx says to a client whose certificate does not verify.
const certificateError = "The SSL certificate error"

var _ = Claim("F-partner-lax", func(s *Setup) Experiment[*Call] {
	return Experiment[*Call]{
		Arrange: vary(s.OtherPort("the partner's port does not ask for a certificate", manifest.Port{Number: 444, Target: laxPort})),
		Check: func(t *T) *Call {
			call := t.Call()
			flags := check.Flags(call.SidecarLog()) + check.Flags(call.GatewayLog())
			call.Fact("curl, sidecar or gateway: a failure", call.HTTPCode != 200 || flags != "", BeTrue())
			onceEach([]*Call{call})
			call.Fact("partner: verification of the client certificate", call.PartnerLog().Verify, Not(Equal("SUCCESS")))
			// The failure is the one that a partner causes that asks.
			call.Status(Equal(400))
			call.Because("partner's response", call.Text(), ContainSubstring(certificateError))
			return call
		},
		Cause: func(t *T, call *Call) {
			call.Status(Equal(200))
			call.Fact("sidecar: response flags", check.Flags(call.SidecarLog()), BeEmpty())
			call.Fact("gateway: response flags", check.Flags(call.GatewayLog()), BeEmpty())
			call.Fact("partner: it did not ask", call.PartnerLog().Verify, Equal("NONE"))
			call.Fact("partner: subject of the client certificate", call.PartnerLog().DN, BeEmpty())
			secretIs(t, manifest.SDSName(t.Subject.Credential), envoy.SecretActive)
		},
		Control: vary(s.PartnerPortOf("the partner asks, and does not know the CA", 444, otherClientsPort)),
		Flips:   []string{"curl, sidecar or gateway: a failure", "curl: HTTP status", "partner's response"},
	}
})

// twoCalls are one to a partner that the gateway distrusts and one to a partner
// that distrusts the gateway.
type twoCalls struct{ ours, theirs *Call }

var _ = Claim("F-ca-direction", func(s *Setup) Experiment[twoCalls] {
	const ours, theirs = "x-gateway-distrusts", "x-partner-distrusts"
	// refusedByGateway states what a caller and the gateway's log show where the
	// gateway distrusts the partner.
	refusedByGateway := func(c *Call, which string) {
		c.StatusOf(which+": curl", Equal(503))
		c.Fact(which+": gateway's response flags", c.GatewayLog().ResponseFlags, ConsistOf("UF", "URX"))
		c.Because(which+": gateway's transport failure", c.GatewayLog().UpstreamTransportFailureReason, ContainSubstring("CERTIFICATE_VERIFY_FAILED"))
		c.Fact(which+": requests at the partner", len(c.PartnerLines), Equal(0))
	}
	return Experiment[twoCalls]{
		Arrange: vary(
			s.OtherPort("a partner whose CA the gateway does not know", manifest.Port{Number: 444, Target: otherCAPort, Header: ours}),
			s.OtherPort("a partner that does not know the gateway's CA", manifest.Port{Number: 445, Target: otherClientsPort, Header: theirs}),
		),
		Check: func(t *T) (c twoCalls) {
			c.ours = t.Call(check.With("--header", ours+": yes"))
			c.theirs = t.Call(check.With("--header", theirs+": yes"))
			refusedByGateway(c.ours, "unknown partner")
			refusedByGateway(c.theirs, "unknown client")
			return c
		},
		Cause: func(_ *T, c twoCalls) {
			c.theirs.StatusOf("unknown client: curl", Equal(400))
			c.theirs.Because("unknown client: partner's response", c.theirs.Text(), ContainSubstring(certificateError))
			c.theirs.Fact("unknown client: partner's verification of the certificate", c.theirs.PartnerLog().Verify, HavePrefix("FAILED:"))
			c.theirs.Fact("unknown client: the gateway's log", check.Logged(c.theirs.GatewayLog()), HavePrefix("no flag 400 via_upstream"))
		},
		Control: vary(s.PartnerPortOf("lead both to the partner whose CA the gateway does not know", 445, otherCAPort)),
		Flips:   []string{"unknown client: *"},
	}
})

var _ = Claim("F-order", func(s *Setup) Experiment[*Call] {
	missing := s.Unique("no-secret")
	port := func(number uint32) manifest.Port {
		return manifest.Port{Number: number, Target: strictPort, Settings: func(p *networking.TrafficPolicy_PortTrafficPolicy) { p.Tls.CredentialName = missing }}
	}
	return Experiment[*Call]{
		Arrange: vary(
			s.PortRoute("first the ServiceEntry registers a port, and the route leads there", port(444)).Live(),
			s.PortRule("then the rule asks for MUTUAL on it, with a Secret that does not exist", port(444)),
		),
		Check: func(t *T) *Call {
			call := t.Call()
			call.Status(Equal(503))
			call.Fact("gateway: response flags", check.Flags(call.GatewayLog()), Equal("NC"))
			call.Because("gateway: response code details", call.GatewayLog().ResponseCodeDetails, Equal("cluster_not_found"))
			call.Fact("partner: requests of this token", len(call.PartnerLines), Equal(0))
			return call
		},
		Cause: func(t *T, call *Call) {
			// That the gateway waits for the Secret shows that it has the rule.
			secretIs(t, manifest.SDSName(missing), envoy.SecretWarming)
			call.Fact("gateway: upstream cluster", call.GatewayLog().UpstreamCluster, HavePrefix(subject.ClusterName(444, "", t.Subject.ExternalHost)))
			plaintextToTLS(call)
		},
		Control: vary(s.OtherPort("the same for another port, the rule first", port(445))),
		Flips:   []string{"curl: HTTP status", "gateway: *", "partner: requests of this token"},
	}
})

var _ = Claim("F-expired", func(s *Setup) Experiment[*Call] {
	const (
		life = 6 * time.Second // arranging takes about one of them
		pace = 500 * time.Millisecond
	)
	name := s.Unique("expiry")
	short := s.Issue(s.Certificates.ClientCA, manifest.ClientName, partnernginx.ValidFor(life))
	valid := s.NewPair()
	end := short.Cert.NotAfter
	return Experiment[*Call]{
		Arrange: vary(
			manifest.Add("a Secret whose certificate expires in a few seconds", s.CredentialSecret(name, short)),
			s.OtherPort("hop 2 presents it, one request a connection", manifest.Port{Number: 444, Target: strictPort, Settings: func(p *networking.TrafficPolicy_PortTrafficPolicy) {
				p.Tls.CredentialName = name
				p.ConnectionPool.Http = &networking.ConnectionPoolSettings_HTTPSettings{MaxRequestsPerConnection: 1}
			}}).Holding(manifest.SDSName(name), short.Serial()),
		),
		Check: func(t *T) *Call {
			// Beforehand: read first, and then a call with it still succeeds.
			secret := t.Secret(t.Gateway, manifest.SDSName(name))
			held, err := secret.Leaf()
			if err != nil {
				t.Abort("the gateway's secret %s: %w", name, err)
			}
			secret.Fact("end of its certificate", held.NotAfter, BeTemporally("==", end))
			before := t.Call()
			before.StatusOf("before: curl", Equal(200))
			before.Fact("before: time in the partner's log", before.PartnerLog().Logged, BeTemporally("<", held.NotAfter))
			before.Fact("before: partner's verification of the client certificate", before.PartnerLog().Verify, Equal("SUCCESS"))
			before.Fact("before: serial of the client certificate", before.PartnerLog().Serial, Equal(held.Serial))
			// By the partner's clock, calls go by until the first certificate is over.
			if left := end.Sub(before.PartnerLog().Logged); left > life {
				t.Abort("the partner logged the call at %v, before the certificate was made", before.PartnerLog().Logged)
			} else if left > 0 {
				t.Sequential(2+int(left/pace), pace).Calls()
			}
			t.Past(short)
			after := t.Call()
			after.Fact("after: gateway: requests of this token", len(after.GatewayLines), Equal(1))
			after.StatusOf("after: curl", Equal(400))
			after.Because("after: partner's response", after.Text(), ContainSubstring(certificateError))
			after.Fact("after: time in the partner's log", after.PartnerLog().Logged, BeTemporally(">=", held.NotAfter))
			after.Fact("after: partner's verification of the client certificate", after.PartnerLog().Verify, Equal("FAILED:certificate has expired"))
			after.Fact("after: gateway's response flags", check.Flags(after.GatewayLog()), BeEmpty())
			return after
		},
		Cause: func(_ *T, after *Call) {
			after.StatusOf("after: curl", Equal(200))
			after.Fact("after: time in the partner's log, past the first certificate's end", after.PartnerLog().Logged, BeTemporally(">=", end))
			after.Fact("after: partner's verification of the client certificate", after.PartnerLog().Verify, Equal("SUCCESS"))
			after.Fact("after: serial of the client certificate", after.PartnerLog().Serial, Equal(valid.Serial()))
		},
		Control: vary(manifest.Add("renew the certificate in the Secret", s.CredentialSecret(name, valid)).Holding(manifest.SDSName(name), valid.Serial())),
		Flips: []string{
			"gateway, secret *: end of its certificate", "after: curl: HTTP status", "after: partner's *", "after: time in the partner's log",
		},
	}
})
