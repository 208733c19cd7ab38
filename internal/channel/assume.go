package channel

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	api "istio.io/api/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"twohop/internal/objects"
)

// assume adds what an input without the cluster's own objects lacks: a gateway's pods
// and Service, and a caller. Each is listed.
func (m *Mesh) assume() {
	m.assumeGateways()
	m.assumeCallers()
}

// assumeGateways adds a workload for each Gateway whose selector finds none, and the
// Service that a route of the mesh leads to. Neither is assumed where the input has
// gateways of its own: then a selector that finds none is a mistake.
func (m *Mesh) assumeGateways() {
	if slices.ContainsFunc(m.Workloads, func(w *Workload) bool { return w.Proxy == Router || w.meantAsGateway(m) }) {
		return
	}
	for _, g := range m.Gateways {
		selector := g.Spec.GetSelector()
		if len(selector) == 0 || len(m.Serving(g)) > 0 {
			continue
		}
		namespace, name := m.whereGatewayIs(g)
		w := &Workload{
			Ref:    objects.Ref{Kind: "Deployment", Namespace: namespace, Name: name},
			Labels: maps.Clone(selector), Account: name, Proxy: Router, Why: "assumed", Ports: map[string]int{},
			Assumed: fmt.Sprintf("a gateway in namespace %s whose pods have the labels that %s selects", namespace, g),
		}
		m.Workloads = append(m.Workloads, w)
		m.Assumed = append(m.Assumed, w.Assumed)
	}
	for _, v := range m.VirtualServices {
		for _, host := range m.meshDestinations(v) {
			m.assumeService(v, host)
		}
	}
}

// meantAsGateway reports whether a Gateway's selector names the workload, whatever
// proxy it has.
func (w *Workload) meantAsGateway(m *Mesh) bool {
	return slices.ContainsFunc(m.Gateways, func(g *Gateway) bool { return g.Selects(w) })
}

// whereGatewayIs guesses a gateway's namespace and name: those of the Service that a
// route of the mesh leads to, of which the route's Gateway is this one.
func (m *Mesh) whereGatewayIs(g *Gateway) (namespace, name string) {
	for _, v := range m.VirtualServices {
		if !slices.Contains(m.boundTo(v), g) {
			continue
		}
		for _, host := range m.meshDestinations(v) {
			if service, ns, ok := m.serviceName(host); ok {
				return ns, service
			}
		}
	}
	return g.Namespace, g.Name
}

// serviceName splits the full name of a Service.
func (m *Mesh) serviceName(host string) (name, namespace string, ok bool) {
	rest, ok := strings.CutSuffix(host, ".svc."+m.Domain)
	if !ok {
		return "", "", false
	}
	return strings.Cut(rest, ".")
}

// assumeService adds the gateway's Service, with the ports that routes name; each goes
// to the Gateway's port of the same number, or of the usual one.
func (m *Mesh) assumeService(v *VirtualService, host string) {
	name, namespace, ok := m.serviceName(host)
	if !ok || m.Service(host) != nil {
		return
	}
	var gateway *Gateway
	for _, g := range m.boundTo(v) {
		gateway = g
	}
	if gateway == nil {
		return
	}
	s := &Service{
		Object: &objects.Object{Ref: objects.Ref{Kind: "Service", Namespace: namespace, Name: name}, APIVersion: "v1"},
		Host:   host, Assumed: true,
		Spec: corev1.ServiceSpec{Selector: gateway.Spec.GetSelector(), ClusterIP: "10.255.0.1"},
	}
	for _, port := range m.portsOf(host) {
		s.Spec.Ports = append(s.Spec.Ports, servicePort(port, gateway.Spec))
	}
	if len(s.Spec.Ports) == 0 {
		for _, server := range gateway.Spec.GetServers() {
			s.Spec.Ports = append(s.Spec.Ports, servicePort(int(server.GetPort().GetNumber()), gateway.Spec))
		}
	}
	m.Services = append(m.Services, s)
	m.Assumed = append(m.Assumed, fmt.Sprintf("a Service %s/%s in front of the gateway, with the ports that routes name", namespace, name))
}

func servicePort(port int, g *api.Gateway) corev1.ServicePort {
	p := corev1.ServicePort{Name: fmt.Sprintf("tls-%d", port), Port: int32(port), Protocol: corev1.ProtocolTCP, TargetPort: intstr.FromInt32(int32(port))}
	for _, s := range g.GetServers() {
		number := int(s.GetPort().GetNumber())
		if number != port && number != port+8000 {
			continue
		}
		p.Name = fmt.Sprintf("%s-%d", strings.ToLower(s.GetPort().GetProtocol()), port)
		// The chart of Istio's own gateways has 80 and 443 go to the same ports; the
		// older ones, to 8080 and 8443.
		p.TargetPort = intstr.FromInt32(int32(number))
		if number == port {
			break
		}
	}
	return p
}

