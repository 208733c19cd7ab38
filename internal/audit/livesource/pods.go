package livesource

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/labels"

	"twohop/internal/objects"
)

// podItem is what is kept of a pod: nothing of its volumes, probes or, but for Istio's
// own, environment, which may hold passwords.
type podItem struct {
	APIVersion string      `json:"apiVersion"`
	Kind       string      `json:"kind"`
	Metadata   podMetadata `json:"metadata"`
	Spec       podSpec     `json:"spec"`
	Status     podStatus   `json:"status"`
}

type podMetadata struct {
	kept
	Owners []owner `json:"ownerReferences,omitempty"`
}

type owner struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Name       string `json:"name"`
	UID        string `json:"uid,omitempty"`
	Controller bool   `json:"controller,omitempty"`
}

type podSpec struct {
	ServiceAccountName string      `json:"serviceAccountName,omitempty"`
	NodeName           string      `json:"nodeName,omitempty"`
	HostNetwork        bool        `json:"hostNetwork,omitempty"`
	InitContainers     []container `json:"initContainers,omitempty"`
	Containers         []container `json:"containers"`
}

type container struct {
	Name  string   `json:"name"`
	Image string   `json:"image,omitempty"`
	Args  []string `json:"args,omitempty"`
	Env   []env    `json:"env,omitempty"`
	Ports []struct {
		Name     string `json:"name,omitempty"`
		Port     int    `json:"containerPort"`
		Protocol string `json:"protocol,omitempty"`
	} `json:"ports,omitempty"`
	RestartPolicy string `json:"restartPolicy,omitempty"`
}

type env struct {
	Name  string `json:"name"`
	Value string `json:"value,omitempty"`
}

type podStatus struct {
	Phase      string      `json:"phase,omitempty"`
	PodIP      string      `json:"podIP,omitempty"`
	PodIPs     []podIP     `json:"podIPs,omitempty"`
	StartTime  string      `json:"startTime,omitempty"`
	Conditions []condition `json:"conditions,omitempty"`
}

type podIP struct {
	IP string `json:"ip"`
}

type condition struct {
	Type   string `json:"type"`
	Status string `json:"status"`
}

func (p *podItem) proxy() *container {
	for _, list := range [][]container{p.Spec.Containers, p.Spec.InitContainers} {
		if i := slices.IndexFunc(list, func(c container) bool { return c.Name == "istio-proxy" }); i >= 0 {
			return &list[i]
		}
	}
	return nil
}

func (p *podItem) router() bool {
	c := p.proxy()
	return c != nil && slices.Contains(c.Args, "router")
}

func (p *podItem) ready() bool {
	return slices.Contains(p.Status.Conditions, condition{"Ready", "True"})
}

// trim keeps what is read, and of containers other than the proxy no more than ports.
func (p *podItem) trim() {
	p.APIVersion, p.Kind = "v1", "Pod"
	delete(p.Metadata.Annotations, lastApplied)
	keepIstios(p.Metadata.Annotations)
	for _, containers := range [][]container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range containers {
			c := &containers[i]
			if c.Name != "istio-proxy" {
				c.Args, c.Env = nil, nil
				continue
			}
			c.Env = slices.DeleteFunc(c.Env, func(e env) bool { return !strings.HasPrefix(e.Name, "ISTIO_META_") || e.Value == "" })
		}
	}
	p.Status.Conditions = slices.DeleteFunc(p.Status.Conditions, func(c condition) bool { return c.Type != "Ready" })
}

// ofOnePod are labels that tell pods of one template apart.
var ofOnePod = []string{
	"pod-template-hash", "rollouts-pod-template-hash", "controller-revision-hash", "pod-template-generation", "statefulset.kubernetes.io/pod-name",
	"apps.kubernetes.io/pod-index", "controller-uid", "job-name", "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name",
	"batch.kubernetes.io/job-completion-index",
}

// owned is what runs the pod: a Deployment by its ReplicaSet's name, which ends in the
// hash of the template, so that neither has to be read.
func (p *podItem) owned() owner {
	i := slices.IndexFunc(p.Metadata.Owners, func(o owner) bool { return o.Controller })
	if i < 0 {
		return owner{APIVersion: "v1", Kind: "Pod", Name: p.Metadata.Name}
	}
	o := p.Metadata.Owners[i]
	o.UID = ""
	if o.Kind != "ReplicaSet" {
		return o
	}
	for label, kind := range map[string]owner{
		"pod-template-hash":          {APIVersion: "apps/v1", Kind: "Deployment"},
		"rollouts-pod-template-hash": {APIVersion: "argoproj.io/v1alpha1", Kind: "Rollout"},
	} {
		if hash := p.Metadata.Labels[label]; hash != "" && strings.HasSuffix(o.Name, "-"+hash) {
			return owner{APIVersion: kind.APIVersion, Kind: kind.Kind, Name: strings.TrimSuffix(o.Name, "-"+hash), Controller: true}
		}
	}
	return o
}

// alike is the same for pods that an audit need not tell apart.
func (p *podItem) alike() [sha256.Size]byte {
	same := podItem{Metadata: podMetadata{kept: kept{Namespace: p.Metadata.Namespace, Annotations: p.Metadata.Annotations, Labels: maps.Clone(p.Metadata.Labels)}}, Spec: p.Spec}
	same.Spec.NodeName = ""
	for _, l := range ofOnePod {
		delete(same.Metadata.Labels, l)
	}
	o := p.owned()
	if o.Kind == "Pod" || o.Kind == "Job" {
		o.Name = "" // a name for each
	}
	same.Metadata.Owners = []owner{o}
	raw, err := json.Marshal(same)
	if err != nil {
		panic(err) // what was decoded before
	}
	return sha256.Sum256(raw)
}

