package live

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"twohop/internal/observe"
	"twohop/internal/observe/live/livetest"
	"twohop/internal/probe"
	"twohop/internal/subject"
)

// A run may state that a log does not have a line only if the log was read up to
// one that was caused later. What follows is that proof.

// mesh is a cluster with a pod for each role, whose gateway and partner log as
// theirs do.
type mesh struct {
	*livetest.Cluster
	source *Source
	// beforeFlush and afterFlush are what the gateway logs right before and after
	// the line that ends a window.
	beforeFlush, afterFlush []string
	mute                    atomic.Bool // neither gateway nor partner logs a flush
}

const listeners = `{"listener_statuses":[{"name":"health","local_address":{"socket_address":{"port_value":15021}}},
{"name":"stats","local_address":{"socket_address":{"port_value":15090}}}%s]}`

const traffic = `,{"name":"0.0.0.0_8443","local_address":{"socket_address":{"port_value":8443}}}`

func newMesh(t *testing.T) *mesh {
	t.Helper()
	m := &mesh{Cluster: livetest.New()}
	m.source = New(t.Context(), m.Cluster, "", observe.Limits{Line: 5 * time.Second, Push: 5 * time.Second})
	t.Cleanup(m.source.Close)
	m.attach(t, subject.Sidecar, "client-1")
	m.gateway(t, subject.Gateway, "gateway-1", traffic)
	m.attach(t, subject.Partner, "partner-1")
	m.Serve(t, "istiod-1", debugPort, func(http.ResponseWriter, *http.Request) {})
	m.attach(t, subject.Istiod, "istiod-1")
	m.OnPodGet = func(pod string, port int, path string) ([]byte, error) {
		if pod != "partner-1" || port != partnerPlainPort {
			return nil, fmt.Errorf("nothing listens on %s:%d", pod, port)
		}
		if !m.mute.Load() {
			m.Print(pod, "partner "+path)
		}
		return []byte("ok"), nil
	}
	return m
}

func (m *mesh) attach(t *testing.T, role subject.Role, pod string) {
	t.Helper()
	if role == subject.Sidecar {
		m.Serve(t, pod, adminPort, func(http.ResponseWriter, *http.Request) {})
	}
	if err := m.source.Attach(t.Context(), role, livetest.Pod("ns", pod, "10.0.0.1"), "c", role == subject.Sidecar); err != nil {
		t.Fatal(err)
	}
}

func (m *mesh) gateway(t *testing.T, role subject.Role, pod, bound string) {
	t.Helper()
	m.Serve(t, pod, adminPort, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintf(w, listeners, bound) })
	m.ServeTLS(t, pod, 8443, func(name string) {
		if m.mute.Load() {
			return
		}
		m.Print(pod, m.beforeFlush...)
		m.Print(pod, pod+" NR filter_chain_not_found "+name)
		m.Print(pod, m.afterFlush...)
	})
	if err := m.source.Attach(t.Context(), role, livetest.Pod("ns", pod, "10.0.0.2"), "c", true); err != nil {
		t.Fatal(err)
	}
}

// await returns once a pod's log has been read up to n lines.
func (m *mesh) await(t *testing.T, role subject.Role, n int) *Log {
	t.Helper()
	l, err := m.source.Log(role)
	if err != nil {
		t.Fatal(err)
	}
	write(t, l, nil, "", n)
	return l
}

// curlPrints is what curl prints of requests with these tokens.
func curlPrints(tokens ...string) []byte {
	var all []byte
	for _, token := range tokens {
		all = fmt.Appendf(all, "body\n"+`{"http_code":200,"exitcode":0,"http_version":"1.1","remote_ip":"10.96.0.1","local_ip":"10.0.0.1","local_port":5000,`+
			`"num_connects":1,"time_total":0.01,"url":"http://h/probe/%s","curl_version":"libcurl/8"}`+"\n", token)
	}
	return all
}

// request is one with these tokens.
func request(tokens ...string) observe.Requests {
	return observe.Requests{From: subject.Sidecar, Subject: subject.Default(), Request: probe.Request{Token: tokens[0], More: tokens[1:]}, Flush: "tflush"}
}

func (m *mesh) ask(t *testing.T, q observe.Question) (observe.Answer, error) {
	t.Helper()
	return m.source.Begin(t.Context(), observe.Slot{}, q, observe.Meta{}).Answer(soon(t))
}

