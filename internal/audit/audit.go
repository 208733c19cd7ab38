package audit

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"twohop/internal/channel"
	"twohop/internal/objects"
	"twohop/internal/walk"
)

// Input is what an audit looks at. It changes nothing of it.
type Input struct {
	Run      Run
	Mesh     *channel.Mesh
	Channels []*channel.Channel
	// Views are the proxies' configurations, of every workload that has a proxy.
	Views map[*channel.Workload]View
	// Pods are the workloads by their addresses.
	Pods map[string]*channel.Workload
	// Refused are objects that the API server would not store, or not as written.
	Refused []Refusal
	// Access says whether a service account may list the secrets of a namespace; nil where
	// only the objects can tell.
	Access func(namespace, account string) (allowed bool, unknown string)
	// SecretsKnown says that a Secret that is not among the objects does not exist.
	SecretsKnown bool
	// Unread are objects that could not be read: a check that needs them is unknown.
	Unread []Unread
	// Compared counts the proxies that have been compared with what istiod would send.
	Compared int
	// Also are findings of whoever gathered the input, such as about proxies that are not
	// in sync.
	Also       []Finding
	Exceptions []Exception
	Now        time.Time
	// Hosts limits the audit to these channels; all if empty.
	Hosts []string
}

// View is a proxy's configuration, or why it is not known.
type View struct {
	Config  *walk.Config
	Unknown string
}

// Unread are the objects of a resource that could not be read, and why.
type Unread struct {
	Group      string
	Resource   string   // in the plural; empty for all of the group
	Namespaces []string // none: all of the cluster
	Why        string
}

// Refusal is an object that the API server refuses.
type Refusal struct {
	Object  *objects.Object
	Reason  string
	Warning bool
}

// auditor gathers findings.
type auditor struct {
	Input
	report *Report
	// looked are the checks that were made, by id and host.
	looked map[[2]string]string
	// roots are findings that explain others: an object that the API server refuses
	// explains whatever its absence does.
	rejected map[objects.Ref]bool
	// explained are checks, by id and host, that saw something which another check or an
	// object that is refused explains: no findings, and not passed either.
	explained map[[2]string]bool
	seen      map[string]bool
}

// Judge makes all checks.
func Judge(in Input) *Report {
	a := &auditor{
		Input: in, looked: map[[2]string]string{}, rejected: map[objects.Ref]bool{}, explained: map[[2]string]bool{}, seen: map[string]bool{},
		report: &Report{APIVersion: Version, Run: in.Run, Channels: []Channel{}, Findings: []Finding{}, Checks: []Check{}},
	}
	a.report.Run.Assumed = append(a.report.Run.Assumed, in.Mesh.Assumed...)
	a.refusals()
	a.duplicates()
	for _, u := range in.Mesh.Unknown {
		if u.Field != "" {
			a.rejected[u.Ref] = true
			a.add(Finding{ID: "31", Severity: Critical, Field: u.Field, Hop: 1, Seen: u.What, Wanted: "an object that the API server accepts"}, u.Object)
			continue
		}
		a.add(Finding{ID: "32", Severity: Medium, Status: Unknown, Object: u.Ref, Seen: u.What, Wanted: "an object that the audit supports"}, u.Object)
	}
	for _, c := range in.Channels {
		if len(in.Hosts) > 0 && !slices.Contains(in.Hosts, c.Host) {
			continue
		}
		a.channel(c)
	}
	for _, f := range in.Also {
		a.add(f, nil)
	}
	if in.Compared > 0 {
		a.passed("29", "", fmt.Sprintf("%d proxies", in.Compared))
	}
	if len(in.Hosts) == 0 {
		a.orphans()
	}
	a.finish()
	return a.report
}

// add keeps a finding, completed by what its check and its object say. One that says the
// same of the same place is kept once.
func (a *auditor) add(f Finding, o *objects.Object) {
	k := kinds[f.ID]
	if f.Title == "" {
		f.Title = k.title
	}
	if f.Why == "" {
		f.Why = k.why
	}
	if f.Claim == "" {
		f.Claim = k.claim
	}
	if f.Status == "" {
		f.Status = Fail
	}
	if o != nil {
		f.Object, f.File = o.Ref, o.File
		if o.File != "" {
			f.Line = o.Line(f.Field)
		}
	}
	key := fmt.Sprint(f.ID, f.Host, f.Object, f.Field, f.Status, f.Seen)
	if a.seen[key] {
		return
	}
	a.seen[key] = true
	a.report.Findings = append(a.report.Findings, f)
}

// passed notes that a check was made at a host, and of what; findings of the same check
// outweigh it.
func (a *auditor) passed(id, host, seen string) {
	key := [2]string{id, host}
	if a.looked[key] == "" {
		a.looked[key] = seen
	}
}

func (a *auditor) refusals() {
	for _, r := range a.Refused {
		if r.Object == nil {
			continue
		}
		f := Finding{ID: "31", Severity: Critical, Seen: r.Reason, Wanted: "an object that the API server accepts", Field: fieldOf(r.Reason), Hop: a.hopOf(r.Object)}
		if r.Warning {
			f.Severity = Low
			f.Wanted = "an object without a warning"
		} else {
			a.rejected[r.Object.Ref] = true
		}
		a.add(f, r.Object)
	}
	a.enumerations()
	a.passed("31", "", fmt.Sprintf("%d objects", len(a.Mesh.Set.All)))
}

