package suites

import (
	"context"
	"maps"
	"slices"
	"time"

	. "github.com/onsi/gomega"
	"google.golang.org/protobuf/types/known/durationpb"
	networking "istio.io/api/networking/v1alpha3"
	selector "istio.io/api/type/v1beta1"
	istio "istio.io/client-go/pkg/apis/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"twohop/internal/envoy"
	"twohop/internal/lab"
	"twohop/internal/subject"
	"twohop/internal/trial"
	partnernginx "twohop/partner-nginx"
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

// distrusted states that the gateway refused the partner's certificate.
func distrusted(c *trial.Call, reason string) {
	c.Status(Equal(503))
	c.Fact("gateway: response flags", c.Through().ResponseFlags, ContainElement("UF"))
	c.Fact("gateway: transport failure", c.Through().UpstreamTransportFailureReason, ContainSubstring(reason))
}

// presented states that a call arrived with the certificate of this serial.
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
	pair := t.NewPair() // which only this Secret has
	generic := renamed(t.CredentialSecret("", pair).Data, genericKeys)
	unknown := renamed(credentialKeys(t), map[string]string{"tls.crt": "client.crt", "tls.key": "client.key", "ca.crt": "partner-ca.crt"})
	return trial.Experiment{
		Arrange: []lab.Variation{
			lab.Secret("a Secret with the keys cert, key and cacert", t.Subject.Gateway.Namespace, name+"-generic", generic),
			withCredential(t, "hop 2 names it", otherPort, name+"-generic").Holding(lab.SDSName(name+"-generic"), pair.Serial()),
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
			presented(call, pair.Serial())
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
	pair := t.NewPair() // which only these Secrets have
	generic := func() map[string][]byte { return renamed(t.CredentialSecret("", pair).Data, genericKeys) }
	revoked := t.CRL(t.PartnerCertificate())
	return trial.Experiment{
		Arrange: []lab.Variation{
			lab.Secret("a credential with cert, key, cacert, and a ca.crl that revokes the partner's certificate", t.Subject.Gateway.Namespace, name,
				revoking(generic(), "ca.crl", revoked)),
			withCredential(t, "hop 2 names it", otherPort, name).Holding(lab.SDSName(name), pair.Serial()),
		},
		Check: func(ctx context.Context, t *trial.T) (err error) {
			if call, err = t.Call(ctx); err != nil {
				return err
			}
			distrusted(call, "certificate_revoked")
			return nil
		},
		Cause: func(ctx context.Context, t *trial.T) error {
			presented(call, pair.Serial())
			s, err := t.Secret(ctx, t.Gateway, lab.SDSCAName(name))
			if err != nil {
				return err
			}
			s.Fact("state", s.State, Equal(envoy.SecretActive))
			s.Fact("has a revocation list", s.HasCRL, BeFalse())
			return nil
		},
		Control: []lab.Variation{
			lab.Secret("the same, with the list under the key crl", t.Subject.Gateway.Namespace, name+"-crl",
				revoking(generic(), "crl", revoked)),
			withCredential(t, "hop 2 names it", otherPort+1, name+"-crl").Holding(lab.SDSName(name+"-crl"), pair.Serial()),
		},
	}
})

// rotation is one renewal of the subject's Secret while a client is at work.
type rotation struct {
	old, new *partnernginx.Pair
	// at is when the gateway took the new certificate, by its own clock.
	at time.Time
	// path is the evidence: a table of what follows, by that clock.
	path string
	// kept are the requests of a client on one connection, from before the
	// rotation until after it.
	kept []*trial.Call
}

// rotate renews the certificate that current points at, while a client makes a
// request in each pace, and then lets it make some more.
func rotate(ctx context.Context, t *trial.T, current **partnernginx.Pair, pace time.Duration, more int, then func() error) (*rotation, error) {
	r := &rotation{old: *current, new: t.NewPair()}
	client := t.KeepOn(ctx, more+400, pace)
	if err := client.Await(ctx, 2); err != nil {
		return nil, err
	}
	*current = r.new
	if err := t.Change(ctx, t.Rotate("renew the Secret while the client is at work", r.new)); err != nil {
		return nil, err
	}
	secret, err := t.Secret(ctx, t.Gateway, lab.SDSName(t.Subject.Credential))
	if err != nil {
		return nil, err
	}
	r.at = secret.LastUpdated
	if then != nil {
		if err := then(); err != nil {
			return nil, err
		}
	}
	if err := client.Await(ctx, more); err != nil {
		return nil, err
	}
	if r.kept, err = client.Stop(ctx); err != nil {
		return nil, err
	}
	r.path, err = t.Timeline(r.kept, "The gateway took the new certificate at", r.at)
	return r, err
}

// since are the kept client's requests that reached the gateway after it had
// the new certificate.
func (r *rotation) since() (after []*trial.Call) {
	for _, c := range r.kept {
		if c.Through().StartTime.After(r.at) {
			after = append(after, c)
		}
	}
	return after
}

// values are the values that calls have, in order of their first appearance.
func values[V comparable](calls []*trial.Call, value func(*trial.Call) V) (found []V) {
	for _, c := range calls {
		if v := value(c); !slices.Contains(found, v) {
			found = append(found, v)
		}
	}
	return found
}

func serialOf(c *trial.Call) string     { return c.Arrived().Serial }
func connectionOf(c *trial.Call) uint64 { return c.Arrived().Connection }

// everyRequestAnew makes each of hop 2's requests open a connection.
func everyRequestAnew(t *trial.T, change string) lab.Variation {
	return t.DestinationRule(change, t.Subject.Hop2Rule, func(dr *networking.DestinationRule) {
		for _, p := range dr.TrafficPolicy.PortLevelSettings {
			p.ConnectionPool.Http = &networking.ConnectionPoolSettings_HTTPSettings{MaxRequestsPerConnection: 1}
		}
	})
}

var _ = Claim("H2-rotation", func(t *trial.T) trial.Experiment {
	// A connection that was never open before needs a cluster of its own: which
	// of its workers takes a call, and so which connection, is the proxy's
	// choice.
	const header = "x-anew"
	current := t.Credential
	var r *rotation
	return trial.Experiment{
		Arrange: []lab.Variation{
			// At the client's own sidecar a call that meets one of its requests opens
			// a second connection of hop 1, and its next request may take that one.
			t.SecondClient("run a second application, which makes the call on a new connection"),
			t.Hop2Port("another port with the same settings, for a connection that is opened after the rotation; a header leads there",
				lab.Port{Number: otherPort, Target: strictPort, Header: header}),
		},
		Check: func(ctx context.Context, t *trial.T) error {
			var anew *trial.Call
			var err error
			r, err = rotate(ctx, t, &current, 100*time.Millisecond, 3, func() (err error) {
				anew, err = t.CallFrom(ctx, t.Second.Sidecar, trial.With("-H", header+": yes"))
				return err
			})
			if err != nil {
				return err
			}
			anew.Fact("a new connection: partner's verification of the client certificate", anew.Arrived().Verify, Equal("SUCCESS"))
			anew.Fact("a new connection: certificate is the new one", anew.Arrived().Serial == r.new.Serial(), BeTrue())
			anew.Fact("a new connection: same gateway pod", anew.Arrived().Peer, Equal(r.kept[0].Arrived().Peer))
			first, since := r.kept[0], r.since()
			first.Fact("living connection: requests after the gateway had the new certificate", len(since), BeNumerically(">", 0))
			first.Fact("living connection: all requests on it at the partner", len(values(r.kept, connectionOf)) == 1, BeTrue())
			first.Fact("living connection: certificate stays the old one", slices.Equal(values(since, serialOf), []string{r.old.Serial()}), BeTrue())
			return nil
		},
		Control: []lab.Variation{everyRequestAnew(t, "every request gets a connection of its own")},
		Cause: func(ctx context.Context, t *trial.T) error {
			r.kept[0].Fact("partner's connections, one for each request", len(values(r.kept, connectionOf)), Equal(len(r.kept)))
			r.kept[0].Fact("certificates presented, the old and then the new", values(r.kept, serialOf), Equal([]string{r.old.Serial(), r.new.Serial()}))
			return nil
		},
	}
})

var _ = Claim("H2-rotation-bound", func(t *trial.T) trial.Experiment {
	const (
		bound = time.Second
		pace  = 50 * time.Millisecond
		// Envoy's timer runs from the end of the handshake, the log's time from
		// the request that asked for the connection; busy cores are late.
		late  = 250 * time.Millisecond
		early = 25 * time.Millisecond
	)
	current := t.Credential
	var r *rotation
	maxDuration := func(change string, d *durationpb.Duration) lab.Variation {
		return t.DestinationRule(change, t.Subject.Hop2Rule, func(dr *networking.DestinationRule) {
			dr.TrafficPolicy.PortLevelSettings[0].ConnectionPool.Tcp.MaxConnectionDuration = d
		})
	}
	// outlived are the requests on the last connection with the old certificate,
	// and next the first request on the connection that came after it.
	outlived := func() (on []*trial.Call, next *trial.Call) {
		var number uint64
		for _, c := range r.kept {
			if serialOf(c) == r.old.Serial() {
				number = connectionOf(c)
			}
		}
		for _, c := range r.kept {
			if connectionOf(c) == number {
				on = append(on, c)
			} else if len(on) > 0 && next == nil {
				next = c
			}
		}
		return on, next
	}
	at := func(c *trial.Call) time.Time { return c.Through().StartTime }
	return trial.Experiment{
		Arrange: []lab.Variation{maxDuration("hop 2's maxConnectionDuration is 1s", durationpb.New(bound))},
		Check: func(ctx context.Context, t *trial.T) (err error) {
			if r, err = rotate(ctx, t, &current, pace, int(3*bound/2/pace), nil); err != nil {
				return err
			}
			on, next := outlived()
			first, last, final := on[0], on[len(on)-1], r.kept[len(r.kept)-1]
			t.Fact("old certificate, last presented after the rotation", at(last).Sub(r.at), BeNumerically("<=", bound+late), r.path)
			t.Fact("last connection with the old certificate, its life", at(last).Sub(at(first)), BeNumerically("<=", bound+late), r.path)
			if t.Fact("a connection came after it", next != nil, BeTrue(), r.path) {
				t.Fact("it came so long after that one had opened", at(next).Sub(at(first)), BeNumerically(">=", bound-early), r.path)
			}
			final.Fact("certificate at the end is the new one", serialOf(final) == r.new.Serial(), BeTrue())
			return nil
		},
		Control: []lab.Variation{maxDuration("drop maxConnectionDuration", nil)},
		Cause: func(_ context.Context, t *trial.T) error {
			final := r.kept[len(r.kept)-1]
			final.Fact("partner's connections", len(values(r.kept, connectionOf)), Equal(1))
			final.Fact("certificate at the end is the old one", serialOf(final) == r.old.Serial(), BeTrue())
			t.Fact("old certificate, last presented after the rotation", at(final).Sub(r.at), BeNumerically(">", bound), r.path)
			return nil
		},
	}
})

var _ = Claim("H2-file-certs", func(t *trial.T) trial.Experiment {
	files := lab.Files{Secret: "partner-client-files", Dir: "/etc/partner", Frozen: "/etc/partner-frozen"}
	current, dir := t.Credential, files.Dir
	var call *trial.Call
	var renewed *partnernginx.Pair
	content := func(pair *partnernginx.Pair) map[string][]byte { return t.CredentialSecret("", pair).Data }
	mounted := func(change, folder string) lab.Variation {
		return t.DestinationRule(change, t.Subject.Hop2Rule, func(dr *networking.DestinationRule) {
			dir = folder
			tls := hop2TLS(dr)
			tls.CredentialName = ""
			tls.ClientCertificate, tls.PrivateKey, tls.CaCertificates = folder+"/tls.crt", folder+"/tls.key", folder+"/ca.crt"
		})
	}
	return trial.Experiment{
		Arrange: []lab.Variation{
			t.MountFiles("the gateway has the Secret mounted as files, once as a folder and once with subPath", files, content(current)),
			mounted("hop 2 takes its certificates from the folder", files.Dir),
			everyRequestAnew(t, "every request gets a connection of its own"),
		},
		Check: func(ctx context.Context, t *trial.T) (err error) {
			before, err := t.Call(ctx)
			if err != nil {
				return err
			}
			before.Fact("curl: HTTP status, before the renewal", before.HTTPCode, Equal(200))
			before.Fact("partner: verification of the client certificate, before", before.Arrived().Verify, Equal("SUCCESS"))
			renewed = t.NewPair()
			if err := t.Change(ctx, t.RenewFiles("renew the mounted Secret", files, content(renewed), renewed.Serial())); err != nil {
				return err
			}
			// What the gateway presents is what its files hold, as soon as its
			// agent has seen them: wait for that and for nothing else.
			now, err := t.FileSerial(ctx, dir)
			if err != nil {
				return err
			}
			if err := t.AwaitSerial(ctx, t.Gateway, "file-cert:"+dir+"/tls.crt~"+dir+"/tls.key", now); err != nil {
				return err
			}
			if call, err = t.Call(ctx); err != nil {
				return err
			}
			call.Fact("partner: verification of the client certificate", call.Arrived().Verify, Equal("SUCCESS"))
			call.Fact("partner: certificate after the renewal is still the old one", call.Arrived().Serial == before.Arrived().Serial, BeTrue())
			return nil
		},
		Cause: func(_ context.Context, t *trial.T) error {
			presented(call, renewed.Serial())
			call.Fact("partner: the caller is the same gateway pod", call.Arrived().Peer, Equal(t.Gateway.IP))
			return nil
		},
		Control: []lab.Variation{mounted("hop 2 takes them from the subPath mounts, which the kubelet does not update", files.Frozen)},
	}
})

// secretsRole lets a service account do something to Secrets.
func secretsRole(names []string, verbs ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{Verbs: verbs, ResourceNames: names}
}

// asked states whether istiod serves the credential to a gateway pod.
func asked(ctx context.Context, t *trial.T, pod string, served bool) error {
	p, err := t.AttachGatewayPod(ctx, pod)
	if err != nil {
		return err
	}
	secret := lab.SDSName(t.Subject.Credential)
	if err := t.AwaitDecision(ctx, p, secret); err != nil {
		return err
	}
	s, err := t.Secret(ctx, p, secret)
	if err != nil {
		return err
	}
	said, path, err := t.IstiodSaid(ctx, pod+"/"+p.Workload.Namespace, "not authorized to read secrets")
	if err != nil {
		return err
	}
	if served {
		s.Fact("state", s.State, Equal(envoy.SecretActive))
		t.Fact("istiod's refusal", said, BeEmpty(), path)
		return nil
	}
	s.Fact("state", s.State, Not(Equal(envoy.SecretActive)))
	t.Fact("istiod's refusal", said, ContainSubstring("is not authorized to read secrets"), path)
	return nil
}

var _ = Claim("H2-rbac-verbs", func(t *trial.T) trial.Experiment {
	// A service account of its own for each: istiod remembers a refusal for a
	// minute (pilot/pkg/credentials/kube, cacheTTL).
	list, rest := "list-"+trial.Unique(), "rest-"+trial.Unique()
	pod := list
	return trial.Experiment{
		Arrange: []lab.Variation{
			t.GatewayPod("a gateway whose service account may list Secrets, and neither get nor watch them", list, secretsRole(nil, "list")),
			t.GatewayPod("a gateway whose service account may get and watch Secrets", rest, secretsRole(nil, "get", "watch")),
		},
		Check: func(ctx context.Context, t *trial.T) error { return asked(ctx, t, pod, false) },
		Cause: func(ctx context.Context, t *trial.T) error {
			return asked(ctx, t, pod, true)
		},
		Control: []lab.Variation{lab.Input("look at the gateway whose service account may get and watch, and not list", func() { pod = rest })},
	}
})

var _ = Claim("H2-rbac-names", func(t *trial.T) trial.Experiment {
	named, all := "named-"+trial.Unique(), "all-"+trial.Unique()
	pod := named
	verbs := []string{"get", "watch", "list"}
	return trial.Experiment{
		Arrange: []lab.Variation{
			t.GatewayPod("a gateway whose service account may read this one Secret, by resourceNames", named, secretsRole([]string{t.Subject.Credential}, verbs...)),
			t.GatewayPod("a gateway whose service account may read all Secrets of the namespace", all, secretsRole(nil, verbs...)),
		},
		Check: func(ctx context.Context, t *trial.T) error { return asked(ctx, t, pod, true) },
		Cause: func(ctx context.Context, t *trial.T) error {
			return asked(ctx, t, pod, false)
		},
		Control: []lab.Variation{lab.Input("look at the gateway whose service account may read all of them", func() { pod = all })},
	}
})