// passes makes curl's requests pass the sidecar, and the others if they are to.
func (m *mesh) passes(through ...string) func(string, string, []string) ([]byte, []byte, error) {
	return func(_, _ string, command []string) ([]byte, []byte, error) {
		var tokens []string
		for _, arg := range command {
			if _, token, ok := strings.Cut(arg, "/probe/"); ok {
				tokens = append(tokens, token)
				for _, pod := range append([]string{"client-1"}, through...) {
					m.Print(pod, pod+" /probe/"+token)
				}
			}
		}
		return curlPrints(tokens...), nil, nil
	}
}

// window reads what an answer says of a role's log.
func (m *mesh) window(t *testing.T, a observe.Answer, role subject.Role) []string {
	t.Helper()
	w, err := a.Window(role)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := m.source.Lines(w)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(lines); w.Flush != "" && (n == 0 || !strings.Contains(string(lines[n-1].Text), w.Flush)) {
		t.Errorf("the window of the %s does not end with %s: %q", role, w.Flush, textsOf(lines))
	}
	return textsOf(lines)
}

func TestWindowsOfACall(t *testing.T) {
	m := newMesh(t)
	m.Print("gateway-1", "gateway-1 before the call")
	m.await(t, subject.Gateway, 1)
	m.OnExec = m.passes("gateway-1", "partner-1")
	a, err := m.ask(t, request("t1"))
	if err != nil {
		t.Fatal(err)
	}
	if string(a.Raw) != string(curlPrints("t1")) || a.Took <= 0 {
		t.Errorf("%s in %v", a.Raw, a.Took)
	}
	for role, want := range map[subject.Role][]string{
		subject.Sidecar: {"client-1 /probe/t1"},
		subject.Gateway: {"gateway-1 /probe/t1", "gateway-1 NR filter_chain_not_found tflush.flush.invalid"},
		subject.Partner: {"partner-1 /probe/t1", "partner /probe/flush-tflush"},
	} {
		if diff := cmp.Diff(want, m.window(t, a, role)); diff != "" {
			t.Errorf("%s: -want +got:\n%s", role, diff)
		}
	}
	w, err := a.Window(subject.Gateway)
	if diff := cmp.Diff(observe.Window{Role: subject.Gateway, Log: "logs/gateway-gateway-1.log", From: 1, To: 3, Flush: "tflush.flush.invalid"}, w); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	if _, err := a.Window(subject.SecondGateway); err == nil {
		t.Error("there is a window on the log of a gateway that is not there")
	}
}

// That a call bypasses the gateway is shown by a window without it.
func TestACallThatTheGatewayNeverSaw(t *testing.T) {
	m := newMesh(t)
	m.OnExec = m.passes("partner-1")
	a, err := m.ask(t, request("t1"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"gateway-1 NR filter_chain_not_found tflush.flush.invalid"}, m.window(t, a, subject.Gateway)); diff != "" {
		t.Error(diff)
	}
}

// What a proxy had buffered is in its log before the line that was caused later,
// and so in the window; what it held back longer is not.
func TestLinesAroundTheFlush(t *testing.T) {
	m := newMesh(t)
	m.beforeFlush, m.afterFlush = []string{"gateway-1 /probe/t1 late"}, []string{"gateway-1 /probe/t1 too late"}
	m.OnExec = m.passes()
	a, err := m.ask(t, request("t1"))
	if err != nil {
		t.Fatal(err)
	}
	m.await(t, subject.Gateway, 3)
	want := []string{"gateway-1 /probe/t1 late", "gateway-1 NR filter_chain_not_found tflush.flush.invalid"}
	if diff := cmp.Diff(want, m.window(t, a, subject.Gateway)); diff != "" {
		t.Error(diff)
	}
}

// Each of these has to be an error: the logs are then not known to be complete.
func TestCallsThatAreNotWitnessed(t *testing.T) {
	for _, tt := range []struct {
		name    string
		arrange func(*mesh)
		says    string
	}{
		{"the sidecar logs nothing", func(m *mesh) {
			m.OnExec = func(string, string, []string) ([]byte, []byte, error) { return curlPrints("t1"), nil, nil }
		}, "the line of the probe t1 from 10.0.0.1:5000"},
		{"the sidecar logs another call", func(m *mesh) {
			m.OnExec = func(string, string, []string) ([]byte, []byte, error) {
				m.Print("client-1", "client-1 /probe/t2")
				return curlPrints("t1"), nil, nil
			}
		}, "the line of the probe t1"},
		{"gateway and partner log no later line", func(m *mesh) { m.mute.Store(true) }, "a later line with "},
		{"the gateway's admin API does not answer", func(m *mesh) {
			m.source.roles[subject.Gateway].admin = newAdmin("Envoy of ns/gateway-1", "http://127.0.0.1:1")
		}, "ask Envoy of ns/gateway-1 for /listeners"},
		{"the gateway's port cannot be reached", func(m *mesh) { m.source.Kube = unreachable{m.Cluster} }, "connection refused"},
		{"the partner cannot be reached", func(m *mesh) {
			m.OnPodGet = func(string, int, string) ([]byte, error) { return nil, errors.New("no route") }
		}, "reach the partner's plaintext port: no route"},
		{"the partner's log ended", func(m *mesh) { m.End("partner-1", errors.New("the pod is gone")) }, "the pod is gone"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMesh(t)
			m.source.Limits.Line = 100 * time.Millisecond
			m.OnExec = m.passes("gateway-1", "partner-1")
			tt.arrange(m)
			a, err := m.ask(t, request("t1"))
			if err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%v does not say %q", err, tt.says)
			}
			if len(a.Windows) != 0 || string(a.Raw) != string(curlPrints("t1")) {
				t.Errorf("windows %v, raw %s", a.Windows, a.Raw)
			}
		})
	}
}

