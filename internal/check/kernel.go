package check

import (
	"fmt"
	"strings"

	"github.com/onsi/gomega/types"

	"twohop/internal/envoy"
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
func (t *T) Sockets(p *Proxy) *Sockets {
	raw, path := t.exec(p.Pod, p.Workload.Proxy, "sockets.txt", "the sockets of the "+t.Who(p), sockets.List)
	s := &Sockets{who: t.Who(p), t: t, path: path}
	var err error
	if s.All, err = sockets.Parse(raw); err != nil {
		t.Abort("%s: %w", s.who, err)
	}
	return s
}

// Fact states a fact about the sockets.
func (s *Sockets) Fact(name string, seen any, want types.GomegaMatcher) bool {
	return s.t.Fact(fmt.Sprintf("%s's sockets: %s", s.who, name), seen, want, s.path)
}

// KernelCounter is one of the kernel's counters of a pod's network namespace.
type KernelCounter struct {
	value int64
	name  string
	t     *T
	path  string
}

// KeepaliveProbes is how many keepalive probes a proxy's pod has sent.
func (t *T) KeepaliveProbes(p *Proxy) *KernelCounter {
	return t.kernelCounter(p.Pod, p.Workload.Proxy, t.Who(p)+"'s kernel: keepalive probes sent", "TcpExtTCPKeepAlive")
}

// SwallowedConnects is how many connection attempts the partner's black hole
// (partner-nginx/manifest.yaml) has dropped without an answer.
func (t *T) SwallowedConnects() *KernelCounter {
	return t.kernelCounter(t.Partner, t.Subject.Partner.Container, "partner's kernel: connection attempts dropped without an answer", "TcpExtListenDrops")
}

func (t *T) kernelCounter(p observe.Pod, container, name, counter string) *KernelCounter {
	raw, path := t.exec(p, container, "netstat.txt", "the kernel's counters of "+p.Name, sockets.Counters)
	all, err := sockets.ParseCounters(raw)
	t.must(err)
	n, ok := all[counter]
	if !ok {
		t.Abort("the kernel of %s/%s has no counter %s", p.Namespace, p.Name, counter)
	}
	return &KernelCounter{value: n, name: name, t: t, path: path}
}

// Grew states by how much the counter grew since it was read before.
func (c *KernelCounter) Grew(before *KernelCounter, want types.GomegaMatcher) bool {
	return c.t.Fact(c.name+" meanwhile", c.value-before.value, want, before.path, c.path)
}

// GrewBecause is Grew where the counter says why a call failed.
func (c *KernelCounter) GrewBecause(before *KernelCounter, want types.GomegaMatcher) bool {
	return c.t.Because(c.name+" meanwhile", c.value-before.value, want, before.path, c.path)
}

// FileSerial is the serial of the first certificate in a file of the gateway,
// and where the file was kept.
func (t *T) FileSerial(file string) (serial, path string) {
	raw, path := t.exec(t.Gateway.Pod, t.Gateway.Workload.Proxy, "file.txt", "the gateway's "+file, []string{"cat", file})
	certs, err := envoy.ParseCertificates(raw)
	t.must(err)
	return certs[0].Serial, path
}

// exec runs a command in a container and keeps what it printed.
func (t *T) exec(p observe.Pod, container, name, what string, command []string) (raw []byte, path string) {
	typed := strings.Join([]string{"kubectl exec -n", p.Namespace, p.Name, "-c", container, "--", probe.Quote(command)}, " ")
	t.Step(what, typed)
	a := t.ask(observe.Exec{Role: p.Role, Container: container, Command: command},
		observe.Meta{Name: fileOf(p.Role) + "-" + name, Kind: verdict.KindText, Witness: witness(p.Role), Command: typed})
	return a.Raw, a.Path
}

// HopSockets are the established sockets of the two hops.
type HopSockets struct {
	Sidecar, Gateway *Sockets
	// Hop1 are those that the sidecar opened to the gateway, Hop1End the
	// gateway's ends of them, Hop2 those that the gateway opened to the partner.
	Hop1, Hop1End, Hop2 []sockets.Socket
}

// HopSockets lists the sockets of both hops.
func (t *T) HopSockets() HopSockets {
	s := HopSockets{Sidecar: t.Sockets(t.Sidecar), Gateway: t.Sockets(t.Gateway)}
	s.Hop1 = sockets.To(s.Sidecar.All, address(t.Gateway.IP, t.Subject.GatewayPort))
	s.Hop1End = sockets.At(s.Gateway.All, t.Subject.GatewayPort, t.Sidecar.IP)
	s.Hop2 = t.Hop2Sockets(s.Gateway)
	return s
}

// Hop2Sockets picks those of a gateway's sockets that it opened to the partner.
func (t *T) Hop2Sockets(gateway *Sockets) []sockets.Socket {
	return sockets.To(gateway.All, address(t.PartnerService, t.Subject.ExternalPort))
}
