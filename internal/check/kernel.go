package check

import (
	"fmt"
	"strings"
	"time"

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
	return t.socketsIn(t.Who(p), raw, path, sockets.Parse)
}

// PartnerSockets lists the sockets of the partner's pod, whose image need not
// have ss.
func (t *T) PartnerSockets() *Sockets {
	raw, path := t.exec(t.Partner, t.Subject.Partner.Container, "sockets.txt", "the sockets of the partner", sockets.Table)
	return t.socketsIn("partner", raw, path, sockets.ParseTable)
}

func (t *T) socketsIn(who string, raw []byte, path string, parse func([]byte) ([]sockets.Socket, error)) *Sockets {
	all, err := parse(raw)
	if err != nil {
		t.Abort("the sockets of the %s: %w", who, err)
	}
	return &Sockets{All: all, who: who, t: t, path: path}
}

// AwaitProbed waits until each of the gateway's connections of hop 2 has carried
// no data for so long when the partner acknowledged a keepalive probe, or until
// there is no such connection.
func (t *T) AwaitProbed(after time.Duration) *Sockets {
	what := fmt.Sprintf("the partner has acknowledged a keepalive probe %s after the last data on hop 2, or the connection is gone", after)
	t.pause(what, after)
	q, meta := t.command(t.Gateway.Pod, t.Gateway.Workload.Proxy, "sockets.txt", "the gateway's sockets, with what the kernel knows of them", sockets.ListInfo)
	a := t.ask(observe.Until{Ask: q, What: what, Limit: t.Limits.Line, Done: func(raw []byte) (bool, string, error) {
		all, err := sockets.Parse(raw)
		if err != nil {
			return false, "", err
		}
		probed := sockets.Probed(t.Hop2Sockets(&Sockets{All: all}))
		return probed == nil || *probed >= after, "after " + show(plain(probed)), nil
	}}, meta)
	return t.socketsIn(t.Who(t.Gateway), a.Raw, a.Path, sockets.Parse)
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
	a := t.ask(t.command(p, container, name, what, command))
	return a.Raw, a.Path
}

// command notes a command in a container for people, and is the question for it.
func (t *T) command(p observe.Pod, container, name, what string, command []string) (observe.Exec, observe.Meta) {
	typed := strings.Join([]string{"kubectl exec -n", p.Namespace, p.Name, "-c", container, "--", probe.Quote(command)}, " ")
	t.Step(what, typed)
	return observe.Exec{Role: p.Role, Container: container, Command: command},
		observe.Meta{Name: fileOf(p.Role) + "-" + name, Kind: verdict.KindText, Witness: witness(p.Role), Command: typed}
}

// HopSockets are the established sockets of the two hops.
type HopSockets struct {
	Sidecar, Gateway, Partner *Sockets
	// Hop1 are those that the sidecar opened to the gateway, Hop2 those that the
	// gateway opened to the partner; Hop1End and Hop2End are the other ends of them.
	Hop1, Hop1End, Hop2, Hop2End []sockets.Socket
}

// HopSockets lists the sockets of both hops.
func (t *T) HopSockets() HopSockets {
	s := HopSockets{Sidecar: t.Sockets(t.Sidecar), Gateway: t.Sockets(t.Gateway), Partner: t.PartnerSockets()}
	s.Hop1 = sockets.To(s.Sidecar.All, address(t.Gateway.IP, t.Subject.GatewayPort))
	s.Hop2 = t.Hop2Sockets(s.Gateway)
	s.Hop1End, s.Hop2End = sockets.Ends(s.Gateway.All, s.Hop1), sockets.Ends(s.Partner.All, s.Hop2)
	return s
}

// Hop2Sockets picks those of a gateway's sockets that it opened to the partner.
func (t *T) Hop2Sockets(gateway *Sockets) []sockets.Socket {
	return sockets.To(gateway.All, address(t.PartnerService, t.Subject.ExternalPort))
}