// unreachable is a cluster without port-forwards.
type unreachable struct{ *livetest.Cluster }

func (unreachable) Forward(context.Context, string, string, int) (int, error) {
	return 0, errors.New("connection refused")
}

// A line of mere TCP has no path: it is known by the address that curl called from.
func TestALineWithoutAPath(t *testing.T) {
	m := newMesh(t)
	m.OnExec = func(string, string, []string) ([]byte, []byte, error) {
		m.Print("client-1", `{"path":null,"downstream_remote_address":"10.0.0.1:5000"}`)
		return curlPrints("t1"), nil, nil
	}
	if _, err := m.ask(t, request("t1")); err != nil {
		t.Error(err)
	}
}

func TestAGatewayWithoutAListener(t *testing.T) {
	m := newMesh(t)
	m.source.Dismiss(subject.Gateway)
	m.gateway(t, subject.Gateway, "bare-1", "")
	m.Print("bare-1", "bare-1 an old line")
	m.await(t, subject.Gateway, 1)
	m.OnExec = m.passes("partner-1")
	a, err := m.ask(t, request("t1"))
	if err != nil {
		t.Fatal(err)
	}
	w, err := a.Window(subject.Gateway)
	if diff := cmp.Diff(observe.Window{Role: subject.Gateway, Log: "logs/gateway-bare-1.log", From: 1, To: 1}, w); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
}

func TestTwoGateways(t *testing.T) {
	m := newMesh(t)
	m.gateway(t, subject.SecondGateway, "gateway-2", traffic)
	m.OnExec = m.passes("gateway-2", "partner-1")
	a, err := m.ask(t, request("t1"))
	if err != nil {
		t.Fatal(err)
	}
	for role, want := range map[subject.Role][]string{
		subject.Gateway:       {"gateway-1 NR filter_chain_not_found tflush.flush.invalid"},
		subject.SecondGateway: {"gateway-2 /probe/t1", "gateway-2 NR filter_chain_not_found tflush.flush.invalid"},
	} {
		if diff := cmp.Diff(want, m.window(t, a, role)); diff != "" {
			t.Errorf("%s: -want +got:\n%s", role, diff)
		}
	}
}

func TestFlush(t *testing.T) {
	for role, flush := range map[subject.Role]string{subject.Gateway: "t9.flush.invalid", subject.Partner: "flush-t9"} {
		pod := map[subject.Role]string{subject.Gateway: "gateway-1", subject.Partner: "partner-1"}[role]
		t.Run(string(role), func(t *testing.T) {
			m := newMesh(t)
			m.Print(pod, "zero", "one", "two")
			m.await(t, role, 3)
			a, err := m.ask(t, observe.Flush{Role: role, Token: "t9", Since: 1})
			if err != nil {
				t.Fatal(err)
			}
			got := m.window(t, a, role)
			if len(got) != 3 || got[0] != "one" || got[1] != "two" || !strings.Contains(got[2], flush) {
				t.Errorf("%q", got)
			}
			// A beginning that has not come yet is no beginning.
			a, err = m.ask(t, observe.Flush{Role: role, Token: "t10", Since: 99})
			if got := m.window(t, a, role); err != nil || len(got) != 1 {
				t.Errorf("%v, %q", err, got)
			}
			m.mute.Store(true)
			m.source.Limits.Line = 50 * time.Millisecond
			if _, err := m.ask(t, observe.Flush{Role: role, Token: "t11"}); err == nil || !strings.Contains(err.Error(), "a later line with") || !strings.Contains(err.Error(), "50ms went by") {
				t.Error(err)
			}
			if err := m.source.Flush(t.Context(), role); err == nil {
				t.Error("a log that is not read passes for read")
			}
		})
	}
	m := newMesh(t)
	if _, err := m.ask(t, observe.Flush{Role: subject.SecondGateway, Token: "t9"}); err == nil || !strings.Contains(err.Error(), "no pod plays the second-gateway") {
		t.Error(err)
	}
}

