package suites

import (
	"context"
	"maps"

	. "github.com/onsi/gomega"
	networking "istio.io/api/networking/v1alpha3"
	selector "istio.io/api/type/v1beta1"
	istio "istio.io/client-go/pkg/apis/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"twohop/internal/envoy"
	"twohop/internal/lab"
	"twohop/internal/subject"
	"twohop/internal/trial"
)

// otherPort is a port of the external host that the baseline does not have.
const otherPort = 9443

// strictPort, laxPort and otherNamePort are the partner's kinds
// (partner-nginx/manifest.yaml).
const (
	strictPort    = 443
	laxPort       = 8444
	otherNamePort = 8446
)

// otherName is in that kind's certificate, and sandboxName in none
// (partner-nginx/pki.go).
const (
	otherName   = "other.partner.example.com"
	sandboxName = "sandbox.partner.example.com"
)

// withCredential leads hop 2 to a port whose settings name another Secret.
func withCredential(t *trial.T, change string, port uint32, secret string) lab.Variation {
	return t.Hop2Port(change, lab.Port{Number: port, Target: strictPort, Settings: func(p *networking.TrafficPolicy_PortTrafficPolicy) {
		p.Tls.CredentialName = secret
	}})
}

// hop2 edits the TLS settings of hop 2.
func hop2(t *trial.T, change string, edit func(*networking.ClientTLSSettings)) lab.Variation {
	return t.DestinationRule(change, t.Subject.Hop2Rule, func(dr *networking.DestinationRule) { edit(hop2TLS(dr)) })
}

// credentialKeys is a Secret's content under the usual names.
func credentialKeys(t *trial.T) map[string][]byte {
	return t.CredentialSecret("", t.Credential).Data
}

// secretIs states the state of one of the gateway's SDS secrets.
func secretIs(ctx context.Context, t *trial.T, name string, state envoy.SecretState) error {
	s, err := t.Secret(ctx, t.Gateway, name)
	if err != nil {
		return err
	}
	s.Fact("state", s.State, Equal(state))
	return nil
}

// istiodSays states that istiod's log has a line with all the texts.
func istiodSays(ctx context.Context, t *trial.T, about string, texts ...string) error {
	line, path, err := t.IstiodSaid(ctx, texts...)
	if err != nil {
		return err
	}
	t.Fact("istiod's log about "+about, line, ContainSubstring(texts[len(texts)-1]), path)
	return nil
}

// presented states that a call arrived with the certificate of this serial.
// distrusted states that the gateway refused the partner's certificate.
func distrusted(c *trial.Call, reason string) {
	c.Status(Equal(503))
	c.Fact("gateway: response flags", c.Through().ResponseFlags, ContainElement("UF"))
	c.Fact("gateway: transport failure", c.Through().UpstreamTransportFailureReason, ContainSubstring(reason))
}

func presented(c *trial.Call, serial string) {
	c.Status(Equal(200))
	c.Fact("partner: verification of the client certificate", c.Arrived().Verify, Equal("SUCCESS"))
	c.Fact("partner: serial of the client certificate", c.Arrived().Serial, Equal(serial))
}

var _ = Claim("H2-secret-ns", func(t *trial.T) trial.Experiment {
	var call *trial.Call
	name := "elsewhere-" + trial.Unique()
	return trial.Experiment{
		Arrange: []lab.Variation{
			lab.Secret("put a Secret into the application's namespace only", t.Subject.Client.Namespace, name, credentialKeys(t)),
			withCredential(t, "hop 2 names that Secret", otherPort, name),
		},
		Check: func(ctx context.Context, t *trial.T) (err error) {
			if call, err = t.Call(ctx); err != nil {
				return err
			}
			call.Status(Equal(503))
			// The port's cluster warms until its secrets come, or for 15 s.
			call.Fact("gateway: response flags", trial.Flags(call.Through()), Or(Equal("NC"), ContainSubstring("UF")))
			call.Fact("partner: requests of this token", len(call.Partner), Equal(0))
			for _, secret := range []string{lab.SDSName(name), lab.SDSCAName(name)} {
				if err := secretIs(ctx, t, secret, envoy.SecretWarming); err != nil {
					return err
				}
			}
			return istiodSays(ctx, t, "the Secret", name, t.Subject.Gateway.Namespace+"/"+name+" not found")
		},
		Control: []lab.Variation{
			lab.Secret("put the same Secret into the gateway's namespace", t.Subject.Gateway.Namespace, name, credentialKeys(t)).
				Holding(lab.SDSName(name), t.Credential.Serial()),
		},
		Cause: func(ctx context.Context, t *trial.T) error {
			presented(call, t.Credential.Serial())
			return secretIs(ctx, t, lab.SDSName(name), envoy.SecretActive)
		},
	}
})

