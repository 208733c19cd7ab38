package trial

import (
	"context"
	"fmt"
	"strings"

	"github.com/onsi/gomega/types"

	"twohop/internal/observe"
	"twohop/internal/probe"
	"twohop/internal/sockets"
	"twohop/internal/verdict"
)

// Sockets are a proxy's TCP sockets as the kernel lists them.
type Sockets struct {
	All  []sockets.Socket
	who  string
	t    *T
	path string
}

// Sockets lists the sockets of a proxy's pod.
func (t *T) Sockets(ctx context.Context, p *observe.Proxy) (*Sockets, error) {
	witness := t.witness(p.Workload)
	raw, path, err := t.exec(ctx, p.Workload.Namespace, p.Pod, p.Workload.Proxy, witness, "sockets.txt", "the sockets of the "+t.who(p), sockets.List)
	if err != nil {
		return nil, err
	}
	s := &Sockets{who: t.who(p), t: t, path: path}
	if s.All, err = sockets.Parse(raw); err != nil {
		return nil, fmt.Errorf("%s: %w", s.who, err)
	}
	return s, nil
}

// Fact states a fact about the sockets.
func (s *Sockets) Fact(name string, seen any, want types.GomegaMatcher) bool {
	return s.t.Fact(fmt.Sprintf("%s's sockets: %s", s.who, name), seen, want, s.path)
}

// KernelCount reads one of the kernel's counters of a pod's network namespace,
// such as "TcpExtTCPKeepAlive". A counter that this kernel has not is an error.
func (t *T) kernelCount(ctx context.Context, namespace, pod, container, witness, counter string) (int64, string, error) {
	raw, path, err := t.exec(ctx, namespace, pod, container, witness, "netstat.txt", "the kernel's counters of "+pod, sockets.Counters)
	if err != nil {
		return 0, "", err
	}
	all, err := sockets.ParseCounters(raw)
	if err != nil {
		return 0, "", err
	}
	n, ok := all[counter]
	if !ok {
		return 0, "", fmt.Errorf("the kernel of %s/%s has no counter %s", namespace, pod, counter)
	}
	return n, path, nil
}

// KeepaliveProbes is how many keepalive probes a proxy's pod has sent.
func (t *T) KeepaliveProbes(ctx context.Context, p *observe.Proxy) (int64, string, error) {
	return t.kernelCount(ctx, p.Workload.Namespace, p.Pod, p.Workload.Proxy, t.witness(p.Workload), "TcpExtTCPKeepAlive")
}

// SwallowedConnects is how many connection attempts the partner's black hole
// (partner-nginx/manifest.yaml) has dropped without an answer.
func (t *T) SwallowedConnects(ctx context.Context) (int64, string, error) {
	return t.kernelCount(ctx, t.PartnerPod.Namespace, t.PartnerPod.Name, t.Subject.Partner.Container, verdict.WitnessPartner, "TcpExtListenDrops")
}

// exec runs a command in a container and keeps what it printed.
func (t *T) exec(ctx context.Context, namespace, pod, container, witness, name, what string, command []string) (raw []byte, path string, err error) {
	if raw, _, err = t.Kube.Exec(ctx, namespace, pod, container, command...); err != nil {
		return nil, "", err
	}
	typed := strings.Join([]string{"kubectl exec -n", namespace, pod, "-c", container, "--", probe.Quote(command)}, " ")
	t.Step(what, typed)
	path, err = t.Save(witness+"-"+name, verdict.KindText, witness, typed, raw)
	return raw, path, err
}
