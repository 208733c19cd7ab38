package recorded

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"twohop/internal/observe"
	"twohop/internal/subject"
)

var (
	first  = observe.Slot{Claim: "G1", Stage: "check", Ordinal: 1}
	second = observe.Slot{Claim: "G1", Stage: "check", Ordinal: 2}
	other  = observe.Slot{Claim: "G2", Stage: "check", Ordinal: 1}
)

func ask(t *testing.T, s *Source, at observe.Slot, path string) (observe.Answer, error) {
	t.Helper()
	return s.Begin(t.Context(), at, observe.Get{Path: path}, observe.Meta{}).Answer(t.Context())
}

func mismatch(t *testing.T, err error, says string) {
	t.Helper()
	var m *MismatchError
	if !errors.As(err, &m) || !strings.Contains(err.Error(), says) {
		t.Errorf("%v is no mismatch that says %q", err, says)
	}
}

func recording() *Source {
	s := New(map[string]*observe.LogFile{})
	s.Entries[first] = Entry{Question: observe.Get{Path: "/a"}.Key(), Raw: []byte("raw"), Path: "evidence/a", Took: time.Second}
	s.Entries[second] = Entry{Question: observe.Get{Path: "/b"}.Key(), Raw: []byte("half"), Error: "30ms went by"}
	s.Entries[other] = Entry{Question: observe.Get{Path: "/c"}.Key()}
	return s
}

func TestAnswers(t *testing.T) {
	s := recording()
	a, err := ask(t, s, first, "/a")
	want := observe.Answer{Raw: []byte("raw"), Path: "evidence/a", Took: time.Second}
	if diff := cmp.Diff(want, a); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	// An error that was observed is answered again, with the bytes that came.
	a, err = ask(t, s, second, "/b")
	var m *MismatchError
	if err == nil || err.Error() != "30ms went by" || errors.As(err, &m) || string(a.Raw) != "half" {
		t.Errorf("%s, %v", a.Raw, err)
	}
}

func TestMismatches(t *testing.T) {
	s := recording()
	_, err := ask(t, s, first, "/b")
	mismatch(t, err, `observation G1/check/01 answers "get /a", and "get /b" is asked`)
	_, err = ask(t, s, observe.Slot{Claim: "G1", Stage: "control", Ordinal: 1}, "/a")
	mismatch(t, err, "the recording has no observation G1/control/01 (get /a)")
	if _, err := ask(t, s, first, "/a"); err != nil {
		t.Fatal(err)
	}
	_, err = ask(t, s, first, "/a")
	mismatch(t, err, "observation G1/check/01 is asked for twice")
}

// gatewayLogs is what an observation of the pods says, which comes first in a run.
var gatewayLogs = observe.Cast{Pods: []observe.Pod{{Role: subject.Gateway, Log: "logs/g"}}}

func TestLines(t *testing.T) {
	var raw []byte
	for n, text := range []string{"/probe/t1", "NR t2.flush.invalid", "late /probe/t1"} {
		raw = append(raw, observe.FormatLine(n, observe.LogLine{At: time.Unix(0, 0), Text: []byte(text)})...)
	}
	log, err := observe.ParseLog(raw, false)
	if err != nil {
		t.Fatal(err)
	}
	s := New(map[string]*observe.LogFile{})
	s.Logs["logs/g"] = log
	s.cast = gatewayLogs
	window := observe.Window{Role: subject.Gateway, Log: "logs/g", From: 0, To: 2, Flush: "t2.flush.invalid"}
	lines, err := s.Lines(window)
	if err != nil || len(lines) != 2 || string(lines[0].Text) != "/probe/t1" {
		t.Errorf("%v, %v", lines, err)
	}
	for name, tt := range map[string]struct {
		change func(*observe.Window)
		says   string
	}{
		"another log":                      {func(w *observe.Window) { w.Log = "logs/x" }, "the recording has no log logs/x"},
		"more lines than there are":        {func(w *observe.Window) { w.To = 4 }, "logs/g: the log has 3 lines"},
		"an end that is not the flush":     {func(w *observe.Window) { w.To = 3 }, "line 2 is not the later one with t2.flush.invalid"},
		"an end before the flush":          {func(w *observe.Window) { w.To = 1 }, "line 0 is not the later one"},
		"nothing where a flush had to be":  {func(w *observe.Window) { w.From = 2 }, "is not the later one"},
		"another call's flush":             {func(w *observe.Window) { w.Flush = "t3.flush.invalid" }, "so what is absent may have come after it"},
		"a window that ends before itself": {func(w *observe.Window) { w.From, w.To = 2, 1 }, "the log has 3 lines, so not those"},
	} {
		w := window
		tt.change(&w)
		lines, err := s.Lines(w)
		if mismatch(t, err, tt.says); lines != nil {
			t.Errorf("%s: %v", name, lines)
		}
	}
	window.Flush, window.To = "", 1 // a window that states no absence
	if lines, err := s.Lines(window); err != nil || len(lines) != 1 {
		t.Errorf("%v, %v", lines, err)
	}
}

func TestDerive(t *testing.T) {
	s := New(map[string]*observe.LogFile{})
	s.Derived[Name{first, "a.log"}] = Entry{Raw: []byte("line\n"), Path: "evidence/a.log", Meta: observe.Meta{Name: "a.log"}}
	s.Derived[Name{first, "empty.log"}] = Entry{Path: "evidence/empty.log", Meta: observe.Meta{Name: "empty.log"}}
	for name, raw := range map[string][]byte{"a.log": []byte("line\n"), "empty.log": nil} {
		if path, err := s.Derive(first, observe.Meta{Name: name}, raw); err != nil || path != "evidence/"+name {
			t.Errorf("%s, %v", path, err)
		}
	}
	_, err := s.Derive(first, observe.Meta{Name: "a.log"}, []byte("other\n"))
	mismatch(t, err, "evidence/a.log is not what follows from the observations")
	_, err = s.Derive(second, observe.Meta{Name: "a.log"}, []byte("line\n"))
	mismatch(t, err, "the recording lacks a.log of observation G1/check/02")
	_, err = s.Derive(first, observe.Meta{Name: "b.log"}, nil)
	mismatch(t, err, "the recording lacks b.log")
}

func TestUnused(t *testing.T) {
	s := recording()
	s.Derived[Name{first, "a.log"}] = Entry{Path: "evidence/a.log", Meta: observe.Meta{Name: "a.log"}}
	s.Derived[Name{other, "c.log"}] = Entry{Path: "evidence/c.log", Meta: observe.Meta{Name: "c.log"}}
	unused := func() []string { return slices.Sorted(slices.Values(s.Unused("G1"))) }
	if diff := cmp.Diff([]string{"G1/check/01 (get /a)", "G1/check/02 (get /b)", "evidence/a.log"}, unused()); diff != "" {
		t.Error(diff)
	}
	_, _ = ask(t, s, first, "/x") // a mismatch uses nothing
	_, _ = s.Derive(first, observe.Meta{Name: "a.log"}, []byte("other"))
	if got := unused(); len(got) != 3 {
		t.Error(got)
	}
	_, _ = ask(t, s, first, "/a")
	_, _ = s.Derive(first, observe.Meta{Name: "a.log"}, nil)
	if diff := cmp.Diff([]string{"G1/check/02 (get /b)"}, unused()); diff != "" {
		t.Error(diff)
	}
}