// renamed spells a Secret's keys another way.
func renamed(data map[string][]byte, names map[string]string) map[string][]byte {
	other := map[string][]byte{}
	for key, value := range data {
		other[names[key]] = value
	}
	return other
}

// genericKeys are the other names that istiod knows (pilot/pkg/credentials/kube).
var genericKeys = map[string]string{"tls.crt": "cert", "tls.key": "key", "ca.crt": "cacert"}

var _ = Claim("H2-secret-keys", func(t *trial.T) trial.Experiment {
	var call *trial.Call
	name := "keys-" + trial.Unique()
	generic := renamed(credentialKeys(t), genericKeys)
	unknown := renamed(credentialKeys(t), map[string]string{"tls.crt": "client.crt", "tls.key": "client.key", "ca.crt": "partner-ca.crt"})
	return trial.Experiment{
		Arrange: []lab.Variation{
			lab.Secret("a Secret with the keys cert, key and cacert", t.Subject.Gateway.Namespace, name+"-generic", generic),
			withCredential(t, "hop 2 names it", otherPort, name+"-generic").Holding(lab.SDSName(name+"-generic"), t.Credential.Serial()),
		},
		Check: func(ctx context.Context, t *trial.T) (err error) {
			if call, err = t.Call(ctx); err != nil {
				return err
			}
			call.Status(Equal(503))
			call.Fact("partner: requests of this token", len(call.Partner), Equal(0))
			return istiodSays(ctx, t, "the Secret", name, "found secret, but didn't have expected keys")
		},
		Cause: func(_ context.Context, t *trial.T) error {
			presented(call, t.Credential.Serial())
			return nil
		},
		Control: []lab.Variation{
			lab.Secret("a Secret with the keys client.crt, client.key and partner-ca.crt", t.Subject.Gateway.Namespace, name+"-unknown", unknown),
			withCredential(t, "hop 2 names it", otherPort+1, name+"-unknown"),
		},
	}
})

var _ = Claim("H2-secret-keys-2", func(t *trial.T) trial.Experiment {
	var call *trial.Call
	name := "both-" + trial.Unique()
	other := t.NewPair()
	both := credentialKeys(t)
	maps.Copy(both, renamed(t.CredentialSecret("", other).Data, genericKeys))
	return trial.Experiment{
		Arrange: []lab.Variation{
			lab.Secret("a Secret with one certificate as tls.crt, tls.key and another as cert, key", t.Subject.Gateway.Namespace, name, both),
			withCredential(t, "hop 2 names it", otherPort, name).Holding(lab.SDSName(name), other.Serial()),
		},
		Check: func(ctx context.Context, t *trial.T) (err error) {
			if call, err = t.Call(ctx); err != nil {
				return err
			}
			presented(call, t.Credential.Serial())
			return nil
		},
		Cause: func(_ context.Context, t *trial.T) error {
			presented(call, other.Serial())
			return nil
		},
		Control: []lab.Variation{
			lab.Secret("a Secret with the first of them alone", t.Subject.Gateway.Namespace, name+"-tls", credentialKeys(t)),
			withCredential(t, "hop 2 names it", otherPort+1, name+"-tls").Holding(lab.SDSName(name+"-tls"), t.Credential.Serial()),
		},
	}
})

