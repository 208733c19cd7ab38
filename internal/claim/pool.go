package claim

import "time"

// pool is what the guide says about connectionPool, outlierDetection and the
// lives of connections.
var pool = []Claim{
	{
		ID: "P-default", Chapter: Pool, Section: "§3.5, §6", Expected: Refuted,
		Statement: "Without a DestinationRule, the gateway's limit is Envoy's default of 1,024 connections to the partner.",
		Lesson:    "The guide warns of Envoy's default of 1,024 connections. Istio writes 4294967295 into every cluster's thresholds, so without a connectionPool there is no limit at all: memory or file descriptors run out first. Set maxConnections because nothing else bounds the connections, not because 1,024 does.",
	},
	{
		ID: "P-overflow", Chapter: Pool, Section: "§3.5", Expected: Refuted, Takes: 3 * time.Second,
		Statement: "At maxConnections, the gateway refuses further requests: 503 with the flag UO.",
		Lesson:    "The guide says that the limit shows as UO. Over HTTP/1.1, a request beyond maxConnections waits in an unbounded queue: callers slow down instead of failing, and only upstream_cx_overflow shows it. To fail fast, set http1MaxPendingRequests as well.",
	},
	{
		ID: "P-overflow-2", Chapter: Pool, Section: "§3.5", Expected: Supported, Takes: 2 * time.Second,
		Statement: "Requests beyond maxConnections wait for a connection and succeed, yet upstream_cx_overflow counts them.",
	},
	{
		ID: "P-overflow-3", Chapter: Pool, Section: "§3.5", Expected: Supported, Takes: 3 * time.Second,
		Statement: "With http1MaxPendingRequests set as well, the gateway answers the excess at once with 503 and the flag UO, and counts it in upstream_rq_pending_overflow.",
		Lesson:    "UO goes with upstream_rq_pending_overflow, not with upstream_cx_overflow, which the guide names: that one counts waiting requests and may stay at 0 while requests are refused. Look on the gateway: the caller's sidecar logs the same 503 without a flag.",
	},
	{
		ID: "P-wrong-proxy", Chapter: Pool, Section: "§3.5", Expected: Supported,
		Statement: "On the client's sidecar, hop 2's connectionPool looks as if it were not applied.",
		Lesson:    "exportTo [\".\"] is the reason: without it the sidecar compiles hop 2's rule too, with values that never act there.",
	},
	{
		ID: "P-wrong-proxy-2", Chapter: Pool, Section: "§3.5", Expected: Refuted,
		Statement: "On the gateway, hop 1's connectionPool looks as if it were not applied.",
		Lesson:    "The guide says that a setting looks unapplied on the wrong proxy. Hop 1's rule is in the gateway's namespace and visible there, so the gateway's configuration shows all its values, although the gateway never opens a connection with them. Inspect the proxy that opens the connection; a value found elsewhere proves nothing.",
	},
	{
		ID: "P-port-replaces", Chapter: Pool, Section: "§3.4", Expected: Supported,
		Statement: "A port entry with only tls loses the rule's top-level connectionPool.",
	},
	{
		ID: "P-subset-replaces", Chapter: Pool, Section: "§3.4", Expected: Refuted,
		Statement: "A subset with only tls loses the rule's top-level connectionPool.",
		Lesson:    "The guide says that a subset replaces the whole top level. It replaces one block at a time (connectionPool, outlierDetection, loadBalancer, tls): a subset without a connectionPool keeps the top level's. Only a port entry, even one inside a subset, drops everything that it does not repeat.",
	},
	{
		ID: "P-subset-replaces-2", Chapter: Pool, Section: "§3.4", Expected: Supported,
		Statement: "Inside a subset, a port entry with only tls loses both the subset's connectionPool and the top level's.",
	},
	{
		ID: "P-subset-replaces-3", Chapter: Pool, Section: "§3.4", Expected: Supported,
		Statement: "A subset's connectionPool with only http loses the tcp settings of the top-level connectionPool.",
	},
	{
		ID: "P-keepalive-socket", Chapter: Pool, Section: "§6", Expected: Supported,
		Statement: "tcpKeepalive is on the sockets of the proxy that opens the connection (hop 1: the sidecar, hop 2: the gateway), and not on the other end.",
	},
	{
		ID: "P-idle-keepalive", Chapter: Pool, Section: "§6", Expected: Supported, Takes: 7 * time.Second,
		Statement: "Keepalive probes do not reset tcp.idleTimeout; only requests do.",
	},
	{
		ID: "P-idle-precedence", Chapter: Pool, Section: "§5", Expected: Refuted, Takes: 3 * time.Second,
		Statement: "tcp.idleTimeout takes effect even with a shorter http.idleTimeout beside it.",
		Lesson:    "The guide's YAML sets tcp.idleTimeout 1800s and http.idleTimeout 900s. Both end up in the same field of the cluster, and http's wins: an idle connection closes after 900 s, and the 1800 s appear nowhere. Set one of them.",
	},
	{
		ID: "P-max-duration", Chapter: Pool, Section: "§6", Expected: Supported, Takes: 4 * time.Second,
		Statement: "maxConnectionDuration bounds the life of a connection, however busy it is: once reached, the connection closes after the request under way.",
		Lesson:    "Envoy drains the connection and does not cut a request under way: a long stream outlives the bound by as long as it takes.",
	},
	{
		ID: "P-max-requests", Chapter: Pool, Section: "§6", Expected: Supported,
		Statement: "maxRequestsPerConnection replaces a connection after that number of requests.",
	},
	{
		ID: "P-connect-timeout", Chapter: Pool, Section: "§6", Expected: Supported, Takes: 5 * time.Second,
		Statement: "With a connectTimeout of 3s, the gateway gives up after 3 s on a partner that does not answer.",
	},
	{
		ID: "P-connect-timeout-2", Chapter: Pool, Section: "§6", Expected: Supported, Takes: 12 * time.Second,
		Statement: "Without a connectTimeout, the gateway gives up after 10 s on a partner that does not answer.",
	},
	{
		ID: "P-connect-timeout-3", Chapter: Pool, Section: "§6", Expected: Refuted, Takes: 5 * time.Second,
		Statement: "If the partner does not answer, the caller waits no longer than connectTimeout.",
		Lesson:    "The guide presents connectTimeout as the time to failure. Istio's default retry policy makes two more attempts, so the caller waits three times as long. Set retries {attempts: 0} on hop 2's route, or allow for three times the value.",
	},
	{
		ID: "P-outlier-single", Chapter: Pool, Section: "§6", Expected: Refuted,
		Statement: "With outlierDetection as in the guide's YAML (maxEjectionPercent 50), failures of the only endpoint block the whole channel.",
		Lesson:    "The guide says that with a single address an ejection blocks everything. At maxEjectionPercent 50, Envoy does not eject the only host and counts ejections_overflow: the setting does nothing. It blocks the channel only if the percentage allows that host to be ejected: at 100, for a single host.",
	},
	{
		ID: "P-outlier-single-2", Chapter: Pool, Section: "§6", Expected: Supported,
		Statement: "With maxEjectionPercent 100, failures of the only endpoint block the whole channel: 503 UH.",
	},
	{
		ID: "P-not-retroactive", Chapter: Pool, Section: "§6", Expected: Refuted, Takes: 4 * time.Second,
		Statement: "After an edit of hop 2's connectionPool, new requests still use the existing connections, with the old settings, until a restart.",
		Lesson:    "The guide says that existing connections keep the old settings until maxConnectionDuration or a rollout restart. For HTTP, an edit replaces the cluster and drains its connections: the next request takes a new connection, with the new settings, within a second. Only requests in flight keep the old connection and its settings until they end. No restart is needed.",
	},
}
