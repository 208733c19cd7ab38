package audit

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"twohop/internal/channel"
	"twohop/internal/objects"
	"twohop/internal/walk"
)

// annotations that take traffic away from the sidecar, and what of a value does.
const (
	excludePorts  = "traffic.sidecar.istio.io/excludeOutboundPorts"
	excludeRanges = "traffic.sidecar.istio.io/excludeOutboundIPRanges"
	includeRanges = "traffic.sidecar.istio.io/includeOutboundIPRanges"
	excludeUIDs   = "traffic.sidecar.istio.io/excludeInterfaces"
)

// excluded reports whether a caller's traffic to the host does not pass its sidecar.
func (e *egress) excluded(w *channel.Workload) bool {
	if w.Assumed == "" {
		e.made("16") // of an assumed caller nothing is known that could exclude it
	}
	at := func(annotation string) string {
		return strings.TrimPrefix(w.Template+".metadata.annotations["+annotation+"]", ".")
	}
	f := Finding{ID: "16", Severity: Critical, Hop: 0, Proxy: name(w), Wanted: "all of the caller's traffic passes its sidecar"}
	if w.RunsAsProxy {
		f.Seen, f.Wanted = "a container runs as user 1337, the proxy's own: Istio captures nothing that this user sends", "another runAsUser"
		e.find(f, of(w.Object, strings.TrimPrefix(w.Template+".spec.securityContext.runAsUser", ".")))
		return true
	}
	if list, ok := w.Annotations[excludePorts]; ok {
		for _, p := range strings.Split(list, ",") {
			for _, port := range e.Ports {
				if strings.TrimSpace(p) == fmt.Sprint(port.Number) || strings.TrimSpace(p) == "*" {
					f.Seen = "port " + strings.TrimSpace(p) + " is excluded from capture: calls to it leave without the sidecar"
					e.find(f, of(w.Object, at(excludePorts)))
					return true
				}
			}
		}
	}
	if list, ok := w.Annotations[excludeRanges]; ok && list != "" {
		f.Seen = "addresses " + list + " are excluded from capture"
		if !everywhere(list) {
			f.Severity, f.Seen = High, f.Seen+": if the partner's is among them, calls leave without the sidecar"
		}
		e.find(f, of(w.Object, at(excludeRanges)))
		if everywhere(list) {
			return true
		}
	}
	if list, ok := w.Annotations[includeRanges]; ok && !strings.Contains(list, "*") && !everywhere(list) {
		f.Severity, f.Seen = High, "only addresses "+list+" are captured: if the partner's is not among them, calls leave without the sidecar"
		e.find(f, of(w.Object, at(includeRanges)))
	}
	if list, ok := w.Annotations[excludeUIDs]; ok && list != "" {
		f.Severity, f.Seen = High, "interfaces "+list+" are excluded from capture"
		e.find(f, of(w.Object, at(excludeUIDs)))
	}
	return false
}

func everywhere(list string) bool {
	for _, r := range strings.Split(list, ",") {
		p, err := netip.ParsePrefix(strings.TrimSpace(r))
		if err == nil && p.Bits() <= 1 || strings.TrimSpace(r) == "*" {
			return true
		}
	}
	return false
}

// noCallers says that nobody of the input has a sidecar.
func (e *egress) noCallers() {
	for _, w := range e.Mesh.Workloads {
		if w.Proxy == channel.None && !e.serves(w) && !e.Mesh.Outside(w) && !strings.Contains(w.Why, "ambient") {
			e.find(Finding{ID: "16", Severity: Critical, Hop: 0, Seen: w.Ref.String() + " has no sidecar: " + w.Why, Wanted: "a sidecar in each caller's pod"}, e.blameInjection(w))
		}
	}
}

