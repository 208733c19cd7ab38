package rehearse

import (
	"net/netip"
	"slices"

	api "istio.io/api/networking/v1alpha3"

	"twohop/internal/channel"
)

// Scenes are those of a channel: one for each caller whose sidecar has a configuration of
// its own. dumps are the proxies' config dumps, pods the workloads by address; both may
// be those of computed.Answer. What the partner is like is taken from the configuration:
// it serves the channel's hosts, with the SANs that the rules pin. Whoever knows the
// partner better changes the scene.
func Scenes(m *channel.Mesh, c *channel.Channel, dumps map[*channel.Workload][]byte, pods map[string]*channel.Workload) (scenes []Scene) {
	scene := Scene{
		TrustDomain: m.TrustDomain,
		Partner:     Partner{Hosts: append([]string{c.Host}, c.Outside...), SANs: pinned(c)},
	}
	for _, w := range c.Routers {
		if w.Proxy != channel.Router || dumps[w] == nil {
			continue // nobody takes connections there that come from a sidecar
		}
		p := proxy(w, dumps, pods)
		for _, s := range c.Services {
			if !slices.Contains(m.Behind(s), w) {
				continue
			}
			service := Service{Hosts: []string{s.Host}, Ports: map[int]int{}}
			if s.Spec.ClusterIP != "" {
				service.Hosts = append(service.Hosts, s.Spec.ClusterIP)
			}
			for _, port := range s.Spec.Ports {
				to := int(port.TargetPort.IntVal)
				if port.TargetPort.StrVal != "" {
					to = w.Ports[port.TargetPort.StrVal]
				} else if to == 0 {
					to = int(port.Port)
				}
				service.Ports[int(port.Port)] = to
			}
			p.Services = append(p.Services, service)
		}
		scene.Gateways = append(scene.Gateways, p)
	}
	for _, port := range c.Ports {
		call := Call{Host: c.Sample(), Port: port.Number, TLS: port.TLS}
		for _, e := range c.Entries {
			if slices.ContainsFunc(e.Spec.GetHosts(), func(h string) bool { return channel.Covers(h, call.Host) }) {
				call.Address = firstAddress(e.Spec.GetAddresses())
			}
		}
		scene.Calls = append(scene.Calls, call)
	}
	for _, w := range c.Callers {
		if dumps[w] == nil {
			continue // another caller has the same configuration
		}
		s := scene
		s.Sidecar = proxy(w, dumps, pods)
		scenes = append(scenes, s)
	}
	return scenes
}

func proxy(w *channel.Workload, dumps map[*channel.Workload][]byte, pods map[string]*channel.Workload) Proxy {
	p := Proxy{Name: w.Name, Namespace: w.Namespace, Account: w.Account, Dump: dumps[w]}
	for ip, of := range pods {
		if of == w {
			p.IP = ip
		}
	}
	return p
}

// firstAddress is one address of a ServiceEntry; empty if it has none but ranges.
func firstAddress(addresses []string) string {
	for _, a := range addresses {
		if ip, err := netip.ParseAddr(a); err == nil {
			return ip.String()
		}
	}
	return ""
}

// pinned are the names that the rules for the partner demand of its certificate.
func pinned(c *channel.Channel) (names []string) {
	add := func(t *api.ClientTLSSettings) {
		for _, n := range t.GetSubjectAltNames() {
			if !slices.Contains(names, n) {
				names = append(names, n)
			}
		}
	}
	for _, r := range c.Hop2 {
		policies := []*api.TrafficPolicy{r.Spec.GetTrafficPolicy()}
		for _, s := range r.Spec.GetSubsets() {
			policies = append(policies, s.GetTrafficPolicy())
		}
		for _, p := range policies {
			add(p.GetTls())
			for _, port := range p.GetPortLevelSettings() {
				add(port.GetTls())
			}
		}
	}
	return names
}
