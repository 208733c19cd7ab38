package suites

import (
	. "github.com/onsi/gomega"
	networking "istio.io/api/networking/v1alpha3"
	selector "istio.io/api/type/v1beta1"
	istio "istio.io/client-go/pkg/apis/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"twohop/internal/check"
	"twohop/internal/manifest"
	"twohop/internal/subject"
)

var _ = Claim("H2-sni-omitted", func(s *Setup) Experiment[*Call] {
	return Experiment[*Call]{
		Arrange: vary(hop2TLS(s, "drop sni from hop 2", func(tls *networking.ClientTLSSettings) { tls.Sni = "" })),
		Check: func(t *T) *Call {
			call := t.Call()
			distrusted(call, "CERTIFICATE_VERIFY_FAILED")
			return call
		},
		Cause: func(t *T, call *Call) {
			presented(call, s.Certificates.Credential.Serial())
			call.Fact("partner: SNI of hop 2", call.PartnerLog().SNI, Equal(t.Subject.ExternalHost))
			call.Fact("gateway: names in the partner's certificate", call.GatewayLog().UpstreamPeerDNSSAN, ContainSubstring(t.Subject.ExternalHost))
			cluster := t.Cluster(t.Gateway, t.Subject.Hop2Cluster())
			cluster.Fact("TLS transport socket", cluster.TLS != nil, BeTrue())
			cluster.Fact("SNI", cluster.TLSOrZero().SNI, BeEmpty())
			cluster.Fact("SNI from the Host header", cluster.Pool.AutoSNI, BeTrue())
		},
		Control: vary(hop2TLS(s, "send a name that the partner does not serve", func(tls *networking.ClientTLSSettings) { tls.Sni = "nobody.example.com" })),
		Flips:   []string{"curl: HTTP status", "gateway: response flags", "gateway: transport failure"},
	}
})

var _ = Claim("H2-san-pin", func(s *Setup) Experiment[*Call] {
	return Experiment[*Call]{
		Arrange: vary(s.PartnerPort("the partner presents another name's certificate of the same CA", otherNamePort)),
		Check: func(t *T) *Call {
			before := t.Counters(t.Gateway, t.Subject.Hop2Cluster())
			call := t.Call()
			distrusted(call, "CERTIFICATE_VERIFY_FAILED")
			call.Fact("the reason in the response is not the certificate", string(call.Body),
				And(ContainSubstring("reset reason: remote connection failure"), Not(ContainSubstring("CERTIFICATE_VERIFY_FAILED"))))
			call.Fact("partner: requests of this token", len(call.PartnerLines), Equal(0))
			t.Counters(t.Gateway, t.Subject.Hop2Cluster()).Grew(before, "ssl.fail_verify_san", BeNumerically(">", 0))
			return call
		},
		Control: vary(hop2TLS(s, "accept that name too", func(tls *networking.ClientTLSSettings) {
			tls.SubjectAltNames = append(tls.SubjectAltNames, otherName)
		})),
		Cause: func(_ *T, call *Call) {
			presented(call, s.Certificates.Credential.Serial())
			call.Fact("gateway: names in the partner's certificate", call.GatewayLog().UpstreamPeerDNSSAN, Equal(otherName))
		},
		Flips: []string{
			"curl: HTTP status", "gateway: response flags", "gateway: transport failure", "partner: requests of this token",
			"the reason in the response *", "gateway, *: ssl.fail_verify_san grew by",
		},
	}
})

var _ = Claim("H2-no-san", func(s *Setup) Experiment[*Call] {
	return Experiment[*Call]{
		Arrange: vary(
			s.PartnerPort("the partner presents another name's certificate of the same CA", otherNamePort),
			hop2TLS(s, "drop subjectAltNames from hop 2 and leave sni", func(tls *networking.ClientTLSSettings) { tls.SubjectAltNames = nil }),
		),
		Check: func(t *T) *Call {
			call := t.Call()
			presented(call, s.Certificates.Credential.Serial())
			call.Fact("gateway: names in the partner's certificate", call.GatewayLog().UpstreamPeerDNSSAN, Equal(otherName))
			return call
		},
		Control: vary(hop2TLS(s, "drop sni as well", func(tls *networking.ClientTLSSettings) { tls.Sni = "" })),
		Cause: func(t *T, call *Call) {
			distrusted(call, "CERTIFICATE_VERIFY_FAILED")
			cluster := t.Cluster(t.Gateway, t.Subject.Hop2Cluster())
			cluster.Fact("certificate's names checked against the Host header", cluster.Pool.AutoSANValidation, BeTrue())
		},
		Flips: []string{"curl: HTTP status", "partner: *", "gateway: names in the partner's certificate"},
	}
})

