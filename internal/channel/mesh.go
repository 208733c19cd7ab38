package channel

import (
	"fmt"
	"slices"
	"strings"

	api "istio.io/api/networking/v1alpha3"
	securityapi "istio.io/api/security/v1beta1"
	networking "istio.io/client-go/pkg/apis/networking/v1"
	security "istio.io/client-go/pkg/apis/security/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"twohop/internal/objects"
)

// Istio's and Kubernetes' objects, each with where it was written.
type (
	VirtualService struct {
		*objects.Object
		Spec *api.VirtualService
		// Delegates are merged into Spec.
		Delegates []*objects.Object
		// written says where each HTTP route of Spec was written.
		written []routeAt
	}
	routeAt struct {
		object *objects.Object
		index  int
	}
	Gateway struct {
		*objects.Object
		Spec *api.Gateway
	}
	DestinationRule struct {
		*objects.Object
		Spec *api.DestinationRule
		// Host is the name in full.
		Host string
	}
	ServiceEntry struct {
		*objects.Object
		Spec *api.ServiceEntry
	}
	SidecarResource struct {
		*objects.Object
		Spec *api.Sidecar
	}
	AuthorizationPolicy struct {
		*objects.Object
		Spec *securityapi.AuthorizationPolicy
	}
	NetworkPolicy struct {
		*objects.Object
		Spec networkingv1.NetworkPolicySpec
	}
	Service struct {
		*objects.Object
		Spec corev1.ServiceSpec
		// Host is the name in full.
		Host string
		// Assumed says that it is not in the input.
		Assumed bool
	}
)

// Settings are what is known of the mesh beyond its objects.
type Settings struct {
	Domain        string // istiod's --domain
	RootNamespace string
	TrustDomain   string
	// AllowAny is the mesh's outbound policy; OutboundKnown says whether it was given.
	AllowAny      bool
	OutboundKnown bool
}

// DefaultSettings are Istio's.
func DefaultSettings() Settings {
	return Settings{Domain: "cluster.local", RootNamespace: "istio-system", TrustDomain: "cluster.local", AllowAny: true}
}

// Unknown is something that is not understood, or not known, and why it matters.
type Unknown struct {
	objects.Ref
	Object *objects.Object
	What   string
	// Field is set where the object has a value of a type that the API server refuses.
	Field string
}

// Mesh is the objects of an input, read.
type Mesh struct {
	Settings
	Set             *objects.Set
	VirtualServices []*VirtualService
	Gateways        []*Gateway
	Rules           []*DestinationRule
	Entries         []*ServiceEntry
	Sidecars        []*SidecarResource
	Services        []*Service
	Authorization   []*AuthorizationPolicy
	Network         []*NetworkPolicy
	Workloads       []*Workload
	Unknown         []Unknown
	// Assumed lists what was taken for granted.
	Assumed []string
}

const (
	istioNetworking = "networking.istio.io"
	istioSecurity   = "security.istio.io"
	gatewayAPI      = "gateway.networking.k8s.io"
)

// Read reads the objects. One that cannot be read is unknown, with the reason.
func Read(set *objects.Set, settings Settings) *Mesh {
	m := &Mesh{Settings: settings, Set: set}
	for _, o := range set.All {
		if o.Group() == gatewayAPI {
			m.Unknown = append(m.Unknown, Unknown{Ref: o.Ref, Object: o, What: "Gateway API objects are not audited: an egress that leaves by this one is not looked at"})
			continue
		}
		if o.Group() == istioSecurity && o.Kind == "RequestAuthentication" {
			m.Unknown = append(m.Unknown, Unknown{Ref: o.Ref, Object: o, What: "RequestAuthentication is not audited: whether it rejects callers' requests is not known"})
			continue
		}
		if mode := o.Labels["istio.io/dataplane-mode"]; mode == "ambient" {
			m.Unknown = append(m.Unknown, Unknown{Ref: o.Ref, Object: o, What: "ambient mode is not audited: its workloads have no sidecar whose configuration could be looked at"})
		}
		m.add(o)
	}
	var unreadable []Unknown
	m.Workloads, unreadable = workloads(set)
	m.Unknown = append(m.Unknown, unreadable...)
	m.delegates()
	return m
}