// podSet is the pods that are kept while they are listed: one of those that are alike,
// and every gateway's.
type podSet struct {
	inMesh   map[string]bool // namespaces that ask for injection
	gateways []map[string]string

	mu    sync.Mutex
	found map[[sha256.Size]byte]*keptPod
	seen  map[string]bool // a pod may be in more than one list
}

type keptPod struct {
	podItem
	alike int
}

func (s *podSet) add(item decode) error {
	var p podItem
	if err := item(&p); err != nil {
		return err
	}
	if p.Metadata.DeletionTimestamp != "" || p.Status.Phase == "Succeeded" || p.Status.Phase == "Failed" {
		return nil
	}
	if p.Metadata.Labels["app"] == "istiod" && slices.ContainsFunc(p.Spec.Containers, func(c container) bool { return c.Name == "discovery" }) {
		return nil // it is no application; see istiod()
	}
	gateway := p.router() || slices.ContainsFunc(s.gateways, func(l map[string]string) bool { return selects(l, p.Metadata.Labels) })
	if !gateway && p.proxy() == nil && !s.inMesh[p.Metadata.Namespace] && !mentionsIstio(p.Metadata) {
		return nil
	}
	p.trim()
	key := p.alike()
	name := p.Metadata.Namespace + "/" + p.Metadata.Name
	if gateway {
		key = sha256.Sum256([]byte(name))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen[name] {
		return nil
	}
	s.seen[name] = true
	switch have := s.found[key]; {
	case have == nil:
		s.found[key] = &keptPod{podItem: p, alike: 1}
	case !have.ready() && p.ready(), have.ready() == p.ready() && p.Metadata.Name < have.Metadata.Name:
		s.found[key] = &keptPod{podItem: p, alike: have.alike + 1}
	default:
		have.alike++
	}
	return nil
}

func mentionsIstio(m podMetadata) bool {
	for key := range m.Labels {
		if strings.Contains(key, "istio.io/") {
			return true
		}
	}
	for key := range m.Annotations {
		if strings.Contains(key, "istio.io/") {
			return true
		}
	}
	return false
}

// fewNamespaces is up to how many namespaces in the mesh their pods are listed one
// namespace at a time, where the mesh is a small part of the cluster.
const fewNamespaces = 20

// pods reads those with a proxy, those that Gateways select, and those of namespaces in
// the mesh, which may be meant to have a proxy. In a cluster that is mostly without
// Istio, others are not even listed.
func (g *gathering) pods(ctx context.Context, set *objects.Set, spaces []*objects.Object, namespaces []string) ([]*objects.Object, error) {
	s := &podSet{inMesh: map[string]bool{}, gateways: gatewaySelectors(set), found: map[[sha256.Size]byte]*keptPod{}, seen: map[string]bool{}}
	for _, n := range spaces {
		_, revision := n.Labels["istio.io/rev"]
		if n.Labels["istio-injection"] == "enabled" || revision || n.Labels["istio.io/dataplane-mode"] != "" {
			s.inMesh[n.Name] = true
		}
	}
	read := func(selector string, in []string) {
		g.visit(ctx, podResource, selector, in, func(namespace string) error {
			// A list that fails half way leaves pods behind; Missing says that more are there.
			return g.listAll(ctx, podResource.path(namespace), selector, s.add, func() {})
		})
	}
	inMesh := slices.Sorted(maps.Keys(s.inMesh))
	if len(inMesh) <= fewNamespaces && 4*len(inMesh) < len(spaces) && len(g.Source.namespaces) == 0 && g.rights.everywhere(ctx, "", "pods") {
		selectors := []string{"security.istio.io/tlsMode", "sidecar.istio.io/inject"}
		for _, labelSet := range s.gateways {
			selectors = append(selectors, labels.SelectorFromSet(labelSet).String())
		}
		each(ctx, selectors, func(_ context.Context, selector string) { read(selector, namespaces) })
		each(ctx, inMesh, func(ctx context.Context, n string) {
			if err := g.listAll(ctx, podResource.path(n), "", s.add, func() {}); err != nil {
				g.miss(missingKey{what: "pods", why: plain(err, "list", "pods"), resource: "pods"}, n)
			}
		})
	} else {
		read("", namespaces)
	}
	return g.keepPods(s)
}

func (g *gathering) keepPods(s *podSet) (found []*objects.Object, err error) {
	pods := slices.SortedFunc(maps.Values(s.found), func(a, b *keptPod) int {
		return cmp.Or(cmp.Compare(a.Metadata.Namespace, b.Metadata.Namespace), cmp.Compare(a.Metadata.Name, b.Metadata.Name))
	})
	for _, p := range pods {
		o := p.owned()
		g.snapshot.Pods = append(g.snapshot.Pods, Pod{
			Namespace: p.Metadata.Namespace, Name: p.Metadata.Name, Alike: p.alike, Ready: p.ready(), HasProxy: p.proxy() != nil, Revision: p.revision(),
			Owner: objects.Ref{Kind: o.Kind, Namespace: p.Metadata.Namespace, Name: o.Name},
		})
		p.Metadata.Owners = nil // in Pod; who reads the objects would look for each owner
		raw, err := json.Marshal(p.podItem)
		if err != nil {
			return nil, err
		}
		o2, err := objects.FromJSON(raw)
		if err != nil {
			return nil, err
		}
		found = append(found, o2)
	}
	return found, nil
}

// revision is that of the injector, which names it in an annotation or a label.
func (p *podItem) revision() string {
	return cmp.Or(p.Metadata.Annotations["istio.io/rev"], p.Metadata.Labels["istio.io/rev"])
}
