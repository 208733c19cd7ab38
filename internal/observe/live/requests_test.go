package live

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"twohop/internal/observe"
	"twohop/internal/probe"
	"twohop/internal/subject"
)

// curl's own report counts, and not the status of exec.
func TestCurlsReport(t *testing.T) {
	for _, tt := range []struct {
		name   string
		prints []byte
		err    error
		says   string
	}{
		{"exec fails, and curl has reported", curlPrints("t1"), errors.New("command terminated with exit code 137"), ""},
		{"exec succeeds, and the report is lost", []byte("body\n"), nil, "the probe t1 brought no report of curl's: curl: no trailer"},
		{"both are lost", nil, errors.New("connection reset"), "connection reset"},
		{"curl reports more than was asked for", curlPrints("t1", "t2"), nil, "curl reports 2 requests, and 1 were asked for"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMesh(t)
			m.OnExec = func(string, string, []string) ([]byte, []byte, error) {
				m.Print("client-1", "client-1 /probe/t1")
				return tt.prints, []byte("curl: (7)"), tt.err
			}
			a, err := m.ask(t, request("t1"))
			if (err == nil) != (tt.says == "") || err != nil && !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%v, want %q", err, tt.says)
			}
			if string(a.Raw) != string(tt.prints) {
				t.Errorf("the bytes are lost: %q", a.Raw)
			}
		})
	}
}

func TestRequestsWithoutACaller(t *testing.T) {
	m := newMesh(t)
	q := request("t1")
	q.From = subject.SecondSidecar
	if _, err := m.ask(t, q); err == nil || !strings.Contains(err.Error(), "no pod plays the second-sidecar") {
		t.Error(err)
	}
}

// Of requests that are stopped only those are looked for that were over.
func TestStoppableRequests(t *testing.T) {
	m := newMesh(t)
	var ran []string
	m.OnExec = func(pod, container string, command []string) ([]byte, []byte, error) {
		ran = command
		m.Print("client-1", "client-1 /probe/t1", "client-1 /probe/t2")
		return append(curlPrints("t1", "t2"), "half a bo"...), nil, errors.New("killed")
	}
	q := request("t1", "t2", "t3", "t4")
	q.Stoppable = true
	a, err := m.ask(t, q)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"client-1 /probe/t1", "client-1 /probe/t2"}, m.window(t, a, subject.Sidecar)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(probe.Stoppable(q.Request, probe.Arguments(q.Subject, q.Request)), ran); diff != "" {
		t.Error(diff)
	}

	// One that was over and that the sidecar has not logged is missed.
	m.source.Limits.Line = 50 * time.Millisecond
	m.OnExec = func(string, string, []string) ([]byte, []byte, error) { return curlPrints("t5", "t6"), nil, nil }
	q = request("t5", "t6", "t7")
	q.Stoppable = true
	if _, err := m.ask(t, q); err == nil || !strings.Contains(err.Error(), "the line of the probe t") {
		t.Error(err)
	}
	m.OnExec = func(string, string, []string) ([]byte, []byte, error) { return []byte("half"), nil, nil }
	if _, err := m.ask(t, q); err == nil || !strings.Contains(err.Error(), "stopped before it had finished a transfer") {
		t.Error(err)
	}
}

func TestHeldRequests(t *testing.T) {
	m := newMesh(t)
	release := make(chan struct{})
	m.OnExec = func(_, _ string, command []string) ([]byte, []byte, error) {
		if command[0] == "sh" && strings.Contains(command[2], "kill") {
			close(release)
			return nil, nil, nil
		}
		<-release
		return nil, nil, errors.New("command terminated with exit code 143")
	}
	q := request("t1")
	q.Held = true
	pending := m.source.Begin(t.Context(), observe.Slot{}, q, observe.Meta{})
	if _, err := pending.Answer(shortly(t)); err == nil || !strings.Contains(err.Error(), "wait for the end of the requests from t1 on: 20ms went by") {
		t.Errorf("a request under way: %v", err)
	}
	if _, err := m.ask(t, observe.Stop{From: subject.Sidecar, Token: "t1"}); err != nil {
		t.Fatal(err)
	}
	if a, err := pending.Answer(soon(t)); err != nil || len(a.Windows) != 0 {
		t.Errorf("%v, %v", a, err)
	}
}

func TestStopThatFails(t *testing.T) {
	m := newMesh(t)
	m.OnExec = func(string, string, []string) ([]byte, []byte, error) { return nil, nil, errors.New("no such process") }
	if _, err := m.ask(t, observe.Stop{From: subject.Sidecar, Token: "t1"}); err == nil || err.Error() != "stop the requests from t1 on: no such process" {
		t.Error(err)
	}
}
