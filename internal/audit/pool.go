package audit

import (
	"fmt"
	"math"
	"slices"
	"strings"

	api "istio.io/api/networking/v1alpha3"

	"twohop/internal/channel"
	"twohop/internal/walk"
)

// pool judges whether the limits that a rule writes are in force on the proxy that opens
// the connection.
func (e *egress) pool(u walk.Upstream, hop int, proxy string, to target) {
	p, err := u.Cluster.Pool()
	if err != nil {
		e.find(Finding{ID: "23", Severity: Medium, Status: Unknown, Hop: hop, Proxy: proxy, Seen: err.Error(), Wanted: "a cluster that can be read"}, blame{})
		return
	}
	e.made("24")
	rules := e.Hop1
	if hop == 2 {
		rules = e.Hop2
	}
	r := ruleNamed(e.Mesh.Rules, ruleOf(u))
	switch {
	case r == nil && ruleOf(u) != "":
		e.find(Finding{ID: "23", Severity: Medium, Status: Unknown, Hop: hop, Proxy: proxy, Seen: "the DestinationRule in force, " + ruleOf(u) + ", is not in the input", Wanted: "the DestinationRule"}, missing("DestinationRule", "", ruleOf(u)))
	case r != nil:
		for _, w := range replaced(r.Spec, to) {
			e.find(Finding{
				ID: "23", Severity: High, Hop: hop, Proxy: proxy, Seen: w.what + " has no effect: " + w.lost + " replaces it",
				Wanted: "the whole connectionPool at " + w.lost, Claim: "P-port-replaces",
			}, of(r.Object, w.field))
		}
		fallthrough
	default:
		e.made("23")
	}
	if p.Keepalive == nil && p.IdleTimeout == nil {
		b := e.blameTLS(u, rules, "")
		if strings.HasSuffix(b.field, ".tls") {
			b.field = strings.TrimSuffix(b.field, "tls") + "connectionPool.tcp.tcpKeepalive"
		}
		e.find(Finding{ID: "24", Severity: Low, Hop: hop, Proxy: proxy, Seen: "no tcpKeepalive and no idleTimeout: connections dropped by a firewall stay in the pool", Wanted: "tcpKeepalive.time or idleTimeout shorter than the firewall's idle timeout"}, b)
	}
	if p.MaxConnections == nil || *p.MaxConnections == math.MaxUint32 {
		b := e.blameTLS(u, rules, "")
		if strings.HasSuffix(b.field, ".tls") {
			b.field = strings.TrimSuffix(b.field, "tls") + "connectionPool"
		}
		e.find(Finding{ID: "23", Severity: Low, Hop: hop, Proxy: proxy, Seen: "no limit on connections", Wanted: "connectionPool.tcp.maxConnections"}, b)
	}
}

// setting is a limit that a rule writes in vain, and what takes its place.
type setting struct{ what, field, lost string }

// replaced lists the limits of a rule that are not in force on a cluster. A level replaces
// the pool of the level above it as soon as it is there, whatever it sets
// (pilot/pkg/networking/core/cluster_traffic_policy.go, MergeTrafficPolicy).
func replaced(r *api.DestinationRule, to target) (found []setting) {
	type level struct {
		at      string
		pool    *api.ConnectionPoolSettings
		outlier *api.OutlierDetection
		port    bool
	}
	var levels []level
	add := func(at string, p *api.TrafficPolicy) {
		if p == nil {
			return
		}
		levels = append(levels, level{at: at, pool: p.GetConnectionPool(), outlier: p.GetOutlierDetection()})
		for i, l := range p.GetPortLevelSettings() {
			if fmt.Sprint(l.GetPort().GetNumber()) == to.port {
				levels = append(levels, level{at: fmt.Sprintf("%s.portLevelSettings[%d]", at, i), pool: l.GetConnectionPool(), outlier: l.GetOutlierDetection(), port: true})
			}
		}
	}
	add("spec.trafficPolicy", r.GetTrafficPolicy())
	for i, s := range r.GetSubsets() {
		if s.GetName() == to.subset && to.subset != "" {
			add(fmt.Sprintf("spec.subsets[%d].trafficPolicy", i), s.GetTrafficPolicy())
		}
	}
	for i, l := range levels {
		if l.pool == nil && l.outlier == nil {
			continue
		}
		for _, below := range levels[i+1:] {
			// A port entry replaces all of the policy; a subset replaces what it sets.
			if l.pool != nil && below.pool == nil && below.port {
				found = append(found, setting{what: "the connectionPool", field: l.at + ".connectionPool", lost: below.at})
				break
			}
			if l.pool != nil && below.pool != nil && (l.pool.GetTcp() != nil && below.pool.GetTcp() == nil || l.pool.GetHttp() != nil && below.pool.GetHttp() == nil) {
				found = append(found, setting{what: "part of the connectionPool", field: l.at + ".connectionPool", lost: below.at + ".connectionPool"})
				break
			}
			if l.outlier != nil && below.outlier == nil && below.port {
				found = append(found, setting{what: "outlierDetection", field: l.at + ".outlierDetection", lost: below.at})
				break
			}
		}
	}
	return found
}

