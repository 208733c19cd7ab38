package suites

import (
	"fmt"

	. "github.com/onsi/gomega"
	networking "istio.io/api/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"

	"twohop/internal/check"
	"twohop/internal/envoy"
	"twohop/internal/manifest"
)

var _ = Claim("G1", func(s *Setup) Experiment[*Call] {
	return Experiment[*Call]{
		Check: func(t *T) *Call {
			hop1 := t.Cluster(t.Sidecar, t.Subject.Hop1Cluster())
			tls := hop1.TLSOrZero()
			hop1.Fact("TLS transport socket", hop1.TLS != nil, BeTrue())
			hop1.Fact("SNI", tls.SNI, Equal(t.Subject.ExternalHost))
			hop1.Fact("client certificate by SDS", tls.CertificateSDS, ConsistOf("default"))
			hop1.Fact("CA by SDS", tls.ValidationSDS, Equal("ROOTCA"))
			hop1.Fact("server identity, filled in by istiod", tls.SANs, ContainElement(HaveSuffix(t.Subject.SPIFFE(t.Subject.Gateway))))

			server := t.FilterChain(t.Gateway, t.Subject.GatewayPort, t.Subject.ExternalHost)
			server.Fact("present", server.Present, BeTrue())
			server.Fact("requires a client certificate", server.RequiresClientCertificate(), BeTrue())

			call := t.Call()
			call.Status(Equal(200))
			call.Fact("sidecar: upstream cluster", call.SidecarLog().UpstreamCluster, HavePrefix(t.Subject.Hop1Cluster()))
			call.Fact("sidecar: attempts", call.SidecarLog().UpstreamRequestAttemptCount, BeNumerically("==", 1))
			call.Fact("gateway: requests of this token", len(call.GatewayLines), Equal(1))
			call.Fact("gateway: SNI of hop 1", call.GatewayLog().RequestedServerName, Equal(t.Subject.ExternalHost))
			call.Fact("gateway: TLS version of hop 1", call.GatewayLog().DownstreamTLSVersion, MatchRegexp(modernTLS))
			call.Fact("gateway: cipher of hop 1", call.GatewayLog().DownstreamTLSCipher, MatchRegexp(strongCipher))
			call.Fact("gateway: the caller's identity", call.GatewayLog().DownstreamPeerURISAN, Equal(t.Subject.SPIFFE(t.Subject.Client)))
			call.Fact("partner: requests of this token", len(call.PartnerLines), Equal(1))
			return call
		},
		Control: vary(hop1TLS(s, "drop hop 1's tls from the DestinationRule", nil)),
		Cause: func(_ *T, call *Call) {
			call.Status(Equal(503))
			call.Fact("sidecar: response flags", check.Flags(call.SidecarLog()), Equal("UC"))
			call.Because("gateway: why it refused the connection", call.RefusedLog().DownstreamTransportFailureReason, ContainSubstring("HTTP_REQUEST"))
		},
		Flips: []string{"client sidecar, *", "curl: HTTP status", "gateway: *", "partner: requests of this token"},
	}
})

// TLS that is neither outdated nor weak, as the witnesses spell it.
const (
	modernTLS    = `^TLSv1\.[23]$`
	strongCipher = `GCM|CHACHA20`
)

var _ = Claim("G2", func(s *Setup) Experiment[*Call] {
	return Experiment[*Call]{
		Check: func(t *T) *Call {
			secret := manifest.SDSName(t.Subject.Credential)
			hop2 := t.Cluster(t.Gateway, t.Subject.Hop2Cluster())
			tls := hop2.TLSOrZero()
			hop2.Fact("client certificate by SDS", tls.CertificateSDS, ConsistOf(secret))
			hop2.Fact("CA by SDS", tls.ValidationSDS, Equal(secret+"-cacert"))
			hop2.Fact("accepts a server of an unknown CA", tls.AcceptsUntrusted, BeFalse())
			hop2.Fact("server names accepted", tls.SANs, ConsistOf(HaveSuffix("exact:"+t.Subject.ExternalHost)))
			hosts := t.Hosts(t.Gateway, t.Subject.Hop2Cluster())
			hosts.Fact("addresses", hosts.Addresses, ConsistOf(fmt.Sprintf("%s:%d", t.PartnerService, t.Subject.ExternalPort)))
			for _, name := range []string{secret, secret + "-cacert"} {
				secretIs(t, name, envoy.SecretActive)
			}
			call := t.Call()
			call.Status(Equal(200))
			call.Fact("gateway: attempts", call.GatewayLog().UpstreamRequestAttemptCount, BeNumerically("==", 1))
			call.Fact("partner: requests of this token", len(call.PartnerLines), Equal(1))
			call.Fact("partner: verification of the client certificate", call.PartnerLog().Verify, Equal("SUCCESS"))
			call.Fact("partner: subject of the client certificate", call.PartnerLog().DN, Equal("CN=egress-client"))
			call.Fact("partner: serial of the client certificate, as in the Secret", call.PartnerLog().Serial, Equal(s.Certificates.Credential.Serial()))
			call.Fact("partner: SNI of hop 2", call.PartnerLog().SNI, Equal(t.Subject.ExternalHost))
			call.Fact("partner: TLS version of hop 2", call.PartnerLog().TLS, MatchRegexp(modernTLS))
			call.Fact("partner: cipher of hop 2", call.PartnerLog().Cipher, MatchRegexp(strongCipher))
			call.Fact("partner: the caller is the gateway", call.PartnerLog().Peer, Equal(t.Gateway.IP))
			return call
		},
		Control: vary(simpleHop2(s)),
		Cause:   func(_ *T, call *Call) { refusedForWantOfCertificate(call) },
		Flips: []string{
			"*: client certificate by SDS", "gateway, secret kubernetes://partner-client-credential: state", "curl: HTTP status",
			"partner: verification of the client certificate", "partner: subject of the client certificate", "partner: serial of the client certificate*",
		},
	}
})

