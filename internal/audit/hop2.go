package audit

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"twohop/internal/channel"
	"twohop/internal/objects"
	"twohop/internal/walk"
)

// rewritten finds a host that the gateway's route puts in the place of the caller's.
func (e *egress) rewritten(router *channel.Workload, in walk.Way) {
	if !in.HTTP() {
		return
	}
	e.made("36")
	if a := in.Route.Authority; a != "" && !strings.EqualFold(a, e.Sample()) {
		e.find(Finding{
			ID: "10", Severity: Medium, Hop: 2, Proxy: name(router), Title: "The partner gets the host that the caller names",
			Seen: "the partner gets the host " + a, Wanted: e.Sample() + ", unless the partner serves the other name",
			Why: "A rewritten host changes which of the partner's services answers and, where neither sni nor subjectAltNames are set, whose certificate is accepted.",
		}, e.routeField(in, ".rewrite.authority"))
	}
	if !slices.Contains(in.Route.Removed, "x-forwarded-client-cert") {
		e.find(Finding{ID: "36", Severity: Low, Hop: 2, Proxy: name(router), Seen: "the partner gets x-forwarded-client-cert, with the caller's namespace and service account", Wanted: "headers.request.remove: [x-forwarded-client-cert] on hop 2's route"}, e.routeField(in, ".headers.request.remove"))
	}
}

// entryPort is a port of the host's ServiceEntry.
func (e *egress) entryPort(number int) blame {
	for _, s := range e.Entries {
		for i, p := range s.Spec.GetPorts() {
			if int(p.GetNumber()) == number {
				return of(s.Object, fmt.Sprintf("spec.ports[%d]", i))
			}
		}
	}
	return e.entry("spec.ports")
}

// sdsPrefix begins the names of secrets that istiod reads from Kubernetes.
const sdsPrefix = "kubernetes://"

// hop2 judges the connection from the gateway to the partner.
func (e *egress) hop2(router *channel.Workload, g *walk.Config, own bool, r walk.Request, in walk.Way, share walk.Share) {
	to := parseCluster(share.Cluster)
	f := Finding{Severity: Critical, Hop: 2, Proxy: name(router)}
	if !e.isOutside(to.host) && !strings.HasPrefix(share.Cluster, "outbound|") {
		f.ID, f.Seen, f.Wanted = "13", "the gateway's route leads to "+share.Cluster, "a route to the partner"
		e.find(f, e.routeField(in, ""))
		return
	}
	u, err := g.Upstream(share.Cluster)
	if err != nil {
		f.ID = "18"
		f.Seen, f.Wanted = fmt.Sprintf("the gateway's route leads to cluster %s, which it does not have: requests get 503 (NC)", share.Cluster), "a ServiceEntry for that host and port"
		e.find(f, e.blameAbsentOutside(router, in, to))
		return
	}
	if e.isGatewayHost(to.host) {
		f.ID, f.Seen, f.Wanted = "13", "the gateway's route leads back to the gateway", "hop 1's route for the mesh only: gateways: [mesh] in its match"
		e.find(f, e.routeField(in, ".match"))
		return
	}
	e.arrived = true
	if slices.Contains(g.Warming, share.Cluster) && len(e.Hop2) > 0 {
		r := e.Hop2[0]
		e.find(Finding{
			ID: "04", Severity: Critical, Hop: 2, Proxy: name(router), Wanted: "a Secret that istiod serves to the gateway",
			Seen: "the gateway keeps its previous configuration: the update of " + share.Cluster + " waits for a Secret that istiod does not serve",
		}, of(r.Object, tlsField(r.Spec, to)+".credentialName"))
	}
	hop := Hop{Number: 2, From: name(router), To: to.host + ":" + to.port, Cluster: share.Cluster, TLS: "plaintext", Rule: ruleOf(u)}
	if pool, err := u.Cluster.Pool(); err == nil && pool.MaxConnections != nil && *pool.MaxConnections < 1<<32-1 {
		hop.Connections = fmt.Sprint(*pool.MaxConnections)
	}
	if own {
		hop.TLS = "caller's own"
	}
	key := fmt.Sprint("2", router.Ref, share.Cluster)
	defer func() { e.hops[key] = hop }()
	e.addresses(router, u, to)
	if t := u.TLS; t != nil {
		if in.Route.Authority != "" {
			r.Authority = in.Route.Authority
		}
		hop.TLS, hop.ServerName, hop.SANs = "simple", serverName(u, r), strings.Join(t.SANs, ", ")
		hop.Certificate = strings.Join(slices.Concat(t.CertificateSDS, t.Certificates), ", ")
		if hop.Certificate != "" {
			hop.TLS = "mutual"
		}
		if len(t.SANs) == 0 && autoSAN(u) {
			hop.SANs = "the server name (automatic)"
		}
	}
	e.pool(u, 2, name(router), to)
	e.lifetime(u, router)
	e.made("11")
	if !own {
		e.version(u, router, to)
	}
	switch {
	case u.TLS == nil && own:
		return
	case u.TLS != nil && own:
		f.ID, f.Seen, f.Wanted = "11", "the gateway adds TLS to traffic that the application already encrypted", "one layer of TLS on hop 2"
		f.Claim = ""
		e.find(f, e.blameHop2TLS(u, ".mode"))
		return
	case u.TLS == nil:
		f.ID, f.Seen, f.Wanted = "11", fmt.Sprintf("hop 2 leaves in plaintext to port %s", to.port), "tls mode MUTUAL in hop 2's DestinationRule"
		f.Claim = "T2-typo-hop2"
		e.find(f, e.blamePlaintext(router, u, to))
		return
	}
	if e.judged[key] {
		return
	}
	e.judged[key] = true
	e.certificate(router, u)
	e.partnerName(router, u, to, hop.ServerName)
	e.authority(router, u)
}

