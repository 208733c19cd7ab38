package verdict

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"twohop/internal/claim"
)

// Difference is what changed from run A to run B.
type Difference struct {
	A RunRef `json:"a"`
	B RunRef `json:"b"`
	// Same is true where no verdict turned, no claim is new or gone and no
	// value moved. Versions and times may differ all the same.
	Same     bool     `json:"same"`
	Versions []Change `json:"versions"`
	Turned   []Turn   `json:"turned"`
	New      []Turn   `json:"new"`
	Gone     []Turn   `json:"gone"`
	Moved    []Move   `json:"moved"`
	// Followed are values that moved together with what was expected of them, or
	// within it. They are shown, and do not make the runs different.
	Followed []Move       `json:"followed"`
	Times    []TimeChange `json:"times"`
}

// RunRef names one of the two runs.
type RunRef struct {
	ID       string  `json:"id"`
	Istio    string  `json:"istio,omitempty"`
	Result   Outcome `json:"result"`
	ExitCode int     `json:"exitCode"`
}

// Change is a value that is not the same in both runs; empty where unknown.
type Change struct {
	What string `json:"what"`
	A    string `json:"a"`
	B    string `json:"b"`
}

// Turn is a claim whose verdict is not the same, or that only one run has.
type Turn struct {
	Claim     claim.ID      `json:"claim"`
	Statement string        `json:"statement"`
	A         claim.Verdict `json:"a,omitempty"`
	B         claim.Verdict `json:"b,omitempty"`
	Expected  claim.Verdict `json:"expected"`
	Reason    string        `json:"reason"`
}

// Move is a value that was seen differently.
type Move struct {
	Claim claim.ID `json:"claim"`
	// Where is check, check cause, control, control cause, or the title of the
	// claim's table.
	Where string `json:"where"`
	Name  string `json:"name"`
	A     string `json:"a"`
	B     string `json:"b"`
}

// TimeChange is how long something took in each run.
type TimeChange struct {
	What    string `json:"what"` // run, phase NAME, claim ID
	AMillis int64  `json:"aMillis"`
	BMillis int64  `json:"bMillis"`
}

// absent stands for a value that one run does not have.
const absent = "(absent)"

// Diff compares two runs. What differs between any two runs (addresses, hashes,
// serials, names of pods) is not a value that moved.
func Diff(a, b *Verdict) Difference {
	d := Difference{
		A:        RunRef{a.Run.ID, a.Run.Istio, a.Result, a.ExitCode},
		B:        RunRef{b.Run.ID, b.Run.Istio, b.Result, b.ExitCode},
		Versions: []Change{}, Turned: []Turn{}, New: []Turn{}, Gone: []Turn{},
		Moved: []Move{}, Followed: []Move{}, Times: []TimeChange{},
	}
	d.versions(a.Run, b.Run)
	inB := map[claim.ID]Result{}
	for _, r := range b.Claims {
		inB[r.ID] = r
	}
	inA := map[claim.ID]bool{}
	for _, ra := range a.Claims {
		inA[ra.ID] = true
		rb, ok := inB[ra.ID]
		if !ok {
			d.Gone = append(d.Gone, Turn{Claim: ra.ID, Statement: ra.Statement, A: ra.Verdict, Expected: ra.Expected, Reason: ra.Reason})
			continue
		}
		if ra.Verdict != rb.Verdict {
			d.Turned = append(d.Turned, Turn{ra.ID, rb.Statement, ra.Verdict, rb.Verdict, rb.Expected, rb.Reason})
		}
		d.values(ra, rb)
	}
	for _, rb := range b.Claims {
		if !inA[rb.ID] {
			d.New = append(d.New, Turn{Claim: rb.ID, Statement: rb.Statement, B: rb.Verdict, Expected: rb.Expected, Reason: rb.Reason})
		}
	}
	d.times(a, b)
	d.Same = len(d.Turned)+len(d.New)+len(d.Gone)+len(d.Moved) == 0
	return d
}

func (d *Difference) versions(a, b Run) {
	for _, c := range []Change{
		{"Istio", a.Istio, b.Istio}, {"Kubernetes", a.Kubernetes, b.Kubernetes}, {"Envoy", a.Envoy, b.Envoy},
		{"lane", a.Lane, b.Lane}, {"engine", a.Engine, b.Engine}, {"domain", a.Domain, b.Domain},
		{"harness", a.HarnessCommit, b.HarnessCommit},
	} {
		if c.A != c.B {
			d.Versions = append(d.Versions, c)
		}
	}
}

// values compares the facts and tables of a claim that both runs judged; where
// one of them has no trial there is nothing to compare.
func (d *Difference) values(a, b Result) {
	for _, part := range []struct {
		where string
		a, b  *Trial
	}{{"check", a.Check, b.Check}, {"control", a.Control, b.Control}} {
		if part.a == nil || part.b == nil {
			continue
		}
		d.facts(a.ID, part.where, part.a.Facts, part.b.Facts)
		d.facts(a.ID, part.where+" cause", part.a.Cause, part.b.Cause)
	}
	if a.Table != nil && b.Table != nil {
		d.tables(a.ID, a.Table, b.Table)
	}
}

