package audit

import (
	"fmt"
	"slices"
	"strings"

	api "istio.io/api/networking/v1alpha3"

	"twohop/internal/channel"
	"twohop/internal/walk"
)

// blameTLS is the tls block that decides on a cluster: of the rule in force, else of the
// rule that was meant to be.
func (e *egress) blameTLS(u walk.Upstream, rules []*channel.DestinationRule, sub string) blame {
	to := parseCluster(u.Cluster.Name())
	if r := ruleNamed(e.Mesh.Rules, ruleOf(u)); r != nil {
		return of(r.Object, tlsField(r.Spec, to)+sub)
	}
	for _, r := range rules {
		return of(r.Object, tlsField(r.Spec, to)+sub)
	}
	if b, ok := e.misspelt("DestinationRule"); ok {
		return b
	}
	if b, ok := e.rejectedOf("DestinationRule"); ok {
		return b
	}
	return missing("DestinationRule", e.gatewayNamespace(), "")
}

// ruleNamed is the rule of a namespace and name; nil if it is not in the input.
func ruleNamed(rules []*channel.DestinationRule, named string) *channel.DestinationRule {
	i := slices.IndexFunc(rules, func(r *channel.DestinationRule) bool { return r.Namespace+"/"+r.Name == named })
	if i < 0 {
		return nil
	}
	return rules[i]
}

func (e *egress) blameHop2TLS(u walk.Upstream, sub string) blame { return e.blameTLS(u, e.Hop2, sub) }

// tlsField is the path of the tls that a rule gives a cluster: the port's in the subset,
// the subset's, the port's, the rule's. Where it gives none, the place for one.
func tlsField(r *api.DestinationRule, to target) string {
	for i, s := range r.GetSubsets() {
		if s.GetName() != to.subset || to.subset == "" || s.GetTrafficPolicy() == nil {
			continue
		}
		at := fmt.Sprintf("spec.subsets[%d].trafficPolicy", i)
		if f, ok := levelField(s.GetTrafficPolicy(), at, to); ok {
			return f
		}
	}
	if f, ok := levelField(r.GetTrafficPolicy(), "spec.trafficPolicy", to); ok {
		return f
	}
	if to.subset != "" {
		for i, s := range r.GetSubsets() {
			if s.GetName() == to.subset {
				return fmt.Sprintf("spec.subsets[%d].trafficPolicy.tls", i)
			}
		}
	}
	return "spec.trafficPolicy.tls"
}

func levelField(p *api.TrafficPolicy, at string, to target) (string, bool) {
	for i, l := range p.GetPortLevelSettings() {
		if fmt.Sprint(l.GetPort().GetNumber()) == to.port {
			return fmt.Sprintf("%s.portLevelSettings[%d].tls", at, i), true
		}
	}
	if p.GetTls() != nil {
		return at + ".tls", true
	}
	if len(p.GetPortLevelSettings()) > 0 {
		return at + ".portLevelSettings[0].port.number", true
	}
	return "", false
}