// withoutCallers audits hop 2 where hop 1 fails: by the requests that the gateway's own
// servers would take. Where none takes one, hop 2 is unknown.
func (e *egress) withoutCallers() {
	if e.arrived || len(e.Callers) == 0 {
		return
	}
	for _, router := range e.Routers {
		g := e.Views[router].Config
		if router.Proxy != channel.Router || g == nil {
			continue
		}
		for _, l := range g.Listeners {
			r := walk.Request{Host: e.Sample(), Authority: e.Sample(), Port: l.Port, TLS: true, ServerName: e.Sample()}
			for _, in := range g.Accept(r) {
				if in.End != "" || !in.HTTP() {
					continue
				}
				for _, share := range in.Clusters {
					if e.isOutside(parseCluster(share.Cluster).host) {
						e.hop2(router, g, false, r, in, share)
					}
				}
			}
		}
	}
	if !e.arrived {
		e.find(Finding{ID: "18", Severity: Medium, Status: Unknown, Hop: 2, Seen: "hop 2 was not audited: no request reaches a route of the gateway to " + e.Host, Wanted: "a hop 1 that reaches the gateway"}, blame{ref: objects.Ref{Kind: "VirtualService", Namespace: e.gatewayNamespace()}})
	}
}

// autoSAN reports whether Envoy verifies the server's name by itself.
func autoSAN(u walk.Upstream) bool {
	p, err := u.Cluster.Pool()
	return err == nil && (p.AutoSANValidation || u.TLS.AutoSNISANValidation) && u.TLS.SNI == ""
}

// addresses judges whether the gateway finds the partner's address.
func (e *egress) addresses(router *channel.Workload, u walk.Upstream, to target) {
	e.made("27")
	f := Finding{ID: "27", Severity: Critical, Hop: 2, Proxy: name(router), Wanted: "resolution DNS, or STATIC with addresses"}
	switch {
	case u.Cluster.Type() == "ORIGINAL_DST":
		f.Seen = "the gateway would connect to itself (resolution NONE keeps the original destination)"
		e.find(f, e.entryField(to, "spec.resolution"))
	case u.Known && len(u.Endpoints) == 0:
		f.Seen = "no address for " + to.host + ": requests get 503 (UH)"
		field := "spec.endpoints"
		if entries := e.Mesh.EntriesFor(to.host); len(entries) > 0 && len(entries[0].Spec.GetEndpoints()) == 0 {
			field = "spec.resolution" // DNS would look the host up
		}
		e.find(f, e.entryField(to, field))
	}
	for _, end := range u.Endpoints {
		if s := e.Mesh.Service(end.Address); s != nil && slices.Contains(e.Services, s) {
			f.Seen = "the ServiceEntry's address is the gateway itself"
			e.find(f, e.entryField(to, "spec.endpoints"))
		}
		if strings.HasSuffix(end.Address, ".svc."+e.Mesh.Domain) && e.Mesh.Service(end.Address) == nil && e.namespaceGiven(end.Address) {
			e.find(Finding{ID: "27", Severity: High, Status: Unknown, Hop: 2, Proxy: name(router), Seen: "there is no Service " + end.Address + " in the input", Wanted: "the Service, or another address"}, e.entryField(to, "spec.endpoints[0].address"))
		}
	}
}

