package audit

import (
	"fmt"
	"slices"
	"strings"

	"twohop/internal/channel"
	"twohop/internal/objects"
	"twohop/internal/walk"
)

// egress is the audit of one channel.
type egress struct {
	*auditor
	*channel.Channel
	hops map[string]Hop
	// arrived says that a caller's connection reached hop 2.
	arrived bool
	// judged are the gateways' clusters that were looked at.
	judged map[string]bool
	// allowed counts the callers that a gateway's policies let through; denied are the
	// policies that turn callers away.
	allowed map[*channel.Workload]int
	denied  map[*channel.Workload][]denial
	// reached are routers that a sidecar's connection arrives at.
	reached []*channel.Workload
	// led are the callers that some way leads to the gateway.
	led []*channel.Workload
	// stopped are callers whose requests no route takes: strangers to the channel, or cut
	// off from it.
	stopped []stop
}

// channel audits one channel.
func (a *auditor) channel(c *channel.Channel) {
	e := &egress{auditor: a, Channel: c, hops: map[string]Hop{}, judged: map[string]bool{}, allowed: map[*channel.Workload]int{}, denied: map[*channel.Workload][]denial{}}
	e.typos()
	for _, w := range c.Callers {
		e.caller(w)
	}
	e.strangers()
	if len(c.Callers) == 0 {
		e.noCallers()
	}
	if len(c.Ports) == 0 {
		e.find(Finding{ID: "13", Severity: High, Status: Unknown, Hop: 1, Seen: "this channel is TCP, which is not audited", Wanted: "a look at both hops by hand"}, e.routeBlame())
	}
	e.withoutCallers()
	e.gateways()
	e.bypass()
	e.policies()
	e.entries()
	e.twice()
	e.accounts()
	a.report.Channels = append(a.report.Channels, e.describe())
}

// made notes that checks of the channel were made; what they find outweighs it.
func (e *egress) made(ids ...string) {
	for _, id := range ids {
		e.passed(id, e.Host, "")
	}
}

// unread reports whether objects that a check needs could not be read: all of them, or
// those of some namespaces. The check is unknown then.
func (e *egress) unread(f Finding, group, resource string, namespaces ...string) bool {
	for _, u := range e.Unread {
		if u.Group != group || u.Resource != "" && u.Resource != resource {
			continue
		}
		if len(namespaces) > 0 && len(u.Namespaces) > 0 && !slices.ContainsFunc(namespaces, func(n string) bool { return slices.Contains(u.Namespaces, n) }) {
			continue
		}
		f.Status, f.Seen, f.Wanted = Unknown, u.Why, "an audit that may list "+resource+"."+group
		e.find(f, blame{ref: objects.Ref{Kind: resource, Name: "(could not be read)"}})
		return true
	}
	return false
}

// routeBlame is the channel's VirtualService.
func (e *egress) routeBlame() blame {
	if len(e.VirtualServices) > 0 {
		return of(e.VirtualServices[0].Object, "spec.tcp")
	}
	return missing("VirtualService", e.gatewayNamespace(), "")
}

func (e *egress) find(f Finding, b blame) {
	if b.object != nil && e.rejected[b.object.Ref] && (f.Status == "" || f.Status == Fail) {
		e.explained[[2]string{f.ID, e.Host}] = true
		return // check 31 has named the object: this follows from it
	}
	f.Host = e.Host
	if f.Field == "" {
		f.Field = b.field
	}
	if f.Patch == "" {
		f.Patch = b.patch
	}
	if b.wanted != "" {
		f.Wanted = b.wanted
	}
	if b.seen != "" {
		f.Seen = b.seen
	}
	if b.id != "" && b.id != f.ID {
		e.explained[[2]string{f.ID, e.Host}] = true
		f.ID = b.id
	}
	if b.object == nil {
		f.Object = b.ref
	}
	e.add(f, b.object)
}

func name(w *channel.Workload) string {
	kind := "sidecar "
	if w.Proxy == channel.Router {
		kind = "gateway "
	}
	return kind + w.Namespace + "/" + w.Name
}

// stop is a caller whose requests no route takes.
type stop struct {
	caller  *channel.Workload
	finding Finding
	blame   blame
	// leaves says that the requests leave all the same.
	leaves bool
}

// strangers tells workloads that have nothing to do with the channel from callers that
// are cut off from it. A workload is a stranger if others reach the gateway and nothing
// that decides on its scope means the channel.
func (e *egress) strangers() {
	for _, s := range e.stopped {
		if len(e.led) > 0 && !slices.Contains(e.led, s.caller) && !e.meant(s.caller) {
			if !s.leaves {
				continue // it cannot call the host: nothing is wrong
			}
			s.finding.Severity = Medium
		}
		e.find(s.finding, s.blame)
	}
}

// meant reports whether a Sidecar resource shows its workloads a part of the channel, or
// almost does.
func (e *egress) meant(w *channel.Workload) bool {
	s := e.sidecarOf(w)
	if s == nil {
		return true
	}
	for _, l := range s.Spec.GetEgress() {
		for _, h := range l.GetHosts() {
			namespace, host, _ := strings.Cut(h, "/")
			for _, o := range e.Objects() {
				if namespace == o.Namespace || channel.Near(namespace, o.Namespace) {
					return true
				}
			}
			if channel.Covers(host, e.Sample()) && host != "*" || channel.Near(host, e.Sample()) {
				return true
			}
		}
	}
	return false
}