func (e *egress) blameInjection(w *channel.Workload) blame {
	in := func(path string) blame { return of(w.Object, strings.TrimPrefix(w.Template+path, ".")) }
	switch {
	case w.HostNetwork:
		return in(".spec.hostNetwork")
	case strings.Contains(w.Why, "label"):
		return in(".metadata.labels[sidecar.istio.io/inject]")
	case strings.Contains(w.Why, "annotation"):
		return in(".metadata.annotations[sidecar.istio.io/inject]")
	}
	// A pod that says anything to Istio is meant to ask by itself; of another one the
	// namespace is.
	if ns := e.Mesh.Set.Find(objects.Ref{Kind: "Namespace", Name: w.Namespace}); ns != nil && (!w.MeantToHaveProxy() || mentionsInjection(ns)) {
		return blame{object: ns, field: "metadata.labels", patch: "metadata:\n  labels:\n    istio-injection: enabled"}
	}
	b := in(".metadata.labels")
	b.patch = "metadata:\n  labels:\n    sidecar.istio.io/inject: \"true\""
	return b
}

// mentionsInjection reports whether a namespace has a label that is, or almost is, one
// that asks for injection.
func mentionsInjection(ns *objects.Object) bool {
	for k := range ns.Labels {
		if k == "istio-injection" || k == "istio.io/rev" || channel.Near(k, "istio-injection") || channel.Near(k, "istio.io/rev") {
			return true
		}
	}
	return false
}

// gateways judges gateways that nobody arrives at: then the path says nothing of them.
func (e *egress) gateways() {
	for _, r := range e.Routers {
		if r.Proxy == channel.None || r.Proxy == channel.Sidecar {
			e.find(Finding{ID: "19", Severity: Critical, Hop: 1, Seen: fmt.Sprintf("%s is no gateway: %s", r.Ref, r.Why), Wanted: "pods with annotation inject.istio.io/templates: gateway"}, e.blameRouter(r))
		}
	}
	for _, g := range e.Gateways {
		if len(e.Mesh.Serving(g)) == 0 && !slices.ContainsFunc(e.Mesh.Workloads, func(w *channel.Workload) bool { return g.Selects(w) }) {
			e.find(Finding{ID: "02", Severity: Critical, Hop: 1, Seen: "selector " + pairsOf(g.Spec.GetSelector()) + ", which the gateway's pods do not have", Wanted: "the labels of the gateway's pods"}, of(g.Object, "spec.selector"))
		}
	}
	for _, r := range e.Mesh.Workloads {
		if r.Proxy == channel.None && r.Labels != nil && r.MeantToHaveProxy() && !slices.Contains(e.Routers, r) && slices.ContainsFunc(e.Services, func(s *channel.Service) bool { return slices.Contains(e.Mesh.Behind(s), r) }) {
			e.find(Finding{ID: "19", Severity: Critical, Hop: 1, Seen: fmt.Sprintf("%s has no gateway proxy: %s", r.Ref, r.Why), Wanted: "a gateway proxy (inject.istio.io/templates: gateway)"}, e.blameRouter(r))
		}
	}
}

// bypass judges ways around the gateway that the route itself does not show.
func (e *egress) bypass() {
	for _, w := range e.Callers {
		view := e.Views[w]
		if view.Config == nil {
			continue
		}
		if w.Assumed == "" || e.Mesh.OutboundKnown {
			e.outboundPolicy(w, view.Config)
		}
	}
	e.exported()
	for _, w := range e.Mesh.Workloads {
		if w.Proxy == channel.None && (w.MeantToHaveProxy() || w.HostNetwork) && len(e.Callers) > 0 && !e.serves(w) && !e.Mesh.Outside(w) && !strings.Contains(w.Why, "ambient") {
			// Others have one: it may be no caller.
			e.find(Finding{ID: "16", Severity: Medium, Hop: 0, Seen: w.Ref.String() + " has no sidecar: " + w.Why, Wanted: "a sidecar, if it calls " + e.Host}, e.blameInjection(w))
		}
	}
	e.network()
}

// serves reports whether a workload is behind a Service of the gateway's.
func (e *egress) serves(w *channel.Workload) bool {
	return slices.Contains(e.Routers, w) || slices.ContainsFunc(e.Services, func(s *channel.Service) bool { return slices.Contains(e.Mesh.Behind(s), w) }) ||
		slices.ContainsFunc(e.Mesh.Gateways, func(g *channel.Gateway) bool { return g.Selects(w) })
}