// fieldOf finds the path of a field in what a validation says.
func fieldOf(reason string) string {
	rest := strings.TrimPrefix(strings.TrimPrefix(reason, "unknown field "), "[")
	if !strings.HasPrefix(rest, "spec.") {
		return "spec"
	}
	end := strings.IndexAny(rest, ": ,")
	if end < 0 {
		end = len(rest)
	}
	return strings.Trim(rest[:end], `"`)
}

// hopOf says which hop an object is about.
func (a *auditor) hopOf(o *objects.Object) int {
	for _, c := range a.Channels {
		for _, r := range c.Hop1 {
			if r.Ref == o.Ref {
				return 1
			}
		}
		for _, r := range c.Hop2 {
			if r.Ref == o.Ref {
				return 2
			}
		}
	}
	if o.Kind == "Gateway" {
		return 1
	}
	return 0
}

func (a *auditor) duplicates() {
	for _, d := range a.Mesh.Set.Duplicates() {
		a.add(Finding{
			ID: "34", Severity: Medium, Seen: fmt.Sprintf("also at %s:%d", d.First.File, d.First.Line("")), Wanted: "one object of that name",
		}, d.Again)
	}
	a.passed("34", "", "")
}

// finish puts findings in order, applies exceptions and counts.
func (a *auditor) finish() {
	r := a.report
	for i := range r.Findings {
		a.except(&r.Findings[i])
	}
	a.expired()
	slices.SortStableFunc(r.Findings, func(x, y Finding) int {
		return cmp.Or(cmp.Compare(statusRank(x.Status), statusRank(y.Status)), cmp.Compare(rank(x.Severity), rank(y.Severity)),
			cmp.Compare(x.Host, y.Host), cmp.Compare(x.ID, y.ID))
	})
	found := maps.Clone(a.explained)
	r.Totals.Failed = map[Severity]int{}
	for _, s := range Severities() {
		r.Totals.Failed[s] = 0
	}
	worst := Passed
	if len(r.Channels) == 0 {
		worst = Unclear // nothing was audited, which is no pass
	}
	for _, f := range r.Findings {
		found[[2]string{f.ID, f.Host}] = true
		switch f.Status {
		case Fail:
			r.Totals.Failed[f.Severity]++
			if f.Severity.AtLeast(r.Run.FailOn) {
				worst = Failed
			}
		case Unknown:
			r.Totals.Unknown++
			if worst == Passed && f.Severity.AtLeast(r.Run.FailOn) {
				worst = Unclear
			}
		case Excepted:
			r.Totals.Excepted++
		}
	}
	for key, seen := range a.looked {
		if !found[key] {
			r.Checks = append(r.Checks, Check{ID: key[0], Title: kinds[key[0]].title, Host: key[1], Seen: seen})
		}
	}
	slices.SortFunc(r.Checks, func(x, y Check) int { return cmp.Or(cmp.Compare(x.Host, y.Host), cmp.Compare(x.ID, y.ID)) })
	r.Totals.Passed, r.Totals.Channels, r.Result = len(r.Checks), len(r.Channels), worst
	for i := range r.Channels {
		c := &r.Channels[i]
		c.Result = a.resultOf(*c)
		if c.Result == Unclear && r.Result == Passed {
			r.Result = Unclear
		}
	}
}

func statusRank(s Status) int {
	switch s {
	case Fail:
		return 0
	case Unknown:
		return 1
	}
	return 2
}

func (a *auditor) resultOf(c Channel) Result {
	result := Passed
	if len(c.Hops) == 0 {
		result = Unclear // nothing of it was seen
	}
	for _, f := range a.report.Findings {
		its := f.Host == c.Host || f.ID == "31" && slices.Contains(c.Objects, f.Object)
		if !its || !f.Severity.AtLeast(a.Run.FailOn) {
			continue
		}
		if f.Status == Fail {
			return Failed
		}
		if f.Status == Unknown {
			result = Unclear
		}
	}
	return result
}

// except marks a finding that an exception covers and that has not expired.
func (a *auditor) except(f *Finding) {
	for i, e := range a.Exceptions {
		if f.Status == Fail && e.covers(*f) && !e.over(a.Now) {
			f.Status, f.Exception = Excepted, &a.Exceptions[i]
		}
	}
}

func (e Exception) covers(f Finding) bool {
	return e.ID == f.ID && (e.Host == "" || e.Host == f.Host) && (e.Object == "" || e.Object == f.Object.String())
}

// over reports whether the day on which an exception ends has passed.
func (e Exception) over(now time.Time) bool {
	day, err := time.Parse(time.DateOnly, e.Expires)
	return err != nil || !now.Before(day.AddDate(0, 0, 1))
}

// expired finds exceptions that no longer hold: they fail, so that somebody looks.
func (a *auditor) expired() {
	for _, e := range a.Exceptions {
		if e.over(a.Now) {
			a.report.Findings = append(a.report.Findings, Finding{
				ID: e.ID, Title: "No exception has expired", Severity: High, Status: Fail, Host: e.Host,
				Seen: "it ended on " + e.Expires + "; its owner is " + e.Owner, Wanted: "a future date in expires, or fix the finding",
				Why: "The exception has expired. Its reason was: " + e.Reason,
			})
		}
	}
}
