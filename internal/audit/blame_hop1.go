package audit

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	api "istio.io/api/networking/v1alpha3"

	corev1 "k8s.io/api/core/v1"

	"twohop/internal/channel"
	"twohop/internal/objects"
	"twohop/internal/walk"
)

// blameDestination says what is wrong where a route of the mesh leads somewhere else
// than to the gateway.
func (e *egress) blameDestination(way walk.Way, share walk.Share) blame {
	to := parseCluster(share.Cluster)
	if s := e.Mesh.Service(to.host); s != nil {
		if len(e.Mesh.Behind(s)) == 0 {
			return e.blameNoEndpoint(to)
		}
		return e.routeField(way, ".route[0].destination.host")
	}
	// Two objects that name the same Service outvote one that is called otherwise.
	named := slices.ContainsFunc(e.Mesh.Rules, func(r *channel.DestinationRule) bool { return r.Host == to.host })
	if len(e.Services) > 0 {
		s := e.Services[0]
		if named {
			return blame{object: s.Object, ref: s.Ref, field: "metadata.name", seen: "no Service has the name " + to.host + ", which the route and the rule use", wanted: to.host}
		}
		b := e.routeField(way, ".route[0].destination.host")
		b.wanted = s.Host
		return b
	}
	parts := strings.Split(to.host, ".")
	b := missing("Service", "", parts[0])
	if len(parts) > 1 {
		b.ref.Namespace = parts[1]
	}
	b.wanted = "a Service " + to.host
	return b
}

// blameAbsent says why the sidecar lacks the cluster of the gateway's Service.
func (e *egress) blameAbsent(w *channel.Workload, way walk.Way, to target) blame {
	service := e.Mesh.Service(to.host)
	if service != nil && !slices.ContainsFunc(ports(service), func(p int) bool { return fmt.Sprint(p) == to.port }) {
		agreed := false
		for _, r := range e.Hop1 {
			agreed = agreed || slices.Contains(levelPorts(r), to.port)
		}
		for _, g := range e.Gateways {
			for _, s := range g.Spec.GetServers() {
				agreed = agreed || fmt.Sprint(s.GetPort().GetNumber()) == to.port
			}
		}
		if agreed {
			return blame{object: service.Object, ref: service.Ref, field: "spec.ports[0].port", seen: fmt.Sprintf("the Service has port %s; the route and the rule use %s", portList(service), to.port), wanted: "port " + to.port}
		}
		b := e.routeField(way, ".route[0].destination.port.number")
		b.seen, b.wanted = "port "+to.port+", which the gateway's Service does not have", "port "+portList(service)
		return b
	}
	if service != nil {
		for i, p := range service.Spec.Ports {
			if fmt.Sprint(p.Port) == to.port && p.Protocol != "" && p.Protocol != "TCP" {
				return blame{object: service.Object, ref: service.Ref, field: fmt.Sprintf("spec.ports[%d].protocol", i), seen: "protocol " + string(p.Protocol), wanted: "protocol TCP"}
			}
		}
	}
	if to.subset != "" {
		if b, ok := e.blameSubset(w.Namespace, to, e.Hop1, way); ok {
			return b
		}
	}
	if b, ok := e.scope(w); ok {
		return b
	}
	if service != nil {
		return blame{object: service.Object, ref: service.Ref, field: "spec", wanted: "a Service that the caller sees"}
	}
	return e.routeField(way, ".route[0].destination")
}