var _ = Claim("H2-port-tls", func(s *Setup) Experiment[*Call] {
	const header = "x-sandbox"
	return Experiment[*Call]{
		Arrange: vary(s.OtherPort("another port is SIMPLE, to a partner that asks for no certificate; a header leads there",
			manifest.Port{Number: otherPort, Target: laxPort, Header: header, Settings: func(p *networking.TrafficPolicy_PortTrafficPolicy) {
				p.Tls.Mode, p.Tls.Sni, p.Tls.SubjectAltNames = networking.ClientTLSSettings_SIMPLE, sandboxName, nil
			}})),
		Check: func(t *T) *Call {
			strict := t.Call()
			presented(strict, s.Certificates.Credential.Serial())
			strict.Fact("partner: SNI of hop 2", strict.PartnerLog().SNI, Equal(t.Subject.ExternalHost))
			lax := t.Call(check.With("-H", header+": yes"))
			lax.Fact("gateway: upstream cluster of the other port", lax.GatewayLog().UpstreamCluster, HavePrefix(subject.ClusterName(otherPort, "", t.Subject.ExternalHost)))
			lax.StatusOf("curl to the other port", Equal(200))
			lax.Fact("partner: requests on the other port", len(lax.PartnerLines), Equal(1))
			lax.Fact("partner: SNI on the other port", lax.PartnerLog().SNI, Equal(sandboxName))
			lax.Fact("partner: client certificate on the other port", lax.PartnerLog().Serial, BeEmpty())
			return lax
		},
		Control: vary(s.Hop2DestinationRule("drop the other port's entry", func(dr *networking.DestinationRule) {
			manifest.DropPortSettings(dr.TrafficPolicy, otherPort)
		})),
		Cause: func(_ *T, lax *Call) {
			lax.StatusOf("curl to the other port", Equal(400))
			lax.Because("partner's response on the other port", string(lax.Body), ContainSubstring("The plain HTTP request was sent to HTTPS port"))
		},
		Flips: []string{"curl to the other port: HTTP status", "partner: SNI on the other port"},
	}
})

var _ = Claim("H2-xfcc", func(s *Setup) Experiment[*Call] {
	return Experiment[*Call]{
		Check: func(t *T) *Call {
			call := t.Call()
			presented(call, s.Certificates.Credential.Serial())
			call.Fact("partner: x-forwarded-client-cert", call.PartnerLog().XFCC, ContainSubstring("URI="+t.Subject.SPIFFE(t.Subject.Client)))
			return call
		},
		Control: vary(s.VirtualService("remove the header on hop 2's route", func(vs *networking.VirtualService) {
			manifest.GatewayRoute(vs).Headers = &networking.Headers{Request: &networking.Headers_HeaderOperations{Remove: []string{"x-forwarded-client-cert"}}}
		})),
		Cause: func(_ *T, call *Call) {
			call.Fact("partner: x-forwarded-client-cert is empty", call.PartnerLog().XFCC, Equal(""))
		},
		Flips: []string{"partner: x-forwarded-client-cert"},
	}
})

// unapplied states that the sidecar's cluster of the external host is there, as
// no rule has shaped it, and the gateway's is as hop 2's rule says.
func unapplied(t *T) {
	cluster := t.Cluster(t.Sidecar, t.Subject.Hop2Cluster())
	cluster.Is(BeTrue())
	cluster.Fact("DestinationRule", cluster.DestinationRule(), BeEmpty())
	cluster.Fact("maxConnections", cluster.Pool.MaxConnections, Equal(unlimited))
	gateway := t.Cluster(t.Gateway, t.Subject.Hop2Cluster())
	gateway.Fact("DestinationRule", gateway.DestinationRule(), HaveSuffix(t.Subject.Hop2Rule))
}

