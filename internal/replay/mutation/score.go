package mutation

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"twohop/internal/claim"
)

// Score is what became of all cases.
type Score struct {
	Cases, Killed, Exempt, Same int
	// Failing are cases that move only facts which have to fail in their trial, and
	// still do: what is true there is stated by the trial's cause.
	Failing int
	// ByFact are those killed by a fact or a cause, the others by a parser or by
	// a check that could not go on.
	ByFact int
	// FactsExempt are facts that no case makes fail, with a reason.
	FactsExempt int
	// Thinned are nodes that are read by the same code as another one and move the
	// same facts; Unread those that no fact reads, all of which were altered.
	Thinned, Unread, Facts int
	// Survivors are cases that no claim noticed; Unproven facts that no case made
	// come out otherwise; Stale claims in which an unread node moved something.
	Survivors, Unproven, Stale []string
	// Unused are the exemptions that excuse nothing, and in which claim.
	Unused []string

	mu   sync.Mutex
	used map[exemptionUse]bool
}

// Line is the score in one line.
func (s *Score) Line() string {
	percent := 100.0
	if alive := len(s.Survivors); alive > 0 {
		percent = 100 * float64(s.Killed) / float64(s.Killed+alive)
	}
	return fmt.Sprintf("recording mutants: %d cases: %d killed (%d by a fact, %d by an error), %d survived (%.4g %% killed); not counted: %d exempt, %d that mean the same, %d that move only facts which have to fail. "+
		"%d facts and causes: %d were never made to fail, and %d more are exempt. %d fields that no fact reads were altered together; %d fields were left out, being like another one",
		s.Cases, s.Killed, s.ByFact, s.Killed-s.ByFact, len(s.Survivors), percent, s.Exempt, s.Same, s.Failing,
		s.Facts, len(s.Unproven), s.FactsExempt, s.Unread, s.Thinned)
}

// Run makes all mutants.
func (s *Suite) Run(reads *Reads) *Score {
	score := &Score{used: map[exemptionUse]bool{}}
	chosen, thinned := s.choose(reads)
	s.each(func(of *subject) {
		found := reads.Claims[of.ID]
		if chosen[of.ID] == nil {
			score.mu.Lock()
			defer score.mu.Unlock()
			score.Stale = append(score.Stale, fmt.Sprintf("%s: what its facts read is not known", of.ID))
			return
		}
		score.judge(of, found, chosen[of.ID], thinned[of.ID])
	})
	score.Unused = unused(score.used)
	slices.Sort(score.Survivors)
	slices.Sort(score.Unproven)
	slices.Sort(score.Stale)
	return score
}

// choose takes the cases of all claims. A field that a parser wants is altered in one
// claim: the smallest one that has it, whose replay is the shortest.
func (s *Suite) choose(reads *Reads) (chosen map[claim.ID][]aCase, thinned map[claim.ID]int) {
	parsed := parsers{}
	chosen, thinned = map[claim.ID][]aCase{}, map[claim.ID]int{}
	for _, of := range slices.Backward(s.subjects) {
		if found := reads.Claims[of.ID]; found != nil && of.fits(found) {
			chosen[of.ID], thinned[of.ID] = of.cases(found, parsed)
		}
	}
	return chosen, thinned
}

// fits says that the reads are of this recording.
func (s *subject) fits(found *ClaimReads) bool {
	has := func(doc, node int) bool { return doc < len(s.docs) && node < len(s.docs[doc].nodes) }
	for _, r := range found.Read {
		if !has(r.Doc, r.Node) {
			return false
		}
	}
	for _, u := range found.Unexamined {
		if !has(u[0], u[1]) {
			return false
		}
	}
	for _, p := range found.Proofs {
		if p.Fact >= len(s.base.names) || slices.ContainsFunc(p.Changes, func(c Changed) bool { return !has(c.Doc, c.Node) }) {
			return false
		}
	}
	for _, h := range found.Harmless {
		if !has(h[0], h[1]) || h[2] >= len(s.harmless(ref{h[0], h[1]})) {
			return false
		}
	}
	return true
}

// result is what became of one case.
type result struct {
	killed, byFact, moved bool
	failing               bool  // what moved failed before, and fails
	panicked              bool  // a fault of the check's: it is to say what it saw
	flipped               []int // facts that came out the other way
}

func (s *subject) try(c aCase) (r result) {
	if c.turned != nil {
		return result{killed: c.turned(), byFact: true, moved: true}
	}
	for _, way := range c.ways {
		now := s.turned(way)
		facts, moved := s.moved(now)
		if moved {
			r.failing = (r.failing || !r.moved) && s.stillFails(facts, now)
		}
		r.moved = r.moved || moved
		if !s.turns(now) {
			continue
		}
		r.killed, r.byFact, r.panicked = true, now.err == s.base.err, now.panicked()
		r.flipped = s.flipped(now)
		return r
	}
	return r
}