func TestFlushOfIstiod(t *testing.T) {
	const refusal = "warn ads gateway/ns is not authorized to read secrets"
	m := newMesh(t)
	m.Print("istiod-1", "info ads CDS: PUSH for node:gateway-1.ns resources:9", refusal)
	m.await(t, subject.Istiod, 2)
	pushes := 0
	late := []string{"info ads XDS: Pushing Version:x/7", "info ads CDS: PUSH for node:gateway-1.ns resources:8", refusal}
	m.source.Push = func(context.Context) (string, error) {
		pushes++
		m.Print("istiod-1", late...)
		m.Print("istiod-1", "info ads XDS: Pushing Version:x/8", "info ads CDS: PUSH for node:client-1.ns", "info ads CDS: PUSH for node:gateway-1.ns resources:9", "info ads after")
		return "x/8", nil
	}
	a, err := m.ask(t, observe.Flush{Role: subject.Istiod, Token: "t9", Since: 1})
	if err != nil {
		t.Fatal(err)
	}
	// From the mark on, up to the push that was made for it: an earlier one is none, even
	// if its lines come only now.
	want := append([]string{refusal}, late...)
	want = append(want, "info ads XDS: Pushing Version:x/8", "info ads CDS: PUSH for node:client-1.ns", "info ads CDS: PUSH for node:gateway-1.ns resources:9")
	if diff := cmp.Diff(want, m.window(t, a, subject.Istiod)); diff != "" || pushes != 1 {
		t.Errorf("%d pushes; -want +got:\n%s", pushes, diff)
	}

	m.source.Limits = observe.Limits{Line: 30 * time.Millisecond, Push: 30 * time.Millisecond}
	m.source.Push = func(context.Context) (string, error) { return "x/9", nil }
	if _, err := m.ask(t, observe.Flush{Role: subject.Istiod, Since: 1}); err == nil || !strings.Contains(err.Error(), "a later line about push x/9") {
		t.Errorf("without a push: %v", err)
	}
	m.source.Push = func(context.Context) (string, error) {
		m.Print("istiod-1", "info ads XDS: Pushing Version:x/10")
		return "x/10", nil
	}
	if _, err := m.ask(t, observe.Flush{Role: subject.Istiod, Since: 1}); err == nil || !strings.Contains(err.Error(), "a later line with PUSH for node:gateway-1") {
		t.Errorf("a push to others: %v", err)
	}
	boom := errors.New("boom")
	m.source.Push = func(context.Context) (string, error) { return "", boom }
	if _, err := m.ask(t, observe.Flush{Role: subject.Istiod}); !errors.Is(err, boom) {
		t.Error(err)
	}
	m.source.Dismiss(subject.Gateway)
	if _, err := m.ask(t, observe.Flush{Role: subject.Istiod}); err == nil || !strings.Contains(err.Error(), "no pod plays the gateway") {
		t.Error(err)
	}
}

func TestLineQuestion(t *testing.T) {
	m := newMesh(t)
	m.Print("partner-1", "*7 closed keepalive connection", "*8 open", "*8 closed keepalive connection", "later")
	m.await(t, subject.Partner, 4)
	a, err := m.ask(t, observe.Line{Role: subject.Partner, What: "the end of connection 8", Holds: []string{"*8 ", "closed"}, Since: 1})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"*8 open", "*8 closed keepalive connection"}, m.window(t, a, subject.Partner)); diff != "" {
		t.Error(diff)
	}
	if _, err := m.ask(t, observe.Line{Role: subject.Partner, What: "a word", Holds: []string{"word"}, Limit: 20 * time.Millisecond}); err == nil ||
		err.Error() != "waited in the log of ns/partner-1 (c) for a word: 20ms went by; its last line was later" {
		t.Error(err)
	}
	m.source.Limits.Line = 30 * time.Millisecond
	if _, err := m.ask(t, observe.Line{Role: subject.Partner, What: "a word", Holds: []string{"word"}}); err == nil || !strings.Contains(err.Error(), "30ms went by") {
		t.Error(err)
	}
	if _, err := m.ask(t, observe.Line{Role: subject.SecondGateway, What: "a word", Holds: []string{"word"}}); err == nil {
		t.Error("nobody's log has a line")
	}
}
