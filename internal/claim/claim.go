// Package claim is the registry of statements that the harness judges: what is
// claimed, where the guide says so, and what a run is expected to find. It is
// data: it imports nothing of the project and runs nothing.
package claim

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// ID names a claim, for example "G2-rbac". It is stable across releases.
type ID string

// Verdict is what a run can say of a claim.
type Verdict string

// The four verdicts. Only the first two are findings.
const (
	Supported    Verdict = "supported"
	Refuted      Verdict = "refuted"
	Inconclusive Verdict = "inconclusive" // the evidence could not be obtained
	NotRun       Verdict = "not-run"
)

// Chapter groups claims as the guide's subjects do; each has one file of specs.
type Chapter string

// The chapters, in the order of the registry.
const (
	Goals Chapter = "goals" // the guide's own record of verification
	Hop1  Chapter = "hop1"
	Hop2  Chapter = "hop2"
	Pool  Chapter = "pool"
	Traps Chapter = "traps"
	Field Chapter = "field" // what users of the pattern report most
)

// Chapters lists them in that order.
func Chapters() []Chapter { return []Chapter{Goals, Hop1, Hop2, Pool, Traps, Field} }

// Title is the chapter as a heading says it.
func (c Chapter) Title() string {
	switch c {
	case Goals:
		return "The guide's goals"
	case Hop1:
		return "Hop 1: sidecar to gateway"
	case Hop2:
		return "Hop 2: gateway to partner"
	case Pool:
		return "connectionPool and friends"
	case Traps:
		return "Traps"
	case Field:
		return "Field reports"
	}
	return string(c)
}

// safeID is what an id may be: it names folders, and it is a Ginkgo label, whose
// filters give a meaning to most other characters.
var safeID = regexp.MustCompile(`^[A-Z][A-Za-z0-9]*(-[A-Za-z0-9]+)*$`)

// Check says why a claim cannot be called so.
func (id ID) Check() error {
	if !safeID.MatchString(string(id)) {
		return fmt.Errorf("the id %q cannot name a file or a label: write letters and digits with hyphens in between, a capital first, such as H2-ca-plain", id)
	}
	if lower := strings.ToLower(string(id)); lower == everything || lower == "latest" || slices.Contains(Chapters(), Chapter(lower)) {
		return fmt.Errorf("the id %q is taken: CLAIMS and RUN give the word another meaning", id)
	}
	return nil
}

// ParseChapter finds a chapter by its name.
func ParseChapter(name string) (Chapter, error) {
	if !slices.Contains(Chapters(), Chapter(name)) {
		return "", fmt.Errorf("no chapter is called %q: the chapters are %s", name, chapterList())
	}
	return Chapter(name), nil
}

// Claim is one statement that is either true or false of a live cluster.
type Claim struct {
	ID      ID
	Chapter Chapter
	// Section points into the guide ("§2.1", "trap 4"); empty where the
	// statement is not the guide's.
	Section string
	// Statement is what is judged, in the project's own words.
	Statement string
	// Expected is the verdict measured on the pinned Istio line.
	Expected Verdict
	// ExpectedOn overrides Expected for an Istio line such as "1.30".
	ExpectedOn map[string]Verdict
	// Lesson is for claims that are expected to be refuted, and wherever the
	// truth needs more words than the statement: what the guide says, what
	// really happens, what to do instead.
	Lesson string
	// Takes is how long a proof takes that waits for real timers, or goes through many
	// states: about, on two cores; zero for all others. The longest begin first.
	Takes time.Duration
}

// Expect returns the expected verdict on an Istio version such as "1.30.0".
func (c Claim) Expect(istioVersion string) Verdict {
	parts := strings.SplitN(strings.TrimPrefix(istioVersion, "v"), ".", 3)
	if len(parts) >= 2 {
		if v, ok := c.ExpectedOn[parts[0]+"."+parts[1]]; ok {
			return v
		}
	}
	return c.Expected
}

// All returns every claim in registry order. The caller owns the slice.
func All() []Claim {
	var all []Claim
	for _, chapter := range [][]Claim{goals, hop1, hop2, pool, traps, alignment, field} {
		all = append(all, chapter...)
	}
	return all
}

// everything selects the whole registry.
const everything = "all"

// ByID finds one claim. The error for an unknown id offers the nearest ones.
func ByID(id ID) (Claim, error) {
	for _, c := range All() {
		if c.ID == id {
			return c, nil
		}
	}
	return Claim{}, fmt.Errorf("no claim is called %q%s", id, didYouMean(string(id), ids()))
}

// Select returns the claims that a list names, in registry order: ids
// ("G1,H2-rotation"), chapters ("hop1"), or "all". An empty list and an unknown
// name are errors; the latter offers the nearest names.
func Select(list string) ([]Claim, error) {
	var wanted []string
	for name := range strings.SplitSeq(list, ",") {
		if name = strings.TrimSpace(name); name != "" {
			wanted = append(wanted, name)
		}
	}
	if len(wanted) == 0 {
		return nil, errors.New("no claim is named: write a chapter (" + chapterList() + "), all, or ids such as G1,H2-rotation")
	}
	var unknown []string
	for _, name := range wanted {
		if known := Names(); !slices.Contains(known, name) {
			unknown = append(unknown, fmt.Sprintf("no claim or chapter is called %q%s", name, didYouMean(name, known)))
		}
	}
	if len(unknown) > 0 {
		return nil, errors.New(strings.Join(unknown, " "))
	}
	return slices.DeleteFunc(All(), func(c Claim) bool {
		return !slices.Contains(wanted, everything) && !slices.Contains(wanted, string(c.Chapter)) && !slices.Contains(wanted, string(c.ID))
	}), nil
}

func chapterList() string {
	var names []string
	for _, c := range Chapters() {
		names = append(names, string(c))
	}
	return strings.Join(names, ", ")
}
