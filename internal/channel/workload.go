package channel

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"twohop/internal/objects"
)

// Proxy is what stands between a workload and the network.
type Proxy string

// The kinds of proxy.
const (
	Sidecar Proxy = "sidecar"
	Router  Proxy = "router" // a gateway, in istiod's word
	None    Proxy = "none"
)

// Workload is what runs pods of one kind.
type Workload struct {
	objects.Ref
	// Object is nil for a workload that was assumed.
	Object      *objects.Object
	Labels      map[string]string // of its pods
	Annotations map[string]string
	// Account is the service account of its pods.
	Account     string
	HostNetwork bool
	Ports       map[string]int // of its containers, by name
	Proxy       Proxy
	// Why says what decided on the proxy.
	Why string
	// Assumed says what of it is not in the input; empty if all is.
	Assumed string
	// Template is the path of the pod's template in the object.
	Template string
	// RunsAsProxy says that a container runs as the proxy's user: Istio captures nothing of
	// what that user sends.
	RunsAsProxy bool
	// Status is the pod's own where the workload is a pod that runs.
	Running *corev1.PodStatus
}

type template struct {
	Metadata struct {
		Labels      map[string]string `json:"labels"`
		Annotations map[string]string `json:"annotations"`
	} `json:"metadata"`
	Spec corev1.PodSpec `json:"spec"`
}

// templates are the paths of pod templates, by kind.
var templates = map[string]string{
	"Pod": "", "Deployment": "spec.template", "StatefulSet": "spec.template", "DaemonSet": "spec.template", "ReplicaSet": "spec.template",
	"Job": "spec.template", "CronJob": "spec.jobTemplate.spec.template", "Rollout": "spec.template", "ReplicationController": "spec.template",
}

// workloads are those of the objects. A pod or set that another workload of the input
// owns is that workload.
func workloads(set *objects.Set) (found []*Workload, unread []Unknown) {
	for _, o := range set.All {
		path, known := templates[o.Kind]
		if !known {
			continue
		}
		w, err := readWorkload(set, o, path)
		if err != nil {
			u := Unknown{Ref: o.Ref, Object: o, What: "this workload cannot be read: " + err.Error()}
			var wrong *json.UnmarshalTypeError
			if errors.As(err, &wrong) {
				u.Field = strings.Trim(path+"."+wrong.Field, ".")
				u.What = "a " + wrong.Value + " where Kubernetes wants another type: quote it if it is text"
			}
			unread = append(unread, u)
			continue
		}
		if w != nil {
			found = append(found, w)
		}
	}
	return found, unread
}

func readWorkload(set *objects.Set, o *objects.Object, path string) (*Workload, error) {
	raw := o.JSON
	for _, key := range strings.FieldsFunc(path, func(r rune) bool { return r == '.' }) {
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(raw, &fields); err != nil {
			return nil, err
		}
		raw = fields[key]
	}
	if len(raw) == 0 {
		return nil, nil // a Rollout that refers to a Deployment
	}
	var t template
	if err := json.Unmarshal(raw, &t); err != nil {
		return nil, err
	}
	w := &Workload{
		Ref: o.Ref, Object: o, Labels: t.Metadata.Labels, Annotations: t.Metadata.Annotations, Account: t.Spec.ServiceAccountName,
		HostNetwork: t.Spec.HostNetwork, Ports: map[string]int{}, Template: path,
	}
	if w.Account == "" {
		w.Account = "default"
	}
	if o.Kind == "Pod" {
		var pod struct {
			Metadata metav1.ObjectMeta `json:"metadata"`
			Status   *corev1.PodStatus `json:"status"`
		}
		if err := json.Unmarshal(o.JSON, &pod); err != nil {
			return nil, err
		}
		w.Running = pod.Status
		for _, owner := range pod.Metadata.OwnerReferences {
			if set.Find(objects.Ref{Kind: owner.Kind, Namespace: o.Namespace, Name: owner.Name}) != nil {
				return nil, nil
			}
		}
	}
	for _, c := range slices.Concat(t.Spec.InitContainers, t.Spec.Containers) {
		for _, p := range c.Ports {
			w.Ports[p.Name] = int(p.ContainerPort)
		}
	}
	w.proxy(set, t)
	w.RunsAsProxy = runsAs(t.Spec.SecurityContext, t.Spec.Containers)
	return w, nil
}

