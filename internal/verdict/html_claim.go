package verdict

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"twohop/internal/claim"
)

type claimView struct {
	Result
	Mark      string // expected, unexpected or open
	CheckView *trialView
	CtrlView  *trialView
	Probes    []probeView
	Others    []evidenceView
	Script    string
	Open      bool
}

type trialView struct {
	Change string
	Holds  bool
	Facts  []factView
	Cause  []factView
}

type factView struct {
	Fact
	// Where is the fact's name up to its last ": ", What the rest.
	Where, What string
	Decides     bool
	Tags        []string
}

func viewFact(f Fact, decides bool) factView {
	v := factView{Fact: f, What: f.Name, Decides: decides, Tags: factTags(f, decides)}
	if i := strings.LastIndex(f.Name, ": "); i > 0 {
		v.Where, v.What = f.Name[:i], f.Name[i+2:]
	}
	return v
}

// viewCause shows a fact of a cause; it is told apart by its tag where the table's
// header is not shown, as on a phone.
func viewCause(f Fact, judged bool) factView {
	v := viewFact(f, judged)
	v.Tags = append([]string{"cause"}, factTags(f, false)...)
	return v
}

// probeView is one request and what each witness wrote about it.
type probeView struct {
	Title   string
	Token   string
	Witness []evidenceView
}

func viewClaim(r Result, d *RunDir) claimView {
	c := claimView{Result: r, Mark: "open", Open: r.Unexpected() || r.Verdict == claim.Inconclusive}
	switch {
	case r.Unexpected():
		c.Mark = "unexpected"
	case r.AsExpected():
		c.Mark = "expected"
	}
	c.CheckView, c.CtrlView = viewTrial(r, r.Check), viewTrial(r, r.Control)
	c.evidence(d)
	for i := range c.Probes {
		c.Probes[i].Title = fmt.Sprintf("Request %d of %d", i+1, len(c.Probes))
		if stage := c.Probes[i].Witness[0].Stage; stage != "" {
			c.Probes[i].Title += ", in the " + stage
		}
	}
	if r.Reproduce != "" {
		if raw, err := d.ReadFile(r.Reproduce); err == nil {
			c.Script = string(raw)
		}
	}
	return c
}

// mostOpened is how many dumps of a claim are shown without asking.
const mostOpened = 2

// evidence reads the claim's files: the logs of a request go together, the rest
// by itself.
func (c *claimView) evidence(d *RunDir) {
	about, decides, opened := factsByEvidence(c.Finding), c.decidingFacts(), 0
	for _, e := range c.Result.Evidence {
		if e.Path == "" {
			continue // no bytes: a change that was made, a window on a log
		}
		view := viewEvidence(d, e, about[e.Path], decides)
		if isWitness(e) {
			c.probe(e).add(view)
			continue
		}
		if (e.Kind == KindClusters || e.Kind == KindSecrets) && view.Marks > 0 && opened < mostOpened {
			view.Open = true
			opened++
		}
		c.Others = append(c.Others, view)
	}
}

func factsByEvidence(f Finding) map[string][]Fact {
	about := map[string][]Fact{}
	for _, trial := range []*Trial{f.Check, f.Control} {
		if trial == nil {
			continue
		}
		for _, fact := range slices.Concat(trial.Facts, trial.Cause) {
			for _, p := range fact.Evidence {
				about[p] = append(about[p], fact)
			}
		}
	}
	return about
}

// probe is the request that a witness's file belongs to. The logs of a request
// follow what curl said of it, and name its token.
func (c *claimView) probe(e Evidence) *probeView {
	token := tokenOf(e)
	at := len(c.Probes) - 1
	if token != "" {
		for at >= 0 && c.Probes[at].Token != token {
			at--
		}
	}
	if at < 0 || (token == "" && e.Kind == KindCurl) {
		c.Probes = append(c.Probes, probeView{Token: token})
		at = len(c.Probes) - 1
	}
	return &c.Probes[at]
}

func (p *probeView) add(e evidenceView) { p.Witness = append(p.Witness, e) }

// isWitness reports whether a file is one of the logs of a request.
func isWitness(e Evidence) bool {
	return e.Kind == KindCurl || e.Kind == KindAccessLog || e.Kind == KindPartnerLog
}

var token = regexp.MustCompile(`\bt[0-9a-f]{16}\b`)

func tokenOf(e Evidence) string { return token.FindString(e.Command) }

func viewTrial(r Result, t *Trial) *trialView {
	if t == nil {
		return nil
	}
	v := &trialView{Change: t.Change, Holds: t.Holds()}
	decides := r.decidingFacts()
	for _, f := range t.Facts {
		v.Facts = append(v.Facts, viewFact(f, decides[f.Name]))
	}
	for _, f := range t.Cause {
		v.Cause = append(v.Cause, viewCause(f, r.judged()))
	}
	return v
}
