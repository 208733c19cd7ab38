package suites

import (
	"math"

	. "github.com/onsi/gomega"
	networking "istio.io/api/networking/v1alpha3"

	"twohop/internal/check"
	"twohop/internal/envoy"
	"twohop/internal/manifest"
	"twohop/internal/subject"
)

// The partner's kinds, by the port of its Service (partner-nginx/manifest.yaml).
const (
	strictPort       = 443  // demands a certificate of the client CA
	laxPort          = 8444 // asks for no certificate, and keeps connections for an hour
	otherNamePort    = 8446 // presents another name's certificate of the same CA
	otherCAPort      = 8447 // presents a stranger's certificate
	otherClientsPort = 8448 // trusts another client CA
	silentPort       = 8449 // neither accepts nor refuses a connection
	hangsUpPort      = 8460 // hangs up on each request
	givesUpPort      = 8461 // hangs up on the second request of a connection
)

// otherPort is a port of the external host that the baseline does not have.
const otherPort = 9443

// otherName is in that kind's certificate, and sandboxName in none
// (partner-nginx/pki.go).
const (
	otherName   = "other.partner.example.com"
	sandboxName = "sandbox.partner.example.com"
)

// unlimited is what Istio writes where a rule sets no limit
// (pilot/pkg/networking/core, getDefaultCircuitBreakerThresholds).
const unlimited = uint32(math.MaxUint32)

// dropMeshRoute lets the application's call leave from the sidecar.
func dropMeshRoute(s *Setup) Variation {
	return s.VirtualService("drop the mesh route from the VirtualService", func(vs *networking.VirtualService) {
		manifest.DropRoute(vs, manifest.MeshRouteName)
	})
}

// hop1TLS sets the tls of hop 1's port.
func hop1TLS(s *Setup, change string, tls *networking.ClientTLSSettings) Variation {
	return s.Hop1Port(change, func(p *networking.TrafficPolicy_PortTrafficPolicy) { p.Tls = tls })
}

// hop2TLS edits the tls of hop 2's port.
func hop2TLS(s *Setup, change string, edit func(*networking.ClientTLSSettings)) Variation {
	return s.Hop2Port(change, func(p *networking.TrafficPolicy_PortTrafficPolicy) { edit(p.Tls) })
}

// hop2Pool edits the connectionPool of hop 2's port.
func hop2Pool(s *Setup, change string, edit func(*networking.ConnectionPoolSettings)) Variation {
	return s.Hop2Port(change, func(p *networking.TrafficPolicy_PortTrafficPolicy) { edit(p.ConnectionPool) })
}

// everyRequestAnew makes each of hop 2's requests open a connection.
func everyRequestAnew(s *Setup, change string) Variation {
	return s.Hop2DestinationRule(change, func(dr *networking.DestinationRule) {
		for _, p := range dr.TrafficPolicy.PortLevelSettings {
			p.ConnectionPool.Http = &networking.ConnectionPoolSettings_HTTPSettings{MaxRequestsPerConnection: 1}
		}
	})
}

// noRetries makes every route try once.
func noRetries(s *Setup, change string) Variation {
	return s.VirtualService(change, func(vs *networking.VirtualService) {
		for _, route := range vs.Http {
			route.Retries = &networking.HTTPRetry{Attempts: 0}
		}
	})
}

// withCredential leads hop 2 to a port whose settings name another Secret.
func withCredential(s *Setup, change string, port uint32, secret string) Variation {
	return s.OtherPort(change, manifest.Port{Number: port, Target: strictPort, Settings: func(p *networking.TrafficPolicy_PortTrafficPolicy) {
		p.Tls.CredentialName = secret
	}})
}

// credentialKeys is a Secret's content under the usual names.
func credentialKeys(s *Setup) map[string][]byte {
	return s.CredentialSecret("", s.Certificates.Credential).Data
}

// passesBothHops states that a call went the way that the guide describes.
func passesBothHops(t *T, c *Call) {
	c.Status(Equal(200))
	c.Fact("sidecar: upstream cluster", c.SidecarLog().UpstreamCluster, HavePrefix(t.Subject.Hop1Cluster()))
	c.Fact("gateway: requests of this token", len(c.GatewayLines), Equal(1))
	c.Fact("gateway: SNI of hop 1", c.GatewayLog().RequestedServerName, Equal(t.Subject.ExternalHost))
	c.Fact("partner: requests of this token", len(c.PartnerLines), Equal(1))
	c.Fact("partner: the caller is the gateway", c.PartnerLog().Peer, Equal(t.Gateway.IP))
}

// onceEach states that the gateway passed each of the requests on once, and that
// the partner got it once.
func onceEach(calls []*Call) {
	loggedOnce(calls)
	calls[0].Fact("partner: requests that it got once", check.Once(calls, func(c *Call) int { return len(c.PartnerLines) }), Equal(len(calls)))
}

