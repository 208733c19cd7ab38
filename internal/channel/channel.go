// Package channel finds the egress in a mesh's objects: each external host that is
// meant to leave through a gateway, who calls it, and which objects make its way. It
// reads objects and nothing else, and must not import what asks a cluster; what it does
// not understand it names.
package channel

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	api "istio.io/api/networking/v1alpha3"

	"twohop/internal/objects"
)

// Channel is one external host that is meant to leave through a gateway.
type Channel struct {
	Host string
	// Why lists what says that the host is meant to leave through a gateway.
	Why []string
	// Ports are those that callers use.
	Ports           []Port
	VirtualServices []*VirtualService
	Gateways        []*Gateway
	// Services are the gateway's: where the sidecars' route leads.
	Services []*Service
	// Routers are the gateway's workloads, Callers those with a sidecar.
	Routers []*Workload
	Callers []*Workload
	Entries []*ServiceEntry
	// Hop1 are the rules for the gateway's Service, Hop2 those for the host.
	Hop1, Hop2 []*DestinationRule
	// Misspelt are places that name another host and mean this one.
	Misspelt []Place
	// Outside are the hosts that the gateway routes to: the host itself, as a rule.
	Outside []string
}

// Port is one that callers of a host connect to.
type Port struct {
	Number int
	// TLS says that the caller encrypts by itself.
	TLS bool
	// Routed says that a route of the mesh takes the port to the gateway, as the objects
	// have it. A port that only the ServiceEntry has is a way around.
	Routed bool
}

func (p Port) String() string {
	if p.TLS {
		return fmt.Sprintf("%d (TLS of the caller's own)", p.Number)
	}
	return fmt.Sprint(p.Number)
}

// Sample is a host name that the channel is for; another one than Host if that begins
// with "*".
func (c *Channel) Sample() string {
	if rest, ok := strings.CutPrefix(c.Host, "*"); ok {
		return "any" + rest
	}
	return c.Host
}

// Find lists the channels, by host. It adds to the mesh what it has to assume: callers
// and gateways that the input does not have.
func (m *Mesh) Find() []*Channel {
	m.assume()
	by := map[string]*Channel{}
	channel := func(host, why string) {
		c, ok := by[host]
		if !ok {
			c = &Channel{Host: host}
			by[host] = c
		}
		if !slices.Contains(c.Why, why) {
			c.Why = append(c.Why, why)
		}
	}
	for _, v := range m.VirtualServices {
		for _, host := range v.Spec.GetHosts() {
			host = m.FullName(host, v.Namespace)
			if m.inside(host) && (m.isGateway(host) || !slices.Contains(m.gatewayDestinations(v), host)) {
				continue // a Service of the cluster leaves by a gateway only if both routes say so
			}
			for _, d := range m.meshDestinations(v) {
				if m.isGateway(d) && d != host {
					channel(host, v.String()+" routes sidecar requests to "+d)
				}
			}
		}
		for _, g := range m.boundTo(v) {
			for _, host := range v.Spec.GetHosts() {
				if host == "*" || m.inside(m.FullName(host, v.Namespace)) {
					continue
				}
				for _, d := range m.gatewayDestinations(v) {
					if d == host && len(m.EntriesFor(host)) > 0 || m.external(d) {
						channel(host, v.String()+" routes traffic from "+g.String()+" to "+d)
					}
				}
			}
		}
	}
	for _, g := range m.Gateways {
		for _, s := range g.Spec.GetServers() {
			for _, h := range s.GetHosts() {
				if host := ServerHost(h); host != "*" && m.external(host) {
					channel(host, g.String()+" has a server for the host, which is outside the mesh")
				}
			}
		}
	}
	for _, r := range m.Rules {
		if r.Spec.GetWorkloadSelector() == nil && originates(r) && m.external(r.Host) {
			channel(r.Host, r.String()+" originates TLS with credentialName, as gateways do")
		}
	}
	wrong := m.misspelt()
	for host, places := range wrong {
		for _, p := range places {
			channel(host, fmt.Sprintf("%s names %s, which differs from it by a letter or two", p.Object, p.Host))
			delete(by, p.Host)
		}
	}
	for wild := range by {
		// A route for any name is part of the channels that it covers, unless a
		// ServiceEntry registers any name, too.
		registered := slices.ContainsFunc(m.Entries, func(e *ServiceEntry) bool { return slices.Contains(e.Spec.GetHosts(), wild) })
		if strings.HasPrefix(wild, "*") && !registered && slices.ContainsFunc(sortedKeys(by), func(h string) bool { return h != wild && Covers(wild, h) }) {
			delete(by, wild)
		}
	}
	var found []*Channel
	for _, host := range sortedKeys(by) {
		by[host].Misspelt = wrong[host]
		m.fill(by[host])
		found = append(found, by[host])
	}
	return found
}