var _ = Claim("H2-secret-ca", func(t *trial.T) trial.Experiment {
	var call *trial.Call
	name := "ca-" + trial.Unique()
	return trial.Experiment{
		Arrange: []lab.Variation{
			lab.Secret("a credential with the right ca.crt", t.Subject.Gateway.Namespace, name, credentialKeys(t)),
			lab.Secret("a Secret of its name and -cacert, with a CA that did not sign the partner", t.Subject.Gateway.Namespace, name+"-cacert",
				map[string][]byte{"ca.crt": t.PKI.Stranger.CertPEM}),
			withCredential(t, "hop 2 names the credential", otherPort, name).Holding(lab.SDSCAName(name), t.PKI.Stranger.Serial()),
		},
		Check: func(ctx context.Context, t *trial.T) (err error) {
			if call, err = t.Call(ctx); err != nil {
				return err
			}
			presented(call, t.Credential.Serial())
			return nil
		},
		Cause: func(_ context.Context, t *trial.T) error {
			distrusted(call, "CERTIFICATE_VERIFY_FAILED")
			return nil
		},
		Control: []lab.Variation{
			lab.Remove("remove the Secret of its name and -cacert", t.SecretNamed(name+"-cacert")).Holding(lab.SDSCAName(name), t.PKI.ServerCA.Serial()),
		},
	}
})

var _ = Claim("H2-sni-omitted", func(t *trial.T) trial.Experiment {
	var call *trial.Call
	return trial.Experiment{
		Arrange: []lab.Variation{hop2(t, "drop sni from hop 2", func(tls *networking.ClientTLSSettings) { tls.Sni = "" })},
		Check: func(ctx context.Context, t *trial.T) (err error) {
			if call, err = t.Call(ctx); err != nil {
				return err
			}
			distrusted(call, "CERTIFICATE_VERIFY_FAILED")
			return nil
		},
		Cause: func(ctx context.Context, t *trial.T) error {
			presented(call, t.Credential.Serial())
			call.Fact("partner: SNI of hop 2", call.Arrived().SNI, Equal(t.Subject.ExternalHost))
			call.Fact("gateway: names in the partner's certificate", call.Through().UpstreamPeerDNSSAN, ContainSubstring(t.Subject.ExternalHost))
			cluster, err := t.Cluster(ctx, t.Gateway, t.Subject.Hop2Cluster())
			if err != nil {
				return err
			}
			cluster.Fact("SNI", cluster.TLSOrZero().SNI, BeEmpty())
			cluster.Fact("SNI from the Host header", cluster.Pool.AutoSNI, BeTrue())
			return nil
		},
		Control: []lab.Variation{hop2(t, "send a name that the partner does not serve", func(tls *networking.ClientTLSSettings) { tls.Sni = "nobody.example.com" })},
	}
})

var _ = Claim("H2-san-pin", func(t *trial.T) trial.Experiment {
	var call *trial.Call
	return trial.Experiment{
		Arrange: []lab.Variation{t.PartnerPort("the partner presents another name's certificate of the same CA", otherNamePort)},
		Check: func(ctx context.Context, t *trial.T) error {
			mismatches := trial.ClusterStat(t.Subject.Hop2Cluster(), "ssl.fail_verify_san")
			before, _, err := t.Counter(ctx, t.Gateway, mismatches)
			if err != nil {
				return err
			}
			if call, err = t.Call(ctx); err != nil {
				return err
			}
			distrusted(call, "CERTIFICATE_VERIFY_FAILED")
			call.Fact("the reason in the answer", string(call.Body), Not(ContainSubstring("CERTIFICATE_VERIFY_FAILED")))
			call.Fact("partner: requests of this token", len(call.Partner), Equal(0))
			after, path, err := t.Counter(ctx, t.Gateway, mismatches)
			if err != nil {
				return err
			}
			t.Fact("gateway: certificates without the name, since before the call", after-before, BeNumerically(">", 0), path)
			return nil
		},
		Control: []lab.Variation{hop2(t, "accept that name too", func(tls *networking.ClientTLSSettings) {
			tls.SubjectAltNames = append(tls.SubjectAltNames, otherName)
		})},
		Cause: func(_ context.Context, t *trial.T) error {
			presented(call, t.Credential.Serial())
			call.Fact("gateway: names in the partner's certificate", call.Through().UpstreamPeerDNSSAN, Equal(otherName))
			return nil
		},
	}
})