// caller follows the requests of one caller, on each port that callers use.
func (e *egress) caller(w *channel.Workload) {
	view := e.Views[w]
	if view.Config == nil {
		e.find(Finding{ID: "29", Severity: High, Status: Unknown, Hop: 1, Proxy: name(w), Seen: view.Unknown, Wanted: "the sidecar's configuration"}, of(w.Object, ""))
		return
	}
	if e.excluded(w) {
		return
	}
	for _, port := range e.Ports {
		r := walk.Request{Host: e.Sample(), Port: port.Number, TLS: port.TLS}
		if port.TLS {
			r.ServerName, r.ALPN = r.Host, []string{"h2", "http/1.1"}
		}
		for _, way := range view.Config.Outbound(r) {
			e.outbound(w, view.Config, port, way)
		}
	}
}

// outbound judges one way out of a sidecar.
func (e *egress) outbound(w *channel.Workload, s *walk.Config, port channel.Port, way walk.Way) {
	e.made("13", "33")
	f := Finding{Severity: Critical, Hop: 1, Proxy: name(w)}
	if !port.Routed && slices.ContainsFunc(e.Ports, func(p channel.Port) bool { return p.Routed }) {
		f.Severity = Medium // another port than the one that the channel is made for
	}
	if way.VirtualHost == "block_all" {
		f.ID, f.Hop = "13", 1
		f.Seen, f.Wanted, f.Claim = fmt.Sprintf("on port %s the sidecar answers 502: no route takes the request (block_all)", port), "the request goes to the gateway", "T3-registry-only"
		e.stopped = append(e.stopped, stop{w, f, e.blameNoRoute(w, port), false})
		return
	}
	if way.End != "" {
		f.ID, f.Seen, f.Wanted = "33", way.End, "the request goes to the gateway"
		b := e.blameEnd(w, port, way)
		if strings.HasPrefix(way.End, "the proxy answers") {
			e.find(f, b)
			return
		}
		f.ID = "13"
		e.find(f, b)
		return
	}
	if way.Route.Abort {
		e.find(Finding{ID: "33", Severity: High, Hop: 1, Proxy: name(w), Seen: "a fault is injected into requests to " + e.Host, Wanted: "no fault"}, e.routeField(way, ".fault"))
	}
	e.mirrors(w, way, 1)
	for _, share := range way.Clusters {
		to := parseCluster(share.Cluster)
		switch {
		case share.Cluster == walk.Passthrough:
			f.ID, f.Hop, f.Severity = "13", 0, Critical
			f.Seen = fmt.Sprintf("on port %s the request leaves by %s: past the gateway, as the application sent it", port, walk.Passthrough)
			f.Wanted, f.Claim = "the request goes to the gateway", "T3-passthrough"
			e.stopped = append(e.stopped, stop{w, f, e.blameNoRoute(w, port), true})
		case share.Cluster == walk.BlackHole:
			f.ID, f.Hop = "13", 1
			f.Seen, f.Wanted, f.Claim = fmt.Sprintf("on port %s the sidecar drops the request (%s)", port, walk.BlackHole), "the request goes to the gateway", "T3-registry-only"
			e.stopped = append(e.stopped, stop{w, f, e.blameNoRoute(w, port), false})
		case e.isGatewayHost(to.host):
			e.led = append(e.led, w)
			e.hop1(w, s, port, way, share)
		case e.isOutside(to.host):
			f.ID, f.Hop = "13", 0
			f.Seen = fmt.Sprintf("on port %s the sidecar connects to %s itself%s, past the gateway", port, to.host, shareText(share))
			f.Wanted, f.Claim = "the request goes to the gateway", "T3-se-port"
			if port.TLS {
				continue // an application that encrypts by itself is judged by its own routes
			}
			if f.Severity == Medium {
				e.find(f, e.entryPort(port.Number))
				continue
			}
			e.find(f, e.blameBypass(w, port, way, share))
		default:
			f.ID, f.Seen, f.Wanted = "13", fmt.Sprintf("the route leads to %s%s, which is not the gateway", to.host, shareText(share)), "the request goes to the gateway"
			if _, err := s.Upstream(share.Cluster); err != nil {
				f.ID, f.Seen = "18", fmt.Sprintf("the route leads to cluster %s, which the sidecar does not have", share.Cluster)
			}
			e.find(f, e.blameDestination(way, share))
		}
	}
}

func shareText(s walk.Share) string {
	if s.Weight > 0 {
		return fmt.Sprintf(" with a weight of %d", s.Weight)
	}
	return ""
}

// target is what a cluster's name says of it.
type target struct {
	port   string
	subset string
	host   string
}

func parseCluster(name string) target {
	parts := strings.SplitN(name, "|", 4)
	if len(parts) != 4 {
		return target{host: name}
	}
	return target{port: parts[1], subset: parts[2], host: parts[3]}
}

func (e *egress) isGatewayHost(host string) bool {
	return slices.ContainsFunc(e.Services, func(s *channel.Service) bool { return s.Host == host })
}

func (e *egress) isOutside(host string) bool {
	return slices.ContainsFunc(e.Outside, func(h string) bool { return channel.Covers(h, host) })
}

// mirrors finds copies of requests: they go wherever the mirror says.
func (e *egress) mirrors(w *channel.Workload, way walk.Way, hop int) {
	for _, m := range way.Route.Mirrors {
		e.find(Finding{
			ID: "13", Severity: High, Hop: hop, Proxy: name(w), Title: "Requests are not copied elsewhere",
			Seen: "each request is also sent to " + parseCluster(m).host, Wanted: "no mirror, or one through the gateway",
			Why: "A mirror gets the whole request, and nobody waits for its answer: what it sends in the clear is not noticed.",
		}, e.routeField(way, ".mirror"))
	}
}
