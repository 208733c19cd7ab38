package audit

import (
	"fmt"
	"slices"
	"strings"

	"twohop/internal/channel"
	"twohop/internal/walk"
)

// hop1 judges the connection from a sidecar to the gateway.
func (e *egress) hop1(w *channel.Workload, s *walk.Config, port channel.Port, way walk.Way, share walk.Share) {
	to := parseCluster(share.Cluster)
	f := Finding{Severity: Critical, Hop: 1, Proxy: name(w)}
	u, err := s.Upstream(share.Cluster)
	if err != nil {
		f.ID = "18"
		f.Seen, f.Wanted = fmt.Sprintf("the route leads to cluster %s, which the sidecar does not have", share.Cluster), "a cluster of the gateway's Service"
		e.find(f, e.blameAbsent(w, way, to))
		return
	}
	e.made("17", "18")
	hop := Hop{Number: 1, From: name(w), Cluster: share.Cluster, TLS: "plaintext", To: to.host, Rule: ruleOf(u)}
	pool, poolErr := u.Cluster.Pool()
	if poolErr == nil && pool.MaxConnections != nil && *pool.MaxConnections < 1<<32-1 {
		hop.Connections = fmt.Sprint(*pool.MaxConnections)
	}
	if u.TLS != nil {
		hop.TLS, hop.ServerName, hop.SANs = "simple", u.TLS.SNI, strings.Join(u.TLS.SANs, ", ")
		hop.Certificate = strings.Join(slices.Concat(u.TLS.CertificateSDS, u.TLS.Certificates), ", ")
		if hop.Certificate != "" {
			hop.TLS = "mutual"
		}
	}
	e.hops[fmt.Sprint("1", w.Namespace, w.Name, port, share.Cluster)] = hop
	e.pool(u, 1, name(w), to)
	if u.Known && len(u.Endpoints) == 0 {
		f.ID, f.Seen, f.Wanted = "03", fmt.Sprintf("cluster %s has no endpoint: requests get 503 (UH)", share.Cluster), "a gateway pod behind its Service"
		b := e.blameNoEndpoint(to)
		if s := e.Mesh.Service(to.host); s != nil && s.Spec.ClusterIP == "None" {
			b = blame{object: s.Object, ref: s.Ref, field: "spec.clusterIP", seen: "a headless Service: the sidecar connects to the address that the application called, not to the gateway", wanted: "a Service with a cluster IP"}
		} else if u.Cluster.Type() == "ORIGINAL_DST" {
			b = e.blameHop1TLS(u, "")
			b.field, b.seen, b.wanted = strings.TrimSuffix(b.field, "tls")+"loadBalancer.simple", "PASSTHROUGH: the sidecar connects to the address that the application called, not to the gateway", "another load balancer"
		}
		e.find(f, b)
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
		f.ID, f.Seen, f.Wanted = "19", fmt.Sprintf("%s has no gateway's proxy: %s", router.Ref, router.Why), "a pod with annotation inject.istio.io/templates: gateway"
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
	e.made("02", "03")
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
		f.ID, f.Seen, f.Wanted = "19", fmt.Sprintf("the sidecar sends TLS to port %d, whose Gateway server does not terminate TLS", r.Port), "tls mode ISTIO_MUTUAL on the Gateway's server"
		e.find(f, e.blameServerTLS())
	} else if !own {
		f.ID, f.Seen, f.Wanted = "19", "hop 1 is plaintext at both ends", "ISTIO_MUTUAL in the DestinationRule and in the Gateway"
		f.Claim = "H1-unpaired"
		e.find(f, e.blameServerTLS())
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
	e.made("19")
	tls := in.Chain.TLS
	f := Finding{ID: "19", Severity: Critical, Hop: 1, Proxy: name(router), Wanted: "tls mode ISTIO_MUTUAL on the Gateway's server"}
	own := slices.Contains(tls.CertificateSDS, "default")
	switch {
	case !own:
		f.Seen = "the gateway presents " + orNothing(tls.CertificateSDS) + ", not its mesh identity"
		e.find(f, e.blameServerTLS())
		return
	case !tls.RequireClientCertificate:
		f.Seen = "the gateway asks for no client certificate"
		e.find(f, e.blameServerTLS())
		return
	}
	if u.TLS == nil {
		return // refused already
	}
	if u.TLS.AcceptsUntrusted {
		e.find(Finding{ID: "09", Severity: Critical, Hop: 1, Proxy: name(w), Seen: "the sidecar accepts a gateway certificate from any CA", Wanted: "no insecureSkipVerify"}, e.blameHop1TLS(u, ".insecureSkipVerify"))
	}
	f.Proxy, f.Wanted = name(w), "tls mode ISTIO_MUTUAL in hop 1's DestinationRule"
	if !slices.Contains(u.TLS.CertificateSDS, "default") {
		f.Seen = "the sidecar presents " + orNothing(slices.Concat(u.TLS.CertificateSDS, u.TLS.Certificates)) + ", not its mesh identity"
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