// namespaceGiven reports whether the input has Services of the namespace in a Service's
// full name: then one that is missing may be a mistake.
func (e *egress) namespaceGiven(host string) bool {
	parts := strings.Split(host, ".")
	return len(parts) > 2 && slices.ContainsFunc(e.Mesh.Services, func(s *channel.Service) bool { return s.Namespace == parts[1] && !s.Assumed })
}

// certificate judges what the gateway presents to the partner.
func (e *egress) certificate(router *channel.Workload, u walk.Upstream) {
	t := u.TLS
	f := Finding{Severity: Critical, Hop: 2, Proxy: name(router)}
	switch {
	case slices.Contains(t.CertificateSDS, "default"):
		f.ID, f.Seen, f.Wanted = "19", "the gateway presents its mesh certificate to the partner", "tls mode MUTUAL with credentialName"
		f.Title, f.Why, f.Claim = "Hop 2 presents the partner's client certificate", "ISTIO_MUTUAL uses the mesh CA and SPIFFE names. The partner trusts neither.", "G2"
		e.find(f, e.blameHop2TLS(u, ".mode"))
	case len(t.CertificateSDS) == 0 && len(t.Certificates) == 0:
		f.ID, f.Severity = "19", Medium
		f.Title, f.Why, f.Claim = "Hop 2 presents a client certificate", "A partner that requires one rejects the call. A partner that does not cannot identify the caller.", "G2-control"
		f.Seen, f.Wanted = "mode SIMPLE: the gateway presents no client certificate", "tls mode MUTUAL with credentialName, if the partner demands a client certificate"
		if e.holdsClientKey(router, t.ValidationSDS) {
			f.Severity = High
			f.Seen += ", though its Secret holds one"
		}
		e.find(f, e.blameHop2TLS(u, ".mode"))
	}
	for _, sds := range t.CertificateSDS {
		if credential, ok := strings.CutPrefix(sds, sdsPrefix); ok {
			e.credential(router, u, credential)
			e.access(router)
		}
	}
	if len(t.CertificateSDS) == 0 && strings.HasPrefix(t.ValidationSDS, sdsPrefix) {
		e.caOnly(router, u, strings.TrimPrefix(t.ValidationSDS, sdsPrefix))
		e.access(router)
	}
}

// partnerName judges which name the partner is asked for, and which it has to prove.
func (e *egress) partnerName(router *channel.Workload, u walk.Upstream, to target, sni string) {
	e.made("08", "10")
	t := u.TLS
	f := Finding{Hop: 2, Proxy: name(router)}
	host := e.Sample()
	pinned := len(t.SANs) > 0 || autoSAN(u)
	if !pinned && !e.skipsVerification(u) {
		f.ID, f.Severity = "08", High
		f.Seen, f.Wanted = "no subjectAltNames: the gateway does not check the name in the partner's certificate", "subjectAltNames: ["+host+"]"
		e.find(f, e.blameHop2TLS(u, ".subjectAltNames"))
	}
	covered := func(n string) bool {
		return slices.ContainsFunc(t.SANs, func(s string) bool { return matches(s, n) || wildcardSAN(s, n) })
	}
	if len(t.SANs) > 0 && !covered(host) && !covered(to.host) && !(sni != "" && covered(sni)) {
		f.ID, f.Severity = "08", Medium
		f.Seen, f.Wanted = "the partner has to be "+strings.Join(t.SANs, ", ")+", which is neither the host nor the server name", "the name in the partner's certificate, such as "+host
		if channel.Near(strings.TrimPrefix(lastPart(t.SANs[0]), "*."), host) {
			f.Severity = High
		}
		e.find(f, e.blameHop2TLS(u, ".subjectAltNames"))
	}
	if sni != "" && !strings.EqualFold(sni, host) && !strings.EqualFold(sni, to.host) && !channel.Covers(to.host, sni) {
		f.ID, f.Severity = "10", Medium
		f.Seen, f.Wanted = "sni: "+sni, "sni: "+host+", unless the partner expects "+sni
		if channel.Near(sni, host) || len(t.SANs) > 0 && !covered(sni) {
			f.Severity = High
		}
		e.find(f, e.blameHop2TLS(u, ".sni"))
	}
	if sni == "" {
		f.ID, f.Severity, f.Seen, f.Wanted = "10", High, "the partner gets no server name", "sni: "+host
		e.find(f, e.blameHop2TLS(u, ".sni"))
	}
}

