package audit

import (
	"fmt"
	"slices"
	"strings"

	api "istio.io/api/networking/v1alpha3"

	"twohop/internal/channel"
	"twohop/internal/objects"
	"twohop/internal/walk"
)

// blame is the place to change.
type blame struct {
	object *objects.Object
	// ref names an object that is missing.
	ref    objects.Ref
	field  string
	wanted string
	seen   string
	patch  string
	id     string // of another check than the one that saw it
}

func of(o *objects.Object, field string) blame { return blame{object: o, field: field} }

// atRoute is a place in the i-th HTTP route of a VirtualService, where it was written.
func atRoute(v *channel.VirtualService, i int, sub string) blame {
	o, field := v.Written(i)
	return of(o, field+sub)
}

func missing(kind, namespace, name string) blame {
	return blame{ref: objects.Ref{Kind: kind, Namespace: namespace, Name: name}}
}

// misspelt is the place that means the host and names another one, of the kinds given.
func (e *egress) misspelt(kinds ...string) (blame, bool) {
	for _, p := range e.Misspelt {
		if len(kinds) == 0 || slices.Contains(kinds, p.Kind) {
			return blame{object: p.Object, field: p.Field, seen: p.Host + ", which no other object uses", wanted: e.Host, patch: lastField(p.Field) + ": " + e.Host}, true
		}
	}
	return blame{}, false
}

func lastField(path string) string {
	path = strings.TrimRight(path, "]0123456789[")
	return path[strings.LastIndexByte(path, '.')+1:]
}

func (e *egress) typos() {
	for _, p := range e.Misspelt {
		hop, id := 2, "32"
		switch p.Kind {
		case "Gateway":
			hop, id = 1, "03"
		case "VirtualService":
			hop, id = 0, "13"
		case "destination", "ServiceEntry":
			id = "18"
		case "DestinationRule":
			id = "01"
		}
		b, _ := e.misspelt(p.Kind)
		b.object, b.field = p.Object, p.Field
		e.find(Finding{ID: id, Severity: Critical, Hop: hop, Seen: p.Host + ", which no other object uses", Wanted: e.Host}, b)
	}
}

// exports reports whether an exportTo shows an object of a namespace to another one.
func exports(to []string, from, namespace string) bool {
	if len(to) == 0 {
		return true
	}
	return slices.ContainsFunc(to, func(t string) bool {
		return t == "*" || t == namespace || t == "." && from == namespace
	})
}

// blameNoRoute says why no route of the mesh takes a caller's request.
func (e *egress) blameNoRoute(w *channel.Workload, port channel.Port) blame {
	if b, ok := e.misspelt("VirtualService"); ok {
		return b
	}
	if len(e.VirtualServices) == 0 {
		if b, ok := e.rejectedOf("VirtualService"); ok {
			return b
		}
		b := missing("VirtualService", e.gatewayNamespace(), "")
		b.wanted = "a VirtualService that sends requests for " + e.Host + " to the gateway, and the gateway's to the host"
		return b
	}
	for _, v := range e.VirtualServices {
		if e.rejected[v.Ref] {
			return of(v.Object, "spec")
		}
		if !exports(v.Spec.GetExportTo(), v.Namespace, w.Namespace) {
			return blame{object: v.Object, field: "spec.exportTo", wanted: "an exportTo that names the callers' namespace " + w.Namespace}
		}
	}
	for _, v := range e.VirtualServices {
		if b, ok := e.meshRoute(v, port); ok {
			return b
		}
	}
	if b, ok := e.scope(w); ok {
		return b
	}
	for _, entry := range e.Entries {
		if e.rejected[entry.Ref] {
			return of(entry.Object, "spec")
		}
		if !exports(entry.Spec.GetExportTo(), entry.Namespace, w.Namespace) {
			return blame{object: entry.Object, field: "spec.exportTo", wanted: "an exportTo that names " + w.Namespace + " too: without the ServiceEntry the sidecar has no listener for port " + fmt.Sprint(port.Number), id: "17"}
		}
		for i, p := range entry.Spec.GetPorts() {
			if int(p.GetNumber()) == port.Number && !channel.PlainHTTP(p.GetProtocol()) && !port.TLS {
				return blame{object: entry.Object, field: fmt.Sprintf("spec.ports[%d].protocol", i), wanted: "protocol HTTP on the port that applications call", id: "03"}
			}
		}
	}
	if b, ok := e.routeForPort(port); ok {
		return b
	}
	for _, entry := range e.Entries {
		if !slices.ContainsFunc(entry.Spec.GetPorts(), func(p *api.ServicePort) bool { return int(p.GetNumber()) == port.Number }) {
			return blame{object: entry.Object, field: "spec.ports", wanted: fmt.Sprintf("a port %d of protocol HTTP: without one the sidecar has no listener for it", port.Number),
				patch: fmt.Sprintf("spec:\n  ports:\n    - { number: %d, name: http, protocol: HTTP, targetPort: 443 }", port.Number)}
		}
	}
	if len(e.Entries) == 0 {
		if b, ok := e.misspelt("ServiceEntry"); ok {
			return b
		}
		return missing("ServiceEntry", e.gatewayNamespace(), "")
	}
	return of(e.VirtualServices[0].Object, "spec.http")
}

