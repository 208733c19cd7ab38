package suites

import (
	"maps"

	. "github.com/onsi/gomega"
	rbacv1 "k8s.io/api/rbac/v1"

	"twohop/internal/check"
	"twohop/internal/envoy"
	"twohop/internal/manifest"
)

var _ = Claim("H2-secret-ns", func(s *Setup) Experiment[*Call] {
	name := s.Unique("elsewhere")
	return Experiment[*Call]{
		Arrange: vary(
			manifest.Secret("put a Secret into the application's namespace only", s.Subject.Client.Namespace, name, credentialKeys(s)),
			withCredential(s, "hop 2 names that Secret", otherPort, name),
		),
		Check: func(t *T) *Call {
			call := t.Call()
			call.Status(Equal(503))
			call.Fact("gateway: requests of this token", len(call.GatewayLines), Equal(1))
			// The port's cluster warms until its secrets come, or for 15 s: before that
			// there is none (NC), and after it the connection fails (UF).
			call.Fact("gateway: response flags", check.Flags(call.GatewayLog()), Or(Equal("NC"), ContainSubstring("UF")))
			call.Fact("partner: requests of this token", len(call.PartnerLines), Equal(0))
			for _, secret := range []string{manifest.SDSName(name), manifest.SDSCAName(name)} {
				secretIs(t, secret, envoy.SecretWarming)
			}
			istiodSays(t, "the Secret", name, t.Subject.Gateway.Namespace+"/"+name+" not found")
			return call
		},
		Control: vary(
			manifest.Secret("put the same Secret into the gateway's namespace", s.Subject.Gateway.Namespace, name, credentialKeys(s)).
				Holding(manifest.SDSName(name), s.Certificates.Credential.Serial()),
		),
		Cause: func(t *T, call *Call) {
			presented(call, s.Certificates.Credential.Serial())
			secretIs(t, manifest.SDSName(name), envoy.SecretActive)
		},
		Flips: []string{"curl: HTTP status", "gateway: response flags", "partner: requests of this token", "gateway, secret *: state"},
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

var _ = Claim("H2-secret-keys", func(s *Setup) Experiment[*Call] {
	name := s.Unique("keys")
	pair := s.NewPair() // which only this Secret has
	generic := renamed(s.CredentialSecret("", pair).Data, genericKeys)
	unknown := renamed(credentialKeys(s), map[string]string{"tls.crt": "client.crt", "tls.key": "client.key", "ca.crt": "partner-ca.crt"})
	return Experiment[*Call]{
		Arrange: vary(
			manifest.Secret("a Secret with the keys cert, key and cacert", s.Subject.Gateway.Namespace, name+"-generic", generic),
			withCredential(s, "hop 2 names it", otherPort, name+"-generic").Holding(manifest.SDSName(name+"-generic"), pair.Serial()),
		),
		Check: func(t *T) *Call {
			call := t.Call()
			call.Status(Equal(503))
			call.Fact("partner: requests of this token", len(call.PartnerLines), Equal(0))
			istiodSays(t, "the Secret", name, "found secret, but didn't have expected keys")
			return call
		},
		Cause: func(_ *T, call *Call) { presented(call, pair.Serial()) },
		Control: vary(
			manifest.Secret("a Secret with the keys client.crt, client.key and partner-ca.crt", s.Subject.Gateway.Namespace, name+"-unknown", unknown),
			withCredential(s, "hop 2 names it", otherPort+1, name+"-unknown"),
		),
		Flips: []string{"curl: HTTP status", "partner: requests of this token", "istiod's log about the Secret"},
	}
})

var _ = Claim("H2-secret-keys-2", func(s *Setup) Experiment[*Call] {
	name := s.Unique("both")
	other := s.NewPair()
	both := credentialKeys(s)
	maps.Copy(both, renamed(s.CredentialSecret("", other).Data, genericKeys))
	return Experiment[*Call]{
		Arrange: vary(
			manifest.Secret("a Secret with one certificate as tls.crt, tls.key and another as cert, key", s.Subject.Gateway.Namespace, name, both),
			withCredential(s, "hop 2 names it", otherPort, name).Holding(manifest.SDSName(name), other.Serial()),
		),
		Check: func(t *T) *Call {
			call := t.Call()
			presented(call, s.Certificates.Credential.Serial())
			return call
		},
		Cause: func(_ *T, call *Call) { presented(call, other.Serial()) },
		Control: vary(
			manifest.Secret("a Secret with the first of them alone", s.Subject.Gateway.Namespace, name+"-tls", credentialKeys(s)),
			withCredential(s, "hop 2 names it", otherPort+1, name+"-tls").Holding(manifest.SDSName(name+"-tls"), s.Certificates.Credential.Serial()),
		),
		Flips: []string{"partner: serial of the client certificate"},
	}
})

var _ = Claim("H2-secret-ca", func(s *Setup) Experiment[*Call] {
	name := s.Unique("ca")
	return Experiment[*Call]{
		Arrange: vary(
			manifest.Secret("a credential with the right ca.crt", s.Subject.Gateway.Namespace, name, credentialKeys(s)),
			manifest.Secret("a Secret of its name and -cacert, with a CA that did not sign the partner", s.Subject.Gateway.Namespace, name+"-cacert",
				map[string][]byte{"ca.crt": s.Certificates.Stranger.CertPEM}),
			withCredential(s, "hop 2 names the credential", otherPort, name).Holding(manifest.SDSCAName(name), s.Certificates.Stranger.Serial()),
		),
		Check: func(t *T) *Call {
			call := t.Call()
			presented(call, s.Certificates.Credential.Serial())
			return call
		},
		Cause: func(_ *T, call *Call) { distrusted(call, "CERTIFICATE_VERIFY_FAILED") },
		Control: vary(
			manifest.Remove("remove the Secret of its name and -cacert", s.SecretNamed(name+"-cacert")).
				Holding(manifest.SDSCAName(name), s.Certificates.ServerCA.Serial()),
		),
		Flips: []string{"curl: HTTP status", "partner: *"},
	}
})

// revoking is a credential with a revocation list under a key of its own.
func revoking(data map[string][]byte, key string, crl []byte) map[string][]byte {
	data[key] = crl
	return data
}

// revoked are the facts by which a refused partner differs from an accepted one.
var revoked = []string{"curl: HTTP status", "gateway: response flags", "gateway: transport failure"}

var _ = Claim("H2-crl", func(s *Setup) Experiment[*Call] {
	name := s.Unique("crl")
	return Experiment[*Call]{
		Arrange: vary(
			manifest.Secret("a credential whose ca.crl revokes the partner's certificate", s.Subject.Gateway.Namespace, name,
				revoking(credentialKeys(s), "ca.crl", s.CRL(s.PartnerCertificate()))),
			withCredential(s, "hop 2 names it", otherPort, name).Holding(manifest.SDSName(name), s.Certificates.Credential.Serial()),
		),
		Check: func(t *T) *Call {
			call := t.Call()
			distrusted(call, "certificate_revoked")
			return call
		},
		Control: vary(
			manifest.Secret("a credential whose ca.crl revokes another certificate", s.Subject.Gateway.Namespace, name+"-other",
				revoking(credentialKeys(s), "ca.crl", s.CRL(s.NewPair().Cert))),
			withCredential(s, "hop 2 names it", otherPort+1, name+"-other").Holding(manifest.SDSName(name+"-other"), s.Certificates.Credential.Serial()),
		),
		Cause: func(t *T, call *Call) {
			presented(call, s.Certificates.Credential.Serial())
			ca := t.Secret(t.Gateway, manifest.SDSCAName(name+"-other"))
			ca.Fact("has a revocation list", ca.HasCRL, BeTrue())
		},
		Flips: revoked,
	}
})

var _ = Claim("H2-crl-2", func(s *Setup) Experiment[*Call] {
	name := s.Unique("crl")
	pair := s.NewPair() // which only these Secrets have
	generic := func() map[string][]byte { return renamed(s.CredentialSecret("", pair).Data, genericKeys) }
	list := s.CRL(s.PartnerCertificate())
	return Experiment[*Call]{
		Arrange: vary(
			manifest.Secret("a credential with cert, key, cacert, and a ca.crl that revokes the partner's certificate", s.Subject.Gateway.Namespace, name,
				revoking(generic(), "ca.crl", list)),
			withCredential(s, "hop 2 names it", otherPort, name).Holding(manifest.SDSName(name), pair.Serial()),
		),
		Check: func(t *T) *Call {
			call := t.Call()
			distrusted(call, "certificate_revoked")
			return call
		},
		Cause: func(t *T, call *Call) {
			presented(call, pair.Serial())
			ca := t.Secret(t.Gateway, manifest.SDSCAName(name))
			ca.Fact("state", ca.State, Equal(envoy.SecretActive))
			ca.Fact("has a revocation list", ca.HasCRL, BeFalse())
		},
		Control: vary(
			manifest.Secret("the same, with the list under the key crl", s.Subject.Gateway.Namespace, name+"-crl",
				revoking(generic(), "crl", list)),
			withCredential(s, "hop 2 names it", otherPort+1, name+"-crl").Holding(manifest.SDSName(name+"-crl"), pair.Serial()),
		),
		Flips: revoked,
	}
})

// secretsRole lets a service account do something to Secrets.
func secretsRole(names []string, verbs ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{Verbs: verbs, ResourceNames: names}
}

// servedTo states whether istiod serves the credential to a gateway pod.
func servedTo(t *T, pod string, served bool) {
	state, refusal := envoy.SecretWarming, ContainSubstring("is not authorized to read secrets")
	if served {
		state, refusal = envoy.SecretActive, BeEmpty()
	}
	p := t.Extra(pod)
	secret := t.AwaitDecision(p, manifest.SDSName(t.Subject.Credential))
	secret.Fact("state", secret.State, Equal(state))
	line, path := t.IstiodLog(pod+"/"+p.Namespace, "not authorized to read secrets")
	t.Fact("istiod's refusal", line, refusal, path)
}

// decided are the facts by which the pods differ.
var decided = []string{"extra gateway, secret *: state", "istiod's refusal"}

var _ = Claim("H2-rbac-verbs", func(s *Setup) Experiment[string] {
	// A service account of its own for each: istiod remembers a refusal for a
	// minute (pilot/pkg/credentials/kube, cacheTTL).
	const lookAt = "gateway pod"
	list, rest := s.Unique("list"), s.Unique("rest")
	return Experiment[string]{
		Arrange: vary(
			s.GatewayPod("a gateway whose service account may list Secrets, and neither get nor watch them", list, secretsRole(nil, "list")),
			s.GatewayPod("a gateway whose service account may get and watch Secrets", rest, secretsRole(nil, "get", "watch")),
		),
		Check: func(t *T) string {
			pod := given(t, lookAt, list)
			servedTo(t, pod, false)
			return pod
		},
		Cause:   func(t *T, pod string) { servedTo(t, pod, true) },
		Control: vary(manifest.Input("look at the gateway whose service account may get and watch, and not list", lookAt, rest)),
		Flips:   decided,
	}
})

var _ = Claim("H2-rbac-names", func(s *Setup) Experiment[string] {
	const lookAt = "gateway pod"
	named, all := s.Unique("named"), s.Unique("all")
	verbs := []string{"get", "watch", "list"}
	return Experiment[string]{
		Arrange: vary(
			s.GatewayPod("a gateway whose service account may read this one Secret, by resourceNames", named, secretsRole([]string{s.Subject.Credential}, verbs...)),
			s.GatewayPod("a gateway whose service account may read all Secrets of the namespace", all, secretsRole(nil, verbs...)),
		),
		Check: func(t *T) string {
			pod := given(t, lookAt, named)
			servedTo(t, pod, true)
			return pod
		},
		Cause:   func(t *T, pod string) { servedTo(t, pod, false) },
		Control: vary(manifest.Input("look at the gateway whose service account may read all of them", lookAt, all)),
		Flips:   decided,
	}
})
