package live

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"twohop/internal/observe"
	"twohop/internal/observe/live/livetest"
	"twohop/internal/subject"
)

func TestAdmin(t *testing.T) {
	envoy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/config_dump" {
			http.Error(w, "invalid path. admin commands are:", http.StatusNotFound)
			return
		}
		fmt.Fprintf(w, "%s %s", r.Method, r.URL.RawQuery)
	}))
	a := newAdmin("Envoy of ns/pod-1", envoy.URL)
	raw, err := a.get(t.Context(), observe.SecretsDumpPath)
	if err != nil || string(raw) != "GET mask=dynamic_active_secrets,dynamic_warming_secrets" {
		t.Errorf("%q, %v", raw, err)
	}
	_, err = a.get(t.Context(), "/nothing")
	for _, part := range []string{"ns/pod-1", "/nothing", "404", "admin commands are"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%v does not say %q", err, part)
		}
	}
	envoy.Close()
	if _, err := a.get(t.Context(), observe.ConfigPath); err == nil || !strings.Contains(err.Error(), "ns/pod-1 for /config_dump") {
		t.Errorf("%v does not say who was asked for what", err)
	}
}

func TestAnAnswerThatIsCut(t *testing.T) {
	envoy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		fmt.Fprint(w, "half")
	}))
	defer envoy.Close()
	if raw, err := newAdmin("Envoy", envoy.URL).get(t.Context(), "/x"); err == nil {
		t.Errorf("half an answer passes for one: %q", raw)
	}
}

// As istiod 1.31 prints them.
func TestParseConfigs(t *testing.T) {
	const list = `[{"kind":"DestinationRule","apiVersion":"networking.istio.io/v1","metadata":{"name":"r","namespace":"ns","resourceVersion":"37233","creationTimestamp":null},"spec":{}}]`
	got, err := parseConfigs([]byte(list))
	if diff := cmp.Diff(map[ConfigKey]string{{Kind: "DestinationRule", Namespace: "ns", Name: "r"}: "37233"}, got); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	for _, bad := range []string{"", "{}", `[{"kind":"Gateway","metadata":{"name":"g"}}]`, `[{"metadata":{"name":"g","resourceVersion":"1"}}]`} {
		if got, err := parseConfigs([]byte(bad)); err == nil {
			t.Errorf("%s: %v", bad, got)
		}
	}
}

func TestUntil(t *testing.T) {
	boom := errors.New("boom")
	asked := func(m *mesh) observe.Until {
		n := 0
		m.OnGet = func(string) ([]byte, error) { n++; return fmt.Appendf(nil, "%d", n), nil }
		return observe.Until{Ask: observe.Get{Path: "/x"}, What: "it counts to 3", Limit: 5 * time.Second,
			Done: func(raw []byte) (bool, string, error) { return string(raw) == "3", "at " + string(raw), nil }}
	}
	for _, tt := range []struct {
		name   string
		change func(*mesh, *observe.Until)
		raw    string
		says   string
		lines  int // of istiod's log
	}{
		{"it is so", func(*mesh, *observe.Until) {}, "3", "", 0},
		{"it never is", func(_ *mesh, q *observe.Until) {
			q.Limit, q.Done = 60*time.Millisecond, func([]byte) (bool, string, error) { return false, "not yet", nil }
		}, "", "wait until it counts to 3: 60ms went by; last seen: not yet", 0},
		{"the default limit", func(m *mesh, q *observe.Until) {
			m.source.Limits.Push = 70 * time.Millisecond
			q.Limit, q.Done = 0, func([]byte) (bool, string, error) { return false, "not yet", nil }
		}, "", "70ms went by", 0},
		{"the answer cannot be read", func(_ *mesh, q *observe.Until) {
			q.Done = func([]byte) (bool, string, error) { return false, "", boom }
		}, "1", "wait until it counts to 3: boom", 0},
		{"nobody answers", func(m *mesh, _ *observe.Until) {
			m.OnGet = func(string) ([]byte, error) { return nil, boom }
		}, "", "wait until it counts to 3: boom", 0},
		{"a line settles it", func(m *mesh, q *observe.Until) {
			m.Print("istiod-1", "old refusal", "new refusal")
			q.Or, q.Done = &observe.Line{Role: subject.Istiod, Holds: []string{"refusal"}, Since: 1}, func([]byte) (bool, string, error) { return false, "", nil }
		}, "1", "", 2},
		{"an old line does not", func(m *mesh, q *observe.Until) {
			m.Print("istiod-1", "old refusal")
			q.Or = &observe.Line{Role: subject.Istiod, Holds: []string{"refusal"}, Since: 1}
		}, "3", "", 1},
		{"the line of nobody", func(_ *mesh, q *observe.Until) { q.Or = &observe.Line{Role: subject.SecondGateway} }, "1", "no pod plays the second-gateway", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMesh(t)
			q := asked(m)
			tt.change(m, &q)
			m.await(t, subject.Istiod, tt.lines)
			a, err := m.ask(t, q)
			if (err == nil) != (tt.says == "") || err != nil && !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%v, want %q", err, tt.says)
			}
			if tt.raw != "" && string(a.Raw) != tt.raw {
				t.Errorf("the last answer is %s, not %s", a.Raw, tt.raw)
			}
		})
	}
}