// outboundPolicy judges what a sidecar does with what no route takes.
func (e *egress) outboundPolicy(w *channel.Workload, s *walk.Config) {
	for _, l := range s.Listeners {
		if l.Name != "virtualOutbound" {
			continue
		}
		e.made("14")
		for _, c := range l.Chains {
			if slices.ContainsFunc(c.TCP, func(t walk.Share) bool { return t.Cluster == walk.Passthrough }) {
				f := Finding{ID: "14", Severity: Medium, Hop: 0, Proxy: name(w), Seen: "outboundTrafficPolicy ALLOW_ANY: calls that match no route bypass the gateway", Wanted: "outboundTrafficPolicy REGISTRY_ONLY, in the mesh configuration or in a Sidecar in the callers' namespace"}
				b := missing("Sidecar", w.Namespace, "")
				b.patch = "spec:\n  outboundTrafficPolicy: { mode: REGISTRY_ONLY }"
				if r := e.sidecarOf(w); r != nil {
					b = of(r.Object, "spec.outboundTrafficPolicy.mode")
				}
				e.find(f, b)
				return
			}
		}
	}
}

// exported finds hop 2's rules on sidecars that take no TLS from them.
func (e *egress) exported() {
	if e.unread(Finding{ID: "07", Severity: Medium}, "networking.istio.io", "destinationrules") {
		return
	}
	for _, w := range e.Callers {
		s := e.Views[w].Config
		if s == nil {
			continue
		}
		e.made("07")
		seen := map[string]bool{} // by rule, whether a cluster of the host has it without its TLS
		for cluster, k := range s.Clusters {
			if !e.isOutside(parseCluster(cluster).host) {
				continue
			}
			if path, has := k.DestinationRule(); has {
				t, err := k.TLS()
				seen[tail(path)] = seen[tail(path)] || err == nil && t == nil
			}
		}
		for _, r := range e.Hop2 {
			if !seen[r.Namespace+"/destination-rule/"+r.Name] || r.Spec.GetWorkloadSelector() != nil || !encrypts(r) {
				continue
			}
			e.find(Finding{
				ID: "07", Severity: Medium, Hop: 0, Proxy: name(w),
				Seen:   "the sidecar sees this DestinationRule but not its TLS: traffic that bypasses the gateway leaves in plaintext",
				Wanted: `exportTo: ["."], with the rule in the gateway's namespace`,
			}, blame{object: r.Object, field: "spec.exportTo", patch: "spec:\n  exportTo: [\".\"]"})
		}
	}
}

// entries judges the ServiceEntries of the host among themselves.
func (e *egress) entries() {
	if e.unread(Finding{ID: "12", Severity: Medium, Hop: 2}, "networking.istio.io", "serviceentries") {
		return
	}
	if len(e.Entries) > 0 {
		e.made("12")
	}
	for i, a := range e.Entries {
		for _, b := range e.Entries[i+1:] {
			if a == b || !slices.ContainsFunc(a.Spec.GetHosts(), func(h string) bool { return slices.Contains(b.Spec.GetHosts(), h) }) {
				continue
			}
			conflict := a.Spec.GetResolution() != b.Spec.GetResolution() || fmt.Sprint(a.Spec.GetEndpoints()) != fmt.Sprint(b.Spec.GetEndpoints()) || fmt.Sprint(a.Spec.GetPorts()) == fmt.Sprint(b.Spec.GetPorts())
			seen := "also in " + a.Ref.String() + fmt.Sprintf(": resolution %s there and %s here", a.Spec.GetResolution(), b.Spec.GetResolution())
			f := Finding{ID: "12", Severity: Low, Hop: 2, Seen: seen, Wanted: "one ServiceEntry for the host, or exportTo that keeps them apart"}
			if conflict {
				f.Severity = Medium // what the gateway makes of both is judged at hop 2
			}
			if separate(a, b) {
				continue
			}
			e.find(f, of(b.Object, "spec.hosts"))
		}
	}
}

