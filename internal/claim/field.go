package claim

import "time"

// field is what users of the pattern report most; none of it is in the guide.
// Issue numbers are istio/istio's.
var field = []Claim{
	{
		ID: "F-analyze-blind", Chapter: Field, Expected: Refuted, // issue 50070
		Statement: "istioctl analyze reports a DestinationRule whose credential does not exist.",
		Lesson:    "The analyzer looks up the Secrets that Gateways name, but not those that DestinationRules name. A credentialName without a Secret passes silently. Look at `istioctl proxy-config secret` for the gateway: ACTIVE or WARMING.",
	},
	{
		ID: "F-analyze-noise", Chapter: Field, Expected: Refuted, // issue 42005
		Statement: "istioctl analyze reports nothing about hop 2's DestinationRule in a setup that works.",
		Lesson:    "It warns with IST0129 that no caCertificates are set to validate the server, although the Secret's ca.crt does that: the analyzer accepts a credentialName only next to a workloadSelector. Suppress the message for this rule, or select the gateway's workload.",
	},
	{
		ID: "F-partner-lax", Chapter: Field, Expected: Refuted, // issue 37638
		Statement: "If the partner does not ask for a client certificate, the call fails or a proxy reports it.",
		Lesson:    "A TLS client presents its certificate only when asked. With a partner that does not ask, everything is green and nobody at the partner knows who called. Only the partner's own records show it: have them confirm the certificate subject that they see.",
	},
	{
		ID: "F-ca-direction", Chapter: Field, Expected: Refuted, // issue 39166
		Statement: "An untrusted partner certificate and an untrusted client certificate look alike to the caller and in the gateway's log.",
		Lesson:    "They are easy to tell apart. 503 with CERTIFICATE_VERIFY_FAILED in the gateway's log: our side refused; fix ca.crt. 400 \"The SSL certificate error\" from upstream, without a flag: the partner refused; fix the client certificate.",
	},
	{
		ID: "F-order", Chapter: Field, Expected: Refuted,
		Statement: "While its DestinationRule asks for MUTUAL, hop 2 never goes out in plaintext, in whatever order the ServiceEntry and the rule were applied.",
		Lesson:    "If the ServiceEntry registers a port before there is a rule for it, as in the guide's YAML, that port's cluster has no TLS. If the rule's Secret does not arrive, that cluster keeps serving in plaintext for 15 s (Envoy's wait). Apply the Secret and the DestinationRule first, the ServiceEntry and the route last.",
	},
	{
		ID: "F-expired", Chapter: Field, Expected: Supported, Takes: 7 * time.Second,
		Statement: "The partner refuses an expired client certificate, and its expiry is visible beforehand in the gateway's secrets.",
	},
	{
		ID: "F-dns-stale", Chapter: Field, Expected: Supported, Takes: 17 * time.Second, // issue 17051
		Statement: "With resolution DNS, the gateway follows a partner's move once the DNS record's TTL has expired; with resolution STATIC it keeps the address as written.",
		Lesson:    "Until then calls go to the old address. For a planned move, lower the record's TTL beforehand and keep the old address serving for that long.",
	},
	{
		ID: "F-dns-stale-2", Chapter: Field, Expected: Refuted, Takes: 12 * time.Second, // issue 17051
		Statement: "A hop-2 connection from before the partner's move keeps carrying requests until a timer on one side ends it.",
		Lesson:    "Not where the gateway speaks HTTP: when the old address leaves the DNS answer, the gateway closes its idle connections to it, and the next request goes to the new address. Connections survive only to an address that is still in the answer: a partner that moves must take the old one out.",
	},
	{
		ID: "F-h2", Chapter: Field, Expected: Supported, // issue 36850
		Statement: "Forcing HTTP/2 on hop 2 breaks the call to a partner that speaks HTTP/1.1.",
	},
	{
		ID: "F-retry-count", Chapter: Field, Expected: Supported, // issue 50506
		Statement: "With Istio's default retries, one call reaches the partner once, even if the partner hangs up without an answer.",
		Lesson:    "The default policy retries failures to connect, not failures after the request was sent. Once a VirtualService asks for `reset` or `5xx`, a payment may arrive more than once; `attempts: 0` turns retries off.",
	},
	{
		ID: "F-retry-count-2", Chapter: Field, Expected: Refuted, // issue 50506
		Statement: "With a VirtualService that asks for two retries, one call makes at most three requests to the partner.",
		Lesson:    "Each hop retries on its own, so the retries multiply: two retries on both hops make nine requests. Ask for retries on one hop, and write `attempts: 0` on the other.",
	},
	{
		ID: "F-idle-race", Chapter: Field, Expected: Supported, Takes: 3 * time.Second, // issue 55138
		Statement: "If the partner hangs up on a kept-alive connection just as the next request arrives, and nothing retries, that request fails with 503 UC.",
		Lesson:    "Keep http.idleTimeout on hop 2 below the partner's keep-alive: the gateway then closes first, and the next call gets a fresh connection. The run's partner never closes an idle connection; it hangs up when a request arrives. A close that reaches the gateway before the request is a different case, and is not tried here.",
	},
	{
		ID: "F-se-collision", Chapter: Field, Expected: Refuted, // issues 55879, 51466
		Statement: "Another namespace's ServiceEntry for the same host changes nothing for this gateway.",
		Lesson:    "Of several ServiceEntries for one host, the oldest wins in every proxy that sees them, even over one in the gateway's own namespace: an older one elsewhere sent hop 2 to its own endpoints, ready to present our client certificate. Make exportTo [\".\"] the default for ServiceEntries (defaultServiceExportTo), and do not recreate your own needlessly: that makes it the younger one.",
	},
	{
		ID: "F-one-identity", Chapter: Field, Expected: Supported, // issue 35430
		Statement: "One gateway presents different client certificates to one host, depending on the caller, if hop 2's DestinationRule has a subset for each and the route chooses it by the caller's identity.",
	},
	{
		ID: "F-two-gateways", Chapter: Field, Expected: Supported, Takes: 3 * time.Second, // issue 45486
		Statement: "Of two gateway pods, each is configured with the whole of hop 2's limit, and each call is in one pod's log or the other's.",
	},
}
