package mutation

import (
	"bytes"
	"fmt"
	"maps"
	"path"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"twohop/internal/experiment"
	"twohop/internal/observe"
	"twohop/internal/observe/recorded"
	"twohop/internal/replay"
	"twohop/internal/verdict"
)

// document is an observation's bytes, or a line of a log.
type document struct {
	name string // for people
	sort string // documents of a sort are read by the same code
	raw  []byte
	// nodes of a line begin with two of the line itself: the line, and its time.
	nodes []node

	slot observe.Slot // of an observation
	log  string       // of a line
	only string       // the stage that alone reads it; empty: several do
	n    int
	at   time.Time
}

func (d *document) line() bool { return d.log != "" }

// The first nodes of a log line.
const (
	wholeLine = iota
	lineTime
	lineText // the first node of its text
)

// subject is a claim that mutants are made of. It is only read once it was made.
type subject struct {
	*replay.Claim
	docs   []*document
	values words
	base   reading
	// original is what the replay finds unaltered; base is read from it.
	original verdict.Finding
	// checked is what the control goes on from; nil where that does not suffice.
	checked *experiment.Checked
	logs    map[string]*observe.LogFile
	many    bool // nodes: Find takes long
	slow    bool // a replay takes long
	// samples are lines of other claims (noteSamples).
	samples map[string]*document
	// everyValue are those of the whole recording.
	everyValue words
	// entries are the claim's, with windows in spaced numbers.
	entries map[observe.Slot]recorded.Entry
}

// spread makes room between a log's lines, for doubles and for lines that move:
// what was line n is line spaced(n), and the number before it is free.
const spread = 4

func spaced(n int) int { return n*spread + 1 }

func newSubject(c *replay.Claim) (*subject, error) {
	s := &subject{Claim: c, values: words{}, logs: map[string]*observe.LogFile{}, entries: map[observe.Slot]recorded.Entry{}}
	for _, at := range slices.SortedFunc(maps.Keys(c.Entries), order) {
		e := c.Entries[at]
		e.Windows = slices.Clone(e.Windows)
		for i := range e.Windows {
			e.Windows[i].From, e.Windows[i].To = e.Windows[i].From*spread, e.Windows[i].To*spread
		}
		s.entries[at] = e
		if len(e.Raw) > 0 {
			name := strings.TrimPrefix(path.Base(e.Path), fmt.Sprintf("%s-%03d-", at.Stage, at.Ordinal))
			s.docs = append(s.docs, &document{name: fmt.Sprintf("%s %d, %s", at.Stage, at.Ordinal, name), sort: name, raw: e.Raw, nodes: scanAs(e.Raw, cutOf(name)), slot: at})
		}
	}
	for _, log := range slices.Sorted(maps.Keys(c.Lines)) {
		role, _, _ := strings.Cut(path.Base(log), "-")
		for _, l := range c.Lines[log] {
			s.docs = append(s.docs, &document{name: fmt.Sprintf("%s's log, line %d", role, l.N), sort: role + " log", raw: l.Text, nodes: scanLine(l.Text), log: log, n: l.N, at: l.At})
		}
		parsed, err := s.rebuild(log, nil)
		if err != nil {
			return nil, err
		}
		s.logs[log] = parsed
	}
	s.slow = s.size() > manyNodes || s.requests() > manyRequests
	for _, d := range s.docs {
		var by []string
		for _, stage := range []string{"setup", "check", "control"} {
			if s.readIn(d, stage) {
				by = append(by, stage)
			}
		}
		if len(by) == 1 {
			d.only = by[0]
		}
	}
	s.original, s.checked = s.Again(s.entries, s.logs)
	s.base = read(s.Claim, s.original)
	if s.checked != nil && !reflect.DeepEqual(s.base, read(s.Claim, s.AgainControl(s.entries, s.logs, s.checked))) {
		s.checked = nil // the control needs more of the check than what it left
	}
	s.reduce()
	nodes := 0
	for _, d := range s.docs {
		nodes += len(d.nodes)
		s.values.note(d)
	}
	s.many = nodes > manyNodes
	return s, nil
}

// requests is how many the claim makes.
func (s *subject) requests() (all int) {
	for _, e := range s.Entries {
		if fields := strings.Fields(e.Question); len(fields) > 2 && fields[0] == "requests" {
			n, _ := strconv.Atoi(fields[2]) // of another form is another question
			all += n
		}
	}
	return all
}

// readIn reports whether a document is read in a stage.
func (s *subject) readIn(d *document, stage string) bool {
	if !d.line() {
		return d.slot.Stage == stage
	}
	for at, e := range s.entries {
		for _, w := range e.Windows {
			if at.Stage == stage && w.Log == d.log && w.From <= spaced(d.n) && spaced(d.n) < w.To {
				return true
			}
		}
	}
	return false
}

func order(a, b observe.Slot) int {
	stages := []string{"setup", "check", "control"}
	if by := slices.Index(stages, a.Stage) - slices.Index(stages, b.Stage); by != 0 {
		return by
	}
	return a.Ordinal - b.Ordinal
}

func cutOf(name string) cut {
	if name == "curl.txt" {
		return bodies
	}
	return asWords
}

func scanLine(raw []byte) []node {
	of := scanAs(raw, message)
	nodes := []node{
		{path: lineName(raw), class: lineName(raw), kind: inner, end: len(raw), to: len(raw), parent: -1, element: true},
		{path: "the line's time", class: "time", kind: moment, parent: wholeLine},
	}
	for _, n := range of {
		if n.parent < 0 {
			n.parent, n.element = wholeLine, false
		} else {
			n.parent += lineText
		}
		nodes = append(nodes, n)
	}
	return nodes
}

