package walk

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"twohop/internal/envoy"
)

// Request is one that enters a proxy.
type Request struct {
	Host string
	// Port is the one that the caller connects to.
	Port int
	Path string
	// Headers that it has beside its authority.
	Headers map[string]string
	// Authority differs from Host and Port where a proxy has rewritten it.
	Authority string
	// TLS says that the caller encrypts by itself; then ServerName is its SNI.
	TLS        bool
	ServerName string
	ALPN       []string
}

// authority is what the request's Host header says.
func (r Request) authority() string {
	if r.Authority != "" {
		return r.Authority
	}
	if r.Port == 80 && !r.TLS || r.Port == 443 && r.TLS || r.Port == 0 {
		return r.Host
	}
	return r.Host + ":" + strconv.Itoa(r.Port)
}

// Clusters that are not made of anybody's object.
const (
	Passthrough = "PassthroughCluster"
	BlackHole   = "BlackHoleCluster"
)

// Way is how a proxy treats a kind of request.
type Way struct {
	Listener string
	Chain    Chain
	// Routes and VirtualHost are empty where the proxy forwards bytes.
	Routes      string
	VirtualHost string
	Route       Route
	// Sample is a request that goes this way.
	Sample   Request
	Clusters []Share
	// End says why the request does not go on; empty if it does.
	End string
}

// HTTP reports whether the proxy reads the request.
func (w Way) HTTP() bool { return w.Chain.HTTP }

// Outbound is what a sidecar does with a request of its application: one way for each
// route that requests to that host may take. The listener is that of the port, as
// Istio makes them; without one, the virtual listener decides.
func (c *Config) Outbound(r Request) []Way {
	l, ok := c.outboundListener(r.Port)
	if !ok {
		return []Way{c.unmatched("no listener for port "+strconv.Itoa(r.Port), r)}
	}
	chain, why := l.chain(r)
	if why != "" {
		return []Way{{Listener: l.Name, Sample: r, End: why}}
	}
	return c.along(l, chain, r)
}

// unmatched is what the virtual listener does with a connection that no listener takes.
func (c *Config) unmatched(why string, r Request) Way {
	for _, l := range c.Listeners {
		if l.Name != "virtualOutbound" {
			continue
		}
		for _, chain := range slices.Backward(l.Chains) {
			if len(chain.TCP) > 0 && (chain.Default || chain.Name == "virtualOutbound-catchall-tcp") {
				return Way{Listener: l.Name, Chain: chain, Sample: r, Clusters: chain.TCP}
			}
		}
	}
	return Way{Sample: r, End: why + ", and no virtual listener"}
}

func (c *Config) outboundListener(port int) (Listener, bool) {
	var found Listener
	ok := false
	for _, l := range c.Listeners {
		if l.Port != port || l.Name == "virtualOutbound" || l.Name == "virtualInbound" || strings.HasPrefix(l.Name, "connect_") {
			continue
		}
		if wildcard(l.Address) {
			return l, true
		}
	}
	return found, ok
}

// Accept is what a gateway does with a connection to a port: the ways of its requests.
func (c *Config) Accept(r Request) []Way {
	for _, l := range c.Listeners {
		if l.Port != r.Port || !wildcard(l.Address) && l.Address != "" {
			continue
		}
		if l.Name == "virtualInbound" || l.Name == "virtualOutbound" {
			continue
		}
		chain, why := l.chain(r)
		if why != "" {
			return []Way{{Listener: l.Name, Sample: r, End: why}}
		}
		if chain.TLS != nil && !r.TLS {
			return []Way{{Listener: l.Name, Chain: chain, Sample: r, End: "plaintext to a port that wants TLS"}}
		}
		return c.along(l, chain, r)
	}
	return []Way{{Sample: r, End: fmt.Sprintf("no listener on port %d", r.Port)}}
}