var _ = Claim("H2-no-san", func(t *trial.T) trial.Experiment {
	var call *trial.Call
	return trial.Experiment{
		Arrange: []lab.Variation{
			t.PartnerPort("the partner presents another name's certificate of the same CA", otherNamePort),
			hop2(t, "drop subjectAltNames from hop 2 and leave sni", func(tls *networking.ClientTLSSettings) { tls.SubjectAltNames = nil }),
		},
		Check: func(ctx context.Context, t *trial.T) (err error) {
			if call, err = t.Call(ctx); err != nil {
				return err
			}
			presented(call, t.Credential.Serial())
			call.Fact("gateway: names in the partner's certificate", call.Through().UpstreamPeerDNSSAN, Equal(otherName))
			return nil
		},
		Control: []lab.Variation{hop2(t, "drop sni as well", func(tls *networking.ClientTLSSettings) { tls.Sni = "" })},
		Cause: func(ctx context.Context, t *trial.T) error {
			distrusted(call, "CERTIFICATE_VERIFY_FAILED")
			cluster, err := t.Cluster(ctx, t.Gateway, t.Subject.Hop2Cluster())
			if err != nil {
				return err
			}
			cluster.Fact("certificate's names checked against the Host header", cluster.Pool.AutoSANValidation, BeTrue())
			return nil
		},
	}
})

var _ = Claim("H2-port-tls", func(t *trial.T) trial.Experiment {
	const header = "x-sandbox"
	var strict, lax *trial.Call
	return trial.Experiment{
		Arrange: []lab.Variation{t.Hop2Port("another port is SIMPLE, to a partner that asks for no certificate; a header leads there",
			lab.Port{Number: otherPort, Target: laxPort, Header: header, Settings: func(p *networking.TrafficPolicy_PortTrafficPolicy) {
				p.Tls.Mode, p.Tls.Sni, p.Tls.SubjectAltNames = networking.ClientTLSSettings_SIMPLE, sandboxName, nil
			}})},
		Check: func(ctx context.Context, t *trial.T) (err error) {
			if strict, err = t.Call(ctx); err != nil {
				return err
			}
			presented(strict, t.Credential.Serial())
			strict.Fact("partner: SNI on the first port", strict.Arrived().SNI, Equal(t.Subject.ExternalHost))
			if lax, err = t.Call(ctx, trial.With("-H", header+": yes")); err != nil {
				return err
			}
			lax.Fact("gateway: carrying cluster of the other port", lax.Through().UpstreamCluster, HavePrefix(subject.ClusterName(otherPort, "", t.Subject.ExternalHost)))
			lax.Fact("curl: HTTP status on the other port", lax.HTTPCode, Equal(200))
			lax.Fact("partner: SNI on the other port", lax.Arrived().SNI, Equal(sandboxName))
			lax.Fact("partner: client certificate on the other port", lax.Arrived().Serial, BeEmpty())
			return nil
		},
		Control: []lab.Variation{t.DestinationRule("drop the other port's entry", t.Subject.Hop2Rule, func(dr *networking.DestinationRule) {
			dr.TrafficPolicy.PortLevelSettings = dr.TrafficPolicy.PortLevelSettings[:1]
		})},
		Cause: func(_ context.Context, t *trial.T) error {
			lax.Fact("curl: HTTP status on the other port", lax.HTTPCode, Equal(400))
			lax.Fact("partner's answer on the other port", string(lax.Body), ContainSubstring("The plain HTTP request was sent to HTTPS port"))
			return nil
		},
	}
})

