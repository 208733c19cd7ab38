package manifest

import (
	"maps"
	"slices"

	networking "istio.io/api/networking/v1alpha3"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"twohop/internal/subject"
)

// SecondLabel tells a second pod from the subject's own, whose labels it shares
// otherwise: what selects the one selects the other.
const SecondLabel = "twohop-second"

// SecondClient runs another application beside the subject's: another pod with a
// sidecar and a service account of its own. It disturbs nobody, so it stays.
func (e *Editor) SecondClient(change string) Variation {
	w := e.Subject.SecondClient()
	v := Add(change,
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: w.ServiceAccount, Namespace: w.Namespace}},
		e.another(e.Subject.Client, w))
	v.Stays = true
	return v
}

// SecondGateway runs another pod of the gateway, behind the same Service and
// under the same service account. It takes its share of the traffic.
func (e *Editor) SecondGateway(change string) Variation {
	return Add(change, e.another(e.Subject.Gateway, e.Subject.SecondGateway()))
}

// OneGateway takes the second gateway away again.
func (e *Editor) OneGateway(change string) Variation {
	w := e.Subject.SecondGateway()
	return Remove(change, &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: w.Deployment, Namespace: w.Namespace}})
}

// another is a copy of a workload's Deployment under another name and account.
func (e *Editor) another(of, w subject.Workload) *appsv1.Deployment {
	d := must[*appsv1.Deployment](e.Baseline, of.Namespace, of.Deployment)
	d.Name = w.Deployment
	mark := map[string]string{SecondLabel: w.Deployment}
	d.Spec.Selector.MatchLabels = mark
	maps.Copy(d.Spec.Template.Labels, mark)
	d.Spec.Template.Spec.ServiceAccountName = w.ServiceAccount
	return d
}

// Has reports whether a set has a workload's Deployment.
func (s *Set) Has(w subject.Workload) bool {
	_, ok := s.objects[Key{"Deployment", w.Namespace, w.Deployment}]
	return ok
}

// RouteVia leads hop 1 to another gateway of the lab, which is the subject's
// gateway from then on. Its Service and rules have the names of the first one's.
func (e *Editor) RouteVia(change string, gateway subject.Workload) Variation {
	to := e.Baseline.Subject
	to.Gateway = gateway
	edit := e.VirtualService(change, func(vs *networking.VirtualService) {
		Destination(MeshRoute(vs)).Host = to.GatewayFQDN()
	})
	return Variation{Change: change, edit: func(s *Set) error {
		if err := edit.edit(s); err != nil {
			return err
		}
		s.Subject.Gateway = gateway
		return nil
	}}
}

// GatewayPod starts another gateway beside the subject's, without traffic, as a
// service account of its own name that may do to Secrets what the rule says.
// Nothing waits until it is ready: a gateway that lacks a secret is not for 15 s.
func (e *Editor) GatewayPod(change, name string, rule rbacv1.PolicyRule) Variation {
	ns := e.Subject.Gateway.Namespace
	template := must[*appsv1.Deployment](e.Baseline, ns, e.Subject.Gateway.Deployment).Spec.Template
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name, Annotations: template.Annotations}, Spec: template.Spec}
	pod.Labels = maps.Clone(template.Labels)
	pod.Spec.ServiceAccountName = name
	for _, label := range []string{"app", "istio"} { // no Service and no Deployment may take it for its own
		if _, ok := pod.Labels[label]; ok {
			pod.Labels[label] = name
		}
	}
	return Together(change,
		Add(change, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}}),
		Allow(change, ns, name, rule),
		Add(change, pod))
}

// Files is a Secret mounted into the gateway in two ways. Dir follows the
// Secret; Frozen is mounted with subPath, which the kubelet never updates.
type Files struct{ Secret, Dir, Frozen string }

// MountFiles restarts the gateway with a credential Secret mounted as files.
func (e *Editor) MountFiles(change string, f Files, data map[string][]byte) Variation {
	ns := e.Subject.Gateway.Namespace
	return Together(change,
		Secret(change, ns, f.Secret, data),
		Edit(change, ns, e.Subject.Gateway.Deployment, func(d *appsv1.Deployment) {
			pod := &d.Spec.Template.Spec
			pod.Volumes = append(pod.Volumes, corev1.Volume{Name: f.Secret, VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: f.Secret}}})
			i := slices.IndexFunc(pod.Containers, func(c corev1.Container) bool { return c.Name == e.Subject.Gateway.Proxy })
			proxy := &pod.Containers[i]
			proxy.VolumeMounts = append(proxy.VolumeMounts, corev1.VolumeMount{Name: f.Secret, MountPath: f.Dir, ReadOnly: true})
			for _, file := range slices.Sorted(maps.Keys(data)) {
				proxy.VolumeMounts = append(proxy.VolumeMounts, corev1.VolumeMount{Name: f.Secret, MountPath: f.Frozen + "/" + file, SubPath: file, ReadOnly: true})
			}
		}))
}

// RenewFiles replaces the mounted Secret, and waits until the kubelet has
// written the gateway's files.
func (e *Editor) RenewFiles(change string, f Files, data map[string][]byte, serial string) Variation {
	return Secret(change, e.Subject.Gateway.Namespace, f.Secret, data).Waiting(FilesShow{f.Dir, serial})
}

// PartnerName is a name in the cluster's DNS that a lab gives addresses to: a
// Service without a selector, whose EndpointSlice is made by hand.
type PartnerName struct{ service, namespace string }

// PartnerName names one in the partner's namespace.
func (e *Editor) PartnerName(service string) PartnerName {
	return PartnerName{service: service, namespace: e.Subject.Partner.Namespace}
}

// FQDN is the name itself.
func (n PartnerName) FQDN() string { return n.service + "." + n.namespace + ".svc.cluster.local" }

// Has gives the name these addresses, and waits until DNS serves them: an Envoy
// that asks too early has its answer, and asks again a minute later only.
func (n PartnerName) Has(change string, addresses ...string) Variation {
	meta := metav1.ObjectMeta{Name: n.service, Namespace: n.namespace}
	service := &corev1.Service{
		ObjectMeta: *meta.DeepCopy(),
		Spec:       corev1.ServiceSpec{ClusterIP: corev1.ClusterIPNone, Ports: []corev1.ServicePort{{Name: "tls", Port: 443}}},
	}
	// The partner is outside the mesh: no proxy may know this Service.
	service.Annotations = map[string]string{"networking.istio.io/exportTo": "~"}
	slice := &discoveryv1.EndpointSlice{ObjectMeta: meta, AddressType: discoveryv1.AddressTypeIPv4}
	slice.Labels = map[string]string{discoveryv1.LabelServiceName: n.service}
	for _, address := range addresses {
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{address}})
	}
	return Add(change, service, slice).Waiting(Resolves{n.FQDN(), slices.Clone(addresses)})
}
