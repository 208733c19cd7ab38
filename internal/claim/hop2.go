package claim

// hop2 is what the guide says about the way from the gateway to the partner.
var hop2 = []Claim{
	{
		ID: "H2-secret-ns", Chapter: Hop2, Section: "§3.1-2, trap 5", Expected: Supported,
		Statement: "A credentialName whose Secret lies in another namespace than the gateway is not found.",
	},
	{
		ID: "H2-secret-keys", Chapter: Hop2, Section: "§3.1, trap 5", Expected: Refuted,
		Statement: "The Secret's keys have to be named tls.crt, tls.key and ca.crt; the gateway finds no certificate under other names.",
		Lesson:    "The guide calls the names fixed. istiod also takes cert, key and cacert. Under any other name it serves nothing, and only istiod's log says so (\"found secret, but didn't have expected keys\"): look there, not at the Secret's list of keys alone.",
	},
	{
		ID: "H2-secret-keys-2", Chapter: Hop2, Section: "§3.1", Expected: Refuted,
		Statement: "In a Secret with both sets of names, tls.crt and tls.key are what the gateway presents.",
		Lesson:    "istiod looks for cert and key first (ExtractCertInfo), so a certificate that is renewed under tls.crt is never presented while an old pair lies beside it. Keep one set of names in a Secret.",
	},
	{
		ID: "H2-secret-ca", Chapter: Hop2, Section: "§3.1", Expected: Refuted,
		Statement: "The ca.crt of the credential's Secret is what the partner's certificate is verified with.",
		Lesson:    "A second Secret of the same name with -cacert at its end wins over it (GetCaCert), and hop 2 then fails with CERTIFICATE_VERIFY_FAILED though the Secret you look at is right. Look at `proxy-config secret` for NAME-cacert.",
	},
	{
		ID: "H2-rbac-verbs", Chapter: Hop2, Section: "§3.1-3", Expected: Refuted,
		Statement: "The gateway's service account needs get, watch and list on secrets; list alone is not enough.",
		Lesson:    "istiod asks the API server for one verb, list, on secrets of the gateway's namespace (CredentialsController.Authorize), and reads the Secret itself. A Role with list is enough, and one with get and watch is not.",
	},
	{
		ID: "H2-rbac-names", Chapter: Hop2, Section: "§3.1-3", Expected: Refuted,
		Statement: "A Role that is narrowed to the one Secret by resourceNames is enough for the gateway's service account.",
		Lesson:    "istiod's question names no Secret, so RBAC answers no to a Role with resourceNames. The Role has to cover all Secrets of the namespace: keep nothing else there.",
	},
	{
		ID: "H2-gateway-only", Chapter: Hop2, Section: "§3.1-1", Expected: Refuted,
		Statement: "credentialName works on gateways only: a sidecar cannot originate mutual TLS with it.",
		Lesson:    "The guide says that a sidecar cannot use credentialName. It can, if the DestinationRule has a workloadSelector that picks it, the Secret is in its namespace and its service account may list Secrets there. So the gateway is not the only place where a client certificate can be used: guard the Secrets by RBAC.",
	},
	{
		ID: "H2-sidecar-plaintext", Chapter: Hop2, Section: "§3.3", Expected: Refuted,
		Statement: "A sidecar that sees hop 2's DestinationRule puts its MUTUAL TLS with credentialName on the external host, and fails at it.",
		Lesson:    "The guide expects failing noise. In truth istiod silently leaves the TLS out for a sidecar (buildUpstreamClusterTLSContext) and keeps the connectionPool: a call that bypasses the gateway goes out in plaintext, and nothing is logged as wrong. Narrow the rule with exportTo, and block the bypass itself.",
	},
	{
		ID: "H2-export", Chapter: Hop2, Section: "§3.3", Expected: Supported,
		Statement: "exportTo [\".\"] keeps hop 2's DestinationRule off the sidecars.",
	},
	{
		ID: "H2-export-2", Chapter: Hop2, Section: "§3.3", Expected: Refuted,
		Statement: "Without exportTo, hop 2's DestinationRule reaches the sidecars, wherever the ServiceEntry lies.",
		Lesson:    "The guide's rule lies in istio-system, the root namespace, whose rules reach all. In a dedicated gateway's namespace an exported rule reaches sidecars only because the ServiceEntry lies there too: istiod looks in the caller's, the service's and the root namespace.",
	},
	{
		ID: "H2-sni-omitted", Chapter: Hop2, Section: "§3.2", Expected: Refuted,
		Statement: "Without sni, the partner may present its default certificate, and the check of the subjectAltNames fails.",
		Lesson:    "The guide warns of a default certificate. Istio sends the request's Host as SNI where the rule has none (auto_sni), so the partner presents the right one. Set sni only if the partner serves another name than the one that applications call.",
	},
	{
		ID: "H2-san-pin", Chapter: Hop2, Section: "§3.2", Expected: Supported,
		Statement: "subjectAltNames keeps the gateway from talking to a wrong server that has a certificate of the right CA.",
		Lesson:    "The caller sees a bare 503. The reason is in the gateway's access log (CERTIFICATE_VERIFY_FAILED) and in its ssl.fail_verify_san counter.",
	},
	{
		ID: "H2-no-san", Chapter: Hop2, Section: "§3.2", Expected: Supported,
		Statement: "With sni set and no subjectAltNames, hop 2 takes any certificate of the CA, whatever its name.",
		Lesson:    "sni alone checks no name, and it turns off the check that Istio makes on its own: with neither sni nor subjectAltNames the certificate has to match the Host (auto_san_validation). Whoever sets sni has to set subjectAltNames.",
	},
	{
		ID: "H2-port-tls", Chapter: Hop2, Section: "§3.4", Expected: Supported,
		Statement: "portLevelSettings gives each port of the external host TLS settings of its own: MUTUAL on one, SIMPLE on another.",
	},
	{
		ID: "H2-crl", Chapter: Hop2, Section: "§3.1", Expected: Supported,
		Statement: "A revocation list under ca.crl in the credential's Secret is honoured: a revoked partner is refused.",
	},
	{
		ID: "H2-crl-2", Chapter: Hop2, Section: "§3.1", Expected: Refuted,
		Statement: "ca.crl is honoured also in a Secret whose CA is named cacert.",
		Lesson:    "istiod pairs the names (ExtractRoot): ca.crt with ca.crl, cacert with crl. A ca.crl beside cacert is silently ignored, and the revoked partner keeps its 200. See that the gateway's secret NAME-cacert has a crl.",
	},
	{
		ID: "H2-rotation", Chapter: Hop2, Section: "§3.1, §3.5", Expected: Supported,
		Statement: "A renewed Secret is picked up without a restart; new connections present the new certificate, and living ones keep the old one.",
	},
	{
		ID: "H2-rotation-bound", Chapter: Hop2, Section: "§3.5, §6", Expected: Supported, Timer: true,
		Statement: "maxConnectionDuration bounds how long the old certificate is presented after a rotation.",
	},
	{
		ID: "H2-file-certs", Chapter: Hop2, Section: "§3.1", Expected: Refuted,
		Statement: "Client certificates mounted as files work, and a renewal of them takes a restart of the gateway.",
		Lesson:    "They work, and need no restart: Istio's agent watches the files and serves them to Envoy over SDS, so a new connection presents the renewed certificate as soon as the kubelet has written it (a minute or so). Only a subPath mount freezes them until a restart.",
	},
	{
		ID: "H2-xfcc", Chapter: Hop2, Section: "", Expected: Supported,
		Statement: "The partner receives the caller's SPIFFE id: the gateway forwards hop 1's certificate in x-forwarded-client-cert.",
		Lesson:    "The guide does not mention it: namespaces and service accounts leak to every partner. Remove the header on hop 2's route (headers.request.remove).",
	},
}