var _ = Claim("H2-xfcc", func(t *trial.T) trial.Experiment {
	var call *trial.Call
	return trial.Experiment{
		Check: func(ctx context.Context, t *trial.T) (err error) {
			if call, err = t.Call(ctx); err != nil {
				return err
			}
			call.Status(Equal(200))
			call.Fact("partner: x-forwarded-client-cert", call.Arrived().XFCC, ContainSubstring("URI="+t.Subject.SPIFFE(t.Subject.Client)))
			return nil
		},
		Control: []lab.Variation{t.VirtualService("remove the header on hop 2's route", func(vs *networking.VirtualService) {
			vs.Http[1].Headers = &networking.Headers{Request: &networking.Headers_HeaderOperations{Remove: []string{"x-forwarded-client-cert"}}}
		})},
		Cause: func(_ context.Context, t *trial.T) error {
			presented(call, t.Credential.Serial())
			call.Fact("partner: x-forwarded-client-cert", call.Arrived().XFCC, Equal(""))
			return nil
		},
	}
})

// unapplied states that no DestinationRule has shaped the sidecar's cluster of
// the external host.
func unapplied(ctx context.Context, t *trial.T) error {
	cluster, err := t.Cluster(ctx, t.Sidecar, t.Subject.Hop2Cluster())
	if err != nil {
		return err
	}
	cluster.Fact("DestinationRule", cluster.Rule(), BeEmpty())
	cluster.Fact("maxConnections", cluster.Pool.MaxConnections, Not(Equal(t.Subject.Hop2Pool.MaxConnections)))
	gateway, err := t.Cluster(ctx, t.Gateway, t.Subject.Hop2Cluster())
	if err != nil {
		return err
	}
	gateway.Fact("DestinationRule", gateway.Rule(), HaveSuffix(t.Subject.Hop2Rule))
	return nil
}

// applied is the contrary.
func applied(ctx context.Context, t *trial.T) error {
	cluster, err := t.Cluster(ctx, t.Sidecar, t.Subject.Hop2Cluster())
	if err != nil {
		return err
	}
	cluster.Fact("DestinationRule", cluster.Rule(), HaveSuffix(t.Subject.Hop2Rule))
	cluster.Fact("maxConnections", cluster.Pool.MaxConnections, Equal(t.Subject.Hop2Pool.MaxConnections))
	return nil
}

func exported(t *trial.T, change string) lab.Variation {
	return t.DestinationRule(change, t.Subject.Hop2Rule, func(dr *networking.DestinationRule) { dr.ExportTo = nil })
}

var _ = Claim("H2-export", func(t *trial.T) trial.Experiment {
	return trial.Experiment{
		Check:   unapplied,
		Control: []lab.Variation{exported(t, "drop exportTo from hop 2's rule")},
		Cause:   applied,
	}
})

var _ = Claim("H2-export-2", func(t *trial.T) trial.Experiment {
	// istiod looks for rules in the proxy's namespace, then in the one that the
	// service is of, then in the root namespace (pilot/pkg/model,
	// PushContext.destinationRule): a gateway's namespace is none of them,
	// unless the ServiceEntry makes it the service's.
	elsewhere := t.BaselineServiceEntry()
	elsewhere.Namespace = t.Subject.Client.Namespace
	return trial.Experiment{
		Arrange: []lab.Variation{
			exported(t, "drop exportTo from hop 2's rule"),
			lab.Together("move the ServiceEntry to another namespace",
				lab.Add("", elsewhere), lab.Remove("", t.BaselineServiceEntry())),
		},
		Check: func(ctx context.Context, t *trial.T) error {
			return applied(ctx, t)
		},
		Cause: unapplied,
		Control: []lab.Variation{lab.Together("move the ServiceEntry back to the gateway's namespace",
			lab.Add("", t.BaselineServiceEntry()), lab.Remove("", elsewhere))},
	}
})

// bypass lets the application's call leave from the sidecar, to the partner's
// TLS port.
func bypass(t *trial.T) lab.Variation {
	return t.VirtualService("drop the mesh route from the VirtualService", func(vs *networking.VirtualService) { vs.Http = vs.Http[1:] })
}

