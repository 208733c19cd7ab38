package mutant

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"twohop/internal/claim"
)

// Fate is what a claim said of one mutant.
type Fate struct {
	Mutant   string        `json:"mutant"`
	Where    string        `json:"where"`
	Claim    claim.ID      `json:"claim"`
	Expected claim.Verdict `json:"expected"`
	Verdict  claim.Verdict `json:"verdict"`
	// OK: the claim turned for the planted reason; under a harmless change: it stayed.
	OK bool `json:"ok"`
	// Why is the failing fact that shows it, or why it is not so.
	Why string `json:"why"`
}

// Report is a mutation run. It is whole if as many fates are there as were
// planned.
type Report struct {
	Run     string `json:"run"`
	Planned int    `json:"planned"`
	Fates   []Fate `json:"fates"`
}

// Whole says what keeps the report from being one of the whole list.
func (r Report) Whole() error {
	if len(r.Fates) != r.Planned || r.Planned == 0 {
		return fmt.Errorf("%d of %d planned judgements were made", len(r.Fates), r.Planned)
	}
	return nil
}

// Survivors are the fates that are not as they have to be.
func (r Report) Survivors() (survivors []Fate) {
	for _, f := range r.Fates {
		if !f.OK {
			survivors = append(survivors, f)
		}
	}
	return survivors
}

// Words sums a fate up in a line.
func (f Fate) Words() string {
	switch {
	case f.Where == Harmless && f.OK:
		return "stayed, as it has to"
	case f.Where == Harmless:
		return "TURNED, although nothing was broken: " + f.Why
	case f.OK:
		return "killed: " + f.Why
	}
	return "SURVIVED: " + f.Why
}

// Exempt are claims that need no mutant in the subject, with the reason.
var exempt = map[claim.ID]string{
	"G3-yaml":    "asks the API server about a document of its own; the subject is not involved",
	"V-reject":   "asks the API server about documents of its own; the subject is not involved",
	"V-reject-2": "asks the API server about documents of its own; the subject is not involved",
}

// Exempt says why a claim needs no mutant in the subject; false if it needs one.
func Exempt(id claim.ID) (why string, ok bool) {
	why, ok = exempt[id]
	return why, ok
}

// WriteMarkdown writes the table that is part of the documentation.
func WriteMarkdown(w io.Writer, r Report, when string) error {
	var b strings.Builder
	b.WriteString("# Mutants\n\n<!-- Written by `make mutants`; do not edit. -->\n\n")
	b.WriteString("Each row plants one change in the live subject and judges claims again. A fault kills a claim\n" +
		"if the claim does not come out as expected *and* a fact fails for the reason that was planted; a\n" +
		"timeout or another failure does not count. Under a harmless change every claim has to stay.\n\n")
	fmt.Fprintf(&b, "Run: %s. %d changes, %d judgements planned and made, %d survivors.\n\n", when, len(r.names()), r.Planned, len(r.Survivors()))
	b.WriteString("| planted in | change | claims | shown by |\n|---|---|---|---|\n")
	for _, name := range r.names() {
		var ids, whys []string
		where := ""
		for _, f := range r.Fates {
			if f.Mutant != name {
				continue
			}
			where = f.Where
			id := string(f.Claim)
			if !f.OK {
				id = "**" + id + " survived**"
			}
			ids = append(ids, id)
			if f.Why != "" && !slices.Contains(whys, f.Why) {
				whys = append(whys, f.Why)
			}
		}
		const most = 1
		shown := strings.Join(whys[:min(most, len(whys))], "; ")
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", where, name, listed(ids), strings.ReplaceAll(short(shown), "|", `\|`))
	}
	b.WriteString("\nClaims without a mutant in the subject:\n\n")
	for _, c := range claim.All() {
		if why, ok := Exempt(c.ID); ok {
			fmt.Fprintf(&b, "- %s: %s.\n", c.ID, why)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (r Report) names() (names []string) {
	for _, f := range r.Fates {
		if !slices.Contains(names, f.Mutant) {
			names = append(names, f.Mutant)
		}
	}
	return names
}

// listed names claims, and counts them where there are all.
func listed(ids []string) string {
	if len(ids) == len(claim.All()) {
		return fmt.Sprintf("all %d", len(ids))
	}
	return strings.Join(ids, ", ")
}

func short(s string) string {
	const most = 160
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}