var _ = Claim("G2-control", func(s *Setup) Experiment[*Call] {
	return Experiment[*Call]{
		Arrange: vary(simpleHop2(s)),
		Check: func(t *T) *Call {
			call := t.Call()
			refusedForWantOfCertificate(call)
			return call
		},
		Control: vary(hop2TLS(s, "hop 2 is MUTUAL again", func(tls *networking.ClientTLSSettings) { tls.Mode = networking.ClientTLSSettings_MUTUAL })),
		Cause: func(_ *T, call *Call) {
			presented(call, s.Certificates.Credential.Serial())
		},
		Flips: []string{"curl: HTTP status", "partner's *", "partner: verification of the client certificate"},
	}
})

// simpleHop2 takes the client certificate away from hop 2 and leaves the CA.
func simpleHop2(s *Setup) Variation {
	return hop2TLS(s, "hop 2 is SIMPLE, with the same CA", func(tls *networking.ClientTLSSettings) { tls.Mode = networking.ClientTLSSettings_SIMPLE })
}

var _ = Claim("G2-rbac", func(s *Setup) Experiment[*Call] {
	// istiod caches a denial for a minute, by service account
	// (pilot/pkg/credentials/kube, cacheTTL): granting the Role to an account
	// that was refused shows nothing for that long. So there are two gateways
	// that differ in the Role alone, and the control is to lead hop 1 to the
	// other one.
	secret := manifest.SDSName(s.Subject.Credential)
	return Experiment[*Call]{
		Arrange: vary(s.RouteVia("lead hop 1 to a gateway whose service account has no Role", s.Subject.Unbound)),
		Check: func(t *T) *Call {
			// A claim that took the ServiceEntry away gave this gateway a new cluster:
			// until Envoy has waited 15 s for its secret there is none.
			t.AwaitWarm(t.Gateway)
			call := t.Call()
			call.Status(Equal(503))
			call.Fact("gateway: response flags", call.GatewayLog().ResponseFlags, ContainElement("UF"))
			call.Because("gateway: transport failure", call.GatewayLog().UpstreamTransportFailureReason, ContainSubstring("Secret_is_not_supplied_by_SDS"))
			secretIs(t, secret, envoy.SecretWarming)
			secretIs(t, secret+"-cacert", envoy.SecretActive)
			// istiod decides anew, and says so, when the Secret changes.
			t.During(touch(s, t.Subject.Gateway.Namespace))
			line, path := t.IstiodLog(t.Subject.Gateway.ServiceAccount+"/"+t.Subject.Gateway.Namespace, "not authorized to read secrets")
			t.Because("istiod's log about the gateway's service account", line, ContainSubstring("is not authorized to read secrets"), path)
			return call
		},
		Control: vary(s.RouteVia("lead hop 1 to the gateway whose service account has the Role", s.Subject.Gateway)),
		Cause: func(t *T, call *Call) {
			presented(call, s.Certificates.Credential.Serial())
			secretIs(t, secret, envoy.SecretActive)
		},
		Flips: []string{"curl: HTTP status", "gateway: *", "gateway, secret kubernetes://partner-client-credential: state", "istiod's log *"},
	}
})

// touch changes the credential in a namespace, but for its content.
func touch(s *Setup, namespace string) Variation {
	mark := s.Unique("asked")
	return manifest.Edit("annotate the credential, so that istiod serves it anew", namespace, s.Subject.Credential, func(o *corev1.Secret) {
		o.Annotations = map[string]string{"twohop/asked": mark}
	})
}