// Whoever does not wait any more is not kept.
func TestAnswerThatIsNotWaitedFor(t *testing.T) {
	m := newMesh(t)
	release := make(chan struct{})
	m.OnGet = func(string) ([]byte, error) { <-release; return []byte("late"), nil }
	p := m.source.Begin(t.Context(), observe.Slot{}, observe.Get{Path: "/x"}, observe.Meta{})
	if _, err := p.Answer(shortly(t)); err == nil || err.Error() != "20ms went by" {
		t.Error(err)
	}
	close(release)
	if a, err := p.Answer(soon(t)); err != nil || string(a.Raw) != "late" {
		t.Errorf("%s, %v", a.Raw, err)
	}
}

func TestQuestionsToTheCluster(t *testing.T) {
	m := newMesh(t)
	m.OnExec = func(pod, container string, command []string) ([]byte, []byte, error) {
		return fmt.Appendf(nil, "%s %s %q", pod, container, command), nil, nil
	}
	m.OnGet = func(path string) ([]byte, error) { return []byte("get " + path), nil }
	m.OnDryRun = func(document string) ([]byte, error) { return []byte("dry " + document), nil }
	for _, tt := range []struct {
		q    observe.Question
		want string
	}{
		{observe.Exec{Role: subject.Gateway, Container: "istio-proxy", Command: []string{"cat", "f"}}, `gateway-1 istio-proxy ["cat" "f"]`},
		{observe.Get{Path: "/api/v1/nodes"}, "get /api/v1/nodes"},
		{observe.DryRunCreate{Document: "a"}, "dry a"},
		{observe.PodGet{Role: subject.Partner, Port: partnerPlainPort, Path: "/x"}, "ok"},
		{observe.Input{What: "w", Make: func() ([]byte, error) { return []byte("made"), nil }}, "made"},
		{observe.Admin{Role: subject.Gateway, Path: "/listeners"}, fmt.Sprintf(listeners, traffic)},
	} {
		if a, err := m.ask(t, tt.q); err != nil || string(a.Raw) != tt.want {
			t.Errorf("%s: %q, %v", tt.q.Key(), a.Raw, err)
		}
	}
	for _, tt := range []struct {
		q    observe.Question
		says string
	}{
		{observe.Exec{Role: subject.SecondGateway}, "no pod plays the second-gateway"},
		{observe.PodGet{Role: subject.SecondGateway}, "no pod plays the second-gateway"},
		{observe.Admin{Role: subject.SecondGateway}, "no pod plays the second-gateway"},
		{observe.Stop{From: subject.SecondGateway}, "no pod plays the second-gateway"},
		{observe.Admin{Role: subject.Partner, Path: "/"}, "the partner is no proxy"},
		{observe.Istioctl{Args: []string{"analyze"}}, "istioctl analyze: this run was given no path of istioctl"},
		{nobodysQuestion{}, "a cluster cannot answer live.nobodysQuestion"},
	} {
		if _, err := m.ask(t, tt.q); err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v", tt.q.Key(), err)
		}
	}
}

type nobodysQuestion struct{}

func (nobodysQuestion) Key() string { return "nothing" }