// chain chooses a filter chain as Envoy does: by server name, then by transport
// protocol, then by application protocol (the criteria that Istio uses).
func (l Listener) chain(r Request) (Chain, string) {
	transport := "raw_buffer"
	if r.TLS {
		transport = "tls"
	}
	best, rank := -1, -1
	for i, c := range l.Chains {
		if c.Default || len(c.Prefixes) > 0 && !everywhere(c.Prefixes) {
			continue
		}
		n := serverNameRank(c.ServerNames, r)
		if n < 0 || c.Transport != "" && c.Transport != transport {
			continue
		}
		n *= 4
		if c.Transport != "" {
			n += 2
		}
		if len(c.ALPN) > 0 {
			// Plain HTTP is recognized and matches http/1.1; TLS by its ALPN.
			alpn := r.ALPN
			if !r.TLS {
				alpn = []string{"http/1.1"}
			}
			if !slices.ContainsFunc(c.ALPN, func(p string) bool { return slices.Contains(alpn, p) }) {
				continue
			}
			n++
		}
		if n > rank {
			best, rank = i, n
		}
	}
	if best >= 0 {
		return l.Chains[best], ""
	}
	for _, c := range l.Chains {
		if c.Default {
			return c, ""
		}
	}
	if r.TLS {
		return Chain{}, fmt.Sprintf("no filter chain of %s for the server name %q", l.Name, r.ServerName)
	}
	return Chain{}, fmt.Sprintf("no filter chain of %s for plaintext", l.Name)
}

func everywhere(prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasSuffix(p, "/0") })
}

// serverNameRank says how well a chain's server names fit: -1 not at all, 0 it takes
// any, more is better.
func serverNameRank(names []string, r Request) int {
	if len(names) == 0 {
		return 0
	}
	if !r.TLS || r.ServerName == "" {
		return -1
	}
	best := -1
	sni := strings.ToLower(r.ServerName)
	for _, n := range names {
		switch n = strings.ToLower(n); {
		case n == sni:
			best = max(best, 1000)
		case strings.HasPrefix(n, "*.") && strings.HasSuffix(sni, n[1:]):
			best = max(best, len(n))
		}
	}
	return best
}

// along follows a chain to its clusters.
func (c *Config) along(l Listener, chain Chain, r Request) []Way {
	way := Way{Listener: l.Name, Chain: chain, Sample: r}
	if !chain.HTTP {
		way.Clusters = chain.TCP
		if len(chain.TCP) == 0 && !chain.OriginalSNI {
			way.End = "filter chain " + chain.Name + " leads nowhere"
		}
		return []Way{way}
	}
	if chain.TLS == nil && r.TLS {
		way.End = "TLS to a port that wants plain HTTP"
		return []Way{way}
	}
	routes := chain.Inline
	if routes == nil {
		found, ok := c.Routes[chain.RouteConfig]
		if !ok {
			way.End = fmt.Sprintf("route configuration %q is absent", chain.RouteConfig)
			return []Way{way}
		}
		routes = &found
	}
	way.Routes = routes.Name
	host, ok := routes.hostFor(r.authority())
	if !ok {
		way.End = fmt.Sprintf("404: no virtual host of route configuration %q is for %s", routes.Name, r.authority())
		return []Way{way}
	}
	way.VirtualHost = host.Name
	var ways []Way
	for _, route := range host.Routes {
		sample, fits := route.Match.sample(r)
		if !fits || shadowed(host.Routes, route, sample) {
			continue
		}
		w := way
		w.Route, w.Sample, w.Clusters = route, sample, route.Clusters
		switch {
		case route.Direct > 0:
			w.End = fmt.Sprintf("the proxy answers %d itself", route.Direct)
		case route.Redirect:
			w.End = "the proxy answers with a redirect"
		case len(route.Clusters) == 0 && !route.AuthorityOther:
			w.End = "the route has no cluster"
		}
		ways = append(ways, w)
		if r.Path != "" && fits {
			break // one request takes one way
		}
	}
	if len(ways) == 0 {
		way.End = fmt.Sprintf("404: no route of virtual host %s takes %s", host.Name, r.Path)
		return []Way{way}
	}
	return ways
}