// originates reports whether a rule makes a proxy present a certificate from a Secret.
func originates(r *DestinationRule) bool {
	return slices.ContainsFunc(r.TLS(), func(t *api.ClientTLSSettings) bool { return t.GetCredentialName() != "" })
}

// inside reports whether a host is a Service of the cluster.
func (m *Mesh) inside(host string) bool {
	return m.Service(host) != nil || strings.HasSuffix(host, ".svc."+m.Domain)
}

// external reports whether a ServiceEntry puts a host outside of the mesh.
func (m *Mesh) external(host string) bool {
	if m.inside(host) {
		return false
	}
	return len(m.EntriesFor(host)) > 0
}

// isGateway reports whether a host is the Service of a gateway.
func (m *Mesh) isGateway(host string) bool {
	s := m.Service(host)
	if s == nil {
		return false
	}
	if s.Assumed {
		return true
	}
	for _, w := range m.Behind(s) {
		if w.Proxy == Router {
			return true
		}
		for _, g := range m.Gateways {
			if g.Selects(w) {
				return true
			}
		}
	}
	// A Service that leads nowhere may have lost its gateway: the Gateway's labels or
	// the Service's own say so.
	for _, g := range m.Gateways {
		if len(s.Spec.Selector) > 0 && (subset(g.Spec.GetSelector(), s.Spec.Selector) || subset(s.Spec.Selector, g.Spec.GetSelector())) {
			return true
		}
	}
	return strings.Contains(s.Name, "egress")
}

// meshDestinations are the hosts that sidecars are sent to.
func (m *Mesh) meshDestinations(v *VirtualService) []string { return m.destinations(v, true) }

// gatewayDestinations are the hosts that gateways send on to.
func (m *Mesh) gatewayDestinations(v *VirtualService) []string { return m.destinations(v, false) }

func (m *Mesh) destinations(v *VirtualService, mesh bool) (found []string) {
	add := func(gateways []string, d *api.Destination) {
		if !slices.ContainsFunc(gateways, func(g string) bool { return (g == "mesh") == mesh }) {
			return
		}
		if host := m.FullName(d.GetHost(), v.Namespace); host != "" && !slices.Contains(found, host) {
			found = append(found, host)
		}
	}
	all := v.Spec.GetGateways()
	if len(all) == 0 {
		all = []string{"mesh"}
	}
	for _, r := range v.Spec.GetHttp() {
		gateways := matched(all, r.GetMatch())
		for _, d := range r.GetRoute() {
			add(gateways, d.GetDestination())
		}
	}
	for _, r := range v.Spec.GetTls() {
		gateways := matched(all, r.GetMatch())
		for _, d := range r.GetRoute() {
			add(gateways, d.GetDestination())
		}
	}
	for _, r := range v.Spec.GetTcp() {
		gateways := matched(all, r.GetMatch())
		for _, d := range r.GetRoute() {
			add(gateways, d.GetDestination())
		}
	}
	return found
}

// matched are the gateways that a route is for: those that its matches name, and all of
// the VirtualService's for a match that names none.
func matched[M interface{ GetGateways() []string }](all []string, matches []M) []string {
	if len(matches) == 0 {
		return all
	}
	var found []string
	for _, match := range matches {
		if len(match.GetGateways()) == 0 {
			return all
		}
		found = append(found, match.GetGateways()...)
	}
	return found
}

