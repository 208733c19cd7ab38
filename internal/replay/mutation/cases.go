package mutation

import (
	"fmt"
	"slices"
	"strings"
)

// aCase is something that is done to a recording, after which a claim must not
// come out as it did.
type aCase struct {
	doc, field, op string
	// ways are tried in turn, until one of them turns the claim: for a value there
	// are many others.
	ways []mutant
	// same is true where the document means the same afterwards: a field that is
	// left out has the value that it had.
	same bool
	// optional cases count where they move anything: a copy may say the same.
	optional bool
	// turned replaces a replay where that is not what finds the fault.
	turned func() bool
}

func (s *subject) value(r ref) string {
	d := s.docs[r.doc]
	return string(d.raw[d.nodes[r.node].start:d.nodes[r.node].end])
}

// others are the values that a node is tried with: by turns one that the field has
// elsewhere in the claim, or that differs little, and a drastic one. After these come
// the values that the field has in other claims.
func (s *subject) others(r ref) []string {
	d := s.docs[r.doc]
	n := d.nodes[r.node]
	if n.kind == moment {
		return []string{"1h", "-1h", "24h"}
	}
	all := without(append(inTurn(s.harmless(r), drastic(d.raw, n)), s.natural(r)...), s.value(r))
	if s.slow {
		return firstOf(all, fewValues)
	}
	return all
}

// natural are the values that the field has elsewhere in the recording, and one that
// differs little.
func (s *subject) natural(r ref) []string {
	d := s.docs[r.doc]
	return without(slices.Concat(s.harmless(r), s.everyValue.like(d.raw, d.nodes[r.node])), s.value(r))
}

// fewValues are tried in claims whose replay takes long, manyValues for a fact that
// no case has made fail.
const (
	fewValues  = 6
	manyValues = 14
)

// inTurn takes from two lists in turn.
func inTurn(a, b []string) (all []string) {
	for i := range max(len(a), len(b)) {
		for _, list := range [][]string{a, b} {
			if i < len(list) {
				all = append(all, list[i])
			}
		}
	}
	return all
}

func (s *subject) caseOf(r ref, op operator) aCase {
	d := s.docs[r.doc]
	c := aCase{doc: d.name, field: d.nodes[r.node].path, op: op.String()}
	if op == alter {
		for _, v := range s.others(r) {
			c.ways = append(c.ways, mutant{edits: edits{r.doc: {{node: r.node, op: alter, to: v}}}})
		}
		return c
	}
	c.ways = []mutant{{edits: edits{r.doc: {{node: r.node, op: op}}}}}
	c.same = op == drop && slices.Contains([]string{`""`, "0", "false", "null", "[]", "{}"}, s.value(r))
	return c
}

// operators that apply to a node that is read.
func (s *subject) operators(r Read) (all []operator) {
	n := s.docs[r.Doc].nodes[r.Node]
	if n.kind.alterable() && r.Op == string(alter) {
		all = append(all, alter)
	}
	if n.kind != moment && n.to > n.from {
		all = append(all, drop)
	}
	if n.element {
		all = append(all, double)
	}
	return all
}

// cases are those of the nodes that the facts read. Of nodes that are read by the
// same code in the same place and move the same facts, the first one is altered; of
// those that a parser wants, one in all claims: thinned says how many others there
// are.
func (s *subject) cases(found *ClaimReads, parsed parsers) (all []aCase, thinned int) {
	seen := map[string]bool{}
	done := map[string]bool{}
	covered := map[int]bool{}
	for _, r := range found.Read {
		at, d := ref{r.Doc, r.Node}, s.docs[r.Doc]
		class := d.nodes[r.Node].class
		for _, op := range s.operators(r) {
			one := fmt.Sprint(at, op)
			if done[one] {
				continue
			}
			done[one] = true
			alike := fmt.Sprint(s.class(at), op, r.Facts)
			if s.slow {
				alike = fmt.Sprint(d.sort, d.slot.Stage, op, r.Fails)
				if r.Fails {
					alike += s.class(at)
				}
			}
			if seen[alike] && !(s.slow && r.covers(covered)) || r.Fails && !parsed.first(parserOf(d.sort)+class+op.String()) {
				thinned++
				continue
			}
			// Only of a field that is altered: one that is left out stands for no other.
			seen[alike] = true
			for _, i := range r.Facts {
				covered[i] = true
			}
			all = append(all, s.caseOf(at, op))
		}
	}
	return append(all, s.everywhere(found)...), thinned
}

// covers reports whether a node moves a fact that no other one does so far.
func (r Read) covers(covered map[int]bool) bool {
	return slices.ContainsFunc(r.Facts, func(i int) bool { return !covered[i] })
}

// parserOf tells what reads a document: JSON of one proxy is read like that of another.
func parserOf(sort string) string {
	if strings.HasSuffix(sort, ".json") {
		return witnessed(sort)
	}
	return sort
}

// parsers are the fields that a parser wants, and refuses otherwise: it does the
// same in all claims.
type parsers map[string]bool

func (p parsers) first(what string) bool {
	first := !p[what]
	p[what] = true
	return first
}

// everywhere are cases in which a field of all log lines, or of all of curl's
// reports, of a stage is altered: what a claim says of several requests.
func (s *subject) everywhere(found *ClaimReads) (all []aCase) {
	done := map[string]bool{}
	for _, r := range found.Read {
		d := s.docs[r.Doc]
		class := s.class(ref{r.Doc, r.Node})
		if r.Op != string(alter) || done[class] || !d.line() && d.sort != "curl.txt" {
			continue
		}
		done[class] = true
		var alike []ref
		for i, o := range s.docs {
			for j, n := range o.nodes {
				if o.sort == d.sort && n.class == d.nodes[r.Node].class && (!d.line() && o == d || d.line() && s.class(ref{i, j}) == class) && n.kind.alterable() {
					alike = append(alike, ref{i, j})
				}
			}
		}
		if len(alike) < 2 {
			continue
		}
		c := aCase{doc: d.sort, field: d.nodes[r.Node].class + " in all of the " + s.place(d), op: alter.String(), optional: true}
		for _, v := range s.others(ref{r.Doc, r.Node}) {
			e := edits{}
			for _, a := range alike {
				e[a.doc] = append(e[a.doc], change{a.node, alter, v})
			}
			c.ways = append(c.ways, mutant{edits: e})
		}
		all = append(all, c)
	}
	return all
}

// unread are the nodes that no fact reads, with the values they are altered to.
func (s *subject) unread(found *ClaimReads) (edits, int) {
	skip := map[ref]bool{}
	for _, r := range found.Read {
		if r.Op == string(alter) {
			skip[ref{r.Doc, r.Node}] = true
		}
	}
	for _, u := range found.Unexamined {
		skip[ref{u[0], u[1]}] = true
	}
	chosen := map[ref]int{}
	for _, h := range found.Harmless {
		chosen[ref{h[0], h[1]}] = h[2]
	}
	e, n := edits{}, 0
	for _, set := range s.leaves() {
		for _, r := range set {
			if !skip[r] {
				n++
				e[r.doc] = append(e[r.doc], change{node: r.node, op: alter, to: s.harmless(r)[chosen[r]]})
			}
		}
	}
	return e, n
}