// loggedOnce states that each of the requests is in the gateway's log once.
func loggedOnce(calls []*Call) {
	calls[0].Fact("gateway: requests that it logged once", check.Once(calls, func(c *Call) int { return len(c.GatewayLines) }), Equal(len(calls)))
}

// presented states that the gateway passed a call on once, and presented the
// certificate of this serial.
func presented(c *Call, serial string) {
	accepted(c, serial)
	c.Fact("gateway: requests of this token", len(c.GatewayLines), Equal(1))
}

// accepted states that the partner got a call once and accepted the certificate of
// this serial, whichever proxy presented it.
func accepted(c *Call, serial string) {
	c.Status(Equal(200))
	c.Fact("partner: requests of this token", len(c.PartnerLines), Equal(1))
	c.Fact("partner: verification of the client certificate", c.PartnerLog().Verify, Equal("SUCCESS"))
	c.Fact("partner: serial of the client certificate", c.PartnerLog().Serial, Equal(serial))
}

// distrusted states that the gateway refused the partner's certificate.
func distrusted(c *Call, reason string) {
	c.Status(Equal(503))
	c.Fact("gateway: requests of this token", len(c.GatewayLines), Equal(1))
	c.Fact("gateway: response flags", c.GatewayLog().ResponseFlags, ContainElement("UF"))
	c.Because("gateway: transport failure", c.GatewayLog().UpstreamTransportFailureReason, ContainSubstring(reason))
}

// refusedForWantOfCertificate is what a partner says to a client without a
// certificate: a 400 with its reason, although both hops were encrypted.
func refusedForWantOfCertificate(c *Call) {
	c.Status(Equal(400))
	c.Because("partner's response", string(c.Body), ContainSubstring("No required SSL certificate was sent"))
	c.Because("partner's error log", c.PartnerErrorLog(), ContainSubstring("client sent no required SSL certificate"))
	c.Fact("partner: verification of the client certificate", c.PartnerLog().Verify, Equal("NONE"))
	c.Fact("gateway: requests of this token", len(c.GatewayLines), Equal(1))
	c.Fact("partner: requests of this token", len(c.PartnerLines), Equal(1))
}

// plaintextToTLS is what the partner says when hop 2 came without TLS.
func plaintextToTLS(c *Call) {
	c.Status(Equal(400))
	c.Fact("gateway: requests of this token", len(c.GatewayLines), Equal(1))
	c.Fact("partner: requests of this token", len(c.PartnerLines), Equal(1))
	c.Fact("partner: TLS version", c.PartnerLog().TLS, BeEmpty())
	c.Because("partner's response", string(c.Body), ContainSubstring("The plain HTTP request was sent to HTTPS port"))
}

// secretIs states the state of one of the gateway's SDS secrets.
func secretIs(t *T, name string, state envoy.SecretState) {
	s := t.Secret(t.Gateway, name)
	s.Fact("state", s.State, Equal(state))
}

// istiodSays states that istiod's log has a line with all the texts, written
// since the claim began.
func istiodSays(t *T, about string, texts ...string) {
	line, path := t.IstiodLog(texts...)
	t.Because("istiod's log about "+about, line, ContainSubstring(texts[len(texts)-1]), path)
}

// poolIs states a hop's pool as its cluster has it, and that it has nothing that
// the subject does not set.
func poolIs(c *check.Cluster, want subject.Pool) {
	c.Fact("maxConnections", c.Pool.MaxConnections, Equal(want.MaxConnections))
	c.Fact("connectTimeout", c.Pool.ConnectTimeout, Equal(want.ConnectTimeout))
	keepalive := envoy.Keepalive{}
	if c.Pool.Keepalive != nil {
		keepalive = *c.Pool.Keepalive
	}
	c.Fact("tcpKeepalive time", keepalive.Time, Equal(want.KeepaliveTime))
	c.Fact("tcpKeepalive interval", keepalive.Interval, Equal(want.KeepaliveInterval))
	c.Fact("tcpKeepalive probes", keepalive.Probes, Equal(want.KeepaliveProbes))
	c.Fact("settings that no rule asks for", c.Pool.Beyond(), BeEmpty())
}

// opens states who opened connections with hop 1's cluster: the sidecar, and
// never the gateway.
func opens(t *T) {
	t.Connections(t.Sidecar, t.Subject.Hop1Cluster(), BeNumerically(">", 0))
	t.Connections(t.Gateway, t.Subject.Hop1Cluster(), BeNumerically("==", 0))
}

// carries states that a call still goes through both hops.
func carries(t *T) {
	c := t.Call()
	c.Status(Equal(200))
	c.Fact("sidecar: upstream cluster", c.SidecarLog().UpstreamCluster, HavePrefix(t.Subject.Hop1Cluster()))
	c.Fact("gateway: upstream cluster", c.GatewayLog().UpstreamCluster, HavePrefix(t.Subject.Hop2Cluster()))
	c.Fact("partner: requests of this token", len(c.PartnerLines), Equal(1))
}