// separate reports whether two entries are never seen by one proxy.
func separate(a, b *channel.ServiceEntry) bool {
	own := func(s *channel.ServiceEntry) bool {
		return len(s.Spec.GetExportTo()) > 0 && !slices.Contains(s.Spec.GetExportTo(), "*")
	}
	return own(a) && own(b) && a.Namespace != b.Namespace && !slices.ContainsFunc(a.Spec.GetExportTo(), func(n string) bool { return n != "." && slices.Contains(b.Spec.GetExportTo(), n) })
}

// accounts judges whether the pods' service accounts exist.
func (e *egress) accounts() {
	for _, w := range slices.Concat(e.Callers, e.Routers) {
		if w.Assumed != "" || w.Account == "default" {
			continue
		}
		if e.Mesh.Set.Find(objects.Ref{Kind: "ServiceAccount", Namespace: w.Namespace, Name: w.Account}) != nil {
			e.made("35")
			continue
		}
		given := false
		for _, o := range e.Mesh.Set.Kind("", "ServiceAccount") {
			if o.Namespace != w.Namespace {
				continue
			}
			given = true
			used := slices.ContainsFunc(e.Mesh.Workloads, func(x *channel.Workload) bool { return x.Namespace == o.Namespace && x.Account == o.Name })
			if channel.Near(o.Name, w.Account) && !used {
				e.find(Finding{ID: "35", Severity: High, Hop: 1, Seen: "service account " + w.Account + ", and the namespace has " + o.Name, Wanted: o.Name},
					of(w.Object, strings.TrimPrefix(w.Template+".spec.serviceAccountName", ".")))
			}
		}
		if given || e.elsewhere(w.Account) {
			e.find(Finding{ID: "35", Severity: Medium, Status: Unknown, Hop: 1, Seen: "ServiceAccount " + w.Namespace + "/" + w.Account + " is not in the input", Wanted: "the ServiceAccount"},
				of(w.Object, strings.TrimPrefix(w.Template+".spec.serviceAccountName", ".")))
		}
	}
}

func (e *egress) elsewhere(account string) bool {
	return slices.ContainsFunc(e.Mesh.Set.Kind("", "ServiceAccount"), func(o *objects.Object) bool { return o.Name == account })
}

// twice judges several rules, routes or servers for one host.
func (e *egress) twice() {
	if !e.unread(Finding{ID: "01", Severity: High}, "networking.istio.io", "destinationrules") {
		one, two := e.rules(1, e.Hop1), e.rules(2, e.Hop2)
		if one && two {
			e.made("01")
		}
	}
	unread := false
	for _, resource := range []string{"virtualservices", "gateways", "sidecars"} {
		unread = e.unread(Finding{ID: "28", Severity: High, Hop: 1}, "networking.istio.io", resource) || unread
	}
	if !unread {
		e.made("28")
	}
	for i, a := range e.Mesh.Sidecars {
		for _, b := range e.Mesh.Sidecars[i+1:] {
			if a.Namespace == b.Namespace && a.Spec.GetWorkloadSelector() == nil && b.Spec.GetWorkloadSelector() == nil {
				e.find(Finding{ID: "28", Severity: Medium, Hop: 1, Title: "One Sidecar is for the callers", Seen: "also " + a.Ref.String() + ", for the same workloads", Wanted: "one Sidecar for a namespace", Why: "If two Sidecar resources select one workload, either the older one applies or the behavior is undefined."}, of(b.Object, "metadata.name"))
			}
		}
	}
	for i, a := range e.VirtualServices {
		for _, b := range e.VirtualServices[i+1:] {
			shared := slices.ContainsFunc(a.Spec.GetHosts(), func(h string) bool { return slices.Contains(b.Spec.GetHosts(), h) })
			both := slices.ContainsFunc(gatewaysOf(a), func(g string) bool { return slices.Contains(gatewaysOf(b), g) })
			if !shared || !both || len(a.Spec.GetHosts()) == 0 || !exports(a.Spec.GetExportTo(), a.Namespace, "*") && !exports(b.Spec.GetExportTo(), b.Namespace, "*") {
				continue
			}
			severity := Medium
			if !aged(a.Object) && !aged(b.Object) && slices.Contains(gatewaysOf(a), "mesh") && slices.Contains(gatewaysOf(b), "mesh") && e.leadsToGateway(a) != e.leadsToGateway(b) {
				severity = High // if the other is older, callers bypass the gateway
			}
			f := Finding{ID: "28", Severity: severity, Hop: 1, Seen: "also in " + a.Ref.String() + ": a sidecar uses only one of them, and a gateway merges them in an undefined order", Wanted: "one VirtualService for the host on each gateway and in the mesh"}
			e.find(f, of(b.Object, "spec.hosts"))
		}
	}
	for i, a := range e.Gateways {
		for _, b := range e.Gateways[i+1:] {
			for _, s := range a.Spec.GetServers() {
				for j, t := range b.Spec.GetServers() {
					same := s.GetPort().GetNumber() == t.GetPort().GetNumber() && slices.ContainsFunc(s.GetHosts(), func(h string) bool { return slices.Contains(t.GetHosts(), h) })
					shared := slices.ContainsFunc(e.Mesh.Serving(a), func(w *channel.Workload) bool { return slices.Contains(e.Mesh.Serving(b), w) })
					if same && shared {
						e.find(Finding{ID: "28", Severity: Medium, Hop: 1, Seen: "also in " + a.Ref.String() + ", on the same port: the second server is dropped", Wanted: "one server for the host and port"}, of(b.Object, fmt.Sprintf("spec.servers[%d]", j)))
					}
				}
			}
		}
	}
}