func TestIstioctl(t *testing.T) {
	program := filepath.Join(t.TempDir(), "istioctl")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n[ \"$3\" = fail ] && { echo 'no such command' >&2; exit 1; }\necho \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	m := newMesh(t)
	m.source.Istioctl = program
	if a, err := m.ask(t, observe.Istioctl{Args: []string{"analyze", "-A"}}); err != nil || string(a.Raw) != "--kubeconfig /nonexistent/kubeconfig analyze -A\n" {
		t.Errorf("%s, %v", a.Raw, err)
	}
	if _, err := m.ask(t, observe.Istioctl{Args: []string{"fail"}}); err == nil || !strings.Contains(err.Error(), "istioctl fail: exit status 1: no such command") {
		t.Error(err)
	}
}

func TestCast(t *testing.T) {
	m := newMesh(t)
	m.source.ServePartner("10.96.0.9")
	m.Print("partner-1", "one", "two")
	m.await(t, subject.Partner, 2)
	a, err := m.ask(t, observe.Pods{})
	if err != nil {
		t.Fatal(err)
	}
	var cast observe.Cast
	if err := json.Unmarshal(a.Raw, &cast); err != nil {
		t.Fatal(err)
	}
	var roles []subject.Role
	for _, p := range cast.Pods {
		roles = append(roles, p.Role)
	}
	if diff := cmp.Diff([]subject.Role{subject.Gateway, subject.Istiod, subject.Partner, subject.Sidecar}, roles); diff != "" || cast.PartnerService != "10.96.0.9" {
		t.Errorf("%s; -want +got:\n%s", cast.PartnerService, diff)
	}
	w, err := a.Window(subject.Partner)
	if diff := cmp.Diff(observe.Window{Role: subject.Partner, Log: "logs/partner-partner-1.log", From: 2, To: 2}, w); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
}

// files are a run's logs in memory.
type files map[string]*kept

func (f files) open(path string) (io.WriteCloser, error) {
	if f[path] != nil {
		return nil, fmt.Errorf("%s is there already", path)
	}
	f[path] = &kept{}
	return f[path], nil
}

// A pod that goes on playing a role keeps its log; another one, or the same one
// after its stream was cut, gets another file: a run overwrites none.
func TestAttach(t *testing.T) {
	m := newMesh(t)
	logs := files{}
	m.source.OpenLog = logs.open
	attach := func(role subject.Role, pod string) *Log {
		t.Helper()
		m.attach(t, role, pod)
		l, err := m.source.Log(role)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	m.source.Dismiss(subject.Partner)
	first := attach(subject.Partner, "partner-1")
	if again := attach(subject.Partner, "partner-1"); again != first {
		t.Error("the log of a pod that is attached to was begun anew")
	}
	old := observe.Window{Role: subject.Partner, Log: first.Path}
	m.End("partner-1", io.EOF)
	for !first.Ended() {
		time.Sleep(time.Millisecond)
	}
	second := attach(subject.Partner, "partner-1")
	third := attach(subject.Partner, "partner-2")
	if diff := cmp.Diff([]string{"logs/partner-partner-1.log", "logs/partner-partner-1-2.log", "logs/partner-partner-2.log"},
		[]string{first.Path, second.Path, third.Path}); diff != "" {
		t.Error(diff)
	}
	if _, err := m.source.Lines(old); err == nil || !strings.Contains(err.Error(), "the partner has been replaced") {
		t.Errorf("a window of another pod's log: %v", err)
	}
	m.source.OpenLog = func(string) (io.WriteCloser, error) { return nil, errors.New("disk full") }
	if err := m.source.Attach(t.Context(), subject.Partner, livetest.Pod("ns", "partner-3", ""), "c", false); err == nil || !strings.Contains(err.Error(), "keep the log of ns/partner-3: disk full") {
		t.Error(err)
	}
	if _, err := m.source.Pod(subject.Partner); err == nil {
		t.Error("a pod that could not be attached to plays the role")
	}
	m.source.OpenLog = nil
	if err := m.source.Attach(t.Context(), subject.SecondGateway, livetest.Pod("ns", "mute-1", ""), "c", true); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("a proxy without an admin API: %v", err)
	}
}

// Connections outlive the context in which they were made, and end with Close.
func TestClose(t *testing.T) {
	m := newMesh(t)
	ctx, cancel := context.WithCancel(t.Context())
	if err := m.source.Attach(ctx, subject.SecondSidecar, livetest.Pod("ns", "second-1", ""), "c", false); err != nil {
		t.Fatal(err)
	}
	cancel()
	m.Print("second-1", "a line")
	l := m.await(t, subject.SecondSidecar, 1)
	m.source.Close()
	for deadline := time.Now().Add(5 * time.Second); !l.Ended(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the log is still followed")
		}
	}
}

func TestExtraGatewayLog(t *testing.T) {
	m := newMesh(t)
	role := subject.ExtraGateway("list-only")
	m.gateway(t, role, "list-only", traffic)
	if p, err := m.source.Pod(role); err != nil || p.Log != "logs/gateway-pod-list-only-list-only.log" {
		t.Errorf("%+v, %v", p, err)
	}
}