// add reads an object of a kind that the audit is about.
func (m *Mesh) add(o *objects.Object) {
	switch o.Group() + "/" + o.Kind {
	case istioNetworking + "/VirtualService":
		if v, ok := read[networking.VirtualService](m, o); ok {
			m.VirtualServices = append(m.VirtualServices, &VirtualService{Object: o, Spec: &v.Spec})
		}
	case istioNetworking + "/Gateway":
		if v, ok := read[networking.Gateway](m, o); ok {
			m.Gateways = append(m.Gateways, &Gateway{Object: o, Spec: &v.Spec})
		}
	case istioNetworking + "/DestinationRule":
		if v, ok := read[networking.DestinationRule](m, o); ok {
			m.Rules = append(m.Rules, &DestinationRule{Object: o, Spec: &v.Spec, Host: m.FullName(v.Spec.GetHost(), o.Namespace)})
		}
	case istioNetworking + "/ServiceEntry":
		if v, ok := read[networking.ServiceEntry](m, o); ok {
			m.Entries = append(m.Entries, &ServiceEntry{Object: o, Spec: &v.Spec})
		}
	case istioNetworking + "/Sidecar":
		if v, ok := read[networking.Sidecar](m, o); ok {
			m.Sidecars = append(m.Sidecars, &SidecarResource{Object: o, Spec: &v.Spec})
		}
	case istioSecurity + "/AuthorizationPolicy":
		if v, ok := read[security.AuthorizationPolicy](m, o); ok {
			m.Authorization = append(m.Authorization, &AuthorizationPolicy{Object: o, Spec: &v.Spec})
		}
	case networkingv1.GroupName + "/NetworkPolicy":
		if v, ok := read[networkingv1.NetworkPolicy](m, o); ok {
			m.Network = append(m.Network, &NetworkPolicy{Object: o, Spec: v.Spec})
		}
	case corev1.GroupName + "/Service":
		if v, ok := read[corev1.Service](m, o); ok {
			m.Services = append(m.Services, &Service{Object: o, Spec: v.Spec, Host: o.Name + "." + o.Namespace + ".svc." + m.Domain})
		}
	}
}

// read decodes an object. One that does not decode is noted; of Kubernetes' own kinds the
// API server has the same types, and refuses it.
func read[T any](m *Mesh, o *objects.Object) (*T, bool) {
	v := new(T)
	err := o.Decode(v)
	if err == nil {
		return v, true
	}
	u := Unknown{Ref: o.Ref, Object: o, What: "this object cannot be read: " + err.Error()}
	if !strings.HasSuffix(o.Group(), "istio.io") {
		u.Field = "spec"
	}
	m.Unknown = append(m.Unknown, u)
	return nil, false
}

// FullName expands a host that an object of a namespace names, as istiod does: a name
// without a dot is a Service of that namespace
// (pilot/pkg/model/virtualservice.go and pkg/config/model.go, ResolveShortnameToFQDN).
func (m *Mesh) FullName(host, namespace string) string {
	if host == "" || strings.HasPrefix(host, "*") || strings.Contains(host, ".") {
		return host
	}
	return host + "." + namespace + ".svc." + m.Domain
}

// delegates merges VirtualServices that others delegate to into those.
func (m *Mesh) delegates() {
	for _, v := range m.VirtualServices {
		var routes []*api.HTTPRoute
		v.written = nil
		for i, r := range v.Spec.GetHttp() {
			d := r.GetDelegate()
			if d == nil {
				routes = append(routes, r)
				v.written = append(v.written, routeAt{v.Object, i})
				continue
			}
			namespace := d.GetNamespace()
			if namespace == "" {
				namespace = v.Namespace
			}
			at := slices.IndexFunc(m.VirtualServices, func(o *VirtualService) bool { return o.Name == d.GetName() && o.Namespace == namespace })
			if at < 0 {
				m.Unknown = append(m.Unknown, Unknown{Ref: v.Ref, Object: v.Object, What: "it delegates to VirtualService " + namespace + "/" + d.GetName() + ", which is not in the input"})
				continue
			}
			v.Delegates = append(v.Delegates, m.VirtualServices[at].Object)
			for k, inner := range m.VirtualServices[at].Spec.GetHttp() {
				v.written = append(v.written, routeAt{m.VirtualServices[at].Object, k})
				merged := inner.DeepCopy()
				if len(merged.GetMatch()) == 0 {
					merged.Match = r.GetMatch()
				} else {
					for _, match := range merged.Match {
						for _, outer := range r.GetMatch() {
							if len(match.Gateways) == 0 {
								match.Gateways = outer.Gateways
							}
							if match.Port == 0 {
								match.Port = outer.Port
							}
						}
					}
				}
				routes = append(routes, merged)
			}
		}
		v.Spec.Http = routes
	}
}