// aged reports whether an object says when it was made.
func aged(o *objects.Object) bool {
	return bytes.Contains(o.JSON, []byte(`"creationTimestamp":"`))
}

// rules finds rules of one host that a proxy has to choose from; true if there are none.
func (e *egress) rules(hop int, rules []*channel.DestinationRule) bool {
	single := true
	for i, b := range rules {
		at := slices.IndexFunc(rules[:i], func(a *channel.DestinationRule) bool { return a.Host == b.Host && !apart(a, b) })
		if at < 0 {
			continue
		}
		single = false
		a := rules[at]
		f := Finding{ID: "01", Severity: High, Hop: hop, Seen: "also " + a.Ref.String() + ": the older one's policy is in force, and the input does not say which that is", Wanted: "one DestinationRule for the host"}
		switch {
		case a.Spec.GetTrafficPolicy() == nil && b.Spec.GetTrafficPolicy() == nil:
			f.Severity, f.Seen = Medium, "also "+a.Ref.String()+": their subsets are merged"
		case aged(a.Object) && aged(b.Object):
			f.Severity, f.Seen = Medium, "also "+a.Ref.String()+": the older one's policy is in force"
		case proto.Equal(a.Spec.GetTrafficPolicy(), b.Spec.GetTrafficPolicy()):
			f.Severity, f.Seen = Medium, "also "+a.Ref.String()+", with the same policy"
		}
		f.Field = "spec.host"
		if hop == 2 {
			f.Host = e.Host
		}
		e.add(f, b.Object) // of the gateway's rules once, not for each host
	}
	return single
}

func gatewaysOf(v *channel.VirtualService) []string {
	var found []string
	if len(v.Spec.GetGateways()) == 0 {
		return []string{"mesh"}
	}
	for _, g := range v.Spec.GetGateways() {
		if g != "mesh" && !strings.Contains(g, "/") {
			g = v.Namespace + "/" + g
		}
		found = append(found, g)
	}
	return found
}

// apart reports whether no proxy uses both rules.
func apart(a, b *channel.DestinationRule) bool {
	if (a.Spec.GetWorkloadSelector() == nil) != (b.Spec.GetWorkloadSelector() == nil) {
		return true // one is for some workloads, and outweighs the other there
	}
	own := func(r *channel.DestinationRule) bool {
		return len(r.Spec.GetExportTo()) == 1 && r.Spec.GetExportTo()[0] == "."
	}
	seen := func(r *channel.DestinationRule, other string) bool {
		return exports(r.Spec.GetExportTo(), r.Namespace, other)
	}
	return a.Namespace != b.Namespace && (own(a) || own(b)) || !seen(a, a.Namespace) || !seen(b, b.Namespace)
}
