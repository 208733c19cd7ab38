package verdict

import (
	"fmt"
	"slices"
	"strings"

	"twohop/internal/claim"
)

// Fold judges a run: one result for every claim of the registry's selection,
// in its order. It walks the registry and never the findings, so that what did
// not report shows as not-run instead of being absent. istioVersion ("1.31")
// chooses the expected verdicts.
func Fold(selection []claim.Claim, findings map[claim.ID]Finding, istioVersion string) []Result {
	results := make([]Result, 0, len(selection))
	for _, c := range selection {
		r := Result{
			ID: c.ID, Chapter: c.Chapter, Section: c.Section, Statement: c.Statement,
			Lesson: c.Lesson, Expected: c.Expect(istioVersion),
			Verdict: claim.NotRun, Reason: notRunReason,
		}
		if f, ok := findings[c.ID]; ok {
			r.Finding = f
			r.Verdict, r.Reason = Judge(c.ID, f)
		}
		results = append(results, r)
	}
	return results
}

const notRunReason = "The spec recorded no finding."

// Judge says what a finding proves of a claim, and why.
//
// The same check is made twice: in the state that the claim speaks of and
// after one deliberate change. Exactly one of the two must hold; the facts that
// are named to flip must do so, and every other fact must hold both times; each
// fact must have its evidence; a trial that does not hold must show its cause,
// and a failure that a fact states its reason. Everything else is inconclusive,
// with a reason that names all that is missing.
func Judge(id claim.ID, f Finding) (claim.Verdict, string) {
	if f.Error != "" {
		// Whatever else is missing is missing because of it.
		return claim.Inconclusive, "Not proven: the evidence could not be obtained: " + sentence(f.Error)
	}
	j := &judge{}
	if f.Claim != id {
		j.lack("the finding is of claim %q", f.Claim)
	}
	if f.Check == nil || len(f.Check.Facts) == 0 {
		j.lack("the check looked at nothing: it has no facts")
	}
	if f.Control == nil || len(f.Control.Facts) == 0 {
		j.lack("there is no control: nothing shows that the check can come out the other way")
	} else if f.Control.Change == "" {
		j.lack("the control does not say what it changed")
	}
	if f.Check == nil || len(f.Check.Facts) == 0 || f.Control == nil || len(f.Control.Facts) == 0 {
		return claim.Inconclusive, inconclusive(j.missing)
	}
	check, control := f.Check, f.Control
	switch {
	case check.Holds() && control.Holds():
		j.lack("the check holds as well after the control's change (%s), so it proves nothing", control.Change)
	case !check.Holds() && !control.Holds():
		j.lack("the check does not hold (%s), and after the control's change (%s) it does not either (%s)",
			failing(check.Facts), control.Change, failing(control.Facts))
	default:
		j.pairs(check, control)
	}
	listed := map[string]bool{}
	for _, e := range f.Evidence {
		listed[e.Path] = e.Path != ""
	}
	j.trial("the check", check, listed)
	j.trial("the control", control, listed)
	if len(j.missing) > 0 {
		return claim.Inconclusive, inconclusive(j.missing)
	}
	if check.Holds() {
		return claim.Supported, fmt.Sprintf("The check %s. After the control's change (%s) it does not: %s. Cause: %s",
			allHold(len(check.Facts)), control.Change, flips(check, control), sentence(shown(control.Cause)))
	}
	return claim.Refuted, fmt.Sprintf("The check does not hold: %s. Cause: %s After the control's change (%s) it %s.",
		failing(check.Facts), sentence(shown(check.Cause)), control.Change, allHold(len(control.Facts)))
}

// judge gathers what a finding lacks.
type judge struct{ missing []string }

func (j *judge) lack(format string, args ...any) {
	j.missing = append(j.missing, fmt.Sprintf(format, args...))
}