// blamePlaintext says why hop 2 is not encrypted.
func (e *egress) blamePlaintext(router *channel.Workload, u walk.Upstream, to target) blame {
	if b, ok := e.misspelt("DestinationRule"); ok {
		return b
	}
	inForce := ruleOf(u)
	for _, r := range e.Hop2 {
		if e.rejected[r.Ref] {
			return of(r.Object, "spec")
		}
		if r.Namespace+"/"+r.Name == inForce || !encrypts(r) {
			continue
		}
		if !exports(r.Spec.GetExportTo(), r.Namespace, router.Namespace) {
			return blame{object: r.Object, field: "spec.exportTo", seen: fmt.Sprintf("exportTo %s in namespace %s: the gateway in %s does not see the rule", strings.Join(r.Spec.GetExportTo(), ", "), r.Namespace, router.Namespace), wanted: "the gateway's namespace", id: "01"}
		}
		if !e.looksIn(router.Namespace, to.host, r.Namespace) {
			return blame{object: r.Object, field: "metadata.namespace", seen: "a rule in namespace " + r.Namespace + ", where the gateway does not look for it", wanted: "namespace " + router.Namespace, id: "01"}
		}
		if r.Spec.GetWorkloadSelector() != nil && !router.Selected(r.Spec.GetWorkloadSelector().GetMatchLabels()) {
			return blame{object: r.Object, field: "spec.workloadSelector", wanted: "labels of the gateway's pods", id: "01"}
		}
		if inForce != "" {
			odd := r
			if other := ruleNamed(e.Mesh.Rules, inForce); other != nil {
				odd = other
			}
			return blame{object: odd.Object, field: "spec.host", seen: "rule " + inForce + " is in force, and " + r.Namespace + "/" + r.Name + " is not", wanted: "one rule for the host", id: "01"}
		}
	}
	if r := ruleNamed(e.Hop2, inForce); r != nil {
		field := tlsField(r.Spec, to)
		b := blame{object: r.Object, field: field, patch: e.mutualPatch()}
		switch {
		case strings.HasSuffix(field, "port.number"):
			b.seen, b.wanted = fmt.Sprintf("settings for port %s; the gateway's route goes to %s", strings.Join(levelPorts(r), ", "), to.port), "port "+to.port
			b.patch = "number: " + to.port
			if route, other := e.routePort(to, levelPorts(r)); other {
				return route
			}
		case strings.HasSuffix(field, ".tls"):
			b.field += ".mode"
		}
		return b
	}
	// A rule for a name that is nobody's, with the TLS that this host lacks.
	for _, r := range e.Mesh.Rules {
		if encrypts(r) && e.Mesh.Service(r.Host) == nil && len(e.Mesh.EntriesFor(r.Host)) == 0 {
			return blame{object: r.Object, field: "spec.host", seen: r.Host + ", which no ServiceEntry has", wanted: to.host, patch: "host: " + to.host, id: "01"}
		}
	}
	if b, ok := e.rejectedOf("DestinationRule"); ok {
		return b
	}
	b := missing("DestinationRule", router.Namespace, "")
	b.seen, b.wanted = "hop 2 is plaintext: no DestinationRule is for "+to.host, "a DestinationRule for "+to.host+" with tls mode MUTUAL and credentialName"
	return b
}

// routePort says that the route's port is the odd one: the rule and the ServiceEntry
// agree on another.
func (e *egress) routePort(to target, levels []string) (blame, bool) {
	for _, entry := range e.Entries {
		for _, p := range entry.Spec.GetPorts() {
			number := fmt.Sprint(p.GetNumber())
			if number == to.port || !slices.Contains(levels, number) {
				continue
			}
			for _, v := range e.VirtualServices {
				for i, r := range v.Spec.GetHttp() {
					for j, d := range r.GetRoute() {
						if fmt.Sprint(d.GetDestination().GetPort().GetNumber()) == to.port && e.Mesh.FullName(d.GetDestination().GetHost(), v.Namespace) == to.host {
							o, field := v.Written(i)
							return blame{object: o, field: field + fmt.Sprintf(".route[%d].destination.port.number", j), seen: "port " + to.port + ", for which no rule has tls", wanted: "port " + number}, true
						}
					}
				}
			}
		}
	}
	return blame{}, false
}

func (e *egress) mutualPatch() string {
	return "tls:\n  mode: MUTUAL\n  credentialName: SECRET\n  sni: " + e.Sample() + "\n  subjectAltNames: [" + e.Sample() + "]"
}

// encrypts reports whether a rule asks anywhere for TLS that is not the mesh's.
func encrypts(r *channel.DestinationRule) bool {
	return slices.ContainsFunc(r.TLS(), func(t *api.ClientTLSSettings) bool {
		return t.GetMode() != api.ClientTLSSettings_DISABLE && t.GetMode() != api.ClientTLSSettings_ISTIO_MUTUAL
	})
}

