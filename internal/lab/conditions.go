package lab

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	istio "istio.io/client-go/pkg/apis/networking/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"twohop/internal/envoy"
	"twohop/internal/manifest"
	"twohop/internal/observe"
	"twohop/internal/observe/live"
	"twohop/internal/probe"
	"twohop/internal/subject"
)

// await brings about what a variation asks for.
func (l *Lab) await(ctx context.Context, c manifest.Condition) error {
	switch c := c.(type) {
	case manifest.Live:
		return l.Barrier(ctx)
	case manifest.Holds:
		return l.awaitSerial(ctx, c.Role, c.Secret, c.Serial)
	case manifest.Aged:
		return l.awaitAge(ctx, c.Key)
	case manifest.FilesShow:
		return l.awaitFiles(ctx, c)
	case manifest.Resolves:
		return l.awaitName(ctx, c)
	case manifest.Reconnected:
		return l.replaceHop2(ctx)
	}
	return fmt.Errorf("the lab cannot wait for %T", c)
}

// awaitSerial waits until a proxy holds a certificate as an ACTIVE secret.
func (l *Lab) awaitSerial(ctx context.Context, role subject.Role, secret, serial string) error {
	ctx, cancel := within(ctx, l.limits.Secret)
	defer cancel()
	err := observe.Poll(ctx, func() (bool, string, error) {
		raw, err := l.Source.Admin(ctx, role, observe.SecretsDumpPath)
		if err != nil {
			return false, "", err
		}
		all, err := envoy.ParseSecrets(raw)
		if err != nil {
			return false, "", err
		}
		var seen []string
		for _, s := range all {
			seen = append(seen, fmt.Sprintf("%s %s", s.Name, s.State))
		}
		held := slices.ContainsFunc(all, func(s envoy.Secret) bool { return s.Name == secret && s.HoldsSerial(serial) })
		return held, strings.Join(seen, ", "), nil
	})
	if err != nil {
		return fmt.Errorf("the %s has no ACTIVE secret %s with serial %s: %w", role, secret, serial, err)
	}
	return nil
}

// awaitAge waits until a DestinationRule is a second old.
func (l *Lab) awaitAge(ctx context.Context, k manifest.Key) error {
	older := &istio.DestinationRule{}
	if err := l.kube.Objects().Get(ctx, k.Name, k.Namespace, older); err != nil {
		return fmt.Errorf("look up the age of %s: %w", k, err)
	}
	select {
	case <-time.After(time.Until(older.CreationTimestamp.Add(time.Second))):
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait until %s is a second old: %w", k, context.Cause(ctx))
	}
}

// awaitFiles waits until the kubelet has written the gateway's files. It does so
// at its next look at the pod, within a minute or so; an annotation makes it look
// now.
func (l *Lab) awaitFiles(ctx context.Context, c manifest.FilesShow) error {
	ctx, cancel := within(ctx, l.limits.Ready)
	defer cancel()
	gateway, err := l.Source.Pod(subject.Gateway)
	if err != nil {
		return err
	}
	look := fmt.Sprintf(`{"metadata":{"annotations":{"twohop/files":%q}}}`, c.Serial)
	if _, err := l.kube.Typed.CoreV1().Pods(gateway.Namespace).Patch(ctx, gateway.Name, types.MergePatchType, []byte(look), metav1.PatchOptions{}); err != nil {
		return fmt.Errorf("annotate the gateway's pod: %w", err)
	}
	err = observe.Poll(ctx, func() (bool, string, error) {
		raw, err := l.Source.Exec(ctx, subject.Gateway, l.subject().Gateway.Proxy, "cat", c.Dir+"/tls.crt")
		if err != nil {
			return false, "", err
		}
		certs, err := envoy.ParseCertificates(raw)
		if err != nil {
			return false, "", err
		}
		return certs[0].Serial == c.Serial, certs[0].Serial, nil
	})
	if err != nil {
		return fmt.Errorf("the gateway's %s does not hold the certificate %s: %w", c.Dir, c.Serial, err)
	}
	return nil
}

