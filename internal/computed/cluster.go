package computed

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"twohop/internal/channel"
	"twohop/internal/objects"
)

func id(i int) string { return fmt.Sprintf("p%d", i) }

// address is that of the i-th workload's pod: one for each, in a range that no object
// of the input uses by chance (198.18.0.0/15 is for benchmarks, RFC 2544).
func address(m *channel.Mesh, i int) string {
	if p := m.Workloads[i].Running; p != nil && p.PodIP != "" {
		return p.PodIP // that of endpoints which the input may have, too
	}
	return fmt.Sprintf("198.18.%d.%d", i/250, i%250+1)
}

// question makes one of a mesh: its own objects, and what a cluster would add to them,
// which is the namespaces, a ready pod of each workload and the endpoints of Services.
// index says which object of the input each of the question's is.
func question(m *channel.Mesh, meshConfig string, proxies []*channel.Workload) (q Question, index []*objects.Object) {
	q = Question{Domain: m.Domain, Mesh: meshConfig, Objects: []json.RawMessage{}, Proxies: []Proxy{}}
	add := func(o *objects.Object, raw []byte) {
		q.Objects = append(q.Objects, raw)
		index = append(index, o)
	}
	namespaces := map[string]bool{}
	for _, o := range m.Set.All {
		switch {
		case o.Kind == "RequestAuthentication":
			// istiod would fetch the issuer's keys: channel.Read says that it is not looked at.
		case isIstios(o.Group()):
			add(o, o.JSON)
		case o.Group() == "" && o.Kind == "Namespace":
			namespaces[o.Name] = true
			add(o, o.JSON)
		case o.Group() == "" && o.Kind == "Service":
			add(o, withAddress(o, len(index)))
		case o.Group() == "discovery.k8s.io" && o.Kind == "EndpointSlice":
			add(o, o.JSON)
		}
	}
	made := func(v any) {
		raw, err := json.Marshal(v)
		if err != nil {
			panic(err) // typed objects of this file
		}
		add(nil, raw)
	}
	for _, s := range m.Services {
		if s.Assumed {
			made(corev1.Service{
				TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
				ObjectMeta: metav1.ObjectMeta{Name: s.Name, Namespace: s.Namespace}, Spec: s.Spec,
			})
		}
	}
	ips := map[*channel.Workload]string{}
	for i, w := range m.Workloads {
		ips[w] = address(m, i)
		namespaces[w.Namespace] = namespaces[w.Namespace] || m.Set.Find(objects.Ref{Kind: "Namespace", Name: w.Namespace}) != nil
		made(pod(w, ips[w]))
	}
	for _, n := range slices.Sorted(maps.Keys(namespaces)) {
		if m.Set.Find(objects.Ref{Kind: "Namespace", Name: n}) == nil {
			made(corev1.Namespace{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"}, ObjectMeta: metav1.ObjectMeta{Name: n}})
		}
	}
	for _, s := range m.Services {
		if slice, ok := endpoints(m, s, ips); ok {
			made(slice)
		}
	}
	for i, w := range proxies {
		q.Proxies = append(q.Proxies, Proxy{
			ID: id(i), Type: string(w.Proxy), Namespace: w.Namespace, Name: podName(w), ServiceAccount: w.Account,
			Labels: injected(w), IP: ips[w], Config: w.Annotations["proxy.istio.io/config"],
		})
	}
	return q, index
}

func isIstios(group string) bool {
	switch group {
	case "networking.istio.io", "security.istio.io", "telemetry.istio.io", "extensions.istio.io":
		return true
	}
	return false
}

// withAddress gives a Service the address that a cluster would give it: istiod makes
// the listeners of a Service by it.
func withAddress(o *objects.Object, i int) []byte {
	var value map[string]any
	if err := json.Unmarshal(o.JSON, &value); err != nil {
		return o.JSON
	}
	spec, _ := value["spec"].(map[string]any)
	if spec == nil || spec["type"] == "ExternalName" {
		return o.JSON
	}
	// What the API server fills in.
	ports, _ := spec["ports"].([]any)
	for _, p := range ports {
		if p, ok := p.(map[string]any); ok && p["targetPort"] == nil {
			p["targetPort"] = p["port"]
		}
	}
	if spec["clusterIP"] == nil {
		spec["clusterIP"] = fmt.Sprintf("198.19.%d.%d", i/250, i%250+1)
	}
	raw, err := json.Marshal(value)
	if err != nil {
		return o.JSON
	}
	return raw
}

func podName(w *channel.Workload) string { return w.Name }

// injected are a pod's labels after injection
// (manifests/charts/istio-control/istio-discovery/files/*-template.yaml).
func injected(w *channel.Workload) map[string]string {
	labels := map[string]string{}
	maps.Copy(labels, w.Labels)
	add := func(key, value string) {
		if _, set := labels[key]; !set && value != "" {
			labels[key] = value
		}
	}
	if w.Proxy == channel.None {
		return labels
	}
	if w.Proxy == channel.Sidecar {
		add("security.istio.io/tlsMode", "istio")
	}
	add("service.istio.io/canonical-name", cmp.Or(labels["app.kubernetes.io/name"], labels["app"], w.Name))
	add("service.istio.io/canonical-revision", cmp.Or(labels["app.kubernetes.io/version"], labels["version"], "latest"))
	return labels
}

func pod(w *channel.Workload, ip string) corev1.Pod {
	p := corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Name: podName(w), Namespace: w.Namespace, Labels: injected(w), Annotations: w.Annotations},
		Spec:       corev1.PodSpec{ServiceAccountName: w.Account, HostNetwork: w.HostNetwork},
		Status: corev1.PodStatus{
			Phase: corev1.PodRunning, PodIP: ip, PodIPs: []corev1.PodIP{{IP: ip}},
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
		},
	}
	c := corev1.Container{Name: "app", Image: "app"}
	for name, port := range w.Ports {
		c.Ports = append(c.Ports, corev1.ContainerPort{Name: name, ContainerPort: int32(port)})
	}
	p.Spec.Containers = []corev1.Container{c}
	return p
}

