package lab

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/e2e-framework/klient/k8s"

	"twohop/internal/envoy"
	"twohop/internal/observe"
)

// Checkpoint is a state of the subject that can be gone back to.
type Checkpoint struct{ touched map[key]k8s.Object }

// Checkpoint remembers the subject as it has been varied so far.
func (l *Lab) Checkpoint() Checkpoint { return Checkpoint{maps.Clone(l.touched)} }

// Instead takes back what was changed since the checkpoint, makes these changes
// and returns once both proxies have them: for checks that go through many
// states, each a step from the same one.
func (l *Lab) Instead(ctx context.Context, from Checkpoint, variations ...Variation) ([]Applied, error) {
	for k, o := range maps.Clone(l.touched) {
		before := from.touched[k]
		if before == o { // every change makes a new copy
			continue
		}
		want := before
		if want == nil {
			want = l.find(k)
		}
		if want == nil {
			if err := l.delete(ctx, o); err != nil && !apierrors.IsNotFound(err) {
				return nil, wrap("delete", o, err)
			}
			delete(l.touched, k)
			continue
		}
		want = want.DeepCopyObject().(k8s.Object)
		want.SetResourceVersion("")
		want.SetUID("")
		if service, ok := want.(*corev1.Service); ok { // put takes the address that it has
			service.Spec.ClusterIP, service.Spec.ClusterIPs = "", nil
		}
		if err := l.put(ctx, want); err != nil {
			return nil, err
		}
		l.moved = l.moved || k.kind == "Service"
		if before == nil {
			delete(l.touched, k)
		} else {
			l.touched[k] = before
		}
	}
	return l.Vary(ctx, variations...)
}

// GatewayServicePorts edits the ports of the gateway's Service.
func (l *Lab) GatewayServicePorts(change string, edit func([]corev1.ServicePort)) Variation {
	return Edit(change, l.Subject.Gateway.Namespace, l.Subject.GatewayService, func(s *corev1.Service) { edit(s.Spec.Ports) })
}

// awaitEndpoints waits until the sidecar's clusters of the gateway's Service are
// for the ports that the Service now has, and lead to its target ports. istiod
// hears of Services, of endpoints and of its own objects on separate watches, so
// that a sentinel may overtake the former.
func (l *Lab) awaitEndpoints(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, Timeouts.Push, fmt.Errorf("%v went by", Timeouts.Push))
	defer cancel()
	ns, name := l.Subject.Gateway.Namespace, l.Subject.GatewayService
	service, err := l.Kube.Typed.CoreV1().Services(ns).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("read the gateway's Service: %w", err)
	}
	targets, ports := map[string]bool{}, map[string]bool{}
	for _, p := range service.Spec.Ports {
		ports[fmt.Sprint(p.Port)] = true
		if p.TargetPort.Type == intstr.Int {
			targets[fmt.Sprint(p.TargetPort.IntVal)] = true
		}
	}
	err = poll(ctx, func() (bool, string, error) {
		slices, err := l.Kube.Typed.DiscoveryV1().EndpointSlices(ns).List(ctx, metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=" + name})
		if err != nil {
			return false, "", err
		}
		for _, slice := range slices.Items {
			for _, p := range slice.Ports {
				if p.Port != nil && !targets[fmt.Sprint(*p.Port)] {
					return false, fmt.Sprintf("EndpointSlice %s has port %d", slice.Name, *p.Port), nil
				}
			}
		}
		all, err := Statuses(ctx, l.Sidecar)
		if err != nil {
			return false, "", err
		}
		have := map[string]bool{}
		for _, status := range all {
			part := strings.Split(status.Name, "|") // outbound|PORT|SUBSET|HOST
			if len(part) != 4 || part[3] != l.Subject.GatewayFQDN() {
				continue
			}
			// A cluster of a port that the Service no longer has may stay behind,
			// without hosts: of a port's clusters istiod remembers one, the plain
			// or a subset's, and removes only that
			// (pilot/pkg/networking/core/cluster.go, deltaFromServices).
			if part[2] == "" && len(status.Hosts) > 0 {
				have[part[1]] = true
			}
			for _, host := range status.Hosts {
				if port := host.Address[strings.LastIndex(host.Address, ":")+1:]; !targets[port] {
					return false, fmt.Sprintf("the sidecar's cluster %s has host %s", status.Name, host.Address), nil
				}
			}
		}
		return maps.Equal(have, ports), fmt.Sprintf("the sidecar has clusters for the ports %v", have), nil
	})
	if err != nil {
		return fmt.Errorf("wait until the sidecar has the ports and target ports of Service %s/%s: %w", ns, name, err)
	}
	return nil
}

// AwaitWarm waits until no cluster of a proxy is on its way any more. Envoy
// holds one back for 15 s whose secret does not come, and serves meanwhile with
// the one that it replaces.
func (l *Lab) AwaitWarm(ctx context.Context, p *observe.Proxy) error {
	ctx, cancel := context.WithTimeoutCause(ctx, Timeouts.Secret, fmt.Errorf("%v went by", Timeouts.Secret))
	defer cancel()
	err := poll(ctx, func() (bool, string, error) {
		raw, err := p.Admin(ctx, warmingPath)
		if err != nil {
			return false, "", err
		}
		dump, err := envoy.ParseConfigDump(raw)
		if err != nil {
			return false, "", err
		}
		var names []string
		for _, c := range dump.Clusters() { // those of the list that was asked for
			names = append(names, c.Name())
		}
		return len(names) == 0, "warming: " + strings.Join(names, ", "), nil
	})
	if err != nil {
		return fmt.Errorf("wait until %s/%s has warmed its clusters: %w", p.Workload.Namespace, p.Pod, err)
	}
	return nil
}

const warmingPath = "/config_dump?resource=dynamic_warming_clusters"

// probePorts are those of every gateway's own health and statistics (Istio's
// bootstrap template); nothing that is asked of them is logged.
var probePorts = []int{15021, 15090}

// trafficPort is a port on which a gateway takes traffic now, 0 if on none.
func trafficPort(ctx context.Context, gateway *observe.Proxy) (int, error) {
	raw, err := gateway.Admin(ctx, "/listeners?format=json")
	if err != nil {
		return 0, err
	}
	ports, err := envoy.ParseListenerPorts(raw)
	if err != nil {
		return 0, err
	}
	for _, port := range ports {
		if !slices.Contains(probePorts, port) {
			return port, nil
		}
	}
	return 0, nil
}
