package audit

import (
	"fmt"
	"slices"
	"strings"

	"twohop/internal/channel"
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
	e.gateways()
	e.bypass()
	e.policies()
	e.entries()
	e.twice()
	e.accounts()
	a.report.Channels = append(a.report.Channels, e.describe())
	for _, id := range []string{"01", "02", "03", "04", "05", "06", "07", "08", "09", "10", "11", "12", "13", "14", "15", "16", "17", "18", "19", "20", "22", "23", "25", "26", "27", "28", "33"} {
		if e.arrived || len(c.Callers) > 0 && slices.Contains([]string{"03", "13", "14", "16", "17", "18"}, id) {
			a.passed(id, c.Host, "")
		}
	}
}

func (e *egress) find(f Finding, b blame) {
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
	if b.id != "" {
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
	f := Finding{Severity: Critical, Hop: 1, Proxy: name(w)}
	if !port.Routed && slices.ContainsFunc(e.Ports, func(p channel.Port) bool { return p.Routed }) {
		f.Severity = Medium // another port than the one that the channel is made for
	}
	if way.VirtualHost == "block_all" {
		f.ID, f.Hop = "13", 1
		f.Seen, f.Wanted, f.Claim = fmt.Sprintf("on port %s the sidecar answers 502: no route takes the request (block_all)", port), "the request goes to the gateway", "T3-registry-only"
		e.stopped = append(e.stopped, stop{w, f, e.blameNoRoute(w, s, port), false})
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
			e.stopped = append(e.stopped, stop{w, f, e.blameNoRoute(w, s, port), true})
		case share.Cluster == walk.BlackHole:
			f.ID, f.Hop = "13", 1
			f.Seen, f.Wanted, f.Claim = fmt.Sprintf("on port %s the sidecar drops the request (%s)", port, walk.BlackHole), "the request goes to the gateway", "T3-registry-only"
			e.stopped = append(e.stopped, stop{w, f, e.blameNoRoute(w, s, port), false})
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
			e.find(f, e.blameBypass(w, s, port, way, share))
		default:
			f.ID, f.Seen, f.Wanted = "13", fmt.Sprintf("the route leads to %s%s, which is not the gateway", to.host, shareText(share)), "the request goes to the gateway"
			if _, err := s.Upstream(share.Cluster); err != nil {
				f.ID, f.Seen = "18", fmt.Sprintf("the route leads to cluster %s, which the sidecar does not have", share.Cluster)
			}
			e.find(f, e.blameDestination(w, s, way, share))
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

// hop1 judges the connection from a sidecar to the gateway.
func (e *egress) hop1(w *channel.Workload, s *walk.Config, port channel.Port, way walk.Way, share walk.Share) {
	to := parseCluster(share.Cluster)
	f := Finding{Severity: Critical, Hop: 1, Proxy: name(w)}
	u, err := s.Upstream(share.Cluster)
	if err != nil {
		f.ID = "18"
		f.Seen, f.Wanted = fmt.Sprintf("the route leads to cluster %s, which the sidecar does not have", share.Cluster), "a cluster of the gateway's Service"
		e.find(f, e.blameAbsent(w, s, way, to))
		return
	}
	hop := Hop{Number: 1, From: name(w), Cluster: share.Cluster, TLS: "plaintext", To: to.host, Rule: ruleOf(u)}
	pool, poolErr := u.Cluster.Pool()
	if poolErr == nil && pool.MaxConnections != nil && *pool.MaxConnections < 1<<32-1 {
		hop.Connections = fmt.Sprint(*pool.MaxConnections)
	}
	if u.TLS != nil {
		hop.TLS, hop.ServerName, hop.SANs = "simple", u.TLS.SNI, strings.Join(u.TLS.SANs, ", ")
		hop.Certificate = strings.Join(append(u.TLS.CertificateSDS, u.TLS.Certificates...), ", ")
		if hop.Certificate != "" {
			hop.TLS = "mutual"
		}
	}
	e.hops[fmt.Sprint("1", w.Namespace, w.Name, port, share.Cluster)] = hop
	e.pool(u, 1, name(w), to)
	if u.Known && len(u.Endpoints) == 0 {
		f.ID, f.Seen, f.Wanted = "03", fmt.Sprintf("cluster %s has no endpoint: requests get 503 (UH)", share.Cluster), "a gateway pod behind its Service"
		e.find(f, e.blameNoEndpoint(to))
		return
	}
	if !u.Known {
		e.find(Finding{ID: "03", Severity: High, Status: Unknown, Hop: 1, Proxy: name(w), Seen: "the endpoints of " + share.Cluster, Wanted: "the gateway's pods"}, blame{})
	}
	e.retries(w, way, 1)
	done := map[string]bool{}
	for _, end := range u.Endpoints {
		router := e.Pods[end.Address]
		if router == nil {
			continue
		}
		key := fmt.Sprint(router.Ref, end.Port)
		if done[key] {
			continue
		}
		done[key] = true
		e.arrive(w, port, way, u, router, end)
	}
	if len(done) == 0 && len(u.Endpoints) > 0 {
		e.find(Finding{ID: "03", Severity: High, Status: Unknown, Hop: 1, Proxy: name(w), Seen: "which pod has the address " + u.Endpoints[0].Address, Wanted: "the gateway's configuration"}, blame{})
	}
}

func ruleOf(u walk.Upstream) string {
	path, ok := u.Cluster.DestinationRule()
	if !ok {
		return ""
	}
	parts := strings.Split(strings.Trim(path, "/"), "/")
	if n := len(parts); n >= 3 {
		return parts[n-3] + "/" + parts[n-1]
	}
	return path
}

// arrive judges how a gateway takes a sidecar's connection.
func (e *egress) arrive(w *channel.Workload, port channel.Port, way walk.Way, u walk.Upstream, router *channel.Workload, end walk.Endpoint) {
	f := Finding{Severity: Critical, Hop: 1, Proxy: name(router)}
	view := e.Views[router]
	if router.Proxy != channel.Router {
		f.ID, f.Seen, f.Wanted = "19", fmt.Sprintf("%s has no gateway's proxy: %s", router.Ref, router.Why), "a pod with the injection template gateway"
		e.find(f, e.blameRouter(router))
		return
	}
	if view.Config == nil {
		e.find(Finding{ID: "29", Severity: High, Status: Unknown, Hop: 1, Proxy: name(router), Seen: view.Unknown, Wanted: "the gateway's configuration"}, of(router.Object, ""))
		return
	}
	r := way.Sample
	r.Port = end.Port
	if way.HTTP() {
		r.Authority = way.Route.Authority
		if r.Authority == "" {
			r.Authority = authorityOf(way.Sample, port)
		}
	}
	own := way.Sample.TLS // the application's TLS, inside hop 1's or as it is
	if u.TLS != nil {
		r.TLS, r.ServerName, r.ALPN = true, serverName(u, r), u.TLS.ALPN
	} else if !own {
		r.TLS = false
	}
	for _, in := range view.Config.Accept(r) {
		e.accepted(w, port, own, way, u, router, r, in)
	}
}

// authorityOf is what the application's Host header says.
func authorityOf(r walk.Request, port channel.Port) string {
	if port.Number == 80 && !port.TLS || port.Number == 443 && port.TLS {
		return r.Host
	}
	return fmt.Sprintf("%s:%d", r.Host, port.Number)
}

// serverName is the SNI of a connection of the cluster's for a request.
func serverName(u walk.Upstream, r walk.Request) string {
	if u.TLS.SNI != "" {
		return u.TLS.SNI
	}
	if p, err := u.Cluster.Pool(); err == nil && (p.AutoSNI || u.TLS.AutoHostSNI) {
		host, _, _ := strings.Cut(r.Authority, ":")
		if host == "" {
			host = r.Host
		}
		return host
	}
	return ""
}

// accepted judges one way through a gateway.
func (e *egress) accepted(w *channel.Workload, port channel.Port, own bool, way walk.Way, u walk.Upstream, router *channel.Workload, r walk.Request, in walk.Way) {
	f := Finding{Severity: Critical, Hop: 1, Proxy: name(router)}
	if in.End != "" && in.VirtualHost == "" && in.Routes == "" {
		f.ID, f.Wanted = "03", "a server of the Gateway takes the sidecar's connection"
		f.Seen = in.End
		e.find(f, e.blameRefused(w, way, u, router, r, in))
		return
	}
	if in.Chain.TLS != nil {
		e.mutual(w, u, router, in)
	} else if u.TLS != nil && !own {
		f.ID, f.Seen, f.Wanted = "19", fmt.Sprintf("the sidecar sends TLS to port %d, whose server does not end it", r.Port), "tls mode ISTIO_MUTUAL on the Gateway's server"
		e.find(f, e.blameServerTLS(r.Port))
	} else if !own {
		f.ID, f.Seen, f.Wanted = "19", "hop 1 is plaintext at both ends", "ISTIO_MUTUAL in the DestinationRule and in the Gateway"
		f.Claim = "H1-unpaired"
		e.find(f, e.blameServerTLS(r.Port))
	}
	if in.End != "" {
		f.ID, f.Seen, f.Wanted = "03", in.End, "a route of the gateway to "+e.Host
		if strings.HasPrefix(in.End, "the proxy answers") {
			f.ID = "33"
		}
		f.Hop = 2
		e.find(f, e.blameNoGatewayRoute(router, r, in))
		return
	}
	if in.Route.Abort {
		e.find(Finding{ID: "33", Severity: High, Hop: 2, Proxy: name(router), Seen: "a fault is injected into requests to " + e.Host, Wanted: "no fault"}, e.routeField(in, ".fault"))
	}
	e.reached = append(e.reached, router)
	e.rewritten(router, in)
	e.mirrors(router, in, 2)
	e.retries(router, in, 2)
	e.authorize(w, router, in)
	g := e.Views[router].Config
	for _, share := range in.Clusters {
		e.hop2(router, g, own, r, in, share)
	}
}

// mutual judges whether both ends of hop 1 use Istio's mutual TLS.
func (e *egress) mutual(w *channel.Workload, u walk.Upstream, router *channel.Workload, in walk.Way) {
	tls := in.Chain.TLS
	f := Finding{ID: "19", Severity: Critical, Hop: 1, Proxy: name(router), Wanted: "tls mode ISTIO_MUTUAL on the Gateway's server"}
	own := slices.Contains(tls.CertificateSDS, "default")
	switch {
	case !own:
		f.Seen = "the gateway presents " + orNothing(tls.CertificateSDS) + ", not its identity of the mesh"
		e.find(f, e.blameServerTLS(0))
		return
	case !tls.RequireClientCertificate:
		f.Seen = "the gateway asks for no client certificate"
		e.find(f, e.blameServerTLS(0))
		return
	}
	if u.TLS == nil {
		return // refused already
	}
	if u.TLS.AcceptsUntrusted {
		e.find(Finding{ID: "09", Severity: Critical, Hop: 1, Proxy: name(w), Seen: "the sidecar accepts a gateway with a certificate of any CA", Wanted: "no insecureSkipVerify"}, e.blameHop1TLS(u, ".insecureSkipVerify"))
	}
	f.Proxy, f.Wanted = name(w), "tls mode ISTIO_MUTUAL in hop 1's DestinationRule"
	if !slices.Contains(u.TLS.CertificateSDS, "default") {
		f.Seen = "the sidecar presents " + orNothing(slices.Concat(u.TLS.CertificateSDS, u.TLS.Certificates)) + ", not its identity of the mesh"
		e.find(f, e.blameHop1TLS(u, ".mode"))
		return
	}
	want := fmt.Sprintf("spiffe://%s/ns/%s/sa/%s", e.Mesh.TrustDomain, router.Namespace, router.Account)
	if sans := u.TLS.SANs; len(sans) > 0 && router.Assumed == "" && !slices.ContainsFunc(sans, func(s string) bool { return matches(s, want) }) {
		f.Seen, f.Wanted = "the sidecar accepts only "+strings.Join(sans, ", "), want
		e.find(f, e.blameHop1TLS(u, ".subjectAltNames"))
	}
}

func orNothing(names []string) string {
	if len(names) == 0 {
		return "no certificate"
	}
	return strings.Join(names, ", ")
}

// matches reports whether a matcher, as internal/envoy spells it, takes a name.
func matches(matcher, value string) bool {
	for {
		kind, rest, found := strings.Cut(matcher, ":")
		if !found {
			return false
		}
		switch kind {
		case "exact":
			return rest == value
		case "prefix":
			return strings.HasPrefix(value, rest)
		case "suffix":
			return strings.HasSuffix(value, rest)
		case "contains":
			return strings.Contains(value, rest)
		case "regex":
			return true // istiod makes none of what a rule says
		}
		matcher = rest
	}
}
