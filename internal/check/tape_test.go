package check

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"twohop/internal/observe"
	"twohop/internal/observe/recorded"
	"twohop/internal/subject"
	"twohop/internal/verdict"
)

// tape is a recording that a test makes as the check goes: the n-th question gets
// the n-th answer. What is derived is kept, since nothing is replayed.
type tape struct {
	*recorded.Source
	t       *testing.T
	answers []answer
	asked   []observe.Question
	derived map[string]string
	cast    observe.Cast
	texts   map[string][]string // of each log
	marks   map[subject.Role]int
}

// answer makes what answers a question.
type answer func(tp *tape, q observe.Question) recorded.Entry

// The pods' addresses are those of the captures.
const podIP = "127.0.0.1"

func newTape(t *testing.T) *tape {
	tp := &tape{Source: recorded.New(map[string]*observe.LogFile{}), t: t, derived: map[string]string{}, texts: map[string][]string{}, marks: map[subject.Role]int{}}
	for _, role := range []subject.Role{subject.Sidecar, subject.Gateway, subject.Partner, subject.Istiod} {
		tp.cast.Pods = append(tp.cast.Pods, observe.Pod{Role: role, Namespace: "ns", Name: string(role) + "-1", IP: podIP, Log: logFile(role)})
	}
	tp.cast.PartnerService = "10.96.0.1"
	return tp
}

func logFile(role subject.Role) string { return "logs/" + string(role) + ".log" }

// begin begins a stage with these answers.
func (tp *tape) begin(answers ...answer) (*T, *[]verdict.Fact) {
	tp.t.Helper()
	tp.answers = answers
	session := &Session{Source: tp, Key: observe.Key("key"), Claim: "G1", Limits: observe.DefaultLimits(), Script: func(string, string, []byte) {}}
	session.Enter("check")
	t, err := New(tp.t.Context(), session, subject.Default())
	if err != nil {
		tp.t.Fatal(err)
	}
	facts := &[]verdict.Fact{}
	t.State(facts)
	return t, facts
}

func (tp *tape) Begin(ctx context.Context, at observe.Slot, q observe.Question, meta observe.Meta) observe.Pending {
	var e recorded.Entry
	if _, ok := q.(observe.Pods); ok {
		raw, err := json.Marshal(tp.cast)
		if err != nil {
			tp.t.Fatal(err)
		}
		e.Raw = raw
		for _, p := range tp.cast.Pods {
			e.Windows = append(e.Windows, observe.Window{Role: p.Role, Log: p.Log, From: tp.marks[p.Role], To: tp.marks[p.Role]})
		}
	} else {
		if tp.asked = append(tp.asked, q); len(tp.asked) > len(tp.answers) {
			tp.t.Fatalf("question %d has no answer: %s", len(tp.asked), q.Key())
		}
		e = tp.answers[len(tp.asked)-1](tp, q)
	}
	e.Meta, e.Question, e.Path = meta, q.Key(), fmt.Sprintf("%02d-%s", at.Ordinal, meta.Name)
	if _, ok := q.(observe.Pods); ok { // the recording has to know who plays the roles
		tp.Entries[at] = e
		return tp.Source.Begin(ctx, at, q, meta)
	}
	var err error
	if e.Error != "" {
		err = errors.New(e.Error)
	}
	return said{observe.Answer{Raw: e.Raw, Windows: e.Windows, Path: e.Path, Took: e.Took}, err}
}

// said answers without holding the windows against the question, as a recording
// does: a test may leave them out.
type said struct {
	answer observe.Answer
	err    error
}

func (s said) Answer(context.Context) (observe.Answer, error) { return s.answer, s.err }

func (tp *tape) Derive(_ observe.Slot, meta observe.Meta, raw []byte) (string, error) {
	tp.derived[meta.Name] = string(raw)
	return meta.Name, nil
}

