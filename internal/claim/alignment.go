package claim

// alignment is the guide's map of strings that have to agree (§5), and what the
// API server says about values that cannot be right.
var alignment = []Claim{
	{
		ID: "A-align", Chapter: Traps, Section: "§5, trap 4", Expected: Supported,
		Statement: "Every host, subset and port of the alignment map matters: break any one of them and the call no longer takes both hops.",
	},
	{
		ID: "A-align-secret", Chapter: Traps, Section: "§5, trap 5", Expected: Supported, Timer: true,
		Statement: "The strings of the Secret matter: with another credentialName, or a Secret of another name or in another namespace, hop 2 fails.",
		Lesson:    "It fails late. Envoy waits for a Secret that does not come (15 s, its default) and meanwhile serves with the cluster that it had: a 200 right after the edit proves nothing.",
	},
	{
		ID: "A-align-rest", Chapter: Traps, Section: "§5", Expected: Supported,
		Statement: "The alignment map is not all: strings that it does not name break the call just so.",
		Lesson:    "Add to the map: the VirtualService's gateways (in both places), the port of its hop-1 match, host and port of its hop-2 destination, the hop-2 rule's port, the ServiceEntry's port and the Gateway's selector.",
	},
	{
		ID: "A-align-target", Chapter: Traps, Section: "§5", Expected: Refuted,
		Statement: "The Service's targetPort has to be the Gateway's port.",
		Lesson:    "Only where the Gateway's port is no port of its Service, as in the guide (443 to 8443). A Gateway port that is a Service port stands for that port's target: with Service 8443 to 8444 and a Gateway on 8443 the proxy listens on 8444, and all is well.",
	},
	{
		ID: "V-reject", Chapter: Traps, Section: "record G3-yaml", Expected: Supported,
		Statement: "Values that cannot be right are refused by the API server, with a text that says what is wrong: by the CRD's schema, by its rules and by Istio's webhook.",
	},
	{
		ID: "V-reject-2", Chapter: Traps, Section: "§2.1", Expected: Refuted,
		Statement: "A DestinationRule on ISTIO_MUTUAL that also names certificates of its own is refused.",
		Lesson:    "ISTIO_MUTUAL takes the mesh's certificate, and credentialName or files beside it mean nothing. A Gateway that says both is refused; a DestinationRule is accepted without a word, and the certificate that one meant to present is never presented. Hop 2 needs MUTUAL; check it in the proxy's cluster, not by the API's silence.",
	},
}
