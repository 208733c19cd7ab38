package agreement

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"twohop/internal/envoy"
	"twohop/internal/experiment"
	"twohop/internal/manifest"
	"twohop/internal/observe"
	"twohop/internal/observe/recorded"
	"twohop/internal/replay"
	"twohop/internal/subject"
	"twohop/internal/verdict"
	"twohop/suites"
)

// State is the subject as it was during a stage of a claim: a stage has several where
// the check itself changes something.
type State struct {
	Claim, Stage string
	Lab          int
	Set          *manifest.Set
	Baseline     *manifest.Set // of the lab
	// Live is what the recording holds of the proxies' configuration in this state, and
	// Lines what the proxies logged of requests that were made in it.
	Live  []Observation
	Lines map[subject.Role][]envoy.AccessLog

	start time.Time
}

func (s *State) String() string { return fmt.Sprintf("%s, %s (lab %d)", s.Claim, s.Stage, s.Lab) }

// Observation is an answer of a proxy's admin API.
type Observation struct {
	At   observe.Slot
	Role subject.Role
	Path string // of the admin API
	Raw  []byte
	// Cast is who played the roles then, by which pods' addresses are told.
	Cast observe.Cast
}

// Run is a recorded run of the catalogue: its states in the order in which they were
// arranged.
type Run struct {
	Istio  string
	States []*State
}

// ReadRun replays a recording: the claims make the changes of their checks and controls
// again, and what they ask of the proxies is kept beside the state it was asked in. The
// names in it, made at random, are the recording's.
func ReadRun(files verdict.Files) (*Run, error) {
	all, err := replay.Read(files)
	if err != nil {
		return nil, err
	}
	raw, err := files.ReadFile(verdict.VerdictFile)
	if err != nil {
		return nil, err
	}
	v, err := verdict.Decode(raw)
	if err != nil {
		return nil, err
	}
	key, err := observe.NewKey(v.Run.Nonce, v.Run.Header)
	if err != nil {
		return nil, err
	}
	logs := map[string]*observe.LogFile{}
	for _, l := range v.Run.Logs {
		raw, err := files.ReadFile(l.Path)
		if err != nil {
			return nil, err
		}
		if logs[l.Path], err = observe.ParseLog(raw, true); err != nil {
			return nil, err
		}
	}
	editors, err := editors(files, v)
	if err != nil {
		return nil, err
	}
	run := &Run{Istio: v.Run.Istio}
	for _, c := range all.Claims() {
		d, err := suites.ByID(c.ID)
		if err != nil {
			return nil, err
		}
		editor := editors[c.Lab]
		if editor == nil {
			return nil, fmt.Errorf("%s ran in lab %d, of which the recording holds nothing", c.ID, c.Lab)
		}
		l := &listener{Source: recorded.New(logs), of: State{Claim: string(c.ID), Lab: c.Lab, Baseline: editor.Baseline, start: c.Start}, asked: map[observe.Slot]*State{}}
		l.Entries = c.Entries
		out := d.Run(context.Background(), experiment.Environment{
			Source: l, Key: key, Limits: observe.DefaultLimits(), Editor: editor, FactsOnly: true,
			Changed: l.changed, Now: func() time.Time { return c.Start },
		})
		// A replay that went another way would have made other changes.
		out.Finding.Evidence = c.Evidence
		if got := c.Judge(out.Finding); out.Finding.Error != c.Error || got != c.Verdict {
			return nil, fmt.Errorf("the replay of %s comes to %s, and the recording says %s: %s", c.ID, got, c.Verdict, out.Finding.Error)
		}
		if l.wrong != nil {
			return nil, fmt.Errorf("%s: %w", c.ID, l.wrong)
		}
		run.States = append(run.States, l.states...)
	}
	slices.SortStableFunc(run.States, func(a, b *State) int { return a.start.Compare(b.start) })
	return run, nil
}

// editors write variations on the labs' ground, by the labs' numbers.
func editors(files verdict.Files, v *verdict.Verdict) (map[int]*manifest.Editor, error) {
	found := map[int]*manifest.Editor{}
	for _, e := range v.Run.Evidence {
		if !strings.HasSuffix(e.Path, "-ground.json") {
			continue
		}
		raw, err := files.ReadFile(e.Path)
		if err != nil {
			return nil, err
		}
		var g experiment.Ground
		if err := json.Unmarshal(raw, &g); err != nil {
			return nil, fmt.Errorf("%s: %w", e.Path, err)
		}
		if found[g.Lab], err = g.Editor(); err != nil {
			return nil, fmt.Errorf("%s: %w", e.Path, err)
		}
	}
	return found, nil
}

// listener is a recorded source that keeps which state a question was asked in.
type listener struct {
	*recorded.Source
	of     State // what all states of the claim have in common
	set    *manifest.Set
	cast   observe.Cast
	states []*State
	// fresh says that the set is another one than the last state's.
	fresh bool
	asked map[observe.Slot]*State
	wrong error
}

func (l *listener) changed(set *manifest.Set) { l.set, l.fresh = set, true }

// enter adds a state when a stage begins or when the set has changed in it.
func (l *listener) enter(at observe.Slot) *State {
	if n := len(l.states); n == 0 || l.fresh || l.states[n-1].Stage != at.Stage {
		s := l.of
		s.Stage, s.Set, s.Lines = at.Stage, l.set, map[subject.Role][]envoy.AccessLog{}
		l.states, l.fresh = append(l.states, &s), false
	}
	l.asked[at] = l.states[len(l.states)-1]
	return l.asked[at]
}

// Begin notes what is asked of a proxy's configuration, and answers as the recording.
func (l *listener) Begin(ctx context.Context, at observe.Slot, q observe.Question, meta observe.Meta) observe.Pending {
	p := l.Source.Begin(ctx, at, q, meta)
	e := l.Entries[at]
	if u, ok := q.(observe.Until); ok {
		q = u.Ask
	}
	if _, is := q.(observe.Pods); is {
		l.cast = observe.Cast{}
		_ = json.Unmarshal(e.Raw, &l.cast) // the source says so where it cannot be read
	}
	if _, is := q.(observe.Input); is || at.Stage == "setup" {
		return p // a change, or something that is made: the state begins after it
	}
	s := l.enter(at)
	if a, is := q.(observe.Admin); is && e.Error == "" && configuration(a.Path) {
		s.Live = append(s.Live, Observation{At: at, Role: a.Role, Path: a.Path, Raw: e.Raw, Cast: l.cast})
	}
	return p
}

// Derive keeps of what is derived for people the lines that proxies logged of requests:
// they belong to the state in which the requests were begun.
func (l *listener) Derive(at observe.Slot, meta observe.Meta, raw []byte) (string, error) {
	path := fmt.Sprintf("%s/%s/%s-%03d-%s", verdict.EvidenceDir, at.Claim, at.Stage, at.Ordinal, meta.Name)
	role, is := strings.CutSuffix(meta.Name, ".log")
	s := l.asked[at]
	if !is || s == nil || meta.Kind != verdict.KindAccessLog || role == "gateway-refused" {
		return path, nil
	}
	for line := range strings.Lines(string(raw)) {
		parsed, err := envoy.ParseAccessLog([]byte(line))
		if err != nil {
			l.wrong = err
			continue
		}
		s.Lines[subject.Role(role)] = append(s.Lines[subject.Role(role)], parsed)
	}
	return path, nil
}

// configuration reports whether a path of the admin API answers with configuration.
func configuration(path string) bool {
	return strings.HasPrefix(path, observe.ConfigPath) || path == observe.HostsPath
}