// endpoints are what Kubernetes' controller would make for a Service with a selector.
func endpoints(m *channel.Mesh, s *channel.Service, ips map[*channel.Workload]string) (discoveryv1.EndpointSlice, bool) {
	slice := discoveryv1.EndpointSlice{
		TypeMeta:    metav1.TypeMeta{APIVersion: "discovery.k8s.io/v1", Kind: "EndpointSlice"},
		ObjectMeta:  metav1.ObjectMeta{Name: s.Name + "-computed", Namespace: s.Namespace, Labels: map[string]string{discoveryv1.LabelServiceName: s.Name}},
		AddressType: discoveryv1.AddressTypeIPv4,
	}
	behind := m.Behind(s)
	if len(behind) == 0 || sliced(m, s) {
		return slice, false
	}
	for _, p := range s.Spec.Ports {
		port, name, protocol := target(p, behind[0]), p.Name, p.Protocol
		if port == 0 {
			continue // a named port that no container has
		}
		if protocol == "" {
			protocol = corev1.ProtocolTCP
		}
		slice.Ports = append(slice.Ports, discoveryv1.EndpointPort{Name: &name, Port: &port, Protocol: &protocol, AppProtocol: p.AppProtocol})
	}
	ready := true
	for _, w := range behind {
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{ips[w]}, Conditions: discoveryv1.EndpointConditions{Ready: &ready, Serving: &ready},
			TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: w.Namespace, Name: podName(w)},
		})
	}
	return slice, true
}

// sliced reports whether the input has a Service's endpoints itself.
func sliced(m *channel.Mesh, s *channel.Service) bool {
	return slices.ContainsFunc(m.Set.Kind("discovery.k8s.io", "EndpointSlice"), func(o *objects.Object) bool {
		return o.Namespace == s.Namespace && o.Labels[discoveryv1.LabelServiceName] == s.Name
	})
}

func target(p corev1.ServicePort, w *channel.Workload) int32 {
	if p.TargetPort.Type == intstr.String {
		return int32(w.Ports[p.TargetPort.StrVal])
	}
	if p.TargetPort.IntVal != 0 {
		return p.TargetPort.IntVal
	}
	return p.Port
}
