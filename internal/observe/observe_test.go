package observe

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"twohop/internal/probe"
	"twohop/internal/subject"
)

// A token found in a log names one request of one run: nothing else makes it.
func TestTokensDiffer(t *testing.T) {
	type header struct{ Lab int }
	key := func(nonce string, h any) Key {
		k, err := NewKey(nonce, h)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	at := Slot{"G1", "check", 4}
	base := key("n", header{1})
	seen := map[string]string{}
	for name, token := range map[string]string{
		"the token":       base.Token(at, 0),
		"another request": base.Token(at, 1),
		"another ordinal": base.Token(Slot{"G1", "check", 5}, 0),
		"another stage":   base.Token(Slot{"G1", "control", 4}, 0),
		"another claim":   base.Token(Slot{"G2", "check", 4}, 0),
		"another run":     key("m", header{1}).Token(at, 0),
		"another header":  key("n", header{2}).Token(at, 0),
	} {
		if other, twice := seen[token]; twice {
			t.Errorf("%s and %s have the same token", name, other)
		}
		seen[token] = name
		if len(token) != 17 || token[0] != 't' || strings.Trim(token[1:], "0123456789abcdef") != "" {
			t.Errorf("%s is no token", token)
		}
	}
	if again := key("n", header{1}).Token(at, 0); seen[again] != "the token" {
		t.Errorf("the same run has %s now", again)
	}
	if _, err := NewKey("n", func() {}); err == nil {
		t.Error("a header that cannot be written down has a key")
	}
}

// What a question asks is in its key: a replay finds no answer to another one.
func TestQuestionsDiffer(t *testing.T) {
	request := func(change func(*Requests)) Question {
		q := Requests{From: subject.Sidecar, Subject: subject.Default(), Request: probe.Request{Token: "t1", Connect: "10.0.0.1"}}
		change(&q)
		return q
	}
	seen := map[string]int{}
	for i, q := range []Question{
		Pods{}, Admin{subject.Gateway, "/a"}, Admin{subject.Gateway, "/b"}, Admin{subject.Sidecar, "/a"},
		PodGet{subject.Partner, 80, "/a"}, PodGet{subject.Partner, 81, "/a"}, PodGet{subject.Gateway, 80, "/a"}, Get{"/a"}, Get{"/b"},
		Exec{subject.Gateway, "c", []string{"a b"}}, Exec{subject.Gateway, "c", []string{"a", "b"}}, Exec{subject.Gateway, "d", []string{"a b"}},
		Istioctl{[]string{"a b"}}, Istioctl{[]string{"a", "b"}}, DryRunCreate{"a"}, DryRunCreate{"b"},
		request(func(*Requests) {}),
		request(func(q *Requests) { q.Request.Token = "t2" }),
		request(func(q *Requests) { q.Request.More = []string{"t3"} }),
		request(func(q *Requests) { q.Request.Connect = "10.0.0.2" }),
		request(func(q *Requests) { q.Request.Args = []string{"-H", "x"} }),
		request(func(q *Requests) { q.From = subject.SecondSidecar }),
		Stop{subject.Sidecar, "t1"}, Stop{subject.Sidecar, "t2"},
		Line{Role: subject.Partner, Holds: []string{"a"}}, Line{Role: subject.Partner, Holds: []string{"a", "b"}},
		Flush{Role: subject.Gateway, Token: "t1"}, Flush{Role: subject.Gateway, Token: "t2"}, Flush{Role: subject.Partner, Token: "t1"},
		Input{What: "a"}, Input{What: "b"},
		Until{What: "a", Ask: Get{"/a"}}, Until{What: "b", Ask: Get{"/a"}}, Until{What: "a", Ask: Get{"/b"}},
	} {
		if other, twice := seen[q.Key()]; twice {
			t.Errorf("questions %d and %d are both %q", other, i, q.Key())
		}
		seen[q.Key()] = i
	}
}

func TestStampedLines(t *testing.T) {
	at := time.Date(2026, 11, 23, 16, 10, 11, 120000000, time.UTC)
	l, err := ParseStamped([]byte("2026-11-23T17:10:11.12+01:00 a  text "))
	if err != nil || !l.At.Equal(at) || string(l.Text) != "a  text " {
		t.Errorf("%v, %v", l, err)
	}
	for _, bad := range []string{"", "text", "2026-11-23 text"} {
		if l, err := ParseStamped([]byte(bad)); err == nil {
			t.Errorf("%q: %v", bad, l)
		}
	}
	if got := string(FormatLine(7, l)); got != "000007 2026-11-23T16:10:11.12Z a  text \n" {
		t.Errorf("%q", got)
	}
}

func logOf(numbers ...int) []byte {
	var raw []byte
	for _, n := range numbers {
		raw = append(raw, FormatLine(n, LogLine{At: time.Unix(int64(n), 0), Text: fmt.Append(nil, "line ", n)})...)
	}
	return raw
}

func TestParseLog(t *testing.T) {
	f, err := ParseLog(logOf(0, 1, 2, 3), false)
	if err != nil || f.Len() != 4 {
		t.Fatalf("%v, %v", f, err)
	}
	lines, err := f.Range(1, 3)
	want := []LogLine{{time.Unix(1, 0).UTC(), []byte("line 1")}, {time.Unix(2, 0).UTC(), []byte("line 2")}}
	if diff := cmp.Diff(want, lines); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	for _, bad := range [][2]int{{-1, 2}, {3, 2}, {0, 5}} {
		if lines, err := f.Range(bad[0], bad[1]); err == nil || !strings.Contains(err.Error(), "the log has 4 lines") {
			t.Errorf("%v: %v, %v", bad, lines, err)
		}
	}
	var order []int
	f.Each(func(n int, l LogLine) { order = append(order, n) })
	if diff := cmp.Diff([]int{0, 1, 2, 3}, order); diff != "" {
		t.Error(diff)
	}
	if empty, err := ParseLog(nil, false); err != nil || empty.Len() != 0 {
		t.Errorf("%v, %v", empty, err)
	}
}

// A line that is lost, doubled or moved shows.
func TestAlteredLogs(t *testing.T) {
	for _, tt := range []struct {
		name         string
		raw          []byte
		whole, trims bool // whether it is a whole log, and whether a trimmed one
	}{
		{"as it was", logOf(0, 1, 2), true, true},
		{"lost", logOf(0, 2), false, true},
		{"lost at the beginning", logOf(1, 2), false, true},
		{"doubled", logOf(0, 1, 1, 2), false, false},
		{"moved", logOf(0, 2, 1), false, false},
		{"without a number", []byte("line\n"), false, false},
		{"without a time", []byte("000000 line\n"), false, false},
		{"an empty line", []byte("\n"), false, false},
	} {
		if _, err := ParseLog(tt.raw, false); (err == nil) != tt.whole {
			t.Errorf("%s: %v", tt.name, err)
		}
		if _, err := ParseLog(tt.raw, true); (err == nil) != tt.trims {
			t.Errorf("%s, trimmed: %v", tt.name, err)
		}
	}
	f, err := ParseLog(logOf(1, 4), true)
	if err != nil || f.Len() != 5 {
		t.Fatalf("%v, %v", f, err)
	}
	if lines, err := f.Range(2, 5); err != nil || len(lines) != 1 || string(lines[0].Text) != "line 4" {
		t.Errorf("%v, %v", lines, err)
	}
}

func TestMatch(t *testing.T) {
	for _, tt := range []struct {
		line, token, address string
		want                 bool
	}{
		{`"path":"/probe/t1"`, "t1", "", true},
		{`"path":"/probe/t1"`, "t2", "", false},
		{`"downstream_remote_address":"10.0.0.1:50"`, "t1", "10.0.0.1:50", true},
		{`"downstream_remote_address":"10.0.0.1:501"`, "t1", "10.0.0.1:50", false},
		{`"a":""`, "t1", "", false},
	} {
		if got := OfCall([]byte(tt.line), tt.token, tt.address); got != tt.want {
			t.Errorf("OfCall(%s, %s, %s) is %v", tt.line, tt.token, tt.address, got)
		}
	}
	for line, want := range map[string]bool{
		`"downstream_remote_address":"10.0.0.1:50","path":null`:        true,
		`"downstream_remote_address":"10.0.0.11:50","path":null`:       false,
		`"downstream_remote_address":"10.0.0.1:50","path":"/x"`:        false,
		`"downstream_direct_remote_address":"10.0.0.1:50","path":null`: false,
	} {
		if got := Refused([]byte(line), "10.0.0.1"); got != want {
			t.Errorf("Refused(%s) is %v", line, got)
		}
	}
}

func TestPoll(t *testing.T) {
	t.Run("until it is so", func(t *testing.T) {
		n := 0
		if err := Poll(t.Context(), func() (bool, string, error) { n++; return n == 3, "no", nil }); err != nil || n != 3 {
			t.Errorf("%v after %d", err, n)
		}
	})
	t.Run("an error ends it", func(t *testing.T) {
		boom, n := errors.New("boom"), 0
		if err := Poll(t.Context(), func() (bool, string, error) { n++; return false, "", boom }); !errors.Is(err, boom) || n != 1 {
			t.Errorf("%v after %d", err, n)
		}
	})
	t.Run("the end of time says what was seen last", func(t *testing.T) {
		ctx, cancel := context.WithTimeoutCause(t.Context(), 30*time.Millisecond, errors.New("30ms went by"))
		defer cancel()
		err := Poll(ctx, func() (bool, string, error) { return false, "push 3", nil })
		if err == nil || err.Error() != "30ms went by; last seen: push 3" {
			t.Error(err)
		}
	})
	t.Run("so does an error just before it", func(t *testing.T) {
		ctx, cancel := context.WithTimeoutCause(t.Context(), 30*time.Millisecond, errors.New("30ms went by"))
		defer cancel()
		err := Poll(ctx, func() (bool, string, error) {
			if end, _ := ctx.Deadline(); time.Until(end) < PollInterval/2 {
				return false, "", errors.New("the rate limiter would wait beyond the deadline")
			}
			time.Sleep(time.Millisecond)
			return false, "push 3", nil
		})
		if err == nil || err.Error() != "30ms went by; last seen: push 3" {
			t.Error(err)
		}
	})
	t.Run("an error because time is over says so", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		n := 0
		err := Poll(ctx, func() (bool, string, error) {
			if n++; n == 1 {
				return false, "push 3", nil
			}
			cancel(errors.New("enough"))
			return false, "", ctx.Err()
		})
		if err == nil || err.Error() != "enough; last seen: push 3" {
			t.Error(err)
		}
	})
}

