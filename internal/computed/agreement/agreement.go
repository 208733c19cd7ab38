// Package agreement holds what istiod's code computes without a cluster against what
// proxies of real clusters were given: the states of the catalogue against the recording
// of a run, and the baseline against the recordings of both Istio lines. It compares,
// explains each difference by a named rule, and changes nothing; it reads recordings and
// asks a helper program, and knows no cluster.
package agreement

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"twohop/internal/given"
	"twohop/internal/manifest"
	"twohop/internal/observe"
	"twohop/internal/subject"
	"twohop/internal/upgrade"
)

// Report is what comparisons came to.
type Report struct {
	Sources []Source
	// By is how many resources each rule helps to explain.
	By map[string]int
	// Unexplained are differences that no rule explains, for people.
	Unexplained []string
}

// Source is what was compared with.
type Source struct {
	Name  string // for people
	Notes []string
	Rows  []Row
}

// Row counts the resources of a kind.
type Row struct {
	Proxy, Kind                string
	Compared, Equal, Explained int
}

// row is that of a proxy and a kind.
func (s *Source) row(proxy, kind string) *Row {
	for i := range s.Rows {
		if s.Rows[i].Proxy == proxy && s.Rows[i].Kind == kind {
			return &s.Rows[i]
		}
	}
	s.Rows = append(s.Rows, Row{Proxy: proxy, Kind: kind})
	return &s.Rows[len(s.Rows)-1]
}

// count adds resources to a source.
func (r *Report) count(s *Source, where string, c Context, resources []Resource) {
	for _, res := range resources {
		proxy, _, _ := strings.Cut(string(c.Role), "/") // of gateways without traffic, whatever their names
		row := s.row(proxy, res.Kind)
		row.Compared++
		by := explain(c, res.Differences)
		switch {
		case len(by) == 0:
			row.Equal++
		case !slices.Contains(by, ""):
			row.Explained++
		}
		for i, d := range res.Differences {
			if by[i] == "" {
				r.Unexplained = append(r.Unexplained, fmt.Sprintf("%s, %s: %s %s: %s: computed %.300q, live %.300q", where, c.Role, d.Kind, d.Name, d.Path, d.Computed, d.Live))
			}
		}
		slices.Sort(by)
		for _, name := range slices.Compact(by) {
			r.By[name]++
		}
	}
}

// Baseline holds the fixtures, computed by a line, against that line's recording.
func (r *Report) Baseline(c *Computer, line string, rec *upgrade.Recording) error {
	run := rec.Verdict.Run
	s, _ := manifest.Numbered(run.Lab, run.Domain)
	certificates, err := manifest.NewCertificates(s)
	if err != nil {
		return err
	}
	set, err := manifest.Baseline(run.Lab, run.Domain, manifest.Images{}, certificates)
	if err != nil {
		return err
	}
	roles := []subject.Role{subject.Sidecar, subject.Gateway}
	g, err := c.Compute(set, roles...)
	if err != nil {
		return err
	}
	source := Source{Name: "Baseline, Istio " + line}
	for _, role := range roles {
		ours, err := g.normalised(role)
		if err != nil {
			return err
		}
		live := plain(rec.Proxies[string(role)])
		all := compare(ours, live, func(kind, _ string) bool { return kind != "bootstrap" })
		r.count(&source, source.Name, Context{Subject: s, Role: role}, all)
	}
	r.Sources = append(r.Sources, source)
	return nil
}

