package mutation

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"twohop/internal/claim"
)

// Reads says which nodes of a recording the facts read. It is found by altering
// (Find), kept beside the recording, and held against it by every test.
type Reads struct {
	// Recording is the SHA-256 of the packed recording.
	Recording string                   `json:"recording"`
	Claims    map[claim.ID]*ClaimReads `json:"claims"`
}

// ClaimReads are those of one claim.
type ClaimReads struct {
	Read []Read `json:"read"`
	// Unexamined are nodes that may be read or not: of a class of which enough were
	// found to be read, or read together with another one only.
	Unexamined [][2]int `json:"unexamined,omitempty"`
	// Harmless are the values, by their place among those that a node could have,
	// with which an unread node is altered if not with the first: the parsers take
	// not every value.
	Harmless [][3]int `json:"harmless,omitempty"`
	// Proofs make the facts fail that altering one field does not.
	Proofs []Proof `json:"proofs,omitempty"`
}

// Read is a node whose alteration or absence moves facts.
type Read struct {
	Doc  int    `json:"d"`
	Node int    `json:"n"`
	Op   string `json:"o"` // a: altering it moves facts, d: dropping it
	// Facts are those that it moves, by their index; none: what it moves is an
	// error, or which facts there are.
	Facts []int `json:"f,omitempty"`
	// Fails is true where it is an error.
	Fails bool `json:"e,omitempty"`
}

// Fields is how many nodes are read. One may be read twice: altered, and dropped.
func (r *ClaimReads) Fields() int {
	nodes := map[ref]bool{}
	for _, read := range r.Read {
		nodes[ref{read.Doc, read.Node}] = true
	}
	return len(nodes)
}

// Pack writes reads for a file.
func (r *Reads) Pack() ([]byte, error) {
	var packed bytes.Buffer
	zipped, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(json.NewEncoder(zipped).Encode(r), zipped.Close()); err != nil {
		return nil, err
	}
	return packed.Bytes(), nil
}

// UnpackReads reads what Pack wrote.
func UnpackReads(packed []byte) (*Reads, error) {
	zipped, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	r := &Reads{}
	if err := json.NewDecoder(zipped).Decode(r); err != nil {
		return nil, fmt.Errorf("what the facts read: %w", err)
	}
	return r, nil
}

// ref is a node of a claim.
type ref struct{ doc, node int }

// finder looks for what a claim's facts read.
type finder struct {
	*subject
	found  ClaimReads
	counts map[string]int
	enough int
	unread []ref
	chosen map[ref]int // see Harmless
}

// enough nodes of one class and stage are looked for; of claims with very many
// nodes, whose replays take long, fewer.
const (
	enoughNodes = 2
	manyNodes   = 10000
	// manyRequests make a replay take long too.
	manyRequests = 100
)

// find alters sets of nodes at once. A set whose alteration moves nothing is not
// read; another one is halved, down to single nodes.
func (s *subject) find() *ClaimReads {
	f := &finder{subject: s, counts: map[string]int{}, enough: enoughNodes, chosen: map[ref]int{}}
	if s.many {
		f.enough = 1
	}
	for _, set := range s.leaves() {
		f.alter(set)
	}
	f.together()
	for _, d := range s.tops() {
		f.drop(d)
	}
	slices.SortFunc(f.found.Read, func(a, b Read) int {
		if a.Doc != b.Doc {
			return a.Doc - b.Doc
		}
		return a.Node - b.Node
	})
	return &f.found
}

// leaves are the nodes that can be altered, by the sort of their document.
func (s *subject) leaves() [][]ref {
	bySort := map[string][]ref{}
	var sorts []string
	for i, d := range s.docs {
		for j, n := range d.nodes {
			if !n.kind.alterable() || len(s.harmless(ref{i, j})) == 0 {
				continue
			}
			if bySort[d.sort] == nil {
				sorts = append(sorts, d.sort)
			}
			bySort[d.sort] = append(bySort[d.sort], ref{i, j})
		}
	}
	var sets [][]ref
	for _, name := range sorts {
		set := bySort[name]
		slices.SortStableFunc(set, func(a, b ref) int { return compare(s.class(a), s.class(b)) })
		sets = append(sets, set)
	}
	return sets
}

func compare(a, b string) int { return bytes.Compare([]byte(a), []byte(b)) }

// class tells by whom a node is read: nodes of a class by the same code.
func (s *subject) class(r ref) string {
	d := s.docs[r.doc]
	class := d.nodes[r.node].class
	if len(d.nodes) > largeDocument {
		return d.sort + "\x00" + strings.Join(firstOf(strings.Split(class, "."), 3), ".")
	}
	return d.sort + "\x00" + class + "\x00" + s.place(d)
}

// place is the document, or for a log's line the stage that reads it first.
func (s *subject) place(d *document) string {
	switch {
	case !d.line():
		return d.slot.String()
	case s.many:
		return ""
	}
	for at, e := range s.Entries {
		for _, w := range e.Windows {
			if w.Log == d.log && w.From <= d.n && d.n < w.To && at.Stage != "control" {
				return "check"
			}
		}
	}
	return "control"
}

// largeDocument has so many nodes that they are told apart by the first parts of
// their paths only: all clusters of a proxy, which one fact compares as a whole.
const largeDocument = 3000