// orphans are Istio's objects that have no effect on any channel although they name its
// hosts or its gateway.
func (a *auditor) orphans() {
	used := map[string]bool{}
	subsets := map[string]bool{}
	for _, v := range a.Views {
		if v.Config == nil {
			continue
		}
		for name, k := range v.Config.Clusters {
			if to := parseCluster(name); to.subset != "" {
				subsets[to.host+" "+to.subset] = true
			}
			if path, ok := k.DestinationRule(); ok {
				used[tail(path)] = true
			}
		}
		for _, r := range v.Config.Routes {
			for _, h := range r.Hosts {
				for _, route := range h.Routes {
					used[tail(route.Source)] = true
				}
			}
		}
	}
	for _, r := range a.Mesh.Rules {
		merged := slices.ContainsFunc(r.Spec.GetSubsets(), func(s *api.Subset) bool { return subsets[r.Host+" "+s.GetName()] })
		if used[r.Namespace+"/destination-rule/"+r.Name] || merged || a.rejected[r.Ref] {
			continue
		}
		known := a.Mesh.Service(r.Host) != nil || len(a.Mesh.EntriesFor(r.Host)) > 0
		f := Finding{ID: "32", Severity: Medium, Seen: "no proxy uses the rule for " + r.Host, Wanted: "the host of a Service or ServiceEntry that is visible from the rule's namespace"}
		if !known {
			f.Severity, f.Seen = High, r.Host+" matches no Service and no ServiceEntry"
			f.Wanted = a.nearest(r.Host)
			if strings.HasPrefix(r.Host, "*") || !a.complete(r.Host) {
				f.Severity = Low
			}
		}
		if len(a.Mesh.Workloads) == 0 {
			continue
		}
		a.add(withField(f, "spec.host"), r.Object)
	}
	for _, v := range a.Mesh.VirtualServices {
		if used[v.Namespace+"/virtual-service/"+v.Name] || a.rejected[v.Ref] || a.delegated(v) || len(v.Spec.GetHttp()) == 0 {
			continue
		}
		a.add(withField(Finding{ID: "32", Severity: Medium, Seen: "no proxy uses the VirtualService", Wanted: "hosts, gateways and exportTo that some proxy has"}, "spec.hosts"), v.Object)
	}
	a.passed("32", "", "")
}

func withField(f Finding, field string) Finding {
	f.Field = field
	return f
}

func (a *auditor) delegated(v *channel.VirtualService) bool {
	return len(v.Spec.GetHosts()) == 0 || slices.ContainsFunc(a.Mesh.VirtualServices, func(o *channel.VirtualService) bool {
		return slices.Contains(o.Delegates, v.Object)
	})
}

// complete reports whether the input has the objects of a host's namespace: then a
// Service that is missing is missing.
func (a *auditor) complete(host string) bool {
	if !strings.HasSuffix(host, ".svc."+a.Mesh.Domain) {
		return true
	}
	parts := strings.Split(host, ".")
	return slices.ContainsFunc(a.Mesh.Services, func(s *channel.Service) bool { return s.Namespace == parts[1] }) || len(a.Mesh.Services) > 0
}

func (a *auditor) nearest(host string) string {
	for _, s := range a.Mesh.Services {
		if channel.Near(s.Host, host) || s.Name == strings.Split(host, ".")[0] {
			return s.Host
		}
	}
	for _, s := range a.Mesh.Entries {
		for _, h := range s.Spec.GetHosts() {
			if channel.Near(h, host) {
				return h
			}
		}
	}
	return "the name of a Service or of a ServiceEntry's host"
}

// tail is "NAMESPACE/KIND/NAME" of a path that istiod leaves in metadata.
func tail(path string) string {
	_, after, _ := strings.Cut(path, "/namespaces/")
	return after
}
