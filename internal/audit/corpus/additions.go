package corpus

import (
	"slices"

	"twohop/internal/objects"
)

// The operators that add something.
const (
	AddMirror         = "add-mirror"
	AddAbort          = "add-abort"
	AddRewrite        = "add-rewrite"
	AddRetries        = "add-retries" // on all routes of a VirtualService
	AddBypassRoute    = "add-bypass-route"
	AddBypassWeight   = "add-bypass-weight"
	AddAnnotation     = "add-annotation"
	AddHostNetwork    = "add-host-network"
	AddNoInjection    = "add-no-injection"
	AddInsecure       = "add-insecure"
	AddHTTP2          = "add-http2"
	AddCallerExport   = "add-caller-export"
	AddRuleForHost    = "add-rule-for-host"
	AddRuleForGateway = "add-rule-for-gateway"
	AddOlderEntry     = "add-older-entry"
	AddNewerEntry     = "add-newer-entry"
	AddScope          = "add-scope"
	AddDenyAll        = "add-deny-all"
)

// additions adds to the setup what its authors did not write.
func additions(s *Setup, emit func(change)) {
	for _, i := range s.kind("VirtualService") {
		routeAdditions(s, i, emit)
	}
	for i, o := range s.Objects {
		if template(o.Kind) != nil {
			podAdditions(s, i, emit)
		}
	}
	for _, i := range s.kind("DestinationRule") {
		ruleAdditions(s, i, emit)
	}
	for _, i := range s.kind("ServiceEntry") {
		entryAdditions(s, i, emit)
	}
	namespaceAdditions(s, emit)
}

func made(apiVersion, kind, namespace, name string, spec map[string]any) map[string]any {
	return map[string]any{
		"apiVersion": apiVersion, "kind": kind,
		"metadata": map[string]any{"namespace": namespace, "name": name}, "spec": spec,
	}
}

const (
	networking = "networking.istio.io/v1"
	security   = "security.istio.io/v1"
)

func refOf(tree map[string]any) objects.Ref {
	return objects.Ref{Kind: text(tree["kind"]), Namespace: text(at(tree, "metadata", "namespace")), Name: text(at(tree, "metadata", "name"))}
}

// ofMesh says whether a route is one of the sidecars'.
func ofMesh(route any) bool {
	for _, m := range list(at(route, "match")) {
		if slices.Contains(list(at(m, "gateways")), any("mesh")) {
			return true
		}
	}
	return false
}

func routeAdditions(s *Setup, index int, emit func(change)) {
	o := s.Objects[index]
	routes := list(at(o.Tree, "spec", "http"))
	host := at(o.Tree, "spec", "hosts", 0)
	on := func(operator, detail string, n int, value any, key ...any) {
		steps := append([]any{"spec", "http", n}, key...)
		c := change{operator: operator, object: o.Ref, field: path(steps...), detail: detail,
			replace: map[int]map[string]any{index: edited(o.Tree, to(value), steps...)}}
		if operator == AddMirror {
			// A mirror to a host that the mesh does not know is none.
			c.last = []map[string]any{made(networking, "ServiceEntry", o.Ref.Namespace, "mirror", map[string]any{
				"hosts": []any{"mirror.example.net"}, "location": "MESH_EXTERNAL", "resolution": "DNS",
				"ports": []any{map[string]any{"number": 80.0, "name": "http", "protocol": "HTTP"}},
			})}
		}
		emit(c)
	}
	all := o.Tree
	for n, route := range routes {
		destinations := list(at(route, "route"))
		if len(destinations) == 0 {
			continue
		}
		on(AddMirror, "mirror.example.net", n, map[string]any{"host": "mirror.example.net", "port": map[string]any{"number": 80.0}}, "mirror")
		on(AddAbort, "503", n, map[string]any{"abort": map[string]any{"httpStatus": 503.0, "percentage": map[string]any{"value": 100.0}}}, "fault")
		on(AddRewrite, "other.example.net", n, map[string]any{"authority": "other.example.net"}, "rewrite")
		all = edited(all, to(map[string]any{"attempts": 2.0, "perTryTimeout": "2s", "retryOn": "5xx,reset"}), "spec", "http", n, "retries")
		if !ofMesh(route) || host == nil {
			continue
		}
		direct := map[string]any{"host": host}
		if port := at(route, "match", 0, "port"); port != nil {
			direct["port"] = map[string]any{"number": port}
		}
		extra := edited(deep(route.(map[string]any)), to([]any{map[string]any{"destination": direct}}), "route")
		extra = edited(extra, to(map[string]any{"prefix": "/health"}), "match", 0, "uri")
		if extra["name"] != nil {
			extra["name"] = "health"
		}
		emit(change{operator: AddBypassRoute, object: o.Ref, field: path("spec", "http", n), detail: "/health", replace: map[int]map[string]any{
			index: edited(o.Tree, to(slices.Insert(slices.Clone(routes), n, any(extra))), "spec", "http"),
		}})
		on(AddBypassWeight, "10", n, around(destinations, direct), "route")
	}
	if len(routes) > 0 {
		emit(change{operator: AddRetries, object: o.Ref, field: "spec.http", detail: "2", replace: map[int]map[string]any{index: all}})
	}
}

// around gives a tenth of the weight to another destination.
func around(destinations []any, direct map[string]any) []any {
	var shared []any
	for i, d := range destinations {
		weight := 90 / len(destinations)
		if i == 0 {
			weight += 90 % len(destinations)
		}
		shared = append(shared, edited(d.(map[string]any), to(float64(weight)), "weight"))
	}
	return append(shared, map[string]any{"destination": direct, "weight": 10.0})
}