// blameSubset says why a subset is not there for a proxy of a namespace.
func (e *egress) blameSubset(namespace string, to target, rules []*channel.DestinationRule, way walk.Way) (blame, bool) {
	wanted := fmt.Sprintf("a DestinationRule for %s with a subset %s", to.host, to.subset)
	for _, r := range rules {
		for _, s := range r.Spec.GetSubsets() {
			if s.GetName() != to.subset {
				continue
			}
			if e.rejected[r.Ref] {
				return of(r.Object, "spec"), true
			}
			if !exports(r.Spec.GetExportTo(), r.Namespace, namespace) {
				return blame{object: r.Object, field: "spec.exportTo", wanted: "an exportTo that names " + namespace, id: "01"}, true
			}
			if !e.looksIn(namespace, to.host, r.Namespace) {
				return blame{object: r.Object, field: "metadata.namespace", seen: "a rule in namespace " + r.Namespace + ", where no proxy of " + namespace + " looks for it", wanted: "the caller's, the Service's or the root namespace", id: "01"}, true
			}
			if r.Spec.GetWorkloadSelector() != nil {
				return of(r.Object, "spec.workloadSelector"), true
			}
		}
	}
	// A rule of the caller's own namespace outweighs the gateway's.
	for _, r := range rules {
		if r.Namespace == namespace && !hasSubset(r.Spec, to.subset) && slices.ContainsFunc(rules, func(o *channel.DestinationRule) bool { return o != r && hasSubset(o.Spec, to.subset) }) {
			return blame{object: r.Object, field: "spec.host", seen: "a rule of the callers' own namespace for the gateway's Service, which outweighs the one with subset " + to.subset, wanted: "no rule for " + to.host + " here", id: "01"}, true
		}
	}
	// The subset in a rule for another host: one of the two hosts is wrong.
	for _, r := range e.Mesh.Rules {
		if r.Host == to.host || !hasSubset(r.Spec, to.subset) {
			continue
		}
		if e.Mesh.Service(r.Host) == nil && len(e.Mesh.EntriesFor(r.Host)) == 0 {
			return blame{object: r.Object, field: "spec.host", seen: r.Host + ", which is no Service's name", wanted: to.host, patch: "host: " + to.host, id: "01"}, true
		}
	}
	for _, r := range rules {
		if len(r.Spec.GetSubsets()) == 0 || hasSubset(r.Spec, to.subset) {
			continue
		}
		names := []string{}
		for _, s := range r.Spec.GetSubsets() {
			names = append(names, s.GetName())
		}
		b := blame{object: r.Object, field: "spec.subsets[0].name", seen: fmt.Sprintf("subset %s; the route of %s wants %s", strings.Join(names, ", "), e.sourceOf(way), to.subset), wanted: wanted}
		if len(names) == 1 && e.routesWant(names[0], to) {
			b = e.routeField(way, ".route[0].destination.subset")
			b.seen, b.wanted = "subset "+to.subset+"; "+r.String()+" has "+names[0], "subset "+names[0]
		}
		return b, true
	}
	for _, r := range rules {
		return blame{object: r.Object, field: "spec.subsets", seen: "no subsets", wanted: wanted}, true
	}
	if b, ok := e.rejectedOf("DestinationRule"); ok {
		return b, true
	}
	parts := strings.Split(to.host, ".")
	b := missing("DestinationRule", "", "")
	if len(parts) > 1 {
		b.ref.Namespace = parts[1]
	}
	b.wanted = wanted
	return b, true
}

// routesWant reports whether another route wants that subset: then the one at hand is
// the odd one.
func (e *egress) routesWant(subset string, to target) bool {
	for _, v := range e.Mesh.VirtualServices {
		for _, r := range v.Spec.GetHttp() {
			for _, d := range r.GetRoute() {
				if d.GetDestination().GetSubset() == subset && e.Mesh.FullName(d.GetDestination().GetHost(), v.Namespace) == to.host {
					return true
				}
			}
		}
	}
	return false
}

func (e *egress) sourceOf(way walk.Way) objects.Ref {
	if v, _ := e.routeOf(way); v != nil {
		return v.Ref
	}
	return objects.Ref{Kind: "VirtualService"}
}

// looksIn reports whether istiod looks in a rule's namespace for a proxy of another one
// (pilot/pkg/model/push_context.go, destinationRule): its own, the service's, the root.
func (e *egress) looksIn(proxy, host, rule string) bool {
	if rule == proxy || rule == e.Mesh.RootNamespace {
		return true
	}
	if s := e.Mesh.Service(host); s != nil {
		return s.Namespace == rule
	}
	for _, s := range e.Mesh.EntriesFor(host) {
		if s.Namespace == rule {
			return true
		}
	}
	return false
}

func hasSubset(r *api.DestinationRule, name string) bool {
	return slices.ContainsFunc(r.GetSubsets(), func(s *api.Subset) bool { return s.GetName() == name })
}

func ports(s *channel.Service) (found []int) {
	for _, p := range s.Spec.Ports {
		found = append(found, int(p.Port))
	}
	return found
}

func portList(s *channel.Service) string {
	var list []string
	for _, p := range ports(s) {
		list = append(list, fmt.Sprint(p))
	}
	if len(list) == 0 {
		return "(none)"
	}
	return strings.Join(list, ", ")
}

// pairsOf are labels as people write them.
func pairsOf(labels map[string]string) string {
	var list []string
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		list = append(list, k+"="+labels[k])
	}
	if len(list) == 0 {
		return "(none)"
	}
	return strings.Join(list, ", ")
}

// levelPorts are the ports that a rule has settings for.
func levelPorts(r *channel.DestinationRule) (found []string) {
	for _, p := range r.Policies() {
		for _, l := range p.GetPortLevelSettings() {
			found = append(found, fmt.Sprint(l.GetPort().GetNumber()))
		}
	}
	return found
}

