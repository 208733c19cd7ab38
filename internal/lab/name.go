package lab

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// PartnerName is a name in the cluster's DNS that the lab gives addresses to:
// a Service without a selector, whose EndpointSlice is made by hand. Its records
// live for cluster.DNSTTL, which CoreDNS does not count down.
type PartnerName struct{ service, namespace string }

// NewPartnerName names a PartnerName in the partner's namespace, and makes nothing.
func (l *Lab) NewPartnerName(service string) PartnerName {
	return PartnerName{service: service, namespace: l.home.Partner.Namespace}
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
	return Together(change, Add(change, service), Add(change, slice)).and(func(ctx context.Context, l *Lab) error {
		return l.awaitName(ctx, n.FQDN(), addresses)
	})
}

// awaitName waits until the application's pod is told these addresses.
func (l *Lab) awaitName(ctx context.Context, name string, addresses []string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, Timeouts.Push, fmt.Errorf("%v went by", Timeouts.Push))
	defer cancel()
	want := slices.Sorted(slices.Values(addresses))
	err := poll(ctx, func() (bool, string, error) {
		// It exits with 2 if there is no such name; echo turns that into no output.
		out, _, err := l.Kube.Exec(ctx, l.home.Client.Namespace, l.Sidecar.Pod, l.home.Client.Container,
			"sh", "-c", `getent ahostsv4 "$0." || echo`, name)
		if err != nil {
			return false, "", err
		}
		var told []string
		for line := range strings.Lines(string(out)) {
			if fields := strings.Fields(line); len(fields) > 0 && !slices.Contains(told, fields[0]) {
				told = append(told, fields[0])
			}
		}
		slices.Sort(told)
		return slices.Equal(told, want), fmt.Sprint(told), nil
	})
	if err != nil {
		return fmt.Errorf("wait until DNS gives %s the addresses %v: %w", name, want, err)
	}
	return nil
}
