package claim

import "time"

// hop2 is the path from the gateway to the partner.
var hop2 = []Claim{
	{
		ID: "H2-secret-ns", Chapter: Hop2, Section: "§3.1-2, trap 5", Expected: Supported,
		Statement: "A credentialName is not found if its Secret is in a different namespace from the gateway.",
	},
	{
		ID: "H2-secret-keys", Chapter: Hop2, Section: "§3.1, trap 5", Expected: Refuted,
		Statement: "The Secret's keys must be named tls.crt, tls.key and ca.crt; under other names the gateway finds no certificate.",
		Lesson:    "The guide calls these names fixed. istiod also accepts cert, key and cacert. Under any other names it serves nothing, and only istiod's log says so (\"found secret, but didn't have expected keys\"). Check that log, not just the Secret's list of keys.",
	},
	{
		ID: "H2-secret-keys-2", Chapter: Hop2, Section: "§3.1", Expected: Refuted,
		Statement: "If a Secret has both sets of keys, the gateway presents tls.crt and tls.key.",
		Lesson:    "istiod looks for cert and key first (ExtractCertInfo). If an old pair is still there under those names, a certificate renewed under tls.crt is never presented. Keep one set of names in a Secret.",
	},
	{
		ID: "H2-secret-ca", Chapter: Hop2, Section: "§3.1", Expected: Refuted,
		Statement: "The gateway verifies the partner's certificate with ca.crt from the credential's Secret.",
		Lesson:    "A second Secret with the same name plus -cacert overrides it (GetCaCert). Hop 2 then fails with CERTIFICATE_VERIFY_FAILED although the Secret you are looking at is correct. Inspect NAME-cacert with `istioctl proxy-config secret`.",
	},
	{
		ID: "H2-rbac-verbs", Chapter: Hop2, Section: "§3.1-3", Expected: Refuted, Takes: 2 * time.Second,
		Statement: "The gateway's service account needs get, watch and list on secrets; list alone is not enough.",
		Lesson:    "istiod asks the API server about a single verb, list, on secrets in the gateway's namespace (CredentialsController.Authorize), and reads the Secret itself. A Role with list is enough; a Role with only get and watch is not.",
	},
	{
		ID: "H2-rbac-names", Chapter: Hop2, Section: "§3.1-3", Expected: Refuted,
		Statement: "A Role narrowed to the one Secret by resourceNames is enough for the gateway's service account.",
		Lesson:    "istiod's authorization check names no Secret, so a Role with resourceNames does not satisfy it. The Role must cover all Secrets in the namespace, so keep no other Secrets there.",
	},
	{
		ID: "H2-gateway-only", Chapter: Hop2, Section: "§3.1-1", Expected: Refuted,
		Statement: "credentialName works only on gateways: a sidecar cannot originate mutual TLS with it.",
		Lesson:    "The guide says that a sidecar cannot use credentialName. It can, if the DestinationRule has a workloadSelector that matches it, the Secret is in its namespace and its service account may list Secrets there. The gateway is therefore not the only place where a client certificate can be used: guard the Secrets with RBAC.",
	},
	{
		ID: "H2-sidecar-plaintext", Chapter: Hop2, Section: "§3.3", Expected: Refuted,
		Statement: "A sidecar that sees hop 2's DestinationRule applies its MUTUAL TLS with credentialName to the external host, and fails.",
		Lesson:    "The guide expects noisy failures. In fact istiod silently leaves out the TLS settings for a sidecar (buildUpstreamClusterTLSContext) and keeps the connectionPool: a call that bypasses the gateway goes out in plaintext, and nothing logs an error. Narrow the rule with exportTo, and block the bypass itself.",
	},
	{
		ID: "H2-export", Chapter: Hop2, Section: "§3.3", Expected: Supported,
		Statement: "exportTo [\".\"] keeps hop 2's DestinationRule off the sidecars.",
	},
	{
		ID: "H2-export-2", Chapter: Hop2, Section: "§3.3", Expected: Refuted,
		Statement: "Without exportTo, hop 2's DestinationRule reaches the sidecars, wherever the ServiceEntry is.",
		Lesson:    "The guide's rule is in istio-system, the root namespace, whose rules reach every proxy. In a dedicated gateway's namespace, an exported rule reaches sidecars only because the ServiceEntry is there too: istiod looks in the caller's namespace, the service's namespace and the root namespace.",
	},
	{
		ID: "H2-sni-omitted", Chapter: Hop2, Section: "§3.2", Expected: Refuted,
		Statement: "Without sni, the partner may present its default certificate, and the subjectAltNames check fails.",
		Lesson:    "The guide warns of a default certificate. If the rule has no sni, Istio sends the request's Host as SNI (auto_sni), so the partner presents the right certificate. Set sni only if the partner serves a name other than the one that applications call.",
	},
	{
		ID: "H2-san-pin", Chapter: Hop2, Section: "§3.2", Expected: Supported,
		Statement: "subjectAltNames keeps the gateway from talking to a wrong server that has a certificate from the right CA.",
		Lesson:    "The caller sees a bare 503. The reason is in the gateway's access log (CERTIFICATE_VERIFY_FAILED) and in its ssl.fail_verify_san counter.",
	},
	{
		ID: "H2-no-san", Chapter: Hop2, Section: "§3.2", Expected: Supported,
		Statement: "With sni set and no subjectAltNames, hop 2 accepts any certificate from the CA, whatever its name.",
		Lesson:    "sni by itself checks no name, and it turns off Istio's own check: with neither sni nor subjectAltNames, the certificate must match the Host (auto_san_validation). If you set sni, set subjectAltNames too.",
	},
	{
		ID: "H2-port-tls", Chapter: Hop2, Section: "§3.4", Expected: Supported,
		Statement: "portLevelSettings gives each port of the external host its own TLS settings: MUTUAL on one, SIMPLE on another.",
	},
	{
		ID: "H2-crl", Chapter: Hop2, Section: "§3.1", Expected: Supported,
		Statement: "The gateway enforces a revocation list under ca.crl in the credential's Secret: it refuses a partner whose certificate is revoked.",
	},
	{
		ID: "H2-crl-2", Chapter: Hop2, Section: "§3.1", Expected: Refuted,
		Statement: "The gateway also enforces ca.crl in a Secret whose CA is named cacert.",
		Lesson:    "istiod pairs the names (ExtractRoot): ca.crt with ca.crl, cacert with crl. It silently ignores a ca.crl next to cacert, and calls to the revoked partner still get 200. Check that the gateway's secret NAME-cacert has a crl.",
	},
	{
		ID: "H2-rotation", Chapter: Hop2, Section: "§3.1, §3.5", Expected: Supported,
		Statement: "The gateway picks up a renewed Secret without a restart: new connections present the new certificate, existing ones keep the old one.",
	},
	{
		ID: "H2-rotation-bound", Chapter: Hop2, Section: "§3.5, §6", Expected: Supported, Takes: 9 * time.Second,
		Statement: "After a rotation, maxConnectionDuration bounds how long the old certificate is presented: a connection that reaches it closes after the request under way.",
		Lesson:    "Envoy drains the connection and does not cut a request under way: a long stream keeps the old certificate until it ends. Measured with a response of 0.4 s.",
	},
	{
		ID: "H2-file-certs", Chapter: Hop2, Section: "§3.1", Expected: Refuted, Takes: 4 * time.Second,
		Statement: "Client certificates mounted as files work, and renewing them takes a restart of the gateway.",
		Lesson:    "They work and need no restart: Istio's agent watches the files and serves them to Envoy over SDS, so a new connection presents the renewed certificate as soon as the kubelet has written it (about a minute). Only a subPath mount freezes them until a restart.",
	},
	{
		ID: "H2-xfcc", Chapter: Hop2, Section: "", Expected: Supported,
		Statement: "The partner receives the caller's SPIFFE ID: the gateway forwards it in x-forwarded-client-cert, from hop 1's certificate.",
		Lesson:    "The guide does not mention it: your namespaces and service accounts leak to every partner. Remove the header on hop 2's route (headers.request.remove).",
	},
}