// awaitName waits until the application's pod is told the addresses of a name.
func (l *Lab) awaitName(ctx context.Context, c manifest.Resolves) error {
	ctx, cancel := within(ctx, l.limits.Push)
	defer cancel()
	want := slices.Sorted(slices.Values(c.Addresses))
	err := observe.Poll(ctx, func() (bool, string, error) {
		// It exits with 2 if there is no such name; echo turns that into no output.
		out, err := l.Source.Run(ctx, subject.Sidecar, l.subject().Client.Container,
			"sh", "-c", `getent ahostsv4 "$0." || echo`, c.Name)
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
		return fmt.Errorf("wait until DNS gives %s the addresses %v: %w", c.Name, want, err)
	}
	return nil
}

// retire ends hop 2's connections, once the gateway holds the baseline's
// certificate again: they would present another one to the claims that follow.
// The rest of the baseline has to be back: without hop 2's MUTUAL the gateway
// asks for no certificate.
func (l *Lab) retire(ctx context.Context) error {
	if err := l.awaitCredential(ctx); err != nil {
		return err
	}
	return l.replaceHop2(ctx)
}

// awaitCredential waits until the gateway holds the baseline's certificate: a
// restored Secret takes a moment to reach it.
func (l *Lab) awaitCredential(ctx context.Context) error {
	return l.awaitSerial(ctx, subject.Gateway, manifest.SDSName(l.home.Subject.Credential), l.Certificates.Credential.Serial())
}

// replaceHop2 replaces hop 2's cluster, and with it the connections, which a
// Secret that changes does not: for the time of a push its rule differs.
func (l *Lab) replaceHop2(ctx context.Context) error {
	s := l.home.Subject
	k := manifest.Key{Kind: "DestinationRule", Namespace: s.Gateway.Namespace, Name: s.Hop2Rule}
	rule, ok := l.current.Find(k).(*istio.DestinationRule)
	if !ok {
		return fmt.Errorf("there is no %s", k)
	}
	differs := rule.DeepCopy()
	manifest.PortSettings(differs.Spec.TrafficPolicy, uint32(s.ExternalPort)).ConnectionPool.Tcp.ConnectTimeout = durationpb.New(s.Hop2Pool.ConnectTimeout + time.Millisecond)
	now := l.current.Clone()
	interim := l.current.Clone()
	interim.Put(differs)
	if err := l.become(ctx, interim); err != nil {
		return err
	}
	if err := l.Barrier(ctx); err != nil {
		return err
	}
	return l.become(ctx, now)
}

// inARow is how often the partner has to answer before its Service is believed
// to lead to it alone: with another pod behind it too, each answer is a toss-up.
const inARow = 10

// awaitPartner waits until the partner's Service leads to the pod that is there
// now, and to no other: kube-proxy learns of both up to a second after the
// Deployment says that it is available. It asks from the gateway's pod, past
// every proxy, on a connection for each request.
func (l *Lab) awaitPartner(ctx context.Context) error {
	ctx, cancel := within(ctx, l.limits.Ready)
	defer cancel()
	if _, err := l.Source.Pod(subject.Gateway); err != nil {
		return err
	}
	log, err := l.Source.Log(subject.Partner)
	if err != nil {
		return err
	}
	address := l.Source.PartnerService()
	err = observe.Poll(ctx, func() (bool, string, error) {
		token, from := "ready-"+probe.NewToken(), log.Len()
		_, err := l.Source.Exec(ctx, subject.Gateway, l.subject().Gateway.Proxy,
			"curl", "--silent", "--show-error", "--output", "/dev/null", "--max-time", "2", "--header", "Connection: close",
			fmt.Sprintf("http://%s%s-[1-%d]", address, probe.Path(token), inARow))
		if err != nil {
			return false, err.Error(), nil
		}
		if err := l.Source.Flush(ctx, subject.Partner); err != nil {
			return false, "", err
		}
		answered := log.Count(from, live.Contains(token))
		return answered == inARow, fmt.Sprintf("it answered %d of %d requests", answered, inARow), nil
	})
	if err != nil {
		return fmt.Errorf("wait until the partner's Service at %s leads to its pod alone: %w", address, err)
	}
	return nil
}

// awaitGateways waits until hop 1 has exactly the gateways that are there as its hosts.
func (l *Lab) awaitGateways(ctx context.Context) error {
	ctx, cancel := within(ctx, l.limits.Ready)
	defer cancel()
	s, want := l.subject(), map[string]bool{}
	for _, role := range []subject.Role{subject.Gateway, subject.SecondGateway} {
		if pod, err := l.Source.Pod(role); err == nil {
			want[fmt.Sprintf("%s:%d", pod.IP, s.GatewayPort)] = true
		}
	}
	err := observe.Poll(ctx, func() (bool, string, error) {
		all, err := l.statuses(ctx, subject.Sidecar)
		if err != nil {
			return false, "", err
		}
		have := map[string]bool{}
		for _, status := range all {
			if status.Name == s.Hop1Cluster() {
				for _, host := range status.Hosts {
					// A host that is there may still be held back, and gets no call then.
					have[host.Address] = len(host.Flags) == 0 && (host.EDSHealth == "" || host.EDSHealth == "HEALTHY")
				}
			}
		}
		return maps.Equal(have, want), fmt.Sprint(have), nil
	})
	if err != nil {
		return fmt.Errorf("wait until hop 1's hosts are %v: %w", want, err)
	}
	return nil
}

func (l *Lab) statuses(ctx context.Context, role subject.Role) ([]envoy.ClusterStatus, error) {
	raw, err := l.Source.Admin(ctx, role, observe.HostsPath)
	if err != nil {
		return nil, err
	}
	return envoy.ParseClusterStatuses(raw)
}

// awaitEndpoints waits until the gateway's Service is what the sidecar has: its
// EndpointSlices and the sidecar's clusters follow a changed Service by
// themselves, and no push says so.
func (l *Lab) awaitEndpoints(ctx context.Context) error {
	ctx, cancel := within(ctx, l.limits.Push)
	defer cancel()
	s := l.home.Subject
	ns, name := s.Gateway.Namespace, s.GatewayService
	service, err := l.kube.Typed.CoreV1().Services(ns).Get(ctx, name, metav1.GetOptions{})
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
	err = observe.Poll(ctx, func() (bool, string, error) {
		slices, err := l.kube.Typed.DiscoveryV1().EndpointSlices(ns).List(ctx, metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=" + name})
		if err != nil {
			return false, "", err
		}
		if last := foreignPort(slices.Items, targets); last != "" {
			return false, last, nil
		}
		all, err := l.statuses(ctx, subject.Sidecar)
		if err != nil {
			return false, "", err
		}
		have, last := servicePorts(all, s.GatewayFQDN(), targets)
		if last != "" {
			return false, last, nil
		}
		return maps.Equal(have, ports), fmt.Sprintf("the sidecar has clusters for the ports %v", have), nil
	})
	if err != nil {
		return fmt.Errorf("wait until the sidecar has the ports and target ports of Service %s/%s: %w", ns, name, err)
	}
	return nil
}

func foreignPort(slices []discoveryv1.EndpointSlice, targets map[string]bool) string {
	for _, slice := range slices {
		for _, p := range slice.Ports {
			if p.Port != nil && !targets[fmt.Sprint(*p.Port)] {
				return fmt.Sprintf("EndpointSlice %s has port %d", slice.Name, *p.Port)
			}
		}
	}
	return ""
}

// servicePorts are the ports of a Service that a proxy has clusters with hosts
// for. A cluster of a port that the Service no longer has may stay behind,
// without hosts: of a port's clusters istiod remembers one, the plain or a
// subset's, and removes only that (pilot/pkg/networking/core/cluster.go,
// deltaFromServices).
func servicePorts(all []envoy.ClusterStatus, fqdn string, targets map[string]bool) (have map[string]bool, wrong string) {
	have = map[string]bool{}
	for _, status := range all {
		part := strings.Split(status.Name, "|") // outbound|PORT|SUBSET|HOST
		if len(part) != 4 || part[3] != fqdn {
			continue
		}
		if part[2] == "" && len(status.Hosts) > 0 {
			have[part[1]] = true
		}
		for _, host := range status.Hosts {
			if port := host.Address[strings.LastIndex(host.Address, ":")+1:]; !targets[port] {
				return nil, fmt.Sprintf("the sidecar's cluster %s has host %s", status.Name, host.Address)
			}
		}
	}
	return have, ""
}