// Catalogue holds the states of a recorded run against what it holds of the proxies.
func (r *Report) Catalogue(c *Computer, run *Run) error {
	source := Source{Name: "Catalogue, Istio " + run.Istio}
	former := map[int]map[string]bool{} // by lab
	tally := struct{ states, answers, lines, otherwise int }{}
	claims := map[string]bool{}
	for _, s := range run.States {
		if former[s.Lab] == nil {
			former[s.Lab] = map[string]bool{}
		}
		g, err := c.Compute(s.Set, s.roles()...)
		if err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
		unchanged, err := c.Compute(s.Baseline, s.roles()...)
		if err != nil {
			return fmt.Errorf("the baseline of lab %d: %w", s.Lab, err)
		}
		had := len(s.Live) + len(s.Lines)
		if claims[s.Claim] = claims[s.Claim] || had > 0; had > 0 {
			tally.states++
		}
		tally.answers += len(s.Live)
		for _, role := range s.roles() {
			tally.lines += len(s.Lines[role])
			context, all, err := s.compare(g, role, former[s.Lab])
			if err != nil {
				return fmt.Errorf("%s: %w", s, err)
			}
			r.count(&source, s.String(), context, all)
			// Were the state's changes of no account, nothing would be shown by agreement.
			if context, all, err = s.compare(unchanged, role, former[s.Lab]); err != nil {
				tally.otherwise++ // the baseline has no such proxy
			}
			for _, res := range all {
				if slices.Contains(explain(context, res.Differences), "") {
					tally.otherwise++
				}
			}
		}
		note(former[s.Lab], s.Set)
	}
	var none []string
	for _, id := range slices.Sorted(maps.Keys(claims)) {
		if !claims[id] {
			none = append(none, id)
		}
	}
	source.Notes = []string{
		fmt.Sprintf("%d claims, %d states, all computed: istiod's code refuses no object that the cluster has stored.", len(claims), len(run.States)),
		fmt.Sprintf("The recording holds something of the proxies' configuration in %d of these states: %d answers of Envoy's admin API, %d lines of access logs.", tally.states, tally.answers, tally.lines),
		fmt.Sprintf("It holds nothing of %s, which ask the API server or `istioctl analyze` only.", strings.Join(none, ", ")),
		fmt.Sprintf("For comparison: with the baseline computed in the place of each state, %d resources differ without an explanation.", tally.otherwise),
	}
	r.Sources = append(r.Sources, source)
	return nil
}

// roles are those whose configuration is asked for: the two proxies of every state, and
// whoever else the recording has.
func (s *State) roles() []subject.Role {
	roles := []subject.Role{subject.Sidecar, subject.Gateway}
	for _, o := range s.Live {
		if !slices.Contains(roles, o.Role) {
			roles = append(roles, o.Role)
		}
	}
	for _, role := range []subject.Role{subject.SecondSidecar, subject.SecondGateway} {
		if len(s.Lines[role]) > 0 && !slices.Contains(roles, role) {
			roles = append(roles, role)
		}
	}
	return roles
}

// compare compares all that the recording holds of a role.
func (s *State) compare(g *Given, role subject.Role, former map[string]bool) (c Context, all []Resource, err error) {
	dump := g.Dumps[role]
	c = Context{Subject: s.Set.Subject, Role: role, Former: former}
	asked := slices.ContainsFunc(s.Live, func(o Observation) bool { return o.Role == role }) || len(s.Lines[role]) > 0
	if dump == nil && asked {
		return c, nil, fmt.Errorf("the recording has a %s, and the objects have none", role)
	}
	if !asked {
		return c, nil, nil
	}
	if c.Waiting, err = withSecrets(dump); err != nil {
		return c, nil, err
	}
	if all, err = ways(dump, role, s.Lines[role]); err != nil {
		return c, nil, err
	}
	for _, o := range s.Live {
		if o.Role != role {
			continue
		}
		var ours, live given.Config
		in := only(endpoints)
		if o.Path == observe.HostsPath {
			p := knownTo(o.Cast, g, s.Set.Subject)
			if ours, err = computedEndpoints(dump, p); err == nil {
				live, err = liveEndpoints(o.Raw, p)
			}
		} else if ours, err = g.normalised(role); err == nil {
			live, in, err = o.read()
		}
		if err != nil {
			return c, nil, fmt.Errorf("observation %s: %w", o.At, err)
		}
		all = append(all, compare(ours, live, in)...)
	}
	return c, all, nil
}

// withSecrets are the clusters that ask for a Secret.
func withSecrets(dump []byte) (map[string]bool, error) {
	var d struct {
		Configs []struct {
			Clusters []struct {
				Cluster json.RawMessage
			} `json:"dynamic_active_clusters"`
		}
	}
	if err := json.Unmarshal(dump, &d); err != nil {
		return nil, err
	}
	found := map[string]bool{}
	for _, section := range d.Configs {
		for _, c := range section.Clusters {
			var named struct{ Name string }
			if err := json.Unmarshal(c.Cluster, &named); err != nil {
				return nil, err
			}
			found[named.Name] = strings.Contains(string(c.Cluster), `"kubernetes://`)
		}
	}
	return found, nil
}

// note notes the clusters of the Services' ports in a state.
func note(into map[string]bool, set *manifest.Set) {
	for _, s := range services(set) {
		for _, p := range s.Spec.Ports {
			into[subject.ClusterName(int(p.Port), "", s.Name+"."+s.Namespace+".svc."+set.Subject.Domain)] = true
		}
	}
}
