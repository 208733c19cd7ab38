package observe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"twohop/internal/subject"
)

// following is a log of which a test writes the lines.
func following(t *testing.T) (*Log, *io.PipeWriter) {
	t.Helper()
	out, in := io.Pipe()
	t.Cleanup(func() { in.Close() })
	return NewLog("ns/pod (app)", "kubectl logs -n ns pod -c app", out), in
}

// runtimeTime is what the container's runtime puts before each line here.
const runtimeTime = "2026-11-23T16:10:11.123456789Z"

// write writes lines as a runtime does and returns once the log has n lines.
func write(t *testing.T, l *Log, in io.Writer, text string, n int) {
	t.Helper()
	for line := range strings.Lines(text) {
		if _, err := io.WriteString(in, runtimeTime+" "+line); err != nil {
			t.Fatal(err)
		}
	}
	for deadline := time.Now().Add(10 * time.Second); l.Len() < n; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the log has %d lines, not %d", l.Len(), n)
		}
	}
}

func texts(lines [][]byte) []string {
	var all []string
	for _, l := range lines {
		all = append(all, string(l))
	}
	return all
}

// soon bounds a wait that has to come to an end by itself.
func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func everything([]byte) bool { return true }

func TestLogKeepsLinesInOrder(t *testing.T) {
	l, in := following(t)
	write(t, l, in, "one a\r\n\ntwo b\nthree a\nhalf", 3) // an empty line is none, half a line not yet one
	if diff := cmp.Diff([]string{"one a", "two b", "three a"}, texts(l.Matching(everything))); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"one a", "three a"}, texts(l.Matching(Contains("a")))); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"three a"}, texts(l.MatchingAfter(1, Contains("a")))); diff != "" {
		t.Error(diff)
	}
	if got := l.Matching(Contains("z")); got != nil {
		t.Errorf("%q", got)
	}
	in.Close() // what was written when the container ends is a line
	write(t, l, io.Discard, "", 4)
	if diff := cmp.Diff([]string{"half"}, texts(l.MatchingAfter(3, everything))); diff != "" {
		t.Error(diff)
	}
}

func TestLinesHaveTheRuntimesTime(t *testing.T) {
	l, in := following(t)
	write(t, l, in, "one a\ntwo b\n", 2)
	at := time.Date(2026, 11, 23, 16, 10, 11, 123456789, time.UTC)
	if diff := cmp.Diff([]Line{{At: at, Text: []byte("two b")}}, l.Lines(Contains("b"))); diff != "" {
		t.Error(diff)
	}
	line, err := l.WaitLine(soon(t), "b", Contains("b"))
	if err != nil || !line.At.Equal(at) {
		t.Errorf("%v, %v", line, err)
	}
	// What has no time did not come from a runtime, and the log cannot go on.
	if _, err := io.WriteString(in, "unable to retrieve container logs\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := l.WaitLine(soon(t), "c", Contains("c")); err == nil || !strings.Contains(err.Error(), "without the runtime's time: unable to retrieve") {
		t.Error(err)
	}
}