// blameAbsentOutside says why the gateway lacks the cluster that its route names.
func (e *egress) blameAbsentOutside(router *channel.Workload, in walk.Way, to target) blame {
	if b, ok := e.misspelt("ServiceEntry", "destination"); ok {
		return b
	}
	entries := e.Mesh.EntriesFor(to.host)
	for _, s := range entries {
		if e.rejected[s.Ref] {
			return of(s.Object, "spec")
		}
		if !exports(s.Spec.GetExportTo(), s.Namespace, router.Namespace) {
			return blame{object: s.Object, field: "spec.exportTo", wanted: "an exportTo that names the gateway's namespace " + router.Namespace}
		}
	}
	for _, s := range entries {
		var have []string
		for _, p := range s.Spec.GetPorts() {
			have = append(have, fmt.Sprint(p.GetNumber()))
		}
		if slices.Contains(have, to.port) {
			continue
		}
		agreed := false
		for _, r := range e.Hop2 {
			agreed = agreed || slices.Contains(levelPorts(r), to.port)
		}
		if agreed {
			return blame{object: s.Object, field: fmt.Sprintf("spec.ports[%d].number", max(0, len(have)-1)), seen: "ports " + strings.Join(have, ", ") + "; the route and the rule use " + to.port, wanted: "port " + to.port}
		}
		b := e.routeField(in, ".route[0].destination.port.number")
		b.seen, b.wanted = "port "+to.port+", which the ServiceEntry does not have", "one of "+strings.Join(have, ", ")
		return b
	}
	if len(entries) == 0 {
		if e.Mesh.Service(to.host) == nil && to.host != e.Host && len(e.Mesh.EntriesFor(e.Host)) > 0 {
			b := e.routeField(in, ".route[0].destination.host")
			b.wanted = e.Host
			return b
		}
		if b, ok := e.rejectedOf("ServiceEntry"); ok {
			return b
		}
		b := missing("ServiceEntry", router.Namespace, "")
		b.wanted = "a ServiceEntry for " + to.host + " with port " + to.port
		return b
	}
	if to.subset != "" {
		if b, ok := e.blameSubset(router.Namespace, to, e.Hop2, in); ok {
			return b
		}
	}
	return of(entries[0].Object, "spec.ports")
}

// entryField is a field of the ServiceEntry of a host.
func (e *egress) entryField(to target, field string) blame {
	for _, s := range e.Mesh.EntriesFor(to.host) {
		return of(s.Object, field)
	}
	return e.entry(field)
}

func (e *egress) entry(field string) blame {
	if len(e.Entries) > 0 {
		return of(e.Entries[0].Object, field)
	}
	return missing("ServiceEntry", e.gatewayNamespace(), "")
}

// blameHop2 is a field of the policy that hop 2's rule gives a cluster.
func (e *egress) blameHop2(u walk.Upstream, sub string) blame {
	b := e.blameTLS(u, e.Hop2, "")
	if b.object != nil && strings.HasSuffix(b.field, ".tls") {
		b.field = strings.TrimSuffix(b.field, "tls") + sub
	}
	return b
}

// blameHTTP2 says what makes hop 2 HTTP/2.
func (e *egress) blameHTTP2(u walk.Upstream, to target) blame {
	for _, s := range e.Mesh.EntriesFor(to.host) {
		for i, p := range s.Spec.GetPorts() {
			if fmt.Sprint(p.GetNumber()) == to.port && (strings.HasPrefix(strings.ToUpper(p.GetProtocol()), "HTTP2") || strings.HasPrefix(strings.ToUpper(p.GetProtocol()), "GRPC")) {
				return of(s.Object, fmt.Sprintf("spec.ports[%d].protocol", i))
			}
		}
	}
	return e.blameHop2(u, "connectionPool.http.h2UpgradePolicy")
}