func TestWindowsAndCast(t *testing.T) {
	a := Answer{Windows: []Window{{Role: subject.Gateway, From: 1}, {Role: subject.Partner, From: 2}}}
	if w, err := a.Window(subject.Partner); err != nil || w.From != 2 {
		t.Errorf("%v, %v", w, err)
	}
	if _, err := a.Window(subject.Sidecar); err == nil || !strings.Contains(err.Error(), "no window on the log of the sidecar") {
		t.Error(err)
	}
	c := Cast{Pods: []Pod{{Role: subject.Gateway, Name: "g"}}}
	if p, ok := c.Find(subject.Gateway); !ok || p.Name != "g" {
		t.Error(p)
	}
	if _, ok := c.Find(subject.Partner); ok {
		t.Error("somebody plays the partner")
	}
}

// answering answers each question with one answer.
type answering struct {
	Source
	answer Answer
	err    error
	asked  int
}

func (a *answering) Begin(context.Context, Slot, Question, Meta) Pending { return a }

func (a *answering) Answer(context.Context) (Answer, error) {
	a.asked++
	return a.answer, a.err
}

type memory struct {
	kept []Observation
	err  error
}

func (k *memory) Keep(o Observation) (string, error) {
	k.kept = append(k.kept, o)
	return "evidence/x", k.err
}