// boundTo are the Gateways that a VirtualService names.
func (m *Mesh) boundTo(v *VirtualService) (found []*Gateway) {
	for _, name := range v.Spec.GetGateways() {
		for _, g := range m.Gateways {
			if name == g.Namespace+"/"+g.Name || name == g.Name && g.Namespace == v.Namespace ||
				name == fmt.Sprintf("%s.%s.svc.%s", g.Name, g.Namespace, m.Domain) {
				found = append(found, g)
			}
		}
	}
	return found
}

// fill gathers what makes a channel.
func (m *Mesh) fill(c *Channel) {
	for _, v := range m.VirtualServices {
		if slices.ContainsFunc(v.Spec.GetHosts(), func(h string) bool { return overlap(m.FullName(h, v.Namespace), c.Host) }) {
			c.VirtualServices = append(c.VirtualServices, v)
		}
	}
	var services []string // of gateways, to which routes of the mesh lead
	for _, v := range c.VirtualServices {
		for _, g := range m.boundTo(v) {
			c.Gateways = appendNew(c.Gateways, g)
		}
		for _, d := range m.meshDestinations(v) {
			if m.isGateway(d) {
				services = appendNew(services, d)
			}
		}
		for _, d := range m.gatewayDestinations(v) {
			if !m.inside(d) || d == c.Host {
				c.Outside = appendNew(c.Outside, d)
			}
		}
	}
	for _, g := range m.Gateways {
		for _, s := range g.Spec.GetServers() {
			for _, h := range s.GetHosts() {
				if h = ServerHost(h); h != "*" && overlap(h, c.Host) {
					c.Gateways = appendNew(c.Gateways, g)
				}
			}
		}
	}
	c.Outside = appendNew(c.Outside, c.Host)
	for _, g := range c.Gateways {
		for _, w := range m.Serving(g) {
			c.Routers = appendNew(c.Routers, w)
		}
	}
	for _, host := range services {
		if s := m.Service(host); s != nil {
			c.Services = appendNew(c.Services, s)
			for _, w := range m.Behind(s) {
				c.Routers = appendNew(c.Routers, w)
			}
		}
	}
	if len(c.Services) == 0 {
		for _, s := range m.Services {
			if slices.ContainsFunc(m.Behind(s), func(w *Workload) bool { return slices.Contains(c.Routers, w) }) {
				c.Services = appendNew(c.Services, s)
			}
		}
	}
	slices.SortFunc(c.Services, func(a, b *Service) int { return cmp.Compare(a.Host, b.Host) })
	for _, s := range c.Services {
		for _, r := range m.RulesFor(s.Host) {
			c.Hop1 = appendNew(c.Hop1, r)
		}
	}
	for _, host := range c.Outside {
		c.Entries = append(c.Entries, m.EntriesFor(host)...)
		for _, r := range m.RulesFor(host) {
			c.Hop2 = appendNew(c.Hop2, r)
		}
	}
	c.Ports = m.calledPorts(c)
	for _, w := range m.Workloads {
		if w.Proxy == Sidecar && !slices.Contains(c.Routers, w) {
			c.Callers = append(c.Callers, w)
		}
	}
}

func appendNew[T comparable](list []T, one T) []T {
	if slices.Contains(list, one) {
		return list
	}
	return append(list, one)
}