// applied states that hop 2's rule has shaped the sidecar's cluster too.
func applied(t *T) {
	cluster := t.Cluster(t.Sidecar, t.Subject.Hop2Cluster())
	cluster.Is(BeTrue())
	cluster.Fact("DestinationRule", cluster.DestinationRule(), HaveSuffix(t.Subject.Hop2Rule))
	cluster.Fact("maxConnections", cluster.Pool.MaxConnections, Equal(t.Subject.Hop2Pool.MaxConnections))
}

// shapesTheSidecar are the facts by which the two differ.
var shapesTheSidecar = []string{"client sidecar, *: DestinationRule", "client sidecar, *: maxConnections"}

func exported(s *Setup) Variation {
	return s.Hop2DestinationRule("drop exportTo from hop 2's rule", func(dr *networking.DestinationRule) { dr.ExportTo = nil })
}

var _ = Claim("H2-export", func(s *Setup) Experiment[nothing] {
	return Experiment[nothing]{
		Check:   func(t *T) (n nothing) { unapplied(t); return },
		Control: vary(exported(s)),
		Cause:   func(t *T, _ nothing) { applied(t) },
		Flips:   shapesTheSidecar,
	}
})

var _ = Claim("H2-export-2", func(s *Setup) Experiment[nothing] {
	// istiod looks for rules in the proxy's namespace, then in the one that the
	// service is of, then in the root namespace (pilot/pkg/model,
	// PushContext.destinationRule): a gateway's namespace is none of them,
	// unless the ServiceEntry makes it the service's.
	elsewhere := s.BaselineServiceEntry()
	elsewhere.Namespace = s.Subject.Client.Namespace
	return Experiment[nothing]{
		Arrange: vary(
			exported(s),
			manifest.Together("move the ServiceEntry to another namespace",
				manifest.Add("", elsewhere), manifest.Remove("", s.BaselineServiceEntry())),
		),
		Check: func(t *T) (n nothing) { applied(t); return },
		Cause: func(t *T, _ nothing) { unapplied(t) },
		Control: vary(manifest.Together("move the ServiceEntry back to the gateway's namespace",
			manifest.Add("", s.BaselineServiceEntry()), manifest.Remove("", elsewhere))),
		Flips: shapesTheSidecar,
	}
})

// sidecarRule gives the sidecars of the application's namespace hop 2's TLS.
func sidecarRule(s *Setup, change string, match *selector.WorkloadSelector) Variation {
	u := s.Subject
	return manifest.Add(change, &istio.DestinationRule{
		ObjectMeta: metav1.ObjectMeta{Namespace: u.Client.Namespace, Name: "sidecar-originates-mtls"},
		Spec: networking.DestinationRule{
			Host: u.ExternalHost, ExportTo: []string{"."}, WorkloadSelector: match,
			TrafficPolicy: &networking.TrafficPolicy{Tls: &networking.ClientTLSSettings{
				Mode: networking.ClientTLSSettings_MUTUAL, CredentialName: u.Credential, Sni: u.ExternalHost, SubjectAltNames: []string{u.ExternalHost},
			}},
		},
	})
}

// selectingRule is sidecarRule with a workloadSelector that picks the
// application, and waits until its sidecar has the credential.
func selectingRule(s *Setup, change string) Variation {
	match := &selector.WorkloadSelector{MatchLabels: map[string]string{"app": s.Subject.Client.Deployment}}
	return sidecarRule(s, change, match).Waiting(manifest.Holds{
		Role: subject.Sidecar, Secret: manifest.SDSName(s.Subject.Credential), Serial: s.Certificates.Credential.Serial()})
}

// sidecarMayRead puts the credential into the application's namespace, for the
// application's service account to read.
func sidecarMayRead(s *Setup) Variation {
	ns := s.Subject.Client.Namespace
	return manifest.Together("the application's namespace has the Secret, and its service account may list Secrets",
		manifest.Allow("", ns, s.Subject.Client.ServiceAccount, rbacv1.PolicyRule{Verbs: []string{"get", "watch", "list"}}),
		manifest.Secret("", ns, s.Subject.Credential, credentialKeys(s)))
}

