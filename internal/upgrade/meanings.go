package upgrade

import (
	"regexp"

	"twohop/internal/claim"
)

func about(path, means string, claims ...claim.ID) meaning {
	return meaning{regexp.MustCompile(path), means, claims}
}

// meanings are what the catalogue knows of the fields, the particular ones first. A path
// is matched with the sort of resource before it. What differed between two lines when it
// was looked at has its reason from Istio's source at both revisions.
var meanings = []meaning{
	// 1.31, pilot/pkg/features: PILOT_AUTO_SEND_UNHEALTHY_ENDPOINTS is new and on by
	// default; cluster_traffic_policy.go sets the threshold where it holds. In 1.30 it was
	// set only with PILOT_SEND_UNHEALTHY_ENDPOINTS, or for a Service with trafficDistribution.
	about(`^cluster: common_lb_config(\.healthy_panic_threshold)?$`,
		"In 1.31, istiod also sends endpoints that are not ready, and takes the panic threshold away ({} is 0 %); where a rule has outlierDetection, both lines set it from minHealthPercent. "+
			"If fewer than half of a Service's endpoints are healthy, the proxy uses the healthy ones only; in 1.30 it uses all of them. "+
			"With none left, a call ends with 503 UH. PILOT_AUTO_SEND_UNHEALTHY_ENDPOINTS=false on istiod brings the old way back."),

	about(`^cluster: circuit_breakers\..*(max_connections|max_pending_requests|max_requests|max_retries|track_remaining)$`, "The limits of connectionPool, on the proxy that has the cluster.", "G3", "P-overflow", "P-overflow-3", "P-default"),
	about(`^cluster: connect_timeout$`, "How long one attempt to connect may take; retries multiply it.", "P-connect-timeout", "P-connect-timeout-2", "P-connect-timeout-3"),
	about(`^cluster: .*tcp_keepalive`, "Keepalive probes on the sockets of the proxy that opens the connection.", "P-keepalive-socket", "P-idle-keepalive"),
	about(`^cluster: .*max_connection_duration$`, "How long a connection lives, and so how long an old certificate is presented.", "P-max-duration", "H2-rotation-bound"),
	about(`^cluster: .*idle_timeout$`, "After how long without a request a connection is closed.", "P-idle-keepalive", "P-idle-precedence"),
	about(`^cluster: .*max_requests_per_connection$`, "After how many requests a connection is replaced.", "P-max-requests"),
	about(`^cluster: outlier_detection`, "When a failing endpoint is ejected.", "P-outlier-single", "P-outlier-single-2"),
	about(`^cluster: typed_extension_protocol_options\..*(explicit_http_config|use_downstream_protocol_config)`, "Which HTTP version goes to the upstream.", "H1-protocol", "F-h2"),
	about(`^cluster: .*(\.sni|auto_sni|auto_san_validation)$`, "The server name that is asked for, and whether the certificate is held against it.", "H1-sni-align", "H1-sni-omitted", "H2-sni-omitted"),
	about(`^cluster: .*match_(typed_)?subject_alt_names`, "The names that the peer's certificate must have.", "H2-san-pin", "H2-no-san"),
	about(`^cluster: .*(tls_certificate_sds_secret_configs|combined_validation_context)`, "Which certificate is presented, and which CA is trusted.", "G1", "G2", "H2-secret-ca"),
	about(`^cluster: transport_socket`, "How the connection to the upstream is secured.", "G1", "G2", "H1-unpaired"),
	about(`^cluster: (type|dns_.*|respect_dns_ttl|load_assignment.*)$`, "How the upstream's addresses are found and kept up to date.", "F-dns-stale", "F-dns-stale-2"),
	about(`^secret:`, "The names of the secrets that the proxy holds.", "G2", "H2-secret-ns"),
	about(`^(listener|route configuration): .*retry_policy`, "How often a failed request is tried again.", "F-retry-count", "F-retry-count-2", "F-idle-race"),
	about(`^listener: .*\.filter_chain_match\.`, "Which connections a filter chain takes.", "H1-sni-align", "H1-sni-omitted"),
	about(`^listener: .*forward_client_cert`, "What is forwarded of the caller's identity.", "H2-xfcc"),
	about(`^listener: .*\.transport_socket\.`, "How the gateway and the sidecar ask callers for TLS.", "G1", "H1-unpaired"),
	about(`^listener: .*access_log`, "What the access logs say; the checks read them."),
	about(`^listener: .*\[envoy\.filters\.(http|network)\.rbac\]`, "Who is let through by AuthorizationPolicies.", "H1-identity", "H1-identity-2"),
	about(`^route configuration: .*\.(domains|cluster)$`, "Which host leads where.", "G4", "H1-host-align", "A-align"),
	about(`^bootstrap: layered_runtime`, "Envoy's runtime flags, which change its defaults."),
}