// print adds lines to a log, a second apart, and returns where they begin.
func (tp *tape) print(role subject.Role, lines ...string) int {
	path := logFile(role)
	from := len(tp.texts[path])
	tp.texts[path] = append(tp.texts[path], lines...)
	var raw []byte
	for n, text := range tp.texts[path] {
		raw = append(raw, observe.FormatLine(n, observe.LogLine{At: time.Unix(int64(n), 0), Text: []byte(text)})...)
	}
	log, err := observe.ParseLog(raw, false)
	if err != nil {
		tp.t.Fatal(err)
	}
	tp.Logs[path] = log
	return from
}

// window is on the lines from a number on, up to the last one.
func (tp *tape) window(role subject.Role, from int, flush string) observe.Window {
	return observe.Window{Role: role, Log: logFile(role), From: from, To: len(tp.texts[logFile(role)]), Flush: flush}
}

// says answers with bytes. Where something is awaited, they have to settle it.
func says(raw []byte) answer {
	return func(tp *tape, q observe.Question) recorded.Entry {
		if until, ok := q.(observe.Until); ok {
			if done, last, err := until.Done(raw); !done || err != nil {
				tp.t.Errorf("%s: not done: %s, %v", q.Key(), last, err)
			}
		}
		return recorded.Entry{Raw: raw}
	}
}

// lines is what the logs have of each request, by role.
type lines struct {
	sidecar, gateway, partner int
	extra                     map[subject.Role][]string
	finished                  int // of the requests; 0: all
	noFlush                   bool
}

// calls answers requests.
func calls(l lines) answer {
	return func(tp *tape, q observe.Question) recorded.Entry {
		r := q.(observe.Requests)
		tokens := append([]string{r.Request.Token}, r.Request.More...)
		if l.finished > 0 {
			tokens = tokens[:l.finished]
		}
		var e recorded.Entry
		from := map[subject.Role]int{}
		for role, n := range map[subject.Role]int{subject.Sidecar: l.sidecar, subject.Gateway: l.gateway, subject.Partner: l.partner} {
			from[role] = tp.print(role, l.extra[role]...)
			file := map[subject.Role]string{subject.Sidecar: "access-log-sidecar.jsonl", subject.Gateway: "access-log-gateway.jsonl", subject.Partner: "partner-access.jsonl"}[role]
			for _, token := range tokens {
				for range n {
					tp.print(role, about(tp.t, file, token))
				}
			}
		}
		for _, token := range tokens {
			e.Raw = append(e.Raw, about(tp.t, "curl-ok.txt", token)...)
		}
		if !l.noFlush {
			tp.print(subject.Gateway, `NR `+r.Flush+`.flush.invalid`)
			tp.print(subject.Partner, `{"uri":"/probe/flush-`+r.Flush+`"}`)
		}
		e.Windows = []observe.Window{
			tp.window(subject.Gateway, from[subject.Gateway], r.Flush+".flush.invalid"), tp.window(subject.Partner, from[subject.Partner], "flush-"+r.Flush),
			tp.window(subject.Sidecar, from[subject.Sidecar], ""),
		}
		return e
	}
}

// capture is one of the real captures of the parsers' tests.
func capture(t *testing.T, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile("../envoy/testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// about is what a capture says of the request t-ok, for another token.
func about(t *testing.T, name, token string) string {
	t.Helper()
	raw := capture(t, name)
	if strings.HasSuffix(name, ".jsonl") {
		raw, _, _ = bytes.Cut(raw, []byte("\n"))
	}
	if !bytes.Contains(raw, []byte("t-ok")) {
		t.Fatalf("%s is not about t-ok", name)
	}
	return strings.ReplaceAll(string(raw), "t-ok", token)
}

// aborted runs a check and returns what ended it.
func aborted(f func()) (err error) {
	defer Recover(&err)
	f()
	return nil
}

// abortsWith wants a check to end so.
func abortsWith(t *testing.T, text string, f func()) {
	t.Helper()
	if err := aborted(f); err == nil || !strings.Contains(err.Error(), text) {
		t.Errorf("%v is not an abort that says %q", err, text)
	}
}

func lastFact(t *testing.T, facts *[]verdict.Fact) verdict.Fact {
	t.Helper()
	if len(*facts) == 0 {
		t.Fatal("no fact was stated")
	}
	return (*facts)[len(*facts)-1]
}