// shadowed reports whether an earlier route takes all that a route could take.
func shadowed(routes []Route, route Route, sample Request) bool {
	for _, earlier := range routes {
		if earlier.Name == route.Name && earlier.Match.String() == route.Match.String() {
			return false
		}
		if earlier.Match.Any() {
			return true
		}
		if _, takes := earlier.Match.sample(sample); takes && len(earlier.Match.Headers) == 0 && earlier.Match.Kind == route.Match.Kind && earlier.Match.Value == route.Match.Value {
			return true
		}
	}
	return false
}

// sample is a request like r that the route takes: with a path of its own where r has
// none. It is false where r is a request that the route does not take.
func (m Match) sample(r Request) (Request, bool) {
	out := r
	if r.Path == "" {
		switch m.Kind {
		case "prefix", "path", "separated-prefix":
			out.Path = m.Value
		default:
			out.Path = "/" // stands for whatever it matches
		}
		out.Headers = m.Exact
		return out, true
	}
	ok := false
	switch m.Kind {
	case "prefix":
		ok = strings.HasPrefix(r.Path, m.Value)
	case "path":
		ok = r.Path == m.Value
	case "separated-prefix":
		ok = r.Path == m.Value || strings.HasPrefix(r.Path, m.Value+"/")
	case "regex":
		re, err := regexp.Compile("^(?:" + m.Value + ")$")
		ok = err == nil && re.MatchString(r.Path)
	}
	for _, h := range m.Headers {
		want, exact := m.Exact[h]
		have, has := r.Headers[h]
		ok = ok && has && (!exact || have == want)
	}
	return out, ok && !m.Query
}

// Upstream is how a proxy connects to a cluster's endpoints.
type Upstream struct {
	Cluster *envoy.Cluster
	// TLS is nil for plaintext.
	TLS *envoy.TLS
	// ByEndpoint says that TLS depends on the endpoint's metadata (Istio's auto mTLS).
	ByEndpoint bool
	Endpoints  []Endpoint
	// Known says whether the endpoints are known.
	Known bool
}

// Upstream is a cluster as its endpoints see it. A cluster that is absent is an
// *envoy.AbsentError.
func (c *Config) Upstream(name string) (Upstream, error) {
	k, ok := c.Clusters[name]
	if !ok {
		return Upstream{}, &envoy.AbsentError{Kind: "cluster", Name: name}
	}
	u := Upstream{Cluster: k}
	if k.Type() == "EDS" {
		service := k.Proto().GetEdsClusterConfig().GetServiceName()
		if service == "" {
			service = name
		}
		u.Endpoints, u.Known = c.Endpoints[service]
	} else {
		u.Known = true
		for _, e := range k.Endpoints() {
			host, port := e, 0
			if i := strings.LastIndexByte(e, ':'); i > 0 {
				host = e[:i]
				port, _ = strconv.Atoi(e[i+1:])
			}
			u.Endpoints = append(u.Endpoints, Endpoint{Address: host, Port: port})
		}
	}
	matches, err := k.TLSMatches()
	if err != nil {
		return u, err
	}
	if u.TLS, err = k.TLS(); err != nil {
		return u, err
	}
	for _, m := range matches {
		// The first that fits an endpoint wins; the one that fits all is the last.
		if len(m.Match) == 0 {
			u.TLS = m.TLS
			break
		}
		if m.Match["tlsMode"] == "istio" {
			u.ByEndpoint = true
			if len(u.Endpoints) > 0 && !slices.ContainsFunc(u.Endpoints, func(e Endpoint) bool { return e.TLSMode != "istio" }) {
				u.TLS = m.TLS
				break
			}
		}
	}
	return u, nil
}