// sidecarRule gives the sidecars of the application's namespace hop 2's TLS.
func sidecarRule(t *trial.T, change string, match *selector.WorkloadSelector) lab.Variation {
	s := t.Subject
	return lab.Add(change, &istio.DestinationRule{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.Client.Namespace, Name: "sidecar-originates-mtls"},
		Spec: networking.DestinationRule{
			Host: s.ExternalHost, ExportTo: []string{"."}, WorkloadSelector: match,
			TrafficPolicy: &networking.TrafficPolicy{Tls: &networking.ClientTLSSettings{
				Mode: networking.ClientTLSSettings_MUTUAL, CredentialName: s.Credential, Sni: s.ExternalHost, SubjectAltNames: []string{s.ExternalHost},
			}},
		},
	})
}

// sidecarMayRead puts the credential into the application's namespace, for the
// application's service account to read.
func sidecarMayRead(t *trial.T) lab.Variation {
	ns := t.Subject.Client.Namespace
	return lab.Together("the application's namespace has the Secret, and its service account may list Secrets",
		lab.Allow("", ns, t.Subject.Client.ServiceAccount, rbacv1.PolicyRule{Verbs: []string{"get", "watch", "list"}}),
		lab.Secret("", ns, t.Subject.Credential, credentialKeys(t)))
}

// selected is a workloadSelector that picks the application.
func selected(t *trial.T) *selector.WorkloadSelector {
	return &selector.WorkloadSelector{MatchLabels: map[string]string{"app": t.Subject.Client.Deployment}}
}

var _ = Claim("H2-gateway-only", func(t *trial.T) trial.Experiment {
	var call *trial.Call
	return trial.Experiment{
		Arrange: []lab.Variation{
			bypass(t),
			sidecarMayRead(t),
			sidecarRule(t, "a DestinationRule with credentialName and a workloadSelector picks the application", selected(t)).
				HeldBySidecar(lab.SDSName(t.Subject.Credential), t.Credential.Serial()),
		},
		Check: func(ctx context.Context, t *trial.T) (err error) {
			if call, err = t.Call(ctx); err != nil {
				return err
			}
			call.Fact("partner: the caller is the application's pod", call.Arrived().Peer, Equal(t.Sidecar.IP))
			call.Status(Equal(400))
			call.Fact("partner: TLS version", call.Arrived().TLS, BeEmpty())
			return nil
		},
		Cause: func(_ context.Context, t *trial.T) error {
			presented(call, t.Credential.Serial())
			call.Fact("sidecar: carrying cluster", call.Left().UpstreamCluster, HavePrefix(t.Subject.BypassCluster()))
			call.Fact("gateway: requests of this token", len(call.Gateway), Equal(0))
			return nil
		},
		Control: []lab.Variation{sidecarRule(t, "drop the workloadSelector", nil)},
	}
})

var _ = Claim("H2-sidecar-plaintext", func(t *trial.T) trial.Experiment {
	var call *trial.Call
	var cluster *trial.Cluster
	return trial.Experiment{
		Arrange: []lab.Variation{
			bypass(t),
			t.DestinationRule("hop 2's rule is for all namespaces, and for the port that the application calls too", t.Subject.Hop2Rule, func(dr *networking.DestinationRule) {
				entry := dr.TrafficPolicy.PortLevelSettings[0].DeepCopy()
				entry.Port.Number = uint32(t.Subject.AppPort)
				dr.TrafficPolicy.PortLevelSettings = append(dr.TrafficPolicy.PortLevelSettings, entry)
				dr.ExportTo = nil
			}),
		},
		Check: func(ctx context.Context, t *trial.T) (err error) {
			if cluster, err = t.Cluster(ctx, t.Sidecar, t.Subject.BypassCluster()); err != nil {
				return err
			}
			tls := cluster.TLSOrZero()
			cluster.Fact("TLS transport socket", cluster.TLS != nil, BeTrue())
			cluster.Fact("client certificate by SDS", tls.CertificateSDS, ConsistOf(lab.SDSName(t.Subject.Credential)))
			if call, err = t.Call(ctx); err != nil {
				return err
			}
			call.Fact("sidecar: TLS to the partner", call.Left().UpstreamTLSVersion, Not(BeEmpty()))
			return nil
		},
		Cause: func(_ context.Context, t *trial.T) error {
			cluster.Fact("DestinationRule", cluster.Rule(), HaveSuffix(t.Subject.Hop2Rule))
			cluster.Fact("maxConnections", cluster.Pool.MaxConnections, Equal(t.Subject.Hop2Pool.MaxConnections))
			call.Fact("partner: the caller is the application's pod", call.Arrived().Peer, Equal(t.Sidecar.IP))
			call.Fact("partner: TLS version", call.Arrived().TLS, BeEmpty())
			call.Status(Equal(400))
			call.Fact("partner's answer", string(call.Body), ContainSubstring("The plain HTTP request was sent to HTTPS port"))
			return nil
		},
		Control: []lab.Variation{
			sidecarMayRead(t),
			sidecarRule(t, "a rule in the application's namespace picks the application with a workloadSelector", selected(t)).
				HeldBySidecar(lab.SDSName(t.Subject.Credential), t.Credential.Serial()),
		},
	}
})