// lineName tells lines of a log apart of which several may say the same.
func lineName(raw []byte) string {
	switch {
	case bytes.Contains(raw, []byte("flush")):
		return "the line that ends a window"
	case !bytes.HasPrefix(raw, []byte("{")):
		return "the message"
	case bytes.Contains(raw, []byte(`"path":null`)):
		return "the line about a connection without a request"
	}
	return "the line"
}

// edits are changes by the documents' index.
type edits map[int][]change

// logEdit alters a log as a whole: it changes the map of its lines, whose keys are
// spaced numbers.
type logEdit func(lines map[int]observe.LogLine)

// mutant is a claim's observations, altered.
type mutant struct {
	edits   edits
	entries func(map[observe.Slot]recorded.Entry) // on top of the edits
	of      *document                             // whose entry that alters; nil: of several
	logs    map[string]logEdit
}

// altered are the observations and logs of a mutant.
func (s *subject) altered(m mutant) (map[observe.Slot]recorded.Entry, map[string]*observe.LogFile, *reading) {
	entries, logs := s.entries, s.logs
	touched := map[string]bool{}
	for log := range m.logs {
		touched[log] = true
	}
	if len(m.edits) > 0 || m.entries != nil {
		entries = maps.Clone(entries)
	}
	for i, changes := range m.edits {
		d := s.docs[i]
		if d.line() {
			touched[d.log] = true
			continue
		}
		entry := entries[d.slot]
		entry.Raw = splice(d.raw, d.nodes, changes)
		entries[d.slot] = entry
	}
	if m.entries != nil {
		m.entries(entries)
	}
	if len(touched) > 0 {
		logs = maps.Clone(logs)
	}
	for log := range touched {
		parsed, err := s.rebuild(log, &m)
		if err != nil {
			return nil, nil, &reading{err: "the altered log cannot be kept: " + err.Error()}
		}
		logs[log] = parsed
	}
	return entries, logs, nil
}

// rebuild makes a log of the claim's lines, altered.
func (s *subject) rebuild(log string, m *mutant) (*observe.LogFile, error) {
	lines := map[int]observe.LogLine{}
	end := 0
	for i, d := range s.docs {
		if d.log != log {
			continue
		}
		n := spaced(d.n)
		end = max(end, n)
		lines[n] = observe.LogLine{At: d.at, Text: d.raw}
		if m == nil || m.edits[i] == nil {
			continue
		}
		l, copies := alterLine(d, m.edits[i])
		delete(lines, n)
		for c := range copies {
			lines[n+c] = l
		}
	}
	if m != nil && m.logs[log] != nil {
		m.logs[log](lines)
	}
	for _, e := range s.entries {
		for _, w := range e.Windows {
			if w.Log == log {
				end = max(end, w.To)
			}
		}
	}
	lines[end+spread] = observe.LogLine{} // so long the log is
	var raw []byte
	for _, n := range slices.Sorted(maps.Keys(lines)) {
		raw = append(raw, observe.FormatLine(n, lines[n])...)
	}
	return observe.ParseLog(raw, true)
}

func alterLine(d *document, changes []change) (l observe.LogLine, copies int) {
	l, copies = observe.LogLine{At: d.at}, 1
	var inside []change
	for _, c := range changes {
		switch {
		case c.node == wholeLine && c.op == drop:
			copies = 0
		case c.node == wholeLine && c.op == double:
			copies = 2
		case c.node == lineTime:
			by, err := time.ParseDuration(c.to)
			if err != nil {
				panic(err) // momentsLike writes durations
			}
			l.At = l.At.Add(by)
		default:
			inside = append(inside, c)
		}
	}
	l.Text = splice(d.raw, d.nodes, inside)
	return l, copies
}

// reading is what a replay makes of the observations: its facts and its error.
type reading struct {
	facts   []verdict.Fact
	names   []string // of the facts, with the trial
	err     string
	verdict string
}

// panicked reports a fault of the check's: it is to say what it saw.
func (r reading) panicked() bool {
	return strings.HasPrefix(strings.TrimPrefix(r.err, "control: "), "the check panicked")
}

func read(c *replay.Claim, f verdict.Finding) reading {
	r := reading{err: f.Error, verdict: string(c.Judge(f))}
	for _, t := range []struct {
		name  string
		trial *verdict.Trial
	}{{"check", f.Check}, {"control", f.Control}} {
		if t.trial == nil {
			continue
		}
		for _, list := range []struct {
			name  string
			facts []verdict.Fact
		}{{t.name, t.trial.Facts}, {t.name + ", cause", t.trial.Cause}} {
			for i, fact := range list.facts {
				r.facts, r.names = append(r.facts, fact), append(r.names, fmt.Sprintf("%s %d: %s", list.name, i+1, fact.Name))
			}
		}
	}
	return r
}

// moved are the facts that come out otherwise than unaltered, by their index.
// otherwise is true as well where there is an error, or where there are other facts.
func (s *subject) moved(r reading) (facts []int, otherwise bool) {
	if r.err != s.base.err {
		return nil, true
	}
	now := make(map[string]verdict.Fact, len(r.facts))
	for i, name := range r.names {
		now[name] = r.facts[i]
	}
	for i, name := range s.base.names {
		f, ok := now[name]
		if was := s.base.facts[i]; ok && (f.Expected != was.Expected || f.Seen != was.Seen || f.OK != was.OK || f.Negative != was.Negative || f.Because != was.Because || f.Flips != was.Flips) {
			facts = append(facts, i)
		}
	}
	return facts, len(facts) > 0 || !slices.Equal(r.names, s.base.names)
}

func (s *subject) turns(r reading) bool { return r.verdict != string(s.Verdict) }