// pairs holds the facts of the two trials against each other: those that are
// named to flip came out differently, and all others hold both times.
func (j *judge) pairs(check, control *Trial) {
	after := byName(control.Facts)
	before := byName(check.Facts)
	flipping := 0
	for _, f := range check.Facts {
		other, ok := after[f.Name]
		switch {
		case !ok:
			j.lack("%q was looked at in the check and not in the control", f.Name)
		case f.Flips != other.Flips:
			j.lack("%q has to flip in one of the trials only", f.Name)
		case f.Flips && f.OK == other.OK:
			j.lack("%q has to flip and does not (%s before, %s after)", f.Name, short(f.Seen), short(other.Seen))
		case f.Flips:
			flipping++
		case !f.OK:
			j.lack("%q is not said to flip and does not hold in the check (expected %s, saw %s)", f.Name, short(f.Expected), short(f.Seen))
		case !other.OK:
			j.lack("%q is not said to flip and does not hold in the control (expected %s, saw %s)", f.Name, short(other.Expected), short(other.Seen))
		}
	}
	for _, f := range control.Facts {
		if _, ok := before[f.Name]; !ok {
			j.lack("%q was looked at in the control and not in the check", f.Name)
		}
	}
	if flipping == 0 {
		j.lack("no fact is named that has to flip, so nothing carries the verdict")
	}
}

// byName takes the first of several facts of one name: those of a list that is
// walked in both trials have names of their own.
func byName(facts []Fact) map[string]Fact {
	m := map[string]Fact{}
	for _, f := range facts {
		if _, twice := m[f.Name]; !twice {
			m[f.Name] = f
		}
	}
	return m
}

// trial says what one trial lacks.
func (j *judge) trial(which string, t *Trial, listed map[string]bool) {
	if !t.Holds() {
		j.missing = append(j.missing, unexplained(which, t)...)
	}
	negative, because := "", false
	for _, f := range slices.Concat(t.Facts, t.Cause) {
		if len(f.Evidence) == 0 || slices.ContainsFunc(f.Evidence, func(p string) bool { return !listed[p] }) {
			j.lack("%q in %s has no evidence that was kept", f.Name, which)
		}
		if f.Negative && f.OK {
			negative = f.Name
		}
		because = because || f.Because && f.OK
	}
	if negative != "" && !because {
		j.lack("%s states a failure (%q) and no reason for it", which, negative)
	}
}

// sentence ends a text with a full stop.
func sentence(text string) string {
	if strings.HasSuffix(text, ".") || strings.HasSuffix(text, "…") {
		return text
	}
	return text + "."
}

func inconclusive(missing []string) string {
	return "Not proven: " + strings.Join(missing, "; ") + "."
}

// unexplained says what a negative trial lacks of its cause.
func unexplained(which string, t *Trial) []string {
	if len(t.Cause) == 0 {
		return []string{fmt.Sprintf("%s came out negative (%s) and no cause was looked at", which, failing(t.Facts))}
	}
	if !t.Explained() {
		return []string{fmt.Sprintf("%s came out negative (%s) and its cause is not the stated one: %s",
			which, failing(t.Facts), failing(t.Cause))}
	}
	return nil
}

// decisive pairs the facts, by name, that are named to flip and do: those that
// carry the verdict.
func decisive(check, control *Trial) [][2]Fact {
	if check == nil || control == nil {
		return nil
	}
	after := byName(control.Facts)
	var pairs [][2]Fact
	for _, f := range check.Facts {
		if other, ok := after[f.Name]; ok && f.Flips && other.OK != f.OK {
			pairs = append(pairs, [2]Fact{f, other})
		}
	}
	return pairs
}

// Decisive returns the names of the facts that came out differently in the
// check and in its control.
func (f Finding) Decisive() map[string]bool {
	names := map[string]bool{}
	for _, pair := range decisive(f.Check, f.Control) {
		names[pair[0].Name] = true
	}
	return names
}

// maxNamed is how many facts a reason names before it counts the rest.
const maxNamed = 3

func flips(check, control *Trial) string {
	pairs := decisive(check, control)
	var parts []said
	for _, p := range pairs {
		parts = append(parts, said{p[0].Name, fmt.Sprintf("%s: expected %s, saw %s before and %s after",
			p[0].Name, short(p[1].Expected), short(p[0].Seen), short(p[1].Seen))})
	}
	return few(parts)
}

