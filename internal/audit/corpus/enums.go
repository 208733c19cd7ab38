package corpus

import (
	"slices"
	"strings"
)

// enum is a field with a fixed choice of values.
type enum struct {
	kind string // empty for any
	// field is how the keys of its path end.
	field  string
	values []string
}

var protocols = []string{"HTTP", "HTTP2", "HTTPS", "GRPC", "TLS", "TCP"}

var enums = []enum{
	{"DestinationRule", "tls/mode", []string{"DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"}},
	{"DestinationRule", "loadBalancer/simple", []string{"ROUND_ROBIN", "LEAST_REQUEST", "RANDOM", "PASSTHROUGH"}},
	{"DestinationRule", "h2UpgradePolicy", []string{"DEFAULT", "DO_NOT_UPGRADE", "UPGRADE"}},
	{"Gateway", "tls/mode", []string{"PASSTHROUGH", "SIMPLE", "MUTUAL", "AUTO_PASSTHROUGH", "ISTIO_MUTUAL", "OPTIONAL_MUTUAL"}},
	{"Gateway", "port/protocol", protocols},
	{"ServiceEntry", "ports/protocol", protocols},
	{"ServiceEntry", "spec/resolution", []string{"NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN", "DYNAMIC_DNS"}},
	{"ServiceEntry", "spec/location", []string{"MESH_EXTERNAL", "MESH_INTERNAL"}},
	{"Sidecar", "outboundTrafficPolicy/mode", []string{"REGISTRY_ONLY", "ALLOW_ANY"}},
	{"PeerAuthentication", "mtls/mode", []string{"UNSET", "DISABLE", "PERMISSIVE", "STRICT"}},
	{"AuthorizationPolicy", "spec/action", []string{"ALLOW", "DENY", "AUDIT"}},
	{"Service", "spec/type", []string{"ClusterIP", "NodePort", "LoadBalancer"}},
	{"Service", "ports/protocol", []string{"TCP", "UDP"}},
	// The name says the protocol.
	{"Service", "ports/name", []string{"http", "http2", "https", "tls", "tcp", "grpc"}},
	{"NetworkPolicy", "spec/policyTypes", []string{"Ingress", "Egress"}},
	{"NetworkPolicy", "ports/protocol", []string{"TCP", "UDP"}},
	{"RoleBinding", "roleRef/kind", []string{"Role", "ClusterRole"}},
	{"RoleBinding", "subjects/kind", []string{"ServiceAccount", "User", "Group"}},
	{"Secret", "type", []string{"Opaque", "kubernetes.io/tls"}},
	{"", "sidecar.istio.io/inject", []string{"true", "false"}},
	{"", "labels/istio-injection", []string{"enabled", "disabled"}},
	{"", "labels/istio.io/rev", []string{"default", "canary"}},
	{"", "inject.istio.io/templates", []string{"gateway", "sidecar"}},
}

// otherValues are the values that a field could have instead.
func otherValues(o *Object, steps []any, value string) (found []string) {
	where := keys(steps)
	for _, e := range enums {
		if e.kind != "" && e.kind != o.Kind || !strings.HasSuffix("/"+where, "/"+e.field) {
			continue
		}
		for _, other := range e.values {
			if other != value && !(e.field == "ports/name" && taken(o, other)) {
				found = append(found, other)
			}
		}
	}
	return found
}

// taken says whether a Service has a port of that name: two of one name are refused.
func taken(o *Object, name string) bool {
	return slices.ContainsFunc(list(at(o.Tree, "spec", "ports")), func(p any) bool { return at(p, "name") == name })
}

// otherVersions are those under which the API server serves the same object.
func otherVersions(version string) (found []string) {
	group, _, _ := strings.Cut(version, "/")
	all := map[string][]string{
		"networking.istio.io": {"networking.istio.io/v1", "networking.istio.io/v1beta1", "networking.istio.io/v1alpha3"},
		"security.istio.io":   {"security.istio.io/v1", "security.istio.io/v1beta1"},
	}[group]
	for _, other := range all {
		if other != version {
			found = append(found, other)
		}
	}
	return found
}