func firstOf[E any](list []E, n int) []E { return list[:min(n, len(list))] }

// harmless are values with which a node is altered to see whether it is read.
func (s *subject) harmless(r ref) []string {
	d := s.docs[r.doc]
	n := d.nodes[r.node]
	if n.kind == moment { // each otherwise: what is read is the time between two of them
		return []string{fmt.Sprintf("%dh", r.doc+1)}
	}
	return s.values.like(d.raw, n)
}

func (f *finder) edits(set []ref, op operator) edits {
	e := edits{}
	for _, r := range set {
		c := change{node: r.node, op: op}
		if op == alter {
			c.to = f.harmless(r)[f.chosen[r]]
		}
		e[r.doc] = append(e[r.doc], c)
	}
	return e
}

func (f *finder) full(set []ref, op operator) bool {
	for _, r := range set {
		if f.counts[f.class(r)+string(op)] < f.enough {
			return false
		}
	}
	return true
}

func (f *finder) alter(set []ref) {
	if f.full(set, alter) {
		f.skip(set)
		return
	}
	r := f.notice(f.edits(set, alter))
	facts, otherwise := f.moved(r)
	switch {
	case !otherwise:
		f.unread = append(f.unread, set...)
	case len(set) > 1:
		middle := f.cut(set)
		f.alter(set[:middle])
		f.alter(set[middle:])
	case r.err != f.base.err && f.chosen[set[0]]+1 < len(f.harmless(set[0])):
		// The parser does not take it: another value, then.
		f.chosen[set[0]]++
		f.alter(set)
	default:
		delete(f.chosen, set[0])
		f.note(set[0], alter, facts, r.err != f.base.err)
	}
}

// cut halves a set, between two classes if there are several.
func (f *finder) cut(set []ref) int {
	middle := len(set) / 2
	for by := range middle {
		for _, at := range []int{middle - by, middle + by} {
			if at > 0 && at < len(set) && f.class(set[at-1]) != f.class(set[at]) {
				return at
			}
		}
	}
	return middle
}

func (f *finder) note(r ref, op operator, facts []int, fails bool) {
	if f.counts[f.class(r)+string(op)]++; fails && op == drop {
		f.counts[f.class(r)+string(op)] = f.enough // the parser wants it: that is soon told
	}
	f.found.Read = append(f.found.Read, Read{Doc: r.doc, Node: r.node, Op: string(op), Facts: facts, Fails: fails})
}

func (f *finder) skip(set []ref) {
	for _, r := range set {
		f.found.Unexamined = append(f.found.Unexamined, [2]int{r.doc, r.node})
	}
}

// together alters all that was found unread at once: what moves a fact only then
// is not unread.
func (f *finder) together() {
	f.unread = f.compatible(nil, f.unread)
	for _, r := range f.unread {
		if at := f.chosen[r]; at > 0 {
			f.found.Harmless = append(f.found.Harmless, [3]int{r.doc, r.node, at})
		}
	}
}

// compatible adds to the unread nodes those that are unread together with them.
func (f *finder) compatible(kept, more []ref) []ref {
	all := append(kept[:len(kept):len(kept)], more...)
	if _, otherwise := f.moved(f.replay(f.edits(all, alter))); !otherwise {
		return all
	}
	if len(more) == 1 || f.class(more[0]) == f.class(more[len(more)-1]) {
		f.skip(more)
		return kept
	}
	middle := f.cut(more)
	return f.compatible(f.compatible(kept, more[:middle]), more[middle:])
}

// tops are the outermost nodes that can be dropped: lines of a log, members of a
// document.
func (s *subject) tops() (tops [][]ref) {
	lines := map[string][]ref{}
	var logs []string
	for i, d := range s.docs {
		if d.line() {
			if lines[d.log] == nil {
				logs = append(logs, d.log)
			}
			lines[d.log] = append(lines[d.log], ref{i, wholeLine})
			continue
		}
		tops = append(tops, s.children(ref{i, -1}))
	}
	for _, log := range logs {
		tops = append(tops, lines[log])
	}
	return tops
}

// children are the objects, lists, elements and lines right inside another one: a
// single value is dropped where altering it moves something. A document of one
// value has those of the value.
func (s *subject) children(r ref) (inside []ref) {
	d := s.docs[r.doc]
	for j, n := range d.nodes {
		if n.parent != r.node || n.kind == moment || n.kind != inner && !n.element {
			continue
		}
		if n.from == n.start && n.to == n.end && !n.element && n.kind == inner { // nothing goes with it: it is the whole
			inside = append(inside, s.children(ref{r.doc, j})...)
			continue
		}
		inside = append(inside, ref{r.doc, j})
	}
	return inside
}

func (f *finder) drop(set []ref) {
	if len(set) == 0 || f.full(set, drop) {
		return
	}
	r := f.notice(f.edits(set, drop))
	facts, otherwise := f.moved(r)
	switch {
	case !otherwise:
	case len(set) > 1:
		f.drop(set[:len(set)/2])
		f.drop(set[len(set)/2:])
	default:
		f.note(set[0], drop, facts, r.err != f.base.err)
		f.drop(f.children(set[0]))
	}
}