var _ = Claim("G3", func(s *Setup) Experiment[nothing] {
	return Experiment[nothing]{
		Check: func(t *T) (n nothing) {
			hop1 := t.Cluster(t.Sidecar, t.Subject.Hop1Cluster())
			hop2 := t.Cluster(t.Gateway, t.Subject.Hop2Cluster())
			t.AgreesWithIstioctl(BeEmpty(), t.Sidecar, t.Gateway)
			poolIs(hop1, t.Subject.Hop1Pool)
			poolIs(hop2, t.Subject.Hop2Pool)
			// The same host on the other proxy is there, and has none of it.
			elsewhere := t.Cluster(t.Sidecar, t.Subject.Hop2Cluster())
			elsewhere.Is(BeTrue())
			elsewhere.Fact("maxConnections", elsewhere.Pool.MaxConnections, Equal(unlimited))
			elsewhere.Fact("tcpKeepalive", elsewhere.Pool.Keepalive, BeNil())
			// The gateway sees hop 1's rule too and compiles it, but opens no
			// connection with it.
			t.Call().Status(Equal(200))
			opens(t)
			return n
		},
		Control: vary(
			maxConnections(s.Hop1Port, "hop 1's rule gets hop 2's maxConnections", s.Subject.Hop2Pool.MaxConnections),
			maxConnections(s.Hop2Port, "hop 2's rule gets hop 1's", s.Subject.Hop1Pool.MaxConnections),
		),
		Cause: func(t *T, _ nothing) {
			hop1 := t.Cluster(t.Sidecar, t.Subject.Hop1Cluster())
			hop2 := t.Cluster(t.Gateway, t.Subject.Hop2Cluster())
			hop1.Fact("maxConnections, swapped", hop1.Pool.MaxConnections, Equal(t.Subject.Hop2Pool.MaxConnections))
			hop2.Fact("maxConnections, swapped", hop2.Pool.MaxConnections, Equal(t.Subject.Hop1Pool.MaxConnections))
		},
		Flips: []string{"client sidecar, outbound|8443|*: maxConnections", "gateway, *: maxConnections"},
	}
})

// maxConnections sets the limit of a hop.
func maxConnections(hop func(string, func(*networking.TrafficPolicy_PortTrafficPolicy)) Variation, change string, n uint32) Variation {
	return hop(change, func(p *networking.TrafficPolicy_PortTrafficPolicy) { p.ConnectionPool.Tcp.MaxConnections = int32(n) })
}

var _ = Claim("G3-yaml", func(s *Setup) Experiment[*check.Admission] {
	const time = "keepalive time"
	return Experiment[*check.Admission]{
		Check: func(t *T) *check.Admission {
			a := t.DryRunCreate(fmt.Sprintf(`apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: as-first-written, namespace: %s}
spec:
  host: %s
  trafficPolicy:
    connectionPool:
      tcp:
        tcpKeepalive: {time: %s, interval: 30s, probes: 3}
`, t.Subject.Gateway.Namespace, t.Subject.ExternalHost, given(t, time, "300")))
			a.Fact("accepted", a.Accepted, BeTrue())
			return a
		},
		Cause: func(_ *T, a *check.Admission) {
			a.Fact("message", a.Message, And(ContainSubstring("tcpKeepalive.time"), ContainSubstring("must be of type string")))
		},
		Control: vary(manifest.Input("write the time as 300s", time, "300s")),
		Flips:   []string{"API server: accepted"},
	}
})

var _ = Claim("G4", func(s *Setup) Experiment[*Call] {
	return Experiment[*Call]{
		Arrange: vary(dropMeshRoute(s)),
		Check: func(t *T) *Call {
			call := t.Call()
			call.Fact("gateway: requests of this token, up to a later connection's line", len(call.GatewayLines), Equal(0))
			call.Fact("sidecar: upstream cluster", call.SidecarLog().UpstreamCluster, HavePrefix(t.Subject.BypassCluster()))
			call.Fact("partner: requests of this token", len(call.PartnerLines), Equal(1))
			call.Fact("partner: the caller is the application's pod", call.PartnerLog().Peer, Equal(t.Sidecar.IP))
			call.Fact("partner: TLS version", call.PartnerLog().TLS, BeEmpty())
			call.Status(Equal(400))
			call.Because("partner's response", string(call.Body), ContainSubstring("The plain HTTP request was sent to HTTPS port"))
			return call
		},
		Control: vary(s.VirtualService("the mesh route is back", func(vs *networking.VirtualService) {
			vs.Http = s.BaselineVirtualService().Http
		})),
		Cause: passesBothHops,
		Flips: []string{
			"gateway: requests of this token*", "sidecar: upstream cluster", "partner: the caller is the application's pod",
			"partner: TLS version", "curl: HTTP status", "partner's response",
		},
	}
})