// portsOf are the ports of a Service that routes name.
func (m *Mesh) portsOf(host string) (ports []int) {
	for _, v := range m.VirtualServices {
		add := func(d *api.Destination) {
			if m.FullName(d.GetHost(), v.Namespace) == host && d.GetPort().GetNumber() > 0 {
				ports = appendNew(ports, int(d.GetPort().GetNumber()))
			}
		}
		for _, r := range v.Spec.GetHttp() {
			for _, d := range r.GetRoute() {
				add(d.GetDestination())
			}
		}
		for _, r := range v.Spec.GetTls() {
			for _, d := range r.GetRoute() {
				add(d.GetDestination())
			}
		}
		for _, r := range v.Spec.GetTcp() {
			for _, d := range r.GetRoute() {
				add(d.GetDestination())
			}
		}
	}
	return ports
}

// assumeCallers adds a workload with a sidecar where the input has none at all: in each
// namespace that asks for injection or has a Sidecar, else in one of its own.
func (m *Mesh) assumeCallers() {
	for _, w := range m.Workloads {
		if w.meantAsGateway(m) || w.Proxy == Router || m.Outside(w) {
			continue
		}
		if w.Proxy == Sidecar || w.MeantToHaveProxy() || m.Set.Find(objects.Ref{Kind: "Namespace", Name: w.Namespace}) != nil {
			return // there are callers, or there would be but for a mistake
		}
	}
	var namespaces []string
	for _, o := range m.Set.Kind("", "Namespace") {
		_, revision := o.Labels["istio.io/rev"]
		if o.Labels["istio-injection"] == "enabled" || revision {
			namespaces = appendNew(namespaces, o.Name)
		}
	}
	for _, s := range m.Sidecars {
		if s.Namespace != m.RootNamespace && s.Spec.GetWorkloadSelector() == nil {
			namespaces = appendNew(namespaces, s.Namespace)
		}
	}
	namespaces = slices.DeleteFunc(namespaces, func(n string) bool {
		return slices.ContainsFunc(m.Workloads, func(w *Workload) bool { return w.Namespace == n && w.Proxy == Router })
	})
	if len(namespaces) == 0 {
		namespaces = []string{m.callersNamespace()}
	}
	for _, n := range namespaces {
		w := &Workload{
			Ref: objects.Ref{Kind: "Deployment", Namespace: n, Name: "caller"}, Labels: map[string]string{"app": "caller"},
			Account: "default", Proxy: Sidecar, Why: "assumed", Ports: map[string]int{},
			Assumed: "a caller with a sidecar in namespace " + n,
		}
		m.Workloads = append(m.Workloads, w)
		m.Assumed = append(m.Assumed, w.Assumed)
	}
}

// callersNamespace is one from which the routes of the mesh are seen, by their exportTo.
func (m *Mesh) callersNamespace() string {
	for _, v := range m.VirtualServices {
		if len(m.meshDestinations(v)) == 0 {
			continue
		}
		for _, n := range v.Spec.GetExportTo() {
			switch n {
			case "*":
			case ".":
				return v.Namespace
			default:
				return n
			}
		}
	}
	return "any-application"
}

// Proxies are the workloads whose configuration has to be known, one of each kind:
// workloads of one namespace get the same unless a selector tells them apart.
func (m *Mesh) Proxies() (chosen []*Workload, same map[*Workload]*Workload) {
	keys := map[string]bool{}
	note := func(labels map[string]string) {
		for k := range labels {
			keys[k] = true
		}
	}
	for _, s := range m.Sidecars {
		note(s.Spec.GetWorkloadSelector().GetLabels())
	}
	for _, g := range m.Gateways {
		note(g.Spec.GetSelector())
	}
	for _, r := range m.Rules {
		note(r.Spec.GetWorkloadSelector().GetMatchLabels())
	}
	for _, v := range m.VirtualServices {
		for _, r := range v.Spec.GetHttp() {
			for _, match := range r.GetMatch() {
				note(match.GetSourceLabels())
			}
		}
	}
	for _, o := range m.Set.Kind("istio.io", "EnvoyFilter") {
		var filter struct {
			Spec struct {
				WorkloadSelector struct{ Labels map[string]string }
			}
		}
		if o.Decode(&filter) == nil {
			note(filter.Spec.WorkloadSelector.Labels)
		}
	}
	for _, p := range m.Authorization {
		note(p.Spec.GetSelector().GetMatchLabels())
	}
	first := map[string]*Workload{}
	same = map[*Workload]*Workload{}
	for _, w := range m.Workloads {
		if w.Proxy == None {
			continue
		}
		key := signature(w, sortedKeys(keys))
		if w.Proxy == Router {
			key += " " + w.Name // its own: a Service may choose it alone
		}
		if _, ok := first[key]; !ok {
			first[key] = w
			chosen = append(chosen, w)
		}
		same[w] = first[key]
	}
	return chosen, same
}
