package replay

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"twohop/internal/claim"
	"twohop/internal/experiment"
	"twohop/internal/observe"
	"twohop/internal/observe/recorded"
	"twohop/internal/verdict"
	"twohop/suites"
)

// Recorded is a recording of which single claims are replayed, altered: mutants do.
type Recorded struct {
	replay *replay
	claims []*Claim
}

// Claim is a claim as it was recorded. It is only read, so replays of it may run
// at the same time.
type Claim struct {
	verdict.Result
	// Entries are its observations, and Lines what the logs say within its windows.
	Entries map[observe.Slot]recorded.Entry
	Lines   map[string][]Line

	of      *replay
	derived map[recorded.Name]string
}

// Line is a line of a log, by its number.
type Line struct {
	N int
	observe.LogLine
}

// Read reads a recording. It holds the files against no hash: a mutant has none.
func Read(files verdict.Files) (*Recorded, error) {
	raw, err := files.ReadFile(verdict.VerdictFile)
	if err != nil {
		return nil, err
	}
	r := newReplay(files, options{otherRules: true, gaps: true})
	if r.v, err = verdict.Decode(raw); err != nil {
		return nil, err
	}
	if r.key, err = observe.NewKey(r.v.Run.Nonce, r.v.Run.Header); err != nil {
		return nil, err
	}
	r.readObservations()
	r.identify()
	if len(r.Problems) > 0 {
		return nil, fmt.Errorf("the recording: %s", strings.Join(r.Problems, " "))
	}
	all := &Recorded{replay: r}
	for _, c := range r.v.Claims {
		if c.Finding.Claim == "" {
			continue
		}
		read, err := r.read(c)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.ID, err)
		}
		all.claims = append(all.claims, read)
	}
	return all, nil
}

// Claims are those that were judged, in the registry's order.
func (r *Recorded) Claims() []*Claim { return r.claims }

func (r *replay) read(was verdict.Result) (*Claim, error) {
	source := r.source(was.ID)
	c := &Claim{Result: was, Entries: source.Entries, Lines: map[string][]Line{}, of: r, derived: map[recorded.Name]string{}}
	for name, e := range source.Derived {
		c.derived[name] = e.Path
	}
	seen := map[string]map[int]observe.LogLine{}
	for _, e := range c.Entries {
		for _, w := range e.Windows {
			log := r.logs[w.Log]
			if log == nil {
				return nil, fmt.Errorf("there is no log %s", w.Log)
			}
			if seen[w.Log] == nil {
				seen[w.Log] = map[int]observe.LogLine{}
			}
			for n := w.From; n < w.To; n++ {
				lines, err := log.Range(n, n+1)
				if err != nil {
					return nil, err
				}
				for _, l := range lines {
					seen[w.Log][n] = l
				}
			}
		}
	}
	for log, lines := range seen {
		for n, l := range lines {
			c.Lines[log] = append(c.Lines[log], Line{n, l})
		}
		sortLines(c.Lines[log])
	}
	return c, nil
}

// Again replays the claim over other observations and logs, which it only reads.
// Unlike a verification it takes what people get to read (Derived) from the run
// and does not hold it against the observations, and it takes an observation as
// the answer to a question that asks the same in other words: what turns a mutant
// is then a fact, not the bookkeeping of recordings.
//
// What is returned beside the finding serves AgainControl.
func (c *Claim) Again(entries map[observe.Slot]recorded.Entry, logs map[string]*observe.LogFile) (verdict.Finding, *experiment.Checked) {
	return c.run(&lenient{Source: recorded.New(logs), claim: c, evidence: c.Evidence}, entries, nil)
}

// AgainControl is Again for observations that differ from earlier ones in the control
// only: the check is what it was before, and is not made.
func (c *Claim) AgainControl(entries map[observe.Slot]recorded.Entry, logs map[string]*observe.LogFile, before *experiment.Checked) verdict.Finding {
	f, _ := c.run(&lenient{Source: recorded.New(logs), claim: c, evidence: c.Evidence}, entries, before)
	return f
}

