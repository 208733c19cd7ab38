package verdict

import (
	"fmt"
	"path/filepath"
	"regexp"
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

// probeView is one request and what each witness wrote about it.
type probeView struct {
	Title    string
	Token    string
	Witness  []evidenceView
	Negative bool
}

func viewClaim(r Result, d *RunDir) claimView {
	c := claimView{Result: r, Mark: "open", Open: r.Unexpected() || r.Verdict == claim.Inconclusive}
	switch {
	case r.Unexpected():
		c.Mark = "unexpected"
	case r.AsExpected():
		c.Mark = "expected"
	}
	decides := r.decidingFacts()
	c.CheckView, c.CtrlView = viewTrial(r.Check, decides, r.judged()), viewTrial(r.Control, decides, r.judged())

	about := map[string][]Fact{}
	for _, trial := range []*Trial{r.Check, r.Control} {
		if trial == nil {
			continue
		}
		for _, f := range append(trial.Facts[:len(trial.Facts):len(trial.Facts)], trial.Cause...) {
			for _, p := range f.Evidence {
				about[p] = append(about[p], f)
			}
		}
	}
	opened := 0
	for _, e := range r.Evidence {
		view := viewEvidence(d, e, about[e.Path], decides)
		if !isWitness(e) {
			if (e.Kind == KindClusters || e.Kind == KindSecrets) && view.Marks > 0 && opened < 2 {
				view.Open = true
				opened++
			}
			c.Others = append(c.Others, view)
			continue
		}
		// The logs of a request follow what curl said of it, and name its token.
		token := tokenOf(e)
		at := len(c.Probes) - 1
		if token != "" {
			for at = len(c.Probes) - 1; at >= 0 && c.Probes[at].Token != token; at-- {
			}
		}
		if at < 0 || (token == "" && e.Kind == KindCurl) {
			c.Probes = append(c.Probes, probeView{Token: token})
			at = len(c.Probes) - 1
		}
		c.Probes[at].Witness = append(c.Probes[at].Witness, view)
	}
	for i := range c.Probes {
		c.Probes[i].Title = fmt.Sprintf("Request %d of %d", i+1, len(c.Probes))
		for _, stage := range []string{"check", "control"} {
			if strings.Contains(filepath.Base(c.Probes[i].Witness[0].Path), "-"+stage+"-") {
				c.Probes[i].Title += ", in the " + stage
			}
		}
	}
	if r.Reproduce != "" {
		if raw, err := d.ReadFile(r.Reproduce); err == nil {
			c.Script = string(raw)
		}
	}
	return c
}

// isWitness reports whether a file is one of the logs of a request.
func isWitness(e Evidence) bool {
	return e.Kind == KindCurl || e.Kind == KindAccessLog || e.Kind == KindPartnerLog
}

var token = regexp.MustCompile(`\bt[0-9a-f]{12}\b`)

func tokenOf(e Evidence) string { return token.FindString(e.Command) }

func viewTrial(t *Trial, decides map[string]bool, judged bool) *trialView {
	if t == nil {
		return nil
	}
	v := &trialView{Change: t.Change, Holds: t.Holds()}
	for _, f := range t.Facts {
		v.Facts = append(v.Facts, viewFact(f, decides[f.Name]))
	}
	for _, f := range t.Cause {
		v.Cause = append(v.Cause, viewFact(f, judged))
	}
	return v
}