// routeForPort says that a route is for a port that nothing registers, while a port that
// the ServiceEntry registers for HTTP has no route: the route's is the odd one.
func (e *egress) routeForPort(port channel.Port) (blame, bool) {
	i := slices.IndexFunc(e.Ports, func(p channel.Port) bool { return !p.Routed && !p.TLS })
	if i < 0 || !port.Routed {
		return blame{}, false
	}
	for _, v := range e.VirtualServices {
		for k, r := range v.Spec.GetHttp() {
			for j, m := range r.GetMatch() {
				if int(m.GetPort()) == port.Number {
					b := atRoute(v, k, fmt.Sprintf(".match[%d].port", j))
					b.seen, b.wanted, b.patch = fmt.Sprintf("port %d, which no ServiceEntry has: requests to port %d match no route", port.Number, e.Ports[i].Number), fmt.Sprintf("port %d", e.Ports[i].Number), fmt.Sprintf("port: %d", e.Ports[i].Number)
					return b, true
				}
			}
		}
	}
	return blame{}, false
}

// meshRoute says what keeps a VirtualService from taking callers' requests on a port.
func (e *egress) meshRoute(v *channel.VirtualService, port channel.Port) (blame, bool) {
	gateways := v.Spec.GetGateways()
	if len(gateways) > 0 && !slices.Contains(gateways, "mesh") {
		return blame{object: v.Object, field: "spec.gateways", wanted: "mesh in spec.gateways", patch: "spec:\n  gateways: [mesh, " + strings.Join(gateways, ", ") + "]"}, true
	}
	if port.TLS {
		return blame{}, false
	}
	var at blame
	found := false
	for i, r := range v.Spec.GetHttp() {
		if !e.toGateway(v, r) {
			continue
		}
		if len(r.GetMatch()) == 0 {
			return blame{}, false // it takes all
		}
		for j, m := range r.GetMatch() {
			o, field := v.Written(i)
			field += fmt.Sprintf(".match[%d]", j)
			if len(m.GetGateways()) > 0 && !slices.Contains(m.GetGateways(), "mesh") {
				if !found {
					at, found = blame{object: o, field: field + ".gateways", wanted: "mesh among the gateways of the match"}, true
				}
				continue
			}
			if m.GetPort() != 0 && int(m.GetPort()) != port.Number {
				at, found = blame{object: o, field: field + ".port", wanted: fmt.Sprintf("port %d, which callers use", port.Number), patch: fmt.Sprintf("port: %d", port.Number)}, true
				continue
			}
			return blame{}, false
		}
	}
	if !found {
		for i, r := range v.Spec.GetHttp() {
			for j := range r.GetRoute() {
				b := atRoute(v, i, fmt.Sprintf(".route[%d].destination.host", j))
				b.wanted = "a route of the mesh to the gateway's Service"
				return b, true
			}
		}
		return blame{object: v.Object, field: "spec.http", wanted: "a route of the mesh to the gateway's Service"}, true
	}
	return at, true
}

// scope says which Sidecar resource decides what a caller sees.
func (e *egress) scope(w *channel.Workload) (blame, bool) {
	s := e.sidecarOf(w)
	if s == nil || len(s.Spec.GetEgress()) == 0 {
		return blame{}, false
	}
	wanted := "hosts that show the gateway's Service, and the ServiceEntry and VirtualService of " + e.Host
	for _, service := range e.Services {
		wanted += "; or, if only the gateway is to be seen, an HTTP port of that number on " + service.Ref.String()
	}
	return blame{object: s.Object, field: "spec.egress", id: "17", wanted: wanted}, true
}

func (e *egress) sidecarOf(w *channel.Workload) *channel.SidecarResource {
	var best *channel.SidecarResource
	rank := 0
	for _, s := range e.Mesh.Sidecars {
		n := 0
		labels := s.Spec.GetWorkloadSelector().GetLabels()
		switch {
		case s.Namespace == w.Namespace && len(labels) > 0 && w.Selected(labels):
			n = 3
		case s.Namespace == w.Namespace && len(labels) == 0:
			n = 2
		case s.Namespace == e.Mesh.RootNamespace && len(labels) == 0:
			n = 1
		}
		if n > rank {
			best, rank = s, n
		}
	}
	return best
}

func (e *egress) gatewayNamespace() string {
	for _, r := range e.Routers {
		return r.Namespace
	}
	for _, g := range e.Gateways {
		return g.Namespace
	}
	for _, s := range e.Entries {
		return s.Namespace
	}
	return ""
}

