package mutation

import (
	"bytes"
	"slices"

	"twohop/internal/observe"
	"twohop/internal/observe/recorded"
)

// replay replays the claim over altered documents.
func (s *subject) replay(e edits) reading { return s.replayAll(mutant{edits: e}) }

func (s *subject) replayAll(m mutant) reading {
	entries, logs, err := s.altered(m)
	if err != nil {
		return *err
	}
	return s.again(entries, logs)
}

func (s *subject) again(entries map[observe.Slot]recorded.Entry, logs map[string]*observe.LogFile) reading {
	f, _ := s.Again(entries, logs)
	return read(s.Claim, f)
}

// turned is the replay of a mutant; of one that turns in the check already, that
// is half of it.
func (s *subject) turned(m mutant) reading { return s.until(m, s.turns) }

// notice is the replay of altered documents; if facts of the check move, half of it.
func (s *subject) notice(e edits) reading {
	return s.until(mutant{edits: e}, func(now reading) bool {
		_, otherwise := s.moved(now)
		return otherwise
	})
}

// until replays a mutant of the check's observations without the control first: that
// is enough where it shows already. One of the control's is replayed without the check.
func (s *subject) until(m mutant, shows func(reading) bool) reading {
	entries, logs, err := s.altered(m)
	if err != nil {
		return *err
	}
	if s.base.err != "" {
		return s.again(entries, logs)
	}
	switch {
	case s.within(m, "check", logs):
		if f, ok := s.AgainCheck(entries, logs, s.original); ok {
			if now := read(s.Claim, f); shows(now) {
				return now
			}
		}
	case s.checked != nil && s.within(m, "control", logs):
		return read(s.Claim, s.AgainControl(entries, logs, s.checked))
	}
	return s.again(entries, logs)
}

// within reports whether a mutant alters what is read in one stage only.
func (s *subject) within(m mutant, stage string, logs map[string]*observe.LogFile) bool {
	if m.entries != nil && (m.of == nil || m.of.only != stage) {
		return false
	}
	for i := range m.edits {
		if s.docs[i].only != stage {
			return false
		}
	}
	// Altered logs have to say what they said in all windows of other stages.
	for at, e := range s.entries {
		if at.Stage == stage {
			continue
		}
		for _, w := range e.Windows {
			if logs[w.Log] != s.logs[w.Log] && !slices.EqualFunc(between(logs[w.Log], w), between(s.logs[w.Log], w), sameLine) {
				return false
			}
		}
	}
	return true
}

func sameLine(a, b observe.LogLine) bool { return a.At.Equal(b.At) && bytes.Equal(a.Text, b.Text) }

// between are the lines of a window, none of one that its log does not reach.
func between(log *observe.LogFile, w observe.Window) []observe.LogLine {
	lines, err := log.Range(w.From, w.To)
	if err != nil {
		return nil
	}
	return lines
}
