package verdict

import (
	"fmt"
	"strings"

	"twohop/internal/claim"
)

// NeedsReading reports whether a result's reason belongs under the table: it
// is refuted, inconclusive or not as expected. Claims that did not run are
// grouped by reason instead: there may be a hundred of them.
func (r Result) NeedsReading() bool {
	return r.Unexpected() || r.Verdict == claim.Refuted || r.Verdict == claim.Inconclusive
}

// decidingFacts names the facts that carry the verdict. Nothing carries one
// that is not there: of an inconclusive claim no fact decides.
func (r Result) decidingFacts() map[string]bool {
	if !r.judged() {
		return nil
	}
	return r.Decisive()
}

func (r Result) judged() bool { return r.AsExpected() || r.Unexpected() }

// factTags says what a fact is for, in the words of every report. Each marker of
// the model is one row.
func factTags(f Fact, decides bool) []string {
	var words []string
	for _, tag := range []struct {
		on   bool
		word string
	}{
		{decides, "decides"},
	} {
		if tag.on {
			words = append(words, tag.word)
		}
	}
	return words
}

// notRun are the claims that did not run for one reason.
type notRun struct {
	reason string
	ids    []string
}

// notRunGroups groups the claims that did not run by reason, in their order.
func notRunGroups(results []Result) []notRun {
	var groups []notRun
	at := map[string]int{}
	for _, r := range results {
		if r.Verdict != claim.NotRun {
			continue
		}
		i, ok := at[r.Reason]
		if !ok {
			i = len(groups)
			at[r.Reason] = i
			groups = append(groups, notRun{reason: r.Reason})
		}
		groups[i].ids = append(groups[i].ids, string(r.ID))
	}
	return groups
}

// title names a claim, or how many there are.
func (n notRun) title() string {
	if len(n.ids) == 1 {
		return n.ids[0]
	}
	return plural(len(n.ids), "claim")
}

func (t *text) reasons(v *Verdict) {
	title := false
	entry := func(colour, head string) {
		if !title {
			t.line("")
			t.line(t.paint(colourBold, "WHY"))
			title = true
		}
		t.line("")
		t.line("  " + t.paint(colour, clean(head)))
	}
	paragraph := func(s string) { t.indent("    ", "    ", s) }
	for _, r := range v.Claims {
		if !r.NeedsReading() {
			continue
		}
		head := fmt.Sprintf("%s  %s", r.ID, r.Verdict)
		switch {
		case r.Unexpected():
			head += fmt.Sprintf(", expected %s", r.Expected)
		case r.AsExpected():
			head += ", as expected"
		}
		entry(resultColour(r), head)
		paragraph(r.Reason)
		if !r.AsExpected() {
			t.trial("Check", r.Check, r.decidingFacts())
			t.trial("Control", r.Control, r.decidingFacts())
		}
		if r.Lesson != "" {
			paragraph("Lesson: " + r.Lesson)
		}
		if r.Reproduce != "" {
			paragraph("Reproduce: " + r.Reproduce)
		}
	}
	for _, group := range notRunGroups(v.Claims) {
		entry(colourYellow, group.title()+"  "+string(claim.NotRun))
		paragraph(group.reason)
		if len(group.ids) > 1 {
			paragraph(strings.Join(group.ids, ", "))
		}
	}
}

// trial lists the facts of a check or control that a reader has to look at:
// those that do not hold and those with a tag. The rest is counted.
func (t *text) trial(which string, trial *Trial, decides map[string]bool) {
	if trial == nil {
		return
	}
	outcome := "does not hold"
	if trial.Holds() {
		outcome = "holds"
	}
	if trial.Change != "" {
		which += " (" + trial.Change + ")"
	}
	t.indent("    ", "    ", which+": "+outcome)
	rest := 0
	for _, f := range trial.Facts {
		tags := factTags(f, decides[f.Name])
		if f.OK && len(tags) == 0 {
			rest++
			continue
		}
		t.fact("", f, tags)
	}
	if rest > 0 {
		more := ""
		if rest < len(trial.Facts) {
			more = " more"
		}
		t.line(fmt.Sprintf("      ✓ %d%s %s", rest, more, map[bool]string{true: "fact holds", false: "facts hold"}[rest == 1]))
	}
	for _, f := range trial.Cause {
		t.fact("cause: ", f, factTags(f, false))
	}
}

func (t *text) fact(what string, f Fact, tags []string) {
	mark := "✗"
	if f.OK {
		mark = "✓"
	}
	words := fmt.Sprintf("%s%s: expected %s, saw %s", what, f.Name, short(f.Expected), short(f.Seen))
	if len(tags) > 0 {
		words += " [" + strings.Join(tags, ", ") + "]"
	}
	t.indent("      "+mark+" ", "        ", words)
}
