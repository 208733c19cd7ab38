package rehearse

import "regexp"

// mayChange are the fields that a rehearsal may change, and what for.
var mayChange = []struct {
	resource string
	kind     Kind
	field    *regexp.Regexp
	cluster  string // only of clusters of that type
}{
	{"listener", Address, regexp.MustCompile(`^(additional_addresses\[\d+\]\.)?address\.socket_address\.(address|port_value)$`), ""},
	{"listener", Destination, regexp.MustCompile(`^filter_chains\[0\]\.use_proxy_proto$`), ""},
	{"listener", AccessLog, regexp.MustCompile(`(^|\.filters\[\d+\]\.typed_config\.)access_log(\[\d+\](\.typed_config\.path)?)?$`), ""},
	{"listener", Routes, regexp.MustCompile(`\.rds\.config_source$`), ""},
	{"listener", Secrets, regexp.MustCompile(`\.sds_config$`), ""},
	{"cluster", Address, regexp.MustCompile(`^load_assignment\.endpoints\[\d+\]\.lb_endpoints\[\d+\]\.endpoint\.address\.socket_address\.(address|port_value)$`), ""},
	{"cluster", Endpoints, regexp.MustCompile(`^(type|eds_cluster_config|load_assignment)$`), "EDS"},
	{"cluster", Secrets, regexp.MustCompile(`\.sds_config$`), ""},
	{"endpoints", Address, regexp.MustCompile(`^endpoints\[\d+\]\.lb_endpoints\[\d+\]\.endpoint\.address\.socket_address\.(address|port_value)$`), ""},
	{"cluster", Destination, regexp.MustCompile(`^(type|lb_policy|load_assignment|original_dst_lb_config)$`), "ORIGINAL_DST"},
}

// kindOf is what a field may be changed for; empty if it may not.
func kindOf(resource, cluster, field string) Kind {
	for _, m := range mayChange {
		if m.resource == resource && m.field.MatchString(field) && (m.cluster == "" || m.cluster == cluster) {
			return m.kind
		}
	}
	return ""
}