// blameNoEndpoint says why nobody is behind the gateway's Service.
func (e *egress) blameNoEndpoint(to target) blame {
	s := e.Mesh.Service(to.host)
	if s == nil {
		return missing("Service", "", to.host)
	}
	if len(e.Mesh.Behind(s)) > 0 {
		for _, r := range e.Hop1 {
			for i, sub := range r.Spec.GetSubsets() {
				if sub.GetName() == to.subset && len(sub.GetLabels()) > 0 {
					return blame{object: r.Object, field: fmt.Sprintf("spec.subsets[%d].labels", i), seen: "labels " + pairsOf(sub.GetLabels()) + ", which no gateway pod has", wanted: "labels of the gateway's pods, or none"}
				}
			}
		}
		at := slices.IndexFunc(s.Spec.Ports, func(p corev1.ServicePort) bool { return fmt.Sprint(p.Port) == to.port })
		return blame{object: s.Object, ref: s.Ref, field: fmt.Sprintf("spec.ports[%d].targetPort", max(at, 0)), wanted: "a port of the gateway's pods"}
	}
	b := blame{object: s.Object, ref: s.Ref, field: "spec.selector", seen: fmt.Sprintf("selector %s, which no pod of namespace %s has", pairsOf(s.Spec.Selector), s.Namespace), wanted: "the labels of the gateway's pods"}
	for _, r := range e.Mesh.Workloads {
		if r.Proxy != channel.Router && r.Proxy != channel.None || r.Assumed != "" {
			continue
		}
		serves := slices.ContainsFunc(e.Gateways, func(g *channel.Gateway) bool { return g.Selects(r) })
		if r.Namespace == s.Namespace && serves {
			return b
		}
		// The pods are elsewhere, or have lost the labels that Service and Gateway name.
		if r.Selected(s.Spec.Selector) {
			return blame{object: r.Object, field: "metadata.namespace", seen: fmt.Sprintf("%s is not in the Service's namespace %s", r.Ref, s.Namespace), wanted: "namespace " + s.Namespace}
		}
		if r.Namespace == s.Namespace && r.Proxy == channel.Router {
			return blame{object: r.Object, field: r.Template + ".metadata.labels", seen: "labels " + pairsOf(r.Labels), wanted: "the Service's selector " + pairsOf(s.Spec.Selector)}
		}
	}
	return b
}

// blameRouter says why the gateway's pods have no gateway's proxy.
func (e *egress) blameRouter(r *channel.Workload) blame {
	field := strings.TrimPrefix(r.Template+".metadata.annotations[inject.istio.io/templates]", ".")
	if r.Proxy == channel.None {
		field = strings.TrimPrefix(r.Template+".metadata.labels[sidecar.istio.io/inject]", ".")
		if r.HostNetwork {
			field = strings.TrimPrefix(r.Template+".spec.hostNetwork", ".")
		}
	}
	return of(r.Object, field)
}

// blameRefused says why the gateway does not take the sidecar's connection.
func (e *egress) blameRefused(w *channel.Workload, way walk.Way, u walk.Upstream, router *channel.Workload, r walk.Request, in walk.Way) blame {
	if b, ok := e.misspelt("Gateway"); ok {
		return b
	}
	for _, g := range e.Gateways {
		if e.rejected[g.Ref] {
			return of(g.Object, "spec")
		}
	}
	var serving []*channel.Gateway
	for _, g := range e.Gateways {
		if g.Selects(router) {
			serving = append(serving, g)
		}
	}
	if len(serving) == 0 {
		if b, ok := e.rejectedOf("Gateway"); ok {
			return b
		}
		for _, g := range e.Gateways {
			return blame{object: g.Object, field: "spec.selector", seen: "selector " + pairsOf(g.Spec.GetSelector()) + ", which the gateway's pods do not have", wanted: fmt.Sprintf("labels of %s: %s", router.Ref, pairsOf(router.Labels)), id: "02"}
		}
		b := missing("Gateway", e.gatewayNamespace(), "")
		b.wanted = "a Gateway with a server for " + e.Host + ", tls mode ISTIO_MUTUAL"
		return b
	}
	for _, g := range serving {
		for i, s := range g.Spec.GetServers() {
			if b, ok := e.blameServer(g, i, s, way); ok {
				return b
			}
		}
	}
	if strings.Contains(in.End, "no listener on port") {
		return e.blamePort(serving, r, u)
	}
	if u.TLS == nil {
		to := parseCluster(u.Cluster.Name())
		for _, rule := range e.Hop1 {
			if to.subset == "" && rule.Spec.GetTrafficPolicy().GetTls() == nil && len(rule.Spec.GetSubsets()) > 0 {
				b := e.routeField(way, ".route[0].destination.subset")
				b.seen, b.wanted = "the route names no subset, and the tls of "+rule.String()+" is that of subset "+rule.Spec.GetSubsets()[0].GetName(), "subset "+rule.Spec.GetSubsets()[0].GetName()
				return b
			}
		}
		b := e.blameHop1TLS(u, "")
		b.wanted = "tls mode ISTIO_MUTUAL, with sni " + e.Sample()
		b.patch = "tls: { mode: ISTIO_MUTUAL, sni: " + e.Sample() + " }"
		return b
	}
	for _, g := range serving {
		for i, s := range g.Spec.GetServers() {
			if channel.Serves(s, e.Sample()) {
				if s.GetTls() == nil {
					return of(g.Object, fmt.Sprintf("spec.servers[%d].tls", i))
				}
				b := e.blameHop1TLS(u, ".sni")
				b.seen, b.wanted, b.patch = "the sidecar's server name is "+r.ServerName, e.Sample(), "sni: "+e.Sample()
				return b
			}
		}
	}
	for _, g := range serving {
		return blame{object: g.Object, field: "spec.servers[0].hosts", seen: in.End, wanted: e.Host}
	}
	return blame{}
}

