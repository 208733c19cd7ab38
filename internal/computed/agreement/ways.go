package agreement

import (
	"fmt"
	"net"
	"strconv"
	"strings"

	"twohop/internal/envoy"
	"twohop/internal/subject"
	"twohop/internal/walk"
)

// ways holds what a proxy logged of its requests against where the computed
// configuration leads requests to that host and port: the route and the cluster of each
// line have to be among those. A line does not say the request's headers, by which a
// route may be chosen.
func ways(dump []byte, role subject.Role, lines []envoy.AccessLog) ([]Resource, error) {
	c, err := walk.Parse(dump)
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	var all []Resource
	for _, l := range lines {
		host, port, ok := entrance(l)
		if !ok {
			continue
		}
		name := fmt.Sprintf("%s:%d", host, port)
		if l.RequestedServerName != "" {
			name += " with the server name " + l.RequestedServerName
		}
		logged := turn(l.RouteName, l.UpstreamCluster)
		if seen[name+logged] {
			continue
		}
		seen[name+logged] = true
		all = append(all, Resource{Kind: ofRequests, Name: name, Differences: leads(c, role, l, host, port, name, logged)})
	}
	return all, nil
}

// ofRequests is the kind of what ways compares.
const ofRequests = "route and cluster of requests to"

// clusterIs stands before a cluster's name, notFound in the place of a cluster that Envoy
// does not have.
const clusterIs, notFound = ", cluster ", ", no cluster"

func turn(route, cluster string) string {
	if cluster == "" {
		return "route " + route + notFound
	}
	return "route " + route + clusterIs + cluster
}

// leads compares one line.
func leads(c *walk.Config, role subject.Role, l envoy.AccessLog, host string, port int, name, logged string) []Difference {
	r := walk.Request{Host: host, Port: port, Authority: l.Authority, TLS: l.RequestedServerName != "" || l.DownstreamTLSVersion != "", ServerName: l.RequestedServerName}
	if r.TLS {
		r.ALPN = []string{"istio-http/1.1", "http/1.1"}
	}
	var found []walk.Way
	if strings.Contains(string(role), "gateway") {
		found = c.Accept(r)
	} else {
		found = c.Outbound(r)
	}
	var may []string
	for _, w := range found {
		if w.End != "" || len(w.Clusters) == 0 {
			may = append(may, turn(w.Route.Name, ""))
		}
		for _, share := range w.Clusters {
			cluster := share.Cluster
			if c.Clusters[cluster] == nil {
				cluster = "" // Envoy answers 503 and logs none
			}
			may = append(may, turn(w.Route.Name, cluster))
		}
	}
	for _, m := range may {
		if m == logged {
			return nil
		}
	}
	return []Difference{{Kind: ofRequests, Name: name, Path: "leads to", Computed: strings.Join(may, "; "), Live: logged}}
}

// entrance is the host and the port that a line's caller meant.
func entrance(l envoy.AccessLog) (host string, port int, ok bool) {
	address, p, err := net.SplitHostPort(l.DownstreamLocalAddress)
	if err != nil {
		return "", 0, false
	}
	if port, err = strconv.Atoi(p); err != nil {
		return "", 0, false
	}
	host = l.Authority
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if host == "" {
		host = address
	}
	return host, port, true
}