// stillFails reports whether facts did not hold, and do not, all others being as
// they were.
func (s *subject) stillFails(facts []int, now reading) bool {
	return len(facts) > 0 && now.err == s.base.err && slices.Equal(now.names, s.base.names) &&
		!slices.ContainsFunc(facts, func(i int) bool { return s.base.facts[i].OK || now.facts[i].OK })
}

// flipped are the facts that hold and did not, or did and do not.
func (s *subject) flipped(now reading) (facts []int) {
	ok := map[string]bool{}
	for i, name := range now.names {
		ok[name] = now.facts[i].OK
	}
	for i, name := range s.base.names {
		if is, there := ok[name]; there && is != s.base.facts[i].OK {
			facts = append(facts, i)
		}
	}
	return facts
}

func (s *Score) judge(of *subject, found *ClaimReads, cases []aCase, thinned int) {
	proven := map[int]bool{}
	for _, c := range slices.Concat(cases, of.faults(found), of.proofCases(found)) {
		r := of.try(c)
		for _, i := range r.flipped {
			proven[i] = true
		}
		s.count(of.ID, c, r)
	}
	of.rest(found, proven, func(fact string) bool { return exemptionOf(of.ID, "facts", fact, "fails") >= 0 })
	unread, n := of.unread(found)
	now := of.replay(unread)
	facts, moved := of.moved(now)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Thinned, s.Unread, s.Facts = s.Thinned+thinned, s.Unread+n, s.Facts+len(of.base.names)
	if moved {
		var names []string
		for _, i := range facts {
			names = append(names, of.base.names[i])
		}
		s.Stale = append(s.Stale, fmt.Sprintf("%s: altering what no fact reads moves %q %s", of.ID, names, now.err))
	}
	for _, i := range of.unproven(proven) {
		name := of.base.names[i]
		if s.exempt(of.ID, "facts", name, "fails") {
			s.FactsExempt++
		} else {
			s.Unproven = append(s.Unproven, fmt.Sprintf("%s | facts | %s | fails (%s)", of.ID, name, of.base.facts[i].Seen))
		}
	}
}

// rest goes through the reads again, for the facts that no case has made fail yet:
// first those that are known to move such a fact, then, unless all of these facts
// are exempt, the others.
func (s *subject) rest(found *ClaimReads, proven map[int]bool, exempt func(fact string) bool) {
	wanted := func(i int) bool { return s.base.facts[i].OK && !proven[i] }
	for _, r := range found.Read {
		if slices.ContainsFunc(r.Facts, wanted) {
			s.prove(r, proven)
		}
	}
	for _, r := range found.Read {
		if s.slow || !slices.ContainsFunc(s.unproven(proven), func(i int) bool { return !exempt(s.base.names[i]) }) {
			return
		}
		if r.Facts == nil {
			s.prove(r, proven)
		}
	}
}

// prove notes the facts that altering a node makes fail, until none of those that
// it is known to move is left.
func (s *subject) prove(r Read, proven map[int]bool) {
	for _, op := range s.operators(r) {
		for _, way := range firstOf(s.caseOf(ref{r.Doc, r.Node}, op).ways, manyValues) {
			if r.Facts != nil && !slices.ContainsFunc(r.Facts, func(i int) bool { return s.base.facts[i].OK && !proven[i] }) {
				return
			}
			if now := s.turned(way); s.turns(now) {
				for _, i := range s.flipped(now) {
					proven[i] = true
				}
			}
		}
	}
}

// unproven are the facts that hold and that no case has made fail. One that does
// not hold shows by itself that it can fail.
func (s *subject) unproven(proven map[int]bool) (facts []int) {
	for i, f := range s.base.facts {
		if f.OK && !proven[i] {
			facts = append(facts, i)
		}
	}
	return facts
}

// what was done, and whether any fact tells.
func (c aCase) what(r result) string {
	if !r.moved {
		return c.op + unnoticed
	}
	return c.op
}

func (s *Score) count(id claim.ID, c aCase, r result) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !r.killed && c.optional && !r.moved:
		return
	case r.panicked:
		s.Cases++
		s.Survivors = append(s.Survivors, strings.Join([]string{string(id), c.doc, c.field, c.op + ", and the check panics"}, " | "))
	case r.killed:
		s.Cases, s.Killed = s.Cases+1, s.Killed+1
		if r.byFact {
			s.ByFact++
		}
	case c.same && !r.moved:
		s.Cases, s.Same = s.Cases+1, s.Same+1
	case r.failing:
		s.Cases, s.Failing = s.Cases+1, s.Failing+1
	default:
		s.Cases++
		if s.exempt(id, c.doc, c.field, c.what(r)) {
			s.Exempt++
		} else {
			s.Survivors = append(s.Survivors, strings.Join([]string{string(id), c.doc, c.field, c.what(r)}, " | "))
		}
	}
}