func podAdditions(s *Setup, index int, emit func(change)) {
	o := s.Objects[index]
	on := func(operator string, value any, detail string, key ...any) {
		steps := append(template(o.Kind), key...)
		emit(change{operator: operator, object: o.Ref, field: path(steps...), detail: detail,
			replace: map[int]map[string]any{index: edited(o.Tree, to(value), steps...)}})
	}
	on(AddHostNetwork, true, "", "spec", "hostNetwork")
	on(AddNoInjection, "false", "", "metadata", "labels", "sidecar.istio.io/inject")
	if isGateway(o) {
		return
	}
	for _, a := range [][2]string{
		{"traffic.sidecar.istio.io/excludeOutboundPorts", "80,8080"},
		{"traffic.sidecar.istio.io/excludeOutboundIPRanges", "0.0.0.0/0"},
		{"traffic.sidecar.istio.io/includeOutboundIPRanges", "10.0.0.0/8"},
		{"sidecar.istio.io/interceptionMode", "NONE"},
	} {
		on(AddAnnotation, a[1], a[1], "metadata", "annotations", a[0])
	}
}

func ruleAdditions(s *Setup, index int, emit func(change)) {
	o := s.Objects[index]
	on := func(operator, detail string, value any, steps ...any) {
		emit(change{operator: operator, object: o.Ref, field: path(steps...), detail: detail,
			replace: map[int]map[string]any{index: edited(o.Tree, to(value), steps...)}})
	}
	visit(o.Tree, func(steps []any, value any) {
		if steps[len(steps)-1] != "tls" {
			return
		}
		on(AddInsecure, "", true, append(slices.Clone(steps), "insecureSkipVerify")...)
		on(AddHTTP2, "UPGRADE", "UPGRADE", append(slices.Clone(steps[:len(steps)-1]), "connectionPool", "http", "h2UpgradePolicy")...)
	})
	if s.hop1(index) {
		return
	}
	for _, n := range s.callerNamespaces() {
		if n != o.Ref.Namespace {
			on(AddCallerExport, n, []any{".", n}, "spec", "exportTo")
		}
	}
}

// callerNamespaces are those of workloads that are no gateways.
func (s *Setup) callerNamespaces() (found []string) {
	for _, o := range s.Objects {
		if template(o.Kind) != nil && !isGateway(o) && !slices.Contains(found, o.Ref.Namespace) {
			found = append(found, o.Ref.Namespace)
		}
	}
	return found
}

// entryAdditions adds a second ServiceEntry for a host, with another resolution, in a
// caller's namespace and in one of nobody's: which of two wins, their age says.
func entryAdditions(s *Setup, index int, emit func(change)) {
	o := s.Objects[index]
	for _, n := range append(s.callerNamespaces(), elsewhere) {
		second := edited(deep(differing(o)), gone, "spec", "exportTo")
		second = edited(edited(second, to(n), "metadata", "namespace"), to("somebody-elses"), "metadata", "name")
		for _, way := range []struct{ operator, ours, theirs string }{{AddOlderEntry, late, early}, {AddNewerEntry, early, late}} {
			theirs := edited(second, to(way.theirs), "metadata", "creationTimestamp")
			emit(change{operator: way.operator, object: refOf(theirs), detail: "for " + text(at(o.Tree, "spec", "hosts", 0)), last: []map[string]any{theirs},
				replace: map[int]map[string]any{index: edited(o.Tree, to(way.ours), "metadata", "creationTimestamp")}})
		}
	}
}

// namespaceAdditions adds rules and policies to the callers' and gateways' namespaces.
func namespaceAdditions(s *Setup, emit func(change)) {
	add := func(operator, detail string, tree map[string]any) {
		emit(change{operator: operator, object: refOf(tree), detail: detail, last: []map[string]any{tree}})
	}
	rule := func(operator, namespace, name string, host any, mode string) {
		add(operator, text(host), made(networking, "DestinationRule", namespace, name, map[string]any{
			"host": host, "trafficPolicy": map[string]any{"tls": map[string]any{"mode": mode}},
		}))
	}
	for _, n := range s.callerNamespaces() {
		for _, i := range s.kind("ServiceEntry") {
			rule(AddRuleForHost, n, "for-the-host", at(s.Objects[i].Tree, "spec", "hosts", 0), "SIMPLE")
		}
		for _, i := range s.kind("DestinationRule") {
			if s.hop1(i) {
				rule(AddRuleForGateway, n, "for-the-gateway", at(s.Objects[i].Tree, "spec", "host"), "DISABLE")
			}
		}
		if !slices.ContainsFunc(s.Objects, func(o *Object) bool { return o.Kind == "Sidecar" && o.Ref.Namespace == n }) {
			add(AddScope, "", made(networking, "Sidecar", n, "default", map[string]any{"egress": []any{map[string]any{"hosts": []any{"./*"}}}}))
		}
	}
	var seen []string
	for _, o := range s.Objects {
		if template(o.Kind) == nil || !isGateway(o) || slices.Contains(seen, o.Ref.Namespace) {
			continue
		}
		seen = append(seen, o.Ref.Namespace)
		add(AddDenyAll, "", made(security, "AuthorizationPolicy", o.Ref.Namespace, "deny-all", map[string]any{}))
	}
}