func failing(facts []Fact) string {
	var parts []said
	for _, f := range facts {
		if !f.OK {
			parts = append(parts, said{f.Name, fmt.Sprintf("%s: expected %s, saw %s", f.Name, short(f.Expected), short(f.Seen))})
		}
	}
	return few(parts)
}

func shown(cause []Fact) string {
	var parts []said
	for _, f := range cause {
		parts = append(parts, said{f.Name, fmt.Sprintf("%s: %s", f.Name, short(f.Seen))})
	}
	return few(parts)
}

// said is what a reason says about a fact.
type said struct{ name, words string }

// few joins what is said about at most maxNamed facts and counts the others. It
// keeps those with the shortest names: they say what a person saw (curl's
// status), and the long ones which field of which cluster showed it.
func few(parts []said) string {
	names := make([]int, len(parts))
	for i, p := range parts {
		names[i] = len(p.name)
	}
	slices.Sort(names)
	var words []string
	for _, p := range parts {
		if len(parts) <= maxNamed || (len(p.name) <= names[maxNamed-1] && len(words) < maxNamed) {
			words = append(words, p.words)
		}
	}
	if rest := len(parts) - len(words); rest > 0 {
		words = append(words, fmt.Sprintf("and %d more", rest))
	}
	return strings.Join(words, "; ")
}

func allHold(n int) string {
	if n == 1 {
		return "holds in its one fact"
	}
	return fmt.Sprintf("holds in all %d facts", n)
}

// short cuts a value for a sentence; the whole value stays in the fact.
func short(s string) string {
	const most = 80
	s = strings.Join(strings.Fields(s), " ")
	if s == "" {
		return `""`
	}
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}

// Count counts results by verdict. Unexpected counts the claims that were
// judged and whose verdict is not the expected one; a claim without a judgement
// is counted as inconclusive or not-run only.
func Count(results []Result) Totals {
	t := Totals{Claims: len(results)}
	for _, r := range results {
		switch r.Verdict {
		case claim.Supported:
			t.Supported++
		case claim.Refuted:
			t.Refuted++
		case claim.NotRun:
			t.NotRun++
		default:
			t.Inconclusive++
		}
		if r.Unexpected() {
			t.Unexpected++
		}
	}
	return t
}

// Unexpected reports whether a claim was judged, and not as expected.
func (r Result) Unexpected() bool {
	return (r.Verdict == claim.Supported || r.Verdict == claim.Refuted) && r.Verdict != r.Expected
}

// AsExpected reports whether a claim was judged as expected.
func (r Result) AsExpected() bool {
	return (r.Verdict == claim.Supported || r.Verdict == claim.Refuted) && r.Verdict == r.Expected
}

// Conclude gives the outcome of a run that ended with ending. Failed,
// Interrupted and Running stand as they are, because no claim can tell them;
// whatever else is passed, the claims decide: different beats inconclusive, a
// claim that did not run leaves the run inconclusive, and a run without claims
// is never green.
func Conclude(results []Result, ending Outcome) Outcome {
	t := Count(results)
	switch {
	case ending == Interrupted || ending == Failed || ending == Running:
		return ending
	case t.Unexpected > 0:
		return Different
	case t.Claims == 0 || t.Supported+t.Refuted != t.Claims:
		return Inconclusive
	}
	return Green
}

// ExitCode is the process's exit code for an outcome. A run that has not ended
// has proven nothing, so it counts as inconclusive.
func (o Outcome) ExitCode() int {
	switch o {
	case Green:
		return 0
	case Different:
		return 1
	case Failed:
		return 3
	case Interrupted:
		return 130
	}
	return 4
}

// Words is the outcome as people say it.
func (o Outcome) Words() string {
	switch o {
	case Green:
		return "as expected"
	case Different:
		return "a verdict differs"
	case Failed:
		return "the environment failed"
	case Interrupted:
		return "interrupted"
	case Running:
		return "running, or killed"
	}
	return "inconclusive"
}