// calledPorts are the ports of the host that callers use: those that a route of the
// mesh matches, and those of its ServiceEntries that speak plain HTTP.
func (m *Mesh) calledPorts(c *Channel) []Port {
	var ports []Port
	all := false
	add := func(p Port) {
		for i := range ports {
			if ports[i].Number == p.Number && ports[i].TLS == p.TLS {
				ports[i].Routed = ports[i].Routed || p.Routed
				return
			}
		}
		ports = append(ports, p)
	}
	for _, v := range c.VirtualServices {
		for _, r := range v.Spec.GetHttp() {
			all = all || m.toGateway(v, r) && len(r.GetMatch()) == 0
			for _, match := range r.GetMatch() {
				all = all || m.toGateway(v, r) && match.GetPort() == 0
				if p := int(match.GetPort()); p > 0 && m.toGateway(v, r) && slices.Contains(matched(withMesh(v), []*api.HTTPMatchRequest{match}), "mesh") {
					add(Port{Number: p, Routed: true})
				}
			}
		}
		for _, r := range v.Spec.GetTls() {
			for _, match := range r.GetMatch() {
				if p := int(match.GetPort()); p > 0 && slices.Contains(matched(withMesh(v), []*api.TLSMatchAttributes{match}), "mesh") {
					add(Port{Number: p, TLS: true, Routed: true})
				}
			}
		}
	}
	for _, e := range m.EntriesFor(c.Host) {
		for _, p := range e.Spec.GetPorts() {
			if PlainHTTP(p.GetProtocol()) {
				add(Port{Number: int(p.GetNumber()), Routed: all})
			}
		}
	}
	if len(ports) == 0 && !onlyTCP(c) {
		ports = []Port{{Number: 80, Routed: true}}
	}
	slices.SortFunc(ports, func(a, b Port) int { return cmp.Compare(a.Number, b.Number) })
	return ports
}

// onlyTCP reports whether a channel's routes are of TCP.
func onlyTCP(c *Channel) bool {
	tcp := false
	for _, v := range c.VirtualServices {
		if len(v.Spec.GetHttp())+len(v.Spec.GetTls()) > 0 {
			return false
		}
		tcp = tcp || len(v.Spec.GetTcp()) > 0
	}
	return tcp
}

// PlainHTTP reports whether a port of that protocol takes HTTP that is not encrypted.
func PlainHTTP(protocol string) bool {
	return slices.Contains([]string{"HTTP", "HTTP2", "GRPC", "GRPC-WEB"}, strings.ToUpper(protocol))
}

// toGateway reports whether a route leads to a gateway's Service.
func (m *Mesh) toGateway(v *VirtualService, r *api.HTTPRoute) bool {
	return slices.ContainsFunc(r.GetRoute(), func(d *api.HTTPRouteDestination) bool {
		return m.isGateway(m.FullName(d.GetDestination().GetHost(), v.Namespace))
	})
}

func withMesh(v *VirtualService) []string {
	if g := v.Spec.GetGateways(); len(g) > 0 {
		return g
	}
	return []string{"mesh"}
}

// uses reports whether a rule for the gateway's Service is for this channel: it has a
// policy for all, or a subset that one of the channel's routes names.
func (c *Channel) uses(r *DestinationRule) bool {
	if r.Spec.GetTrafficPolicy() != nil || len(r.Spec.GetSubsets()) == 0 {
		return true
	}
	for _, v := range c.VirtualServices {
		for _, route := range v.Spec.GetHttp() {
			for _, d := range route.GetRoute() {
				if slices.ContainsFunc(r.Spec.GetSubsets(), func(s *api.Subset) bool { return s.GetName() == d.GetDestination().GetSubset() }) {
					return true
				}
			}
		}
	}
	return false
}

// Objects are all that make the channel, for people.
func (c *Channel) Objects() (found []objects.Ref) {
	for _, v := range c.VirtualServices {
		found = append(found, v.Ref)
		for _, d := range v.Delegates {
			found = append(found, d.Ref)
		}
	}
	for _, g := range c.Gateways {
		found = append(found, g.Ref)
	}
	for _, r := range c.Hop1 {
		if c.uses(r) {
			found = appendNew(found, r.Ref)
		}
	}
	for _, r := range c.Hop2 {
		found = appendNew(found, r.Ref)
	}
	for _, e := range c.Entries {
		found = appendNew(found, e.Ref)
	}
	for _, s := range c.Services {
		if !s.Assumed {
			found = append(found, s.Ref)
		}
	}
	return found
}
