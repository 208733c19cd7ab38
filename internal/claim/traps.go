package claim

// traps are the guide's §4: what breaks silently.
var traps = []Claim{
	{
		ID: "T1-merge", Chapter: Traps, Section: "trap 1", Expected: Supported,
		Statement: "Two DestinationRules for one host, in one namespace and with equal exportTo, merge silently: the oldest rule's top-level policy wins and the subsets are combined.",
	},
	{
		ID: "T1-export", Chapter: Traps, Section: "trap 1", Expected: Refuted,
		Statement: "Two DestinationRules for one host merge under the oldest one's policy, whatever their exportTo says.",
		Lesson:    "The guide says that the oldest rule's policy wins. With different exportTo nothing merges and only the newest rule applies: a second rule without exportTo took hop 2's TLS away, and plaintext went to the partner. This is true only outside the root namespace; the guide puts its rules in the root namespace (istio-system). Keep one rule per host, and look for others for the same host before you add exportTo to one of them.",
	},
	{
		ID: "T2-typo-hop2", Chapter: Traps, Section: "trap 2", Expected: Supported,
		Statement: "A wrong host in hop 2's DestinationRule is accepted and ignored: the gateway's cluster has no rule, and hop 2 goes out in plaintext.",
	},
	{
		ID: "T2-typo-hop1", Chapter: Traps, Section: "trap 2", Expected: Refuted,
		Statement: "A wrong host in hop 1's DestinationRule leaves the cluster that hop 1's route names in place, with defaults and no rule.",
		Lesson:    "The guide's symptom is a cluster with `dr: null`. The Service's own cluster shows it, but hop 1's route names a subset, and a subset's cluster exists only through its rule: that cluster is missing, and the call ends with 503, NC, cluster_not_found. Look for the missing cluster, not for one without a rule.",
	},
	{
		ID: "T2-short", Chapter: Traps, Section: "trap 2", Expected: Supported,
		Statement: "A short host in a DestinationRule is expanded with the rule's own namespace: outside the Service's namespace the rule is accepted and matches nothing.",
	},
	{
		ID: "T3-se-port", Chapter: Traps, Section: "trap 3", Expected: Supported,
		Statement: "If the ServiceEntry registers the port that is called, a bypass uses the ServiceEntry's own cluster.",
	},
	{
		ID: "T3-passthrough", Chapter: Traps, Section: "trap 3", Expected: Supported,
		Statement: "If no ServiceEntry registers the port that is called, a bypass uses PassthroughCluster, with a 200 and without any TLS.",
	},
	{
		ID: "T3-registry-only", Chapter: Traps, Section: "trap 3", Expected: Refuted,
		Statement: "REGISTRY_ONLY blocks the bypass.",
		Lesson:    "The guide relies on REGISTRY_ONLY to block the bypass. It blocks what the registry does not know, but a ServiceEntry that registers the called port makes the partner known: the call still goes around the gateway. Hide the ServiceEntry from the applications as well (export it only to the gateway's namespace).",
	},
	{
		ID: "T3-registry-only-2", Chapter: Traps, Section: "trap 3", Expected: Supported,
		Statement: "REGISTRY_ONLY blocks a bypass on a port that no ServiceEntry registers.",
	},
	{
		ID: "T3-real-lock", Chapter: Traps, Expected: Supported,
		Statement: "Under REGISTRY_ONLY, with the ServiceEntry exported only to the gateway's namespace, the application's plain HTTP call to port 80 cannot bypass the gateway.",
		Lesson:    "Only that call was tried. Traffic that skips the sidecar is not covered (excludeOutboundPorts, a process running as UID 1337): block it outside the sidecar, for example with a NetworkPolicy.",
	},
	{
		ID: "T3-real-lock-2", Chapter: Traps, Expected: Supported,
		Statement: "Under REGISTRY_ONLY, with a Sidecar resource that shows the application only the gateway's Service, the application's plain HTTP call to port 80 cannot bypass the gateway.",
		Lesson:    "Only that call was tried. Traffic that skips the sidecar is not covered (excludeOutboundPorts, a process running as UID 1337): block it outside the sidecar, for example with a NetworkPolicy.",
	},
	{
		ID: "T3-real-lock-3", Chapter: Traps, Expected: Refuted,
		Statement: "With the bypass blocked by the ServiceEntry's exportTo, the regular path through the gateway works as before.",
		Lesson:    "The ServiceEntry, now hidden from the applications, also gave their sidecars the listener for HTTP on port 80 that holds the mesh route; without it every call ends in BlackHoleCluster. Give them another one: any visible HTTP service on port 80 will do, for example a port 80 on the gateway's own Service.",
	},
	{
		ID: "T3-real-lock-4", Chapter: Traps, Expected: Refuted,
		Statement: "With the bypass blocked by a Sidecar resource that shows only the gateway's Service, the regular path through the gateway works as before.",
		Lesson:    "A Sidecar's egress hosts also select VirtualServices, by their hosts: a workload that may not see the partner's host does not get the mesh route for it either, and every call ends with 502 in block_all, or in BlackHoleCluster. Block the bypass with the ServiceEntry's exportTo instead, which leaves the VirtualService visible.",
	},
	{
		ID: "T3-80-hack", Chapter: Traps, Section: "§5", Expected: Refuted,
		Statement: "The guide's YAML, whose ServiceEntry registers only port 443, routes a call to port 80 through the gateway.",
		Lesson:    "The mesh route for port 80 lives in the sidecar's listener for HTTP on port 80, and a ServiceEntry with only 443 does not create one. The YAML works only where some other HTTP service on port 80 is visible, such as the bundled gateway's; elsewhere the call leaves in plaintext with a 200. Register port 80 too.",
	},
	{
		ID: "T3-80-hack-2", Chapter: Traps, Section: "§5", Expected: Supported,
		Statement: "With a ServiceEntry for 443 only, any HTTP service on port 80 that the sidecar sees, whatever its name, makes the route for port 80 work.",
	},
}