func lastPart(matcher string) string { return matcher[strings.LastIndexByte(matcher, ':')+1:] }

// wildcardSAN reports whether a pinned name such as "*.example.com" stands for a host.
func wildcardSAN(matcher, host string) bool {
	n := lastPart(matcher)
	return strings.HasPrefix(n, "*.") && channel.Covers(n, host)
}

// authority judges what the partner's certificate is verified with.
func (e *egress) authority(router *channel.Workload, u walk.Upstream) {
	e.made("09")
	t := u.TLS
	f := Finding{Severity: Critical, Hop: 2, Proxy: name(router)}
	switch {
	case t.AcceptsUntrusted:
		f.ID, f.Seen, f.Wanted = "09", "the gateway accepts a certificate of any CA (insecureSkipVerify)", "the partner's CA, and insecureSkipVerify left out"
		e.find(f, e.blameHop2TLS(u, ".insecureSkipVerify"))
	case e.skipsVerification(u):
		f.ID, f.Seen, f.Wanted = "09", "the gateway accepts any certificate (insecureSkipVerify)", "insecureSkipVerify left out, the partner's CA, and subjectAltNames"
		e.find(f, e.blameHop2TLS(u, ".insecureSkipVerify"))
	case t.ValidationSDS == "" && t.CA == "":
		f.ID, f.Seen, f.Wanted = "09", "the gateway has no CA for the partner's certificate", "a CA: in the credential's Secret, in caCertificates, or the system's"
		e.find(f, e.blameHop2TLS(u, ".caCertificates"))
	case t.ValidationSDS == "ROOTCA" || t.ValidationSDS == "default":
		f.ID, f.Seen, f.Wanted = "06", "the partner is verified with the mesh's own CA", "the partner's CA"
		e.find(f, e.blameHop2TLS(u, ".mode"))
	case e.holdsCA(router, t.ValidationSDS):
		e.made("06")
	}
}

// skipsVerification reports whether the rule that applies asks for no verification.
func (e *egress) skipsVerification(u walk.Upstream) bool {
	b := e.blameHop2TLS(u, "")
	return b.object != nil && bytes.Contains(b.object.JSON, []byte(`"insecureSkipVerify":true`))
}

// version judges which HTTP version hop 2 speaks.
func (e *egress) version(u walk.Upstream, router *channel.Workload, to target) {
	p, err := u.Cluster.Pool()
	if err != nil {
		return // which pool has said
	}
	e.made("25")
	if p.Protocol != "http2" {
		return
	}
	e.find(Finding{
		ID: "25", Severity: Medium, Hop: 2, Proxy: name(router), Seen: "hop 2 always uses HTTP/2", Wanted: "HTTP/1.1, unless the partner is known to speak HTTP/2",
	}, e.blameHTTP2(u, to))
}

// lifetime judges how long connections to the partner last.
func (e *egress) lifetime(u walk.Upstream, router *channel.Workload) {
	p, err := u.Cluster.Pool()
	if err != nil || u.TLS == nil {
		return
	}
	e.made("22")
	if p.MaxConnectionDuration != nil {
		return
	}
	e.find(Finding{
		ID: "22", Severity: Low, Hop: 2, Proxy: name(router), Seen: "connections to the partner have no maxConnectionDuration",
		Wanted: "a maxConnectionDuration shorter than the certificate rotation window",
	}, e.blameHop2(u, "connectionPool.tcp.maxConnectionDuration"))
}

// retries judges a route's retries.
func (e *egress) retries(w *channel.Workload, way walk.Way, hop int) {
	if !way.HTTP() {
		return
	}
	e.made("26")
	r := way.Route
	explicit := false
	for _, on := range []string{"5xx", "gateway-error", "reset", "retriable-4xx"} {
		for _, have := range strings.Split(r.RetryOn, ",") {
			explicit = explicit || strings.TrimSpace(have) == on
		}
	}
	if r.Retries == 0 || !explicit {
		return
	}
	e.find(Finding{
		ID: "26", Severity: Medium, Hop: hop, Proxy: name(w), Seen: fmt.Sprintf("up to %d retries on %s, for every method", r.Retries, r.RetryOn),
		Wanted: "attempts: 0 for calls that must not be repeated, on one of the hops at least",
	}, e.routeField(way, ".retries"))
}
