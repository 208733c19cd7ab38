package mutant

import (
	"encoding/hex"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"twohop/internal/manifest"
	partnernginx "twohop/partner-nginx"
)

func partner(e *manifest.Editor) ([]Mutant, error) {
	conf := func(name, file string, replaced []string, turns ...[]Kill) Mutant {
		m := fault(Partner, manifest.Variation{Change: name}, turns...)
		m.Plant = reconfigured(e, name, file, strings.NewReplacer(replaced...).Replace)
		return m
	}
	target := func(name string, number uint32, turns ...[]Kill) Mutant {
		return fault(Partner, e.PartnerPort(name, number), turns...)
	}
	const (
		none    = "of the client certificate.*saw (NONE|\"\")"
		answers = `location / {
  return 200 `
		// Only the claims' requests: the lab's own go to the plaintext port, under
		// other tokens.
		fails = `location / {
  set $asked "$ssl_protocol:$token";
  if ($asked ~ "^TLS.*:t[0-9a-f]+$") { return 503; }
  return 200 `
		demandsTLS = `location / {
  set $asked "$ssl_protocol:$token";
  if ($asked ~ "^:t[0-9a-f]+$") { return 400; }
  return 200 `
		failing = `location /fail/ {
  return 503 `
		healthy = `location /fail/ {
  return 200 `
	)
	return []Mutant{
		conf("the partner asks for no client certificate", "nginx.conf", []string{"ssl_verify_client on;", "ssl_verify_client off;"},
			kills(none, "G2", "G2-rbac", "H2-secret-ns", "H2-secret-keys", "H2-secret-keys-2", "H2-secret-ca", "H2-san-pin", "H2-no-san", "H2-crl", "H2-crl-2",
				"H2-port-tls", "H2-gateway-only", "H2-xfcc", "H2-sni-omitted", "H2-file-certs", "F-se-collision", "A-align-target"),
			kills("certificate", "H2-rotation", "H2-rotation-bound"),
			kills("HTTP status: expected 400, saw 200", "G2-control", "F-expired", "F-partner-lax", "F-ca-direction"),
			kills("subject at the partner", "F-one-identity"),
			kills("both hops|verification of the client certificate", "A-align", "A-align-rest", "A-align-secret")),
		conf("the partner asks, and takes anything", "nginx.conf", []string{"ssl_verify_client on;", "ssl_verify_client optional_no_ca;"},
			kills("HTTP status: expected 400, saw 200", "G2-control", "F-ca-direction")),
		conf("the partner asks for nothing and logs SUCCESS", "nginx.conf", []string{"ssl_verify_client on;", "ssl_verify_client off;", "$ssl_client_verify", "SUCCESS"},
			kills("(subject|serial) of the client certificate.*saw \"\"", "G2"), kills("HTTP status: expected 400, saw 200", "G2-control")),
		conf("the partner logs no token", "nginx.conf", []string{`"token":"$token"`, `"token":""`},
			kills("token", "G1", "G2", "G4")),
		conf("the partner's ciphers are weak", "nginx.conf", []string{"ssl_protocols TLSv1.2 TLSv1.3;", "ssl_protocols TLSv1.2; ssl_ciphers ECDHE-ECDSA-AES128-SHA;"},
			kills("cipher of hop 2|"+refused503, "G2")),
		conf("the partner closes each connection after a request", "nginx.conf", []string{"keepalive_requests 100000;", "keepalive_requests 1;"},
			kills("requests that each connection carried: expected 3, 3, 1", "P-max-requests"),
			kills("partner: connections used", "P-not-retroactive"),
			kills("requests that the one connection carried|end of connection", "P-idle-keepalive")),
		conf("the partner closes idle connections", "nginx.conf", []string{"keepalive_timeout 3600s;", "keepalive_timeout 500ms;"},
			kills("who closed|end of its connection|end of connection|lay idle", "P-idle-keepalive", "P-idle-precedence")),
		conf("the partner's slow response is not slow", "echo.conf", []string{"proxy_connect_timeout 400ms;", "proxy_connect_timeout 1ms;"},
			kills("waited for others|503: expected|UO", "P-overflow", "P-overflow-2", "P-overflow-3")),
		conf("the partner's failing path works", "echo.conf", []string{failing, healthy},
			kills("503s of its own: expected", "P-outlier-single", "P-outlier-single-2")),
		conf("the partner fails every request", "echo.conf", []string{answers, fails},
			kills("requests that failed: expected 0", "F-dns-stale", "F-dns-stale-2"),
			kills("HTTP status: expected 200, saw 503", "F-h2", "F-idle-race", "G1", "G2")),
		fault(Partner, manifest.Edit("the partner's silent port answers", e.Subject.Partner.Namespace, e.Subject.PartnerService, func(s *corev1.Service) {
			leadTo(s, "black-hole", 8443)
		}), kills("HTTP status: expected 503, saw 200", "P-connect-timeout", "P-connect-timeout-2", "P-connect-timeout-3")),
		conf("the partner refuses calls in plaintext", "echo.conf", []string{answers, demandsTLS},
			kills(refused400, "T3-passthrough", "T3-registry-only-2", "T3-80-hack", "T3-80-hack-2")),
		target("the partner's port is the lax one", 8444, kills(none, "G2"), kills("HTTP status: expected 400, saw 200", "G2-control")),
		target("the partner has another name's certificate", 8446, kills(refused503, "G1", "G2")),
		target("the partner has a stranger's certificate", 8447, kills(refused503, "G1", "G2")),
		target("the partner trusts another client CA", 8448, kills(refused400, "G1", "G2", "H1-identity-2")),
	}, nil
}

