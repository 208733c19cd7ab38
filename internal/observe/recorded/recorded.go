// Package recorded answers questions from what a run has kept: the same check
// asks the same in the same order, and gets the same bytes. It knows no cluster, and must not
// import the live source.
package recorded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"twohop/internal/observe"
	"twohop/internal/subject"
)

// Entry is an observation as it was kept.
type Entry struct {
	Question string
	Meta     observe.Meta
	Raw      []byte
	Path     string
	Windows  []observe.Window
	Error    string
	Took     time.Duration
}

// Source is a recording of one claim. It is not safe for concurrent use; the logs
// that several share are only read.
type Source struct {
	// Entries by their place; Derived are the bytes that a run kept for people.
	Entries map[observe.Slot]Entry
	Derived map[Name]Entry
	// Logs by their path in the run's folder.
	Logs map[string]*observe.LogFile

	// Answers says what is the answer to a question; nil: what answers the very same.
	Answers func(e Entry, q observe.Question) bool

	// Listens is set while the gateway cannot be without a listener: then its log
	// is read up to a line that was caused later, or it is not read.
	Listens bool

	// asked and derived are what a replay has used.
	asked   map[observe.Slot]bool
	derived map[Name]bool
	// cast is who plays the roles, by the observation that was last asked for.
	cast observe.Cast
	// read are the windows that were read: a check reads one for each of its requests.
	read map[bounds][]observe.LogLine
}

// bounds are a part of a log.
type bounds struct {
	log      string
	from, to int
}

// Name tells derived bytes of one place apart.
type Name struct {
	At   observe.Slot
	File string
}

// New is an empty recording, with the logs that its windows are on.
func New(logs map[string]*observe.LogFile) *Source {
	return &Source{
		Entries: map[observe.Slot]Entry{}, Derived: map[Name]Entry{}, Logs: logs,
		asked: map[observe.Slot]bool{}, derived: map[Name]bool{}, read: map[bounds][]observe.LogLine{},
	}
}

// Begin looks the answer up. That there is none, one to another question, or one
// that no run would keep so, is a *MismatchError.
func (s *Source) Begin(_ context.Context, at observe.Slot, q observe.Question, meta observe.Meta) observe.Pending {
	e, ok := s.Entries[at]
	switch {
	case !ok:
		return answered{err: &MismatchError{fmt.Sprintf("the recording has no observation %s (%s)", at, q.Key())}}
	case s.asked[at]:
		return answered{err: &MismatchError{fmt.Sprintf("observation %s is asked for twice", at)}}
	case !s.answers(e, q):
		return answered{err: &MismatchError{fmt.Sprintf("observation %s answers %q, and %q is asked", at, e.Question, q.Key())}}
	}
	s.asked[at] = true
	if err := e.described(at, meta); err != nil {
		return answered{err: err}
	}
	if err := s.windows(at, q, e); err != nil {
		return answered{err: err}
	}
	var err error
	if e.Error != "" {
		err = errors.New(e.Error)
	}
	answer := answered{observe.Answer{Raw: e.Raw, Windows: e.Windows, Path: e.Path, Took: e.Took}, err}
	if _, ok := q.(observe.Requests); ok && err == nil {
		return &requests{answered: answer, source: s, at: at}
	}
	return answer
}

func (s *Source) answers(e Entry, q observe.Question) bool {
	if s.Answers != nil {
		return s.Answers(e, q)
	}
	return e.Question == q.Key()
}

// requests are over when their answer is asked for.
type requests struct {
	answered
	source *Source
	at     observe.Slot
}

func (r *requests) Answer(context.Context) (observe.Answer, error) {
	w, err := r.answer.Window(subject.Gateway)
	if err == nil && w.Flush == "" && r.source.Listens {
		return observe.Answer{}, &MismatchError{fmt.Sprintf("observation %s: the window on the log of the gateway ends with no later line, so what is absent may have come after it", r.at)}
	}
	return r.answer, r.err
}

// MismatchError says that a recording is not of the check that is replayed.
type MismatchError struct{ text string }

func (e *MismatchError) Error() string { return e.text }

type answered struct {
	answer observe.Answer
	err    error
}

func (a answered) Answer(context.Context) (observe.Answer, error) { return a.answer, a.err }

// Lines reads a window of a log. A window that is to end with a line that was
// caused later has to end with it.
func (s *Source) Lines(w observe.Window) ([]observe.LogLine, error) {
	log, ok := s.Logs[w.Log]
	if !ok {
		return nil, &MismatchError{fmt.Sprintf("the recording has no log %s", w.Log)}
	}
	if p, ok := s.cast.Find(w.Role); !ok || p.Log != w.Log {
		return nil, &MismatchError{fmt.Sprintf("%s is not the log of who plays the %s", w.Log, w.Role)}
	}
	of := bounds{w.Log, w.From, w.To}
	lines, known := s.read[of]
	if !known {
		var err error
		if lines, err = log.Range(w.From, w.To); err != nil {
			return nil, &MismatchError{fmt.Sprintf("%s: %v", w.Log, err)}
		}
		s.read[of] = lines
	}
	if w.Flush != "" && (len(lines) == 0 || !bytes.Contains(lines[len(lines)-1].Text, []byte(w.Flush))) {
		return nil, &MismatchError{fmt.Sprintf("%s: line %d is not the later one with %s, so what is absent may have come after it", w.Log, w.To-1, w.Flush)}
	}
	return lines, nil
}

// Derive holds bytes against those that were kept.
func (s *Source) Derive(at observe.Slot, meta observe.Meta, raw []byte) (string, error) {
	name := Name{at, meta.Name}
	kept, ok := s.Derived[name]
	switch {
	case !ok:
		return "", &MismatchError{fmt.Sprintf("the recording lacks %s of observation %s", meta.Name, at)}
	case !bytes.Equal(kept.Raw, raw):
		return "", &MismatchError{fmt.Sprintf("%s is not what follows from the observations", kept.Path)}
	}
	if err := kept.described(at, meta); err != nil {
		return "", err
	}
	s.derived[name] = true
	return kept.Path, nil
}

// Unused lists what was kept and not asked for: a replay uses all of it.
func (s *Source) Unused(claim string) (unused []string) {
	for at, e := range s.Entries {
		if at.Claim == claim && !s.asked[at] {
			unused = append(unused, fmt.Sprintf("%s (%s)", at, e.Question))
		}
	}
	for name, e := range s.Derived {
		if name.At.Claim == claim && !s.derived[name] {
			unused = append(unused, e.Path)
		}
	}
	slices.Sort(unused)
	return unused
}
