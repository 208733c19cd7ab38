package kubetest

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// RunPods makes each Deployment available as soon as it is written, with one pod
// of a name of its own for each template, and makes each pod run.
func (s *Server) RunPods() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.runs = true
}

// start runs what was written. The lock is held.
func (s *Server) start(o any) {
	if !s.runs {
		return
	}
	switch o := o.(type) {
	case *corev1.Pod:
		s.run(o)
	case *appsv1.Deployment:
		s.replace(o)
	}
}

func (s *Server) run(p *corev1.Pod) {
	p.Status.Phase = corev1.PodRunning
	p.Status.PodIP = fmt.Sprintf("10.244.0.%d", s.version)
	p.Status.ContainerStatuses = nil
	for _, c := range p.Spec.Containers {
		p.Status.ContainerStatuses = append(p.Status.ContainerStatuses, corev1.ContainerStatus{Name: c.Name, Ready: true, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}})
	}
}

func (s *Server) replace(d *appsv1.Deployment) {
	d.Status = appsv1.DeploymentStatus{ObservedGeneration: d.Generation, UpdatedReplicas: 1, AvailableReplicas: 1, Replicas: 1}
	raw, err := json.Marshal(d.Spec.Template)
	if err != nil {
		panic(err) // an object that was decoded before
	}
	sum := sha256.Sum256(raw)
	name := d.Name + "-" + hex.EncodeToString(sum[:4])
	s.stop(d, name)
	path := podPath(d, name)
	if s.objects[path] != nil {
		return
	}
	s.version++ // the Deployment keeps its own
	s.store(path, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: d.Namespace, Name: name, Labels: maps.Clone(d.Spec.Template.Labels), Annotations: map[string]string{ownerKey: d.Name}},
		Spec:       *d.Spec.Template.Spec.DeepCopy(),
	})
}

const ownerKey = "kubetest/owner"

func podPath(d *appsv1.Deployment, name string) string {
	return collection(schema.GroupVersion{Version: "v1"}, metav1.APIResource{Name: "pods", Namespaced: true}, d.Namespace) + "/" + name
}

// stop takes a Deployment's pods away, but for one.
func (s *Server) stop(d *appsv1.Deployment, but string) {
	prefix := podPath(d, "")
	for path, o := range s.objects {
		if strings.HasPrefix(path, prefix) && o.GetAnnotations()[ownerKey] == d.Name && o.GetName() != but {
			delete(s.objects, path)
			s.version++
			s.tell(path, "DELETED", o)
		}
	}
}

// metadataOnly reports whether a client wants no more than the metadata.
func metadataOnly(r *http.Request) bool {
	return strings.Contains(r.Header.Get("Accept"), "as=PartialObjectMetadataList")
}

func onlyMetadata(raw []byte) []byte {
	var o metav1.PartialObjectMetadata
	if err := json.Unmarshal(raw, &o); err != nil {
		panic(err) // an object that was encoded before
	}
	o.TypeMeta = metav1.TypeMeta{APIVersion: metav1.SchemeGroupVersion.String(), Kind: "PartialObjectMetadata"}
	raw, err := json.Marshal(o)
	if err != nil {
		panic(err)
	}
	return raw
}