// proxy says what Istio's injection makes of a pod: by its labels and annotations, then
// by its namespace (manifests/charts/istio-control/istio-discovery/templates/mutatingwebhook.yaml).
func (w *Workload) proxy(set *objects.Set, t template) {
	for _, c := range slices.Concat(t.Spec.InitContainers, t.Spec.Containers) {
		if c.Name != "istio-proxy" || c.Image == "auto" {
			continue
		}
		w.Proxy, w.Why = Sidecar, "it has a container istio-proxy"
		if slices.Contains(c.Args, "router") {
			w.Proxy, w.Why = Router, "its container istio-proxy is a router"
		}
		return
	}
	if w.Running != nil && w.Running.Phase != "" && len(t.Spec.Containers) > 0 {
		w.Proxy, w.Why = None, "it runs without the container istio-proxy"
		return
	}
	namespace := set.Find(objects.Ref{Kind: "Namespace", Name: w.Namespace})
	var of map[string]string
	if namespace != nil {
		of = namespace.Labels
	}
	label, hasLabel := t.Metadata.Labels["sidecar.istio.io/inject"]
	annotation, hasAnnotation := t.Metadata.Annotations["sidecar.istio.io/inject"]
	no := func(v string) bool { return v == "false" || v == "no" || v == "n" || v == "off" || v == "0" }
	yes := func(v string) bool { return v == "true" || v == "yes" || v == "y" || v == "on" || v == "1" }
	_, revision := t.Metadata.Labels["istio.io/rev"]
	_, ofRevision := of["istio.io/rev"]
	injected := Sidecar
	for _, name := range strings.Split(t.Metadata.Annotations["inject.istio.io/templates"], ",") {
		if strings.TrimSpace(name) == "gateway" {
			injected = Router
		}
	}
	w.Proxy = None
	switch {
	case w.HostNetwork:
		w.Why = "hostNetwork: true, which injection leaves alone"
	case hasLabel && no(label):
		w.Why = "its label sidecar.istio.io/inject is " + label
	case hasAnnotation && no(annotation):
		w.Why = "its annotation sidecar.istio.io/inject is " + annotation
	case of["istio-injection"] == "disabled":
		w.Why = "its namespace has istio-injection=disabled"
	case hasLabel && yes(label) || revision:
		w.Proxy, w.Why = injected, "its pods ask for injection"
	case of["istio-injection"] == "enabled" || ofRevision:
		w.Proxy, w.Why = injected, "its namespace asks for injection"
	case of["istio.io/dataplane-mode"] == "ambient" || t.Metadata.Labels["istio.io/dataplane-mode"] == "ambient":
		w.Why = "its namespace is in ambient mode"
	case namespace == nil:
		w.Proxy, w.Why = injected, "assumed"
		w.Assumed = "that namespace " + w.Namespace + ", which is not in the input, asks for injection"
	default:
		w.Why = "neither its pods nor its namespace ask for injection"
	}
}

// proxyUser is the user that Istio's proxy runs as.
const proxyUser = 1337

func runsAs(pod *corev1.PodSecurityContext, containers []corev1.Container) bool {
	of := func(user *int64) bool { return user != nil && *user == proxyUser }
	for _, c := range containers {
		if c.Name == "istio-proxy" {
			continue
		}
		if c.SecurityContext != nil && c.SecurityContext.RunAsUser != nil {
			if of(c.SecurityContext.RunAsUser) {
				return true
			}
			continue
		}
		if pod != nil && of(pod.RunAsUser) {
			return true
		}
	}
	return false
}

// MeantToHaveProxy reports whether the pods say anything to Istio, whatever proxy they have.
func (w *Workload) MeantToHaveProxy() bool {
	for _, said := range []map[string]string{w.Annotations, w.Labels} {
		for key := range said {
			if strings.Contains(key, "istio.io/") {
				return true
			}
		}
	}
	return false
}

// Selected reports whether a selector chooses the workload's pods; an empty one none.
func (w *Workload) Selected(selector map[string]string) bool {
	return len(selector) > 0 && subset(selector, w.Labels)
}

func subset(want, have map[string]string) bool {
	for k, v := range want {
		if have[k] != v {
			return false
		}
	}
	return true
}

// signature is a workload's kind of proxy: kinds are told apart by namespace and by the labels that some selector
// asks for: two that agree in both get the same configuration.
func signature(w *Workload, keys []string) string {
	var b strings.Builder
	b.WriteString(w.Namespace + "/" + string(w.Proxy))
	for _, k := range keys {
		if v, ok := w.Labels[k]; ok {
			b.WriteString("," + k + "=" + v)
		}
	}
	return b.String()
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