func (k *memory) Derive(_ Slot, m Meta, _ []byte) (string, error) { return "evidence/" + m.Name, k.err }

func TestRecord(t *testing.T) {
	boom := errors.New("boom")
	windows := []Window{{Role: subject.Gateway, From: 1, To: 2}}
	at, q, meta := Slot{"G1", "check", 1}, Get{"/a"}, Meta{Name: "a.json"}
	for name, tt := range map[string]struct {
		answer    Answer
		err       error
		keeper    memory
		wantError string
	}{
		"an answer":                  {Answer{Raw: []byte("raw"), Windows: windows, Took: time.Second}, nil, memory{}, ""},
		"an error is an observation": {Answer{Raw: []byte("half")}, boom, memory{}, "boom"},
		"what is not kept is none":   {Answer{Raw: []byte("raw")}, nil, memory{err: errors.New("disk full")}, "save evidence: disk full"},
	} {
		t.Run(name, func(t *testing.T) {
			source := &answering{answer: tt.answer, err: tt.err}
			p := Record(source, &tt.keeper).Begin(t.Context(), at, q, meta)
			if len(tt.keeper.kept) != 0 {
				t.Error("a question is kept before its answer")
			}
			a, err := p.Answer(t.Context())
			if (err == nil) != (tt.wantError == "") || err != nil && err.Error() != tt.wantError {
				t.Errorf("%v", err)
			}
			if tt.keeper.err == nil && a.Path != "evidence/x" {
				t.Errorf("path %q", a.Path)
			}
			if again, _ := p.Answer(t.Context()); cmp.Diff(a, again) != "" || source.asked != 1 {
				t.Errorf("the second time: %v; asked %d times", again, source.asked)
			}
			if len(tt.keeper.kept) != 1 {
				t.Fatalf("kept %d times", len(tt.keeper.kept))
			}
			got := tt.keeper.kept[0]
			if got.At != at || got.Question != q || got.Meta != meta || string(got.Raw) != string(tt.answer.Raw) || got.Took != tt.answer.Took ||
				got.Err != tt.err || cmp.Diff(tt.answer.Windows, got.Windows) != "" {
				t.Errorf("%+v", got)
			}
		})
	}
	s := Record(&answering{}, &memory{})
	if path, err := s.Derive(at, meta, nil); err != nil || path != "evidence/a.json" {
		t.Errorf("%s, %v", path, err)
	}
	if _, err := Record(&answering{}, &memory{err: boom}).Derive(at, meta, nil); err == nil || err.Error() != "save evidence: boom" {
		t.Error(err)
	}
}