// blameNoGatewayRoute says why the gateway has no route for the request.
func (e *egress) blameNoGatewayRoute(router *channel.Workload, r walk.Request, in walk.Way) blame {
	if in.Route.Source != "" {
		return e.routeField(in, answerField(in))
	}
	if b, ok := e.misspelt("VirtualService"); ok {
		return b
	}
	if r.Authority != "" && !strings.HasPrefix(r.Authority, e.Sample()) {
		for _, v := range e.VirtualServices {
			for i, route := range v.Spec.GetHttp() {
				if route.GetRewrite().GetAuthority() != "" {
					b := atRoute(v, i, ".rewrite.authority")
					b.seen, b.wanted = "hop 1 changes the host to "+r.Authority, "the host that the gateway's route is for"
					return b
				}
			}
		}
	}
	var at blame
	for _, v := range e.VirtualServices {
		if e.rejected[v.Ref] {
			return of(v.Object, "spec")
		}
		bound := false
		for _, g := range e.Gateways {
			for _, n := range v.Spec.GetGateways() {
				bound = bound || n == g.Namespace+"/"+g.Name || n == g.Name && v.Namespace == g.Namespace
			}
		}
		if !bound {
			at = blame{object: v.Object, field: "spec.gateways", seen: "gateways " + strings.Join(v.Spec.GetGateways(), ", "), wanted: "the Gateway of this host: " + e.gatewayNames()}
			continue
		}
		if !exports(v.Spec.GetExportTo(), v.Namespace, router.Namespace) {
			return blame{object: v.Object, field: "spec.exportTo", wanted: "an exportTo that names the gateway's namespace " + router.Namespace}
		}
		for i, route := range v.Spec.GetHttp() {
			for j, m := range route.GetMatch() {
				o, field := v.Written(i)
				field += fmt.Sprintf(".match[%d]", j)
				if slices.Contains(m.GetGateways(), "mesh") {
					continue
				}
				if len(m.GetGateways()) > 0 && !slices.ContainsFunc(m.GetGateways(), e.isGateway) {
					return blame{object: o, field: field + ".gateways", seen: strings.Join(m.GetGateways(), ", "), wanted: e.gatewayNames()}
				}
				if m.GetPort() != 0 && int(m.GetPort()) != r.Port && !e.serverPort(int(m.GetPort())) {
					return blame{object: o, field: field + ".port", seen: fmt.Sprintf("port %d", m.GetPort()), wanted: fmt.Sprintf("port %d, on which the gateway takes the connection", r.Port), patch: fmt.Sprintf("port: %d", r.Port)}
				}
			}
		}
		for i, route := range v.Spec.GetHttp() {
			for j, m := range route.GetMatch() {
				if slices.Contains(m.GetGateways(), "mesh") || !strings.Contains(in.End, "no route of virtual host") {
					continue
				}
				if field := condition(m); field != "" {
					b := atRoute(v, i, fmt.Sprintf(".match[%d].%s", j, field))
					b.seen, b.wanted = in.End, "a route of the gateway for every request that hop 1 sends"
					return b
				}
			}
		}
		for _, g := range e.Gateways {
			for i, s := range g.Spec.GetServers() {
				for j, h := range s.GetHosts() {
					if ns, _, found := strings.Cut(h, "/"); found && ns != "*" && ns != v.Namespace && !(ns == "." && g.Namespace == v.Namespace) {
						return blame{object: g.Object, field: fmt.Sprintf("spec.servers[%d].hosts[%d]", i, j), seen: h, wanted: "the VirtualService's namespace " + v.Namespace}
					}
				}
			}
		}
		for i, route := range v.Spec.GetHttp() {
			if !slices.ContainsFunc(route.GetMatch(), func(m *api.HTTPMatchRequest) bool { return slices.Contains(m.GetGateways(), "mesh") }) {
				at = atRoute(v, i, ".match")
			}
		}
		if at.object == nil {
			at = blame{object: v.Object, field: "spec.http", wanted: "a route of the gateway to " + e.Host}
		}
	}
	if at.object == nil {
		return missing("VirtualService", router.Namespace, "")
	}
	return at
}

// condition is the first field by which a match takes some requests and not others; empty
// if it has none.
func condition(m *api.HTTPMatchRequest) string {
	switch {
	case m.GetUri() != nil:
		return "uri"
	case len(m.GetHeaders()) > 0:
		return "headers"
	case m.GetMethod() != nil:
		return "method"
	case len(m.GetQueryParams()) > 0:
		return "queryParams"
	case m.GetAuthority() != nil:
		return "authority"
	}
	return ""
}

// serverPort reports whether a server of the channel's Gateways has a port: routes match
// that one, whatever port the gateway's pods listen on.
func (e *egress) serverPort(port int) bool {
	return slices.ContainsFunc(e.Gateways, func(g *channel.Gateway) bool {
		return slices.ContainsFunc(g.Spec.GetServers(), func(s *api.Server) bool { return int(s.GetPort().GetNumber()) == port })
	})
}

func (e *egress) isGateway(n string) bool {
	return slices.ContainsFunc(e.Gateways, func(g *channel.Gateway) bool {
		return n == g.Namespace+"/"+g.Name || n == g.Name
	})
}

func (e *egress) gatewayNames() string {
	var names []string
	for _, g := range e.Gateways {
		names = append(names, g.Namespace+"/"+g.Name)
	}
	return strings.Join(names, ", ")
}
