package agreement

import (
	"slices"
	"strings"

	"twohop/internal/subject"
)

// Context is where a difference was found.
type Context struct {
	Subject subject.Subject
	Role    subject.Role
	// Former are the clusters of ports that Services had in earlier states of the lab.
	Former map[string]bool
	// Waiting are the computed clusters that name a Secret.
	Waiting map[string]bool
}

// Rule explains differences. One that explains none is a mistake: it would hide the next.
type Rule struct {
	Name, Why string
	// Defect says that the computed side is wrong, and what is to change.
	Defect string
	fits   func(Context, Difference) bool
}

// rules, the narrower ones first.
func rules() []Rule {
	return []Rule{
		{
			Name: "bootstrap",
			Why:  "The agent writes it into Envoy's bootstrap (its own clusters, the listeners for probes and metrics with their routes); istiod sends none of it.",
			fits: func(_ Context, d Difference) bool {
				return d.Path == "" && d.Computed == "" && slices.Contains(bootstrap[d.Kind], d.Name)
			},
		},
		{
			Name: "DNS",
			Why:  "The cluster's endpoint is a name, which Envoy asks DNS for. istiod sends the name; the ports agree.",
			fits: func(_ Context, d Difference) bool {
				return d.Kind == endpoints && d.Path == addresses && named(d.Computed) && slices.Equal(ports(d.Computed), ports(d.Live))
			},
		},
		{
			Name: "API server",
			Why:  "The Service kubernetes has no selector. Its address is an EndpointSlice of the API server's own, which no YAML has.",
			fits: func(_ Context, d Difference) bool {
				return d.Kind == endpoints && strings.HasPrefix(d.Name, "outbound|443||kubernetes.default.svc.") && d.Computed == "" && d.Live == anybody+":6443"
			},
		},
		{
			Name: "port that was",
			Why:  "In an earlier state of the lab a Service had another port. The proxy still lists that port's cluster, without an address: no later push took it back. A proxy that starts anew, as the computed one does, never gets it.",
			fits: func(c Context, d Difference) bool {
				return d.Kind == endpoints && d.Path == "" && d.Computed == "" && d.Live == without && c.Former[d.Name]
			},
		},
		{
			Name: "secret that never comes",
			Why:  "The cluster names a Secret that the gateway does not get. istiod sends the cluster all the same; Envoy keeps it out of use until the Secret is there, and answers 503 (cluster_not_found, flag NC).",
			fits: func(c Context, d Difference) bool {
				route, cluster, ok := strings.Cut(d.Computed, clusterIs)
				return d.Kind == ofRequests && ok && c.Waiting[cluster] && d.Live == route+notFound
			},
		},
	}
}

// bootstrap are the names of what the agent writes, by kind.
var bootstrap = map[string][]string{
	clusters:  {"agent", "prometheus_stats", "sds-grpc", "xds-grpc"},
	endpoints: {"agent", "prometheus_stats", "sds-grpc", "xds-grpc"},
	listeners: {"0.0.0.0_15021", "0.0.0.0_15090"},
	routes:    {"without a name", "without a name (2)"},
}

// named reports whether an address of a list is a name that DNS is asked for.
func named(list string) bool {
	return slices.ContainsFunc(strings.Split(list, ", "), func(a string) bool {
		host, _, _ := strings.Cut(a, ":")
		return strings.Contains(host, ".")
	})
}

// ports are those of a list of addresses, each once.
func ports(list string) (found []string) {
	for _, a := range strings.Split(list, ", ") {
		found = append(found, a[strings.LastIndex(a, ":")+1:])
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// explain names the rule that explains each difference; empty where none does.
func explain(c Context, differences []Difference) (by []string) {
	all := rules()
	for _, d := range differences {
		name := ""
		if i := slices.IndexFunc(all, func(r Rule) bool { return r.fits(c, d) }); i >= 0 {
			name = all[i].Name
		}
		by = append(by, name)
	}
	return by
}