// leadTo changes a port of the partner's Service, by its name.
func leadTo(s *corev1.Service, name string, target int32) {
	for i := range s.Spec.Ports {
		if s.Spec.Ports[i].Name == name {
			s.Spec.Ports[i].TargetPort = intstr.FromInt32(target)
		}
	}
}

// reconfigured changes one of the partner's files and restarts the partner.
func reconfigured(e *manifest.Editor, change, file string, edit func(string) string) []manifest.Variation {
	ns := e.Subject.Partner.Namespace
	return []manifest.Variation{
		manifest.Edit(change, ns, "partner-conf", func(c *corev1.ConfigMap) { c.Data[file] = edit(c.Data[file]) }),
		manifest.Edit("restart the partner", ns, e.Subject.Partner.Deployment, func(d *appsv1.Deployment) {
			d.Spec.Template.Annotations["twohop/mutant"] = hex.EncodeToString([]byte(change))
		}),
	}
}

func certificates(e *manifest.Editor) ([]Mutant, error) {
	s, c := e.Subject, e.Certificates
	issue := func(ca *partnernginx.CA, options ...partnernginx.Option) (*partnernginx.Pair, error) {
		return ca.Issue(manifest.ClientName, options...)
	}
	expired, err := issue(c.ClientCA, partnernginx.ValidFor(-time.Minute))
	if err != nil {
		return nil, err
	}
	strangers, err := issue(c.Stranger)
	if err != nil {
		return nil, err
	}
	twin, err := issue(c.ClientCA)
	if err != nil {
		return nil, err
	}
	secret := func(name string, pair *partnernginx.Pair, ca []byte, turns ...[]Kill) Mutant {
		o := e.CredentialSecret(s.Credential, pair)
		if ca != nil {
			o.Data["ca.crt"] = ca
		}
		plant := manifest.Add(name, o).Holding(manifest.SDSName(s.Credential), pair.Serial()).Waiting(manifest.Reconnected{})
		return fault(Certificates, plant, turns...)
	}
	return []Mutant{
		secret("the client certificate has expired", expired, nil, kills(refused400, "G1", "G2")),
		secret("the client certificate is a stranger's", strangers, nil, kills(refused400, "G1", "G2")),
		secret("the client certificate is another one of the same name", twin, nil, kills("serial of the client certificate", "G2")),
		secret("the gateway trusts another CA", twin, c.Stranger.CertPEM, kills(refused503, "G1", "G2")),
	}, nil
}