var _ = Claim("H2-gateway-only", func(s *Setup) Experiment[*Call] {
	return Experiment[*Call]{
		Arrange: vary(
			dropMeshRoute(s),
			sidecarMayRead(s),
			selectingRule(s, "a DestinationRule with credentialName and a workloadSelector picks the application"),
		),
		Check: func(t *T) *Call {
			call := t.Call()
			call.Fact("sidecar: upstream cluster", call.SidecarLog().UpstreamCluster, HavePrefix(t.Subject.BypassCluster()))
			call.Fact("gateway: requests of this token", len(call.GatewayLines), Equal(0))
			call.Fact("partner: requests of this token", len(call.PartnerLines), Equal(1))
			call.Fact("partner: the caller is the application's pod", call.PartnerLog().Peer, Equal(t.Sidecar.IP))
			call.Fact("partner: TLS version", call.PartnerLog().TLS, BeEmpty())
			call.Status(Equal(400))
			call.Because("partner's response", string(call.Body), ContainSubstring("The plain HTTP request was sent to HTTPS port"))
			return call
		},
		// The call bypassed the gateway: the sidecar presented it.
		Cause:   func(_ *T, call *Call) { accepted(call, s.Certificates.Credential.Serial()) },
		Control: vary(sidecarRule(s, "drop the workloadSelector", nil)),
		Flips:   []string{"partner: TLS version", "curl: HTTP status", "partner's response"},
	}
})

var _ = Claim("H2-sidecar-plaintext", func(s *Setup) Experiment[bypassed] {
	return Experiment[bypassed]{
		Arrange: vary(
			dropMeshRoute(s),
			s.Hop2DestinationRule("hop 2's rule is for all namespaces, and for the port that the application calls too", func(dr *networking.DestinationRule) {
				entry := s.Hop2Settings(dr).DeepCopy()
				entry.Port.Number = uint32(s.Subject.AppPort)
				dr.TrafficPolicy.PortLevelSettings = append(dr.TrafficPolicy.PortLevelSettings, entry)
				dr.ExportTo = nil
			}),
		),
		Check: func(t *T) bypassed {
			cluster := t.Cluster(t.Sidecar, t.Subject.BypassCluster())
			cluster.Is(BeTrue())
			cluster.Fact("TLS transport socket", cluster.TLS != nil, BeTrue())
			cluster.Fact("client certificate by SDS", cluster.TLSOrZero().CertificateSDS, ConsistOf(manifest.SDSName(t.Subject.Credential)))
			call := t.Call()
			call.Fact("sidecar: upstream cluster", call.SidecarLog().UpstreamCluster, HavePrefix(t.Subject.BypassCluster()))
			call.Fact("sidecar: TLS to the partner", call.SidecarLog().UpstreamTLSVersion, Not(BeEmpty()))
			return bypassed{cluster, call}
		},
		Cause: func(t *T, saw bypassed) {
			saw.cluster.Fact("DestinationRule", saw.cluster.DestinationRule(), HaveSuffix(t.Subject.Hop2Rule))
			saw.cluster.Fact("maxConnections", saw.cluster.Pool.MaxConnections, Equal(t.Subject.Hop2Pool.MaxConnections))
			saw.call.Fact("partner: requests of this token", len(saw.call.PartnerLines), Equal(1))
			saw.call.Fact("partner: the caller is the application's pod", saw.call.PartnerLog().Peer, Equal(t.Sidecar.IP))
			saw.call.Fact("partner: TLS version", saw.call.PartnerLog().TLS, BeEmpty())
			saw.call.Status(Equal(400))
			saw.call.Because("partner's response", string(saw.call.Body), ContainSubstring("The plain HTTP request was sent to HTTPS port"))
		},
		Control: vary(
			sidecarMayRead(s),
			selectingRule(s, "a rule in the application's namespace picks the application with a workloadSelector"),
		),
		Flips: []string{"client sidecar, *: TLS transport socket", "client sidecar, *: client certificate by SDS", "sidecar: TLS to the partner"},
	}
})

// bypassed is a call that left from the sidecar, and the cluster that it took.
type bypassed struct {
	cluster *check.Cluster
	call    *Call
}