func (d *Difference) facts(id claim.ID, where string, a, b []Fact) {
	inB := numbered(b)
	seen := map[string]bool{}
	for _, fa := range numbered(a).all {
		seen[fa.key] = true
		fb, ok := inB.byKey[fa.key]
		switch {
		case !ok:
			d.Moved = append(d.Moved, Move{id, where, fa.Name, fa.Seen, absent})
		case alike(fa.Seen, fb.Seen), fa.OK == fb.OK && sameConnection(fa.Name, fa.Seen, fb.Seen):
		case fa.OK == fb.OK && fa.Expected == fb.Expected && isBound(fa.Expected):
		case fa.OK == fb.OK && follows(fa, fb.Fact):
			d.Followed = append(d.Followed, Move{id, where, fa.Name, fa.Seen, fb.Seen})
		default:
			d.Moved = append(d.Moved, Move{id, where, fa.Name, fa.Seen, fb.Seen})
		}
	}
	for _, fb := range inB.all {
		if !seen[fb.key] {
			d.Moved = append(d.Moved, Move{id, where, fb.Name, absent, fb.Seen})
		}
	}
}

// follows reports whether another value is due to the run: what was expected is
// another too, or only a part of a text was.
func follows(a keyedFact, b Fact) bool {
	return a.Expected != b.Expected || a.OK && isPart.MatchString(a.Expected)
}

var isPart = regexp.MustCompile(`^(contains|matches|starts with|ends with) "`)

// isBound reports whether an expectation is a limit ("> 0"), within which a
// value may be another in every run.
func isBound(expected string) bool {
	return expected != "" && strings.ContainsRune("<>≤≥", []rune(expected)[0])
}

type keyedFact struct {
	Fact
	key string
}

type factIndex struct {
	all   []keyedFact
	byKey map[string]keyedFact
}

// numbered gives each fact a key that matches across runs: its name without
// what differs between any two runs, and which one of that name it is.
func numbered(facts []Fact) factIndex {
	index := factIndex{byKey: map[string]keyedFact{}}
	count := map[string]int{}
	for _, f := range facts {
		name := steady(f.Name)
		count[name]++
		k := keyedFact{f, fmt.Sprintf("%s#%d", name, count[name])}
		index.all = append(index.all, k)
		index.byKey[k.key] = k
	}
	return index
}

// tables compares rows by their first cell.
func (d *Difference) tables(id claim.ID, a, b *Table) {
	rows := func(t *Table) (order []string, byKey map[string][]string) {
		byKey = map[string][]string{}
		count := map[string]int{}
		for _, row := range t.Rows {
			if len(row) > 0 {
				name := steady(row[0])
				count[name]++
				key := fmt.Sprintf("%s#%d", name, count[name])
				order, byKey[key] = append(order, key), row
			}
		}
		return order, byKey
	}
	orderA, inA := rows(a)
	orderB, inB := rows(b)
	for _, key := range orderA {
		ra := inA[key]
		rb, ok := inB[key]
		if !ok {
			d.Moved = append(d.Moved, Move{id, a.Title, ra[0], strings.Join(ra[1:], " | "), absent})
			continue
		}
		for i := 1; i < max(len(ra), len(rb)); i++ {
			ca, cb := cellOr(ra, i), cellOr(rb, i)
			if steady(ca) == steady(cb) {
				continue
			}
			move := Move{id, a.Title, ra[0] + ", " + cellOr(a.Header, i), ca, cb}
			if d.followed(id, ra[0]) {
				d.Followed = append(d.Followed, move)
			} else {
				d.Moved = append(d.Moved, move)
			}
		}
	}
	for _, key := range orderB {
		if _, ok := inA[key]; !ok {
			d.Moved = append(d.Moved, Move{id, b.Title, inB[key][0], absent, strings.Join(inB[key][1:], " | ")})
		}
	}
}

// followed reports whether a fact about a table's row moved within what was
// expected of it: the row then tells of the same.
func (d *Difference) followed(id claim.ID, row string) bool {
	return slices.ContainsFunc(d.Followed, func(m Move) bool { return m.Claim == id && strings.HasPrefix(m.Name, row+" ") })
}

func cellOr(row []string, i int) string {
	if i < len(row) {
		return row[i]
	}
	return absent
}

func (d *Difference) times(a, b *Verdict) {
	add := func(what string, a, b int64) {
		if a > 0 || b > 0 {
			d.Times = append(d.Times, TimeChange{what, a, b})
		}
	}
	add("run", a.Run.DurationMillis, b.Run.DurationMillis)
	namesA, inA := phaseTimes(a)
	namesB, inB := phaseTimes(b)
	for _, name := range namesB {
		if _, ok := inA[name]; !ok {
			namesA = append(namesA, name)
		}
	}
	for _, name := range namesA {
		add("phase "+name, inA[name], inB[name])
	}
	claims := map[claim.ID]int64{}
	for _, r := range b.Claims {
		claims[r.ID] = r.DurationMillis
	}
	for _, r := range a.Claims {
		if tb, ok := claims[r.ID]; ok {
			add("claim "+string(r.ID), r.DurationMillis, tb)
		}
	}
}