// AgainCheck is Again for observations that differ from earlier ones in the check
// only: the control is what it was before, and is not made. ok is false where it
// cannot be told what the control makes of the check's facts.
func (c *Claim) AgainCheck(entries map[observe.Slot]recorded.Entry, logs map[string]*observe.LogFile, before verdict.Finding) (f verdict.Finding, ok bool) {
	s := &lenient{Source: recorded.New(logs), claim: c, evidence: c.Evidence, until: "control"}
	if f, _ = c.run(s, entries, nil); !s.stopped {
		return f, true
	}
	f.Error, f.Control = "", before.Control
	flips := map[string]bool{}
	for _, fact := range slices.Concat(before.Check.Facts, before.Control.Facts) {
		flips[fact.Name] = fact.Flips
	}
	for i, fact := range f.Check.Facts {
		flip, known := flips[fact.Name]
		if !known {
			return f, false
		}
		f.Check.Facts[i].Flips = flip
	}
	return f, true
}

func (c *Claim) run(s *lenient, entries map[observe.Slot]recorded.Entry, checked *experiment.Checked) (verdict.Finding, *experiment.Checked) {
	d, err := suites.ByID(c.ID)
	if err != nil {
		return verdict.Finding{Error: err.Error()}, nil
	}
	s.Entries, s.Answers = maps.Clone(entries), alike
	o := d.Run(context.Background(), experiment.Environment{
		Source: s, Key: c.of.key, Limits: observe.DefaultLimits(), Editor: c.of.editors[c.Lab], FactsOnly: true, Checked: checked, Now: func() time.Time { return c.Start }})
	o.Finding.Evidence = s.evidence
	return o.Finding, o.Checked
}

// lenient is a recorded source that mutants are replayed over.
type lenient struct {
	*recorded.Source
	claim    *Claim
	evidence []verdict.Evidence
	// until is the stage before which the replay ends, stopped that it came to it.
	until   string
	stopped bool
}

// stop reports whether the replay ends here.
func (s *lenient) stop(at observe.Slot) bool {
	s.stopped = s.stopped || at.Stage == s.until
	return s.stopped
}

// over answers a question that a replay does not come to.
type over struct{}

func (over) Error() string { return "the replay ends here" }

func (o over) Answer(context.Context) (observe.Answer, error) { return observe.Answer{}, o }

func (s *lenient) Begin(ctx context.Context, at observe.Slot, q observe.Question, meta observe.Meta) observe.Pending {
	if s.stop(at) {
		return over{}
	}
	if e, ok := s.Entries[at]; ok {
		if e.Meta = meta; e.Path == "" {
			e.Meta.Name = ""
		}
		s.Entries[at] = e
	}
	return s.Source.Begin(ctx, at, q, meta)
}

// alike reports whether an entry answers a question of the same kind, and for
// requests of the same client and as many.
func alike(e recorded.Entry, q observe.Question) bool {
	if r, ok := q.(observe.Requests); ok {
		return strings.HasPrefix(e.Question, fmt.Sprintf("requests %s %d ", r.From, 1+len(r.Request.More)))
	}
	kind, _, _ := strings.Cut(e.Question, " ")
	want, _, _ := strings.Cut(q.Key(), " ")
	return kind == want
}

func (s *lenient) Derive(at observe.Slot, meta observe.Meta, _ []byte) (string, error) {
	if s.stop(at) {
		return "", over{}
	}
	if path, ok := s.claim.derived[recorded.Name{At: at, File: meta.Name}]; ok {
		return path, nil
	}
	path := fmt.Sprintf("%s/%s/%s-%03d-%s", verdict.EvidenceDir, s.claim.ID, at.Stage, at.Ordinal, meta.Name)
	s.evidence = append(s.evidence[:len(s.evidence):len(s.evidence)], verdict.Evidence{Path: path})
	return path, nil
}

// Late says what came too late for the claim in these logs, as a run's end does; empty
// if nothing did.
func (c *Claim) Late(entries map[observe.Slot]recorded.Entry, logs map[string]*observe.LogFile) string {
	source := recorded.New(logs)
	source.Entries = entries
	r := newReplay(c.of.run, c.of.options)
	r.v, r.key, r.logs, r.kept = c.of.v, c.of.key, logs, map[claim.ID]*recorded.Source{c.ID: source}
	return r.late()[c.ID]
}

// Token is the first token of an observation's requests.
func (c *Claim) Token(at observe.Slot) string { return c.of.key.Token(at, 0) }

// Judge folds a finding.
func (c *Claim) Judge(f verdict.Finding) claim.Verdict {
	v, _ := verdict.Judge(c.ID, f)
	return v
}

func sortLines(lines []Line) { slices.SortFunc(lines, func(a, b Line) int { return a.N - b.N }) }