// revoking is a credential with a revocation list under a key of its own.
func revoking(data map[string][]byte, key string, crl []byte) map[string][]byte {
	data[key] = crl
	return data
}

var _ = Claim("H2-crl", func(t *trial.T) trial.Experiment {
	var call *trial.Call
	name := "crl-" + trial.Unique()
	return trial.Experiment{
		Arrange: []lab.Variation{
			lab.Secret("a credential whose ca.crl revokes the partner's certificate", t.Subject.Gateway.Namespace, name,
				revoking(credentialKeys(t), "ca.crl", t.CRL(t.PartnerCertificate()))),
			withCredential(t, "hop 2 names it", otherPort, name).Holding(lab.SDSName(name), t.Credential.Serial()),
		},
		Check: func(ctx context.Context, t *trial.T) (err error) {
			if call, err = t.Call(ctx); err != nil {
				return err
			}
			distrusted(call, "certificate_revoked")
			return nil
		},
		Control: []lab.Variation{
			lab.Secret("a credential whose ca.crl revokes another certificate", t.Subject.Gateway.Namespace, name+"-other",
				revoking(credentialKeys(t), "ca.crl", t.CRL(t.NewPair().Cert))),
			withCredential(t, "hop 2 names it", otherPort+1, name+"-other").Holding(lab.SDSName(name+"-other"), t.Credential.Serial()),
		},
		Cause: func(ctx context.Context, t *trial.T) error {
			presented(call, t.Credential.Serial())
			s, err := t.Secret(ctx, t.Gateway, lab.SDSCAName(name+"-other"))
			if err != nil {
				return err
			}
			s.Fact("has a revocation list", s.HasCRL, BeTrue())
			return nil
		},
	}
})

var _ = Claim("H2-crl-2", func(t *trial.T) trial.Experiment {
	var call *trial.Call
	name := "crl-" + trial.Unique()
	revoked := t.CRL(t.PartnerCertificate())
	return trial.Experiment{
		Arrange: []lab.Variation{
			lab.Secret("a credential with cert, key, cacert, and a ca.crl that revokes the partner's certificate", t.Subject.Gateway.Namespace, name,
				revoking(renamed(credentialKeys(t), genericKeys), "ca.crl", revoked)),
			withCredential(t, "hop 2 names it", otherPort, name).Holding(lab.SDSName(name), t.Credential.Serial()),
		},
		Check: func(ctx context.Context, t *trial.T) (err error) {
			if call, err = t.Call(ctx); err != nil {
				return err
			}
			distrusted(call, "certificate_revoked")
			return nil
		},
		Cause: func(ctx context.Context, t *trial.T) error {
			presented(call, t.Credential.Serial())
			s, err := t.Secret(ctx, t.Gateway, lab.SDSCAName(name))
			if err != nil {
				return err
			}
			s.Fact("has a revocation list", s.HasCRL, BeFalse())
			return nil
		},
		Control: []lab.Variation{
			lab.Secret("the same, with the list under the key crl", t.Subject.Gateway.Namespace, name+"-crl",
				revoking(renamed(credentialKeys(t), genericKeys), "crl", revoked)),
			withCredential(t, "hop 2 names it", otherPort+1, name+"-crl").Holding(lab.SDSName(name+"-crl"), t.Credential.Serial()),
		},
	}
})
