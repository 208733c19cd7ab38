package mutant

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"twohop/internal/claim"
)

// Fate is what became of a mutant.
type Fate struct {
	Name   string            `json:"name"`
	Where  string            `json:"where"`
	Claims map[claim.ID]Turn `json:"claims"`
}

// Turn is what a claim said of the broken subject.
type Turn struct {
	Must     bool          `json:"must"` // it has to turn
	Expected claim.Verdict `json:"expected"`
	Verdict  claim.Verdict `json:"verdict"`
	Reason   string        `json:"reason"`
}

// Turned says that the claim did not come out as expected.
func (t Turn) Turned() bool { return t.Verdict != t.Expected }

// Survived lists the claims that should have turned and did not or, of a
// harmless change, those that turned.
func (f Fate) Survived() []claim.ID {
	var survived []claim.ID
	for _, id := range slices.Sorted(maps.Keys(f.Claims)) {
		t := f.Claims[id]
		if f.Where == Harmless && t.Turned() || t.Must && !t.Turned() {
			survived = append(survived, id)
		}
	}
	return survived
}

// Words sums a fate up.
func (f Fate) Words() string {
	if s := f.Survived(); len(s) > 0 {
		if f.Where == Harmless {
			return fmt.Sprintf("turned %s, although harmless", join(s))
		}
		return fmt.Sprintf("SURVIVED %s", join(s))
	}
	const listed = 12 // more do not fit into a line of progress
	switch turned := f.turned(); {
	case len(turned) == 0:
		return "nothing turned"
	case len(turned) > listed:
		return fmt.Sprintf("turned %d claims", len(turned))
	default:
		return "turned " + join(turned)
	}
}

func (f Fate) turned() []claim.ID {
	var turned []claim.ID
	for _, id := range slices.Sorted(maps.Keys(f.Claims)) {
		if f.Claims[id].Turned() {
			turned = append(turned, id)
		}
	}
	return turned
}

// Survivors are the fates of mutants that survived.
func Survivors(fates []Fate) []string {
	var survivors []string
	for _, f := range fates {
		if len(f.Survived()) > 0 {
			survivors = append(survivors, f.Name+": "+f.Words())
		}
	}
	return survivors
}

// WriteMarkdown writes the table that is part of the documentation.
func WriteMarkdown(w io.Writer, fates []Fate, run string) error {
	var b strings.Builder
	fmt.Fprintf(&b, "# Mutants\n\n<!-- Written by `make mutants`; do not edit. -->\n\n")
	fmt.Fprintf(&b, "Each row plants one change and then judges the claims that rest on what was changed, and\n"+
		"some that need not. A claim that has to turn must not come out as expected: it is then\n"+
		"inconclusive, unless its verdict is named. Of a harmless change nothing may turn. Each claim of\n"+
		"the registry has to turn in some row. Run: %s.\n\n", run)
	faults, harmless := 0, 0
	for _, f := range fates {
		if f.Where == Harmless {
			harmless++
		} else {
			faults++
		}
	}
	fmt.Fprintf(&b, "%d faults, %d harmless changes, %d survivors.\n\n", faults, harmless, len(Survivors(fates)))
	b.WriteString("| planted in | change | had to turn, and did | turned as well | stayed as expected | survived |\n|---|---|---|---|---|---|\n")
	for _, f := range fates {
		var due, more, stayed []string
		survived := f.Survived()
		for _, id := range slices.Sorted(maps.Keys(f.Claims)) {
			switch t := f.Claims[id]; {
			case slices.Contains(survived, id):
			case !t.Turned():
				stayed = append(stayed, string(id))
			case t.Must:
				due = append(due, t.named(id))
			default:
				more = append(more, t.named(id))
			}
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", f.Where, f.Name, f.most(due), strings.Join(more, ", "), strings.Join(stayed, ", "), join(survived))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// named is a claim that turned, with its verdict where that says more than that
// nothing is proven.
func (t Turn) named(id claim.ID) string {
	if t.Verdict == claim.Inconclusive {
		return string(id)
	}
	return fmt.Sprintf("%s (%s)", id, t.Verdict)
}

// most joins the claims that had to turn and did. Of a fault that nearly all
// claims rest on it names those that need not turn.
func (f Fate) most(due []string) string {
	all := claim.All()
	if len(due) < len(all)/2 {
		return strings.Join(due, ", ")
	}
	var others []claim.ID
	for _, c := range all {
		if !f.Claims[c.ID].Must {
			others = append(others, c.ID)
		}
	}
	if len(others) == 0 {
		return fmt.Sprintf("%d: all", len(due))
	}
	return fmt.Sprintf("%d: all but %s", len(due), join(others))
}

func join(ids []claim.ID) string {
	words := make([]string, len(ids))
	for i, id := range ids {
		words[i] = string(id)
	}
	return strings.Join(words, ", ")
}