// blameServer says what of a server keeps it from taking HTTP under Istio's mutual TLS.
func (e *egress) blameServer(g *channel.Gateway, i int, s *api.Server, way walk.Way) (blame, bool) {
	if !channel.Serves(s, e.Sample()) {
		return blame{}, false
	}
	protocol := strings.ToUpper(s.GetPort().GetProtocol())
	if way.HTTP() && (protocol == "TLS" || protocol == "TCP") && !e.forwardsBytes() {
		return blame{object: g.Object, field: fmt.Sprintf("spec.servers[%d].port.protocol", i), seen: "protocol " + protocol + ", on which http routes are ignored", wanted: "protocol HTTPS", patch: "protocol: HTTPS", id: "02"}, true
	}
	if mode := s.GetTls().GetMode(); s.GetTls() != nil && mode != api.ServerTLSSettings_ISTIO_MUTUAL && way.HTTP() {
		return blame{object: g.Object, field: fmt.Sprintf("spec.servers[%d].tls.mode", i), seen: "mode " + mode.String(), wanted: "mode ISTIO_MUTUAL", patch: "mode: ISTIO_MUTUAL", id: "19"}, true
	}
	return blame{}, false
}

// forwardsBytes reports whether a route of the gateway's is for TLS or TCP.
func (e *egress) forwardsBytes() bool {
	return slices.ContainsFunc(e.VirtualServices, func(v *channel.VirtualService) bool { return len(v.Spec.GetTls())+len(v.Spec.GetTcp()) > 0 })
}

// blamePort says which of the Service's targetPort and the Gateway's port is wrong: the
// one that the gateway's route does not name.
func (e *egress) blamePort(serving []*channel.Gateway, r walk.Request, u walk.Upstream) blame {
	to := parseCluster(u.Cluster.Name())
	service := e.Mesh.Service(to.host)
	matched := map[int]bool{}
	for _, v := range e.VirtualServices {
		for _, route := range v.Spec.GetHttp() {
			for _, m := range route.GetMatch() {
				matched[int(m.GetPort())] = true
			}
		}
	}
	for _, g := range serving {
		for i, s := range g.Spec.GetServers() {
			if !channel.Serves(s, e.Sample()) {
				continue
			}
			number := int(s.GetPort().GetNumber())
			seen := fmt.Sprintf("the Gateway's port is %d; %s sends to %d", number, to.host, r.Port)
			if number != r.Port && (matched[number] || service == nil || service.Assumed) && !matched[r.Port] && service != nil && !service.Assumed {
				return blame{object: service.Object, ref: service.Ref, field: "spec.ports[0].targetPort", seen: seen, wanted: fmt.Sprintf("targetPort %d", number)}
			}
			return blame{object: g.Object, field: fmt.Sprintf("spec.servers[%d].port.number", i), seen: seen, wanted: fmt.Sprintf("port %d", r.Port)}
		}
	}
	for _, g := range serving {
		return blame{object: g.Object, field: "spec.servers[0].port.number", wanted: fmt.Sprintf("port %d", r.Port)}
	}
	return blame{}
}

// blameServerTLS is the tls of the server that takes the channel's connections.
func (e *egress) blameServerTLS() blame {
	for _, g := range e.Gateways {
		for i, s := range g.Spec.GetServers() {
			if channel.Serves(s, e.Sample()) {
				return blame{object: g.Object, field: fmt.Sprintf("spec.servers[%d].tls.mode", i), patch: "tls: { mode: ISTIO_MUTUAL }"}
			}
		}
	}
	if len(e.Gateways) > 0 {
		return of(e.Gateways[0].Object, "spec.servers[0].tls")
	}
	return missing("Gateway", e.gatewayNamespace(), "")
}

// blameHop1TLS is the tls of hop 1's rule, for the cluster at hand.
func (e *egress) blameHop1TLS(u walk.Upstream, sub string) blame {
	return e.blameTLS(u, e.Hop1, sub)
}