func TestWait(t *testing.T) {
	type result struct {
		line []byte
		err  error
	}
	t.Run("for a line that is there", func(t *testing.T) {
		l, in := following(t)
		write(t, l, in, "old token\n", 1)
		line, err := l.Wait(soon(t), "the token", Contains("token"))
		if err != nil || string(line) != "old token" {
			t.Errorf("%q, %v", line, err)
		}
	})
	t.Run("for a line that comes", func(t *testing.T) {
		l, in := following(t)
		got := make(chan result, 1)
		go func() {
			line, err := l.Wait(soon(t), "the token", Contains("token"))
			got <- result{line, err}
		}()
		for i := range 3 {
			write(t, l, in, fmt.Sprintf("noise %d\n", i), i+1)
		}
		write(t, l, in, "new token\n", 4)
		if r := <-got; r.err != nil || string(r.line) != "new token" {
			t.Errorf("%q, %v", r.line, r.err)
		}
	})
	t.Run("after a line that is there", func(t *testing.T) {
		l, in := following(t)
		write(t, l, in, "old token\n", 1)
		got := make(chan error, 1)
		go func() { got <- l.WaitAfter(soon(t), 1, "the token", Contains("token")) }()
		select {
		case err := <-got:
			t.Fatalf("the old line was taken: %v", err)
		case <-time.After(20 * time.Millisecond):
		}
		write(t, l, in, "new token\n", 2)
		if err := <-got; err != nil {
			t.Error(err)
		}
	})
	t.Run("in vain", func(t *testing.T) {
		l, in := following(t)
		write(t, l, in, "first\nlast\n", 2)
		ctx, cancel := context.WithTimeoutCause(t.Context(), 20*time.Millisecond, errors.New("20ms went by"))
		defer cancel()
		_, err := l.Wait(ctx, "the line of t1", Contains("t1"))
		if err == nil || err.Error() != "waited in the log of ns/pod (app) for the line of t1: 20ms went by; its last line was last" {
			t.Error(err)
		}
	})
	t.Run("in an empty log", func(t *testing.T) {
		l, _ := following(t)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		_, err := l.Wait(ctx, "the line of t1", Contains("t1"))
		if !errors.Is(err, context.DeadlineExceeded) || !strings.HasSuffix(err.Error(), "its last line was nothing") {
			t.Error(err)
		}
	})
	t.Run("in a log that ended", func(t *testing.T) {
		l, in := following(t)
		write(t, l, in, "last token\n", 1)
		in.CloseWithError(errors.New("the pod is gone"))
		_, err := l.Wait(soon(t), "the line of t1", Contains("t1"))
		if err == nil || err.Error() != "the log of ns/pod (app) ended (the pod is gone) before the line of t1" {
			t.Error(err)
		}
		if _, err := l.Wait(soon(t), "the token", Contains("token")); err != nil {
			t.Errorf("a line that came before the end: %v", err)
		}
	})
	t.Run("in a log that ends meanwhile", func(t *testing.T) {
		l, in := following(t)
		got := make(chan error, 1)
		go func() { _, err := l.Wait(soon(t), "the line of t1", Contains("t1")); got <- err }()
		in.Close()
		if err := <-got; !errors.Is(err, io.EOF) {
			t.Error(err)
		}
	})
}

func TestALyingLog(t *testing.T) {
	l, in := following(t)
	l.Distort(func(line []byte) [][]byte {
		if string(line) == "gone" {
			return nil
		}
		return [][]byte{line, line}
	})
	write(t, l, in, "gone\ntwice\n", 2)
	l.Distort(nil)
	write(t, l, in, "gone\n", 3)
	if diff := cmp.Diff([]string{"twice", "twice", "gone"}, texts(l.Matching(everything))); diff != "" {
		t.Error(diff)
	}
}

func TestAdmin(t *testing.T) {
	envoy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/config_dump" {
			http.Error(w, "invalid path. admin commands are:", http.StatusNotFound)
			return
		}
		fmt.Fprintf(w, "%s %s", r.Method, r.URL.RawQuery)
	}))
	w := subject.Workload{Namespace: "ns", Deployment: "d", Proxy: "istio-proxy"}
	p := NewProxy(w, "pod-1", "10.0.0.1", nil, envoy.URL)
	raw, err := p.Admin(t.Context(), SecretsDumpPath)
	if err != nil || string(raw) != "GET mask=dynamic_active_secrets,dynamic_warming_secrets" {
		t.Errorf("%q, %v", raw, err)
	}
	if got, want := p.Command(VersionsPath), `kubectl exec -n ns pod-1 -c istio-proxy -- pilot-agent request GET '/stats?filter=version_text$&type=TextReadouts'`; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	_, err = p.Admin(t.Context(), "/nothing")
	for _, part := range []string{"ns/pod-1", "/nothing", "404", "admin commands are"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%v does not say %q", err, part)
		}
	}
	envoy.Close()
	if _, err := p.Admin(t.Context(), ConfigPath); err == nil || !strings.Contains(err.Error(), "ns/pod-1 for /config_dump") {
		t.Errorf("%v does not say who was asked for what", err)
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
