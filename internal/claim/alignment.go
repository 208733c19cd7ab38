package claim

import "time"

// alignment is the guide's map of strings that have to agree (§5), and what the
// API server says about values that cannot be right.
var alignment = []Claim{
	{
		ID: "A-align", Chapter: Traps, Section: "§5, trap 4", Expected: Supported, Takes: 9 * time.Second,
		Statement: "Every host, subset and port in the alignment map matters: break any one of them and the call no longer takes both hops.",
	},
	{
		ID: "A-align-secret", Chapter: Traps, Section: "§5, trap 5", Expected: Supported, Takes: 18 * time.Second,
		Statement: "The Secret's strings matter: with another credentialName, or with the Secret under another name or in another namespace, hop 2 fails.",
		Lesson:    "It fails late. Envoy waits for a missing Secret (15 s by default) and meanwhile keeps using the cluster it had: a 200 right after the edit proves nothing.",
	},
	{
		ID: "A-align-rest", Chapter: Traps, Section: "§5", Expected: Supported, Takes: 5 * time.Second,
		Statement: "The alignment map is incomplete: strings that it does not name break the call in the same way.",
		Lesson:    "Add to the map: the VirtualService's gateways (in both places), the port in its hop-1 match, the host and port of its hop-2 destination, the port in hop 2's DestinationRule, the ServiceEntry's port and the Gateway's selector.",
	},
	{
		ID: "A-align-target", Chapter: Traps, Section: "§5", Expected: Refuted,
		Statement: "The Service's targetPort must equal the Gateway's port.",
		Lesson:    "This extends the guide's map; it does not contradict it. The two must be equal only where the Gateway's port is not a port of its Service, as in the guide (443 to 8443). A Gateway port that is also a Service port stands for that port's target: with Service port 8443, targetPort 8444 and a Gateway on 8443, the proxy listens on 8444 and the call works.",
	},
	{
		ID: "V-reject", Chapter: Traps, Section: "record G3-yaml", Expected: Supported,
		Statement: "The API server rejects values that cannot be right, through the CRD's schema, its validation rules and Istio's webhook, and the message says what is wrong.",
	},
	{
		ID: "V-reject-2", Chapter: Traps, Section: "§2.1", Expected: Refuted,
		Statement: "The API server rejects a DestinationRule on ISTIO_MUTUAL that also names certificates of its own.",
		Lesson:    "ISTIO_MUTUAL uses the mesh's certificate; credentialName or files next to it mean nothing. A Gateway with both is rejected, but a DestinationRule is accepted without a word, and the certificate you meant to present is never presented. Hop 2 needs MUTUAL; check the proxy's cluster instead of trusting the API server's silence.",
	},
}