// Written is the object that has the i-th HTTP route, and the path of the route in it:
// a delegate's where the route was merged.
func (v *VirtualService) Written(i int) (*objects.Object, string) {
	if i < len(v.written) {
		return v.written[i].object, fmt.Sprintf("spec.http[%d]", v.written[i].index)
	}
	return v.Object, fmt.Sprintf("spec.http[%d]", i)
}

// Service finds a Service by its full name.
func (m *Mesh) Service(host string) *Service {
	for _, s := range m.Services {
		if s.Host == host {
			return s
		}
	}
	return nil
}

// Behind are the workloads that a Service leads to.
func (m *Mesh) Behind(s *Service) (found []*Workload) {
	for _, w := range m.Workloads {
		if w.Namespace == s.Namespace && w.Selected(s.Spec.Selector) {
			found = append(found, w)
		}
	}
	return found
}

// Outside reports whether a workload plays the partner: a ServiceEntry leads to it.
func (m *Mesh) Outside(w *Workload) bool {
	for _, e := range m.Entries {
		for _, end := range e.Spec.GetEndpoints() {
			if s := m.Service(end.GetAddress()); s != nil && slices.Contains(m.Behind(s), w) {
				return true
			}
		}
	}
	return false
}

// Serving are the proxies that a Gateway configures.
func (m *Mesh) Serving(g *Gateway) (found []*Workload) {
	for _, w := range m.Workloads {
		if w.Proxy != None && g.Selects(w) {
			found = append(found, w)
		}
	}
	return found
}

// Selects reports whether a Gateway is for a workload's pods. One without a selector is
// for every gateway's.
func (g *Gateway) Selects(w *Workload) bool {
	if len(g.Spec.GetSelector()) == 0 {
		return w.Proxy == Router
	}
	return w.Selected(g.Spec.GetSelector())
}

// EntriesFor are the ServiceEntries that have a host: by name, else by wildcard.
func (m *Mesh) EntriesFor(host string) (found []*ServiceEntry) {
	for _, e := range m.Entries {
		if slices.Contains(e.Spec.GetHosts(), host) {
			found = append(found, e)
		}
	}
	if len(found) > 0 {
		return found
	}
	for _, e := range m.Entries {
		if slices.ContainsFunc(e.Spec.GetHosts(), func(h string) bool { return Covers(h, host) }) {
			found = append(found, e)
		}
	}
	return found
}

// RulesFor are the DestinationRules whose host is that one.
func (m *Mesh) RulesFor(host string) (found []*DestinationRule) {
	for _, r := range m.Rules {
		if Covers(r.Host, host) {
			found = append(found, r)
		}
	}
	return found
}

// Policies are all traffic policies that a rule has: its own and its subsets'.
func (r *DestinationRule) Policies() []*api.TrafficPolicy {
	policies := []*api.TrafficPolicy{r.Spec.GetTrafficPolicy()}
	for _, s := range r.Spec.GetSubsets() {
		policies = append(policies, s.GetTrafficPolicy())
	}
	return policies
}

// TLS are the settings of all policies of a rule, and of their ports.
func (r *DestinationRule) TLS() (found []*api.ClientTLSSettings) {
	for _, p := range r.Policies() {
		if p.GetTls() != nil {
			found = append(found, p.GetTls())
		}
		for _, l := range p.GetPortLevelSettings() {
			if l.GetTls() != nil {
				found = append(found, l.GetTls())
			}
		}
	}
	return found
}

// Covers reports whether a name, which may begin with "*", stands for a host.
func Covers(name, host string) bool {
	name, host = strings.ToLower(name), strings.ToLower(host)
	if name == host || name == "*" {
		return true
	}
	return strings.HasPrefix(name, "*") && strings.HasSuffix(host, name[1:]) && host != name[1:]
}

// overlap reports whether two names, each of which may have a wildcard, share a host.
func overlap(a, b string) bool { return Covers(a, b) || Covers(b, a) }

// ServerHost is a Gateway's host without the namespace before it.
func ServerHost(h string) string {
	if _, after, found := strings.Cut(h, "/"); found {
		return after
	}
	return h
}

// Serves reports whether a Gateway's server is for a host.
func Serves(s *api.Server, host string) bool {
	return slices.ContainsFunc(s.GetHosts(), func(h string) bool { return Covers(ServerHost(h), host) })
}