// rejectedOf is an object of a kind that the API server refuses.
func (e *egress) rejectedOf(kind string) (blame, bool) {
	for _, r := range e.Refused {
		if !r.Warning && r.Object != nil && r.Object.Kind == kind {
			return of(r.Object, fieldOf(r.Reason)), true
		}
	}
	return blame{}, false
}

// routeField is a field of the route that a request takes.
func (e *egress) routeField(way walk.Way, suffix string) blame {
	v, i := e.routeOf(way)
	if v == nil {
		if len(e.VirtualServices) > 0 {
			return of(e.VirtualServices[0].Object, "spec.http")
		}
		return missing("VirtualService", e.gatewayNamespace(), "")
	}
	return atRoute(v, i, suffix)
}

// routeOf finds the VirtualService, and which of its routes, that made a route: by the
// path that istiod leaves in the route's metadata, then by name or destination.
func (e *egress) routeOf(way walk.Way) (*channel.VirtualService, int) {
	for _, v := range e.Mesh.VirtualServices {
		if !strings.HasSuffix(way.Route.Source, "/namespaces/"+v.Namespace+"/virtual-service/"+v.Name) {
			continue
		}
		routes := v.Spec.GetHttp()
		for i, r := range routes {
			if r.GetName() != "" && (way.Route.Name == r.GetName() || strings.HasPrefix(way.Route.Name, r.GetName()+".")) {
				return v, i
			}
		}
		for i, r := range routes {
			for _, d := range r.GetRoute() {
				host := e.Mesh.FullName(d.GetDestination().GetHost(), v.Namespace)
				if slices.ContainsFunc(way.Clusters, func(s walk.Share) bool {
					to := parseCluster(s.Cluster)
					return to.host == host && to.subset == d.GetDestination().GetSubset()
				}) {
					return v, i
				}
			}
		}
		return v, 0
	}
	return nil, 0
}

// blameEnd says why a request ends in the sidecar.
func (e *egress) blameEnd(w *channel.Workload, port channel.Port, way walk.Way) blame {
	if way.Route.Source != "" {
		return e.routeField(way, answerField(way))
	}
	return e.blameNoRoute(w, port)
}

// answerField is what in a route has the proxy answer by itself.
func answerField(way walk.Way) string {
	switch {
	case way.Route.Direct > 0:
		return ".directResponse"
	case way.Route.Redirect:
		return ".redirect"
	}
	return ""
}

// blameBypass says why a request goes to the host itself.
func (e *egress) blameBypass(w *channel.Workload, port channel.Port, way walk.Way, share walk.Share) blame {
	v, i := e.routeOf(way)
	if v == nil {
		return e.blameNoRoute(w, port)
	}
	to := parseCluster(share.Cluster)
	for j, d := range v.Spec.GetHttp()[i].GetRoute() {
		if e.Mesh.FullName(d.GetDestination().GetHost(), v.Namespace) == to.host {
			b := atRoute(v, i, fmt.Sprintf(".route[%d].destination.host", j))
			if share.Weight == 0 && len(v.Spec.GetHttp()[i].GetMatch()) == 0 && !e.leadsToGateway(v) {
				b.wanted = "a route of the mesh to the gateway's Service"
			}
			if bm, ok := e.gatewayMatch(v, i); ok {
				return bm
			}
			return b
		}
	}
	return atRoute(v, i, "")
}

// gatewayMatch says that a route that is meant for the gateway is for the mesh too.
func (e *egress) gatewayMatch(v *channel.VirtualService, i int) (blame, bool) {
	if b, ok := e.misspelt("VirtualService"); ok {
		return b, true
	}
	for k, r := range v.Spec.GetHttp() {
		if k == i {
			break
		}
		if !e.toGateway(v, r) {
			continue
		}
		// The route to the gateway comes first and did not match.
		for j, m := range r.GetMatch() {
			o, field := v.Written(k)
			field += fmt.Sprintf(".match[%d]", j)
			if len(m.GetGateways()) > 0 && !slices.Contains(m.GetGateways(), "mesh") {
				return blame{object: o, field: field + ".gateways", wanted: "mesh among the gateways of the match"}, true
			}
			if m.GetPort() != 0 {
				return blame{object: o, field: field + ".port", wanted: "the port that callers use"}, true
			}
			return of(o, field), true
		}
	}
	return blame{}, false
}

// toGateway reports whether a route leads to the gateway's Service.
func (e *egress) toGateway(v *channel.VirtualService, r *api.HTTPRoute) bool {
	return slices.ContainsFunc(r.GetRoute(), func(d *api.HTTPRouteDestination) bool {
		return e.isGatewayHost(e.Mesh.FullName(d.GetDestination().GetHost(), v.Namespace))
	})
}

func (e *egress) leadsToGateway(v *channel.VirtualService) bool {
	return slices.ContainsFunc(v.Spec.GetHttp(), func(r *api.HTTPRoute) bool { return e.toGateway(v, r) })
}
