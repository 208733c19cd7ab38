package experiment

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/onsi/gomega"

	"twohop/internal/manifest"
	"twohop/internal/observe"
	"twohop/internal/subject"
)

// loggingWorld is a world in which istiod logs each change, as it is made.
type loggingWorld struct{ log []string }

func (w *loggingWorld) Return(context.Context, *manifest.Set) error { return nil }

func (w *loggingWorld) Vary(_ context.Context, variations ...manifest.Variation) error {
	for _, v := range variations {
		w.log = append(w.log, "istiod on "+v.Change)
	}
	return nil
}

type reply struct {
	a   observe.Answer
	err error
}

func (p reply) Answer(context.Context) (observe.Answer, error) { return p.a, p.err }

// Begin answers who plays the roles, and where istiod's log begins and ends.
func (w *loggingWorld) Begin(_ context.Context, _ observe.Slot, q observe.Question, _ observe.Meta) observe.Pending {
	const log = "istiod.log"
	window := func(from int) []observe.Window {
		return []observe.Window{{Role: subject.Istiod, Log: log, From: from, To: len(w.log)}}
	}
	switch q := q.(type) {
	case observe.Pods:
		raw, err := json.Marshal(observe.Cast{Pods: []observe.Pod{{Role: subject.Sidecar}, {Role: subject.Gateway}, {Role: subject.Istiod, Log: log}}})
		return reply{observe.Answer{Raw: raw, Windows: window(len(w.log))}, err}
	case observe.Input:
		raw, err := q.Make()
		return reply{observe.Answer{Raw: raw}, err}
	case observe.Flush:
		return reply{observe.Answer{Windows: window(q.Since)}, nil}
	}
	return reply{err: fmt.Errorf("nobody asks %T here", q)}
}

func (w *loggingWorld) Lines(at observe.Window) (lines []observe.LogLine, err error) {
	for _, text := range w.log[at.From:at.To] {
		lines = append(lines, observe.LogLine{Text: []byte(text)})
	}
	return lines, nil
}

func (w *loggingWorld) Derive(_ observe.Slot, meta observe.Meta, _ []byte) (string, error) {
	return meta.Name, nil
}

// A claim's part of a log begins before its arrangement, and after what the
// claims before it have left there.
func TestTheArrangementIsInTheLog(t *testing.T) {
	w := &loggingWorld{log: []string{"istiod on an earlier claim"}}
	var seen []string
	d := Define("G1", func(*Setup) Experiment[int] {
		return Experiment[int]{
			Arrange: []manifest.Variation{manifest.Input("the arrangement", "a", 1)},
			Control: []manifest.Variation{manifest.Input("the control", "a", 2)},
			Check: func(t *T) int {
				for _, text := range []string{"an earlier claim", "the arrangement", "the control"} {
					line, path := t.IstiodLog(text)
					seen = append(seen, line)
					t.Fact(text, line, gomega.BeEmpty(), path)
				}
				return 0
			},
		}
	})
	out := d.Run(t.Context(), Environment{World: w, Source: w, Set: manifest.NewSet(subject.Subject{}), Editor: &manifest.Editor{}, Now: time.Now})
	if out.Finding.Error != "" {
		t.Fatal(out.Finding.Error)
	}
	want := []string{"", "istiod on the arrangement", "", "", "istiod on the arrangement", "istiod on the control"}
	if fmt.Sprint(seen) != fmt.Sprint(want) {
		t.Errorf("the check saw %q, want %q", seen, want)
	}
}
