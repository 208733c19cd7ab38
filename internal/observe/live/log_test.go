package live

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"twohop/internal/observe"
)

// following is a log of which a test writes the lines.
func following(t *testing.T, keep io.WriteCloser) (*Log, *io.PipeWriter) {
	t.Helper()
	out, in := io.Pipe()
	t.Cleanup(func() { in.Close() })
	return NewLog("ns/pod (app)", "kubectl logs -n ns pod -c app", keep, out), in
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

func texts(t *testing.T, l *Log, from, to int) []string {
	t.Helper()
	lines, err := l.Range(from, to)
	if err != nil {
		t.Fatal(err)
	}
	return textsOf(lines)
}

func textsOf(lines []observe.LogLine) (all []string) {
	for _, l := range lines {
		all = append(all, string(l.Text))
	}
	return all
}

// soon bounds a wait that has to come to an end by itself.
func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// shortly bounds a wait that is in vain.
func shortly(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeoutCause(t.Context(), 20*time.Millisecond, errors.New("20ms went by"))
	t.Cleanup(cancel)
	return ctx
}

func TestLogKeepsLinesInOrder(t *testing.T) {
	l, in := following(t, nil)
	write(t, l, in, "one a\r\n\ntwo b\nthree a\nhalf", 3) // an empty line is none, half a line not yet one
	if diff := cmp.Diff([]string{"one a", "two b", "three a"}, texts(t, l, 0, 3)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"two b"}, texts(t, l, 1, 2)); diff != "" {
		t.Error(diff)
	}
	for from, want := range map[int]int{0: 2, 1: 1, 2: 1, 3: 0, 99: 0} {
		if got := l.Count(from, Contains("a")); got != want {
			t.Errorf("%d lines with an a from %d on, not %d", got, from, want)
		}
	}
	for _, bad := range [][2]int{{-1, 1}, {2, 1}, {0, 4}} {
		if lines, err := l.Range(bad[0], bad[1]); err == nil || !strings.Contains(err.Error(), "ns/pod (app) has 3 lines") {
			t.Errorf("%v: %v, %v", bad, lines, err)
		}
	}
	if l.Ended() {
		t.Error("the log passes for ended")
	}
	in.Close() // what was written when the container ends is a line
	write(t, l, io.Discard, "", 4)
	if diff := cmp.Diff([]string{"half"}, texts(t, l, 3, 4)); diff != "" || !l.Ended() {
		t.Errorf("ended %v\n%s", l.Ended(), diff)
	}
}

// What was handed out stays as it is while lines come.
func TestRangeIsItsOwn(t *testing.T) {
	l, in := following(t, nil)
	write(t, l, in, "one\ntwo\n", 2)
	lines, err := l.Range(0, 1)
	if err != nil {
		t.Fatal(err)
	}
	_ = append(lines, observe.LogLine{Text: []byte("written over")})
	if diff := cmp.Diff([]string{"one", "two"}, texts(t, l, 0, 2)); diff != "" {
		t.Error(diff)
	}
}

func TestLinesHaveTheRuntimesTime(t *testing.T) {
	l, in := following(t, nil)
	write(t, l, in, "one a\ntwo b\n", 2)
	lines, err := l.Range(1, 2)
	at := time.Date(2026, 11, 23, 16, 10, 11, 123456789, time.UTC)
	if diff := cmp.Diff([]observe.LogLine{{At: at, Text: []byte("two b")}}, lines); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	// What has no time did not come from a runtime, and the log cannot go on.
	if _, err := io.WriteString(in, "unable to retrieve container logs\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Wait(soon(t), 0, "c", Contains("c")); err == nil || !strings.Contains(err.Error(), "without the runtime's time: unable to retrieve") {
		t.Error(err)
	}
}

// kept is a file in memory; broken is what it answers from now on.
type kept struct {
	strings.Builder
	broken error
}

func (k *kept) Write(p []byte) (int, error) {
	if k.broken != nil {
		return 0, k.broken
	}
	return k.Builder.Write(p)
}

func (*kept) Close() error { return nil }

func TestLogIsKept(t *testing.T) {
	k := &kept{}
	l, in := following(t, k)
	write(t, l, in, "one\n\ntwo\n", 2)
	file, err := observe.ParseLog([]byte(k.String()), false)
	if err != nil {
		t.Fatal(err)
	}
	again, err := file.Range(0, file.Len())
	if diff := cmp.Diff([]string{"one", "two"}, textsOf(again)); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	// A log that cannot be kept cannot be replayed: nothing may be seen in it.
	k.broken = errors.New("disk full")
	if _, err := io.WriteString(in, runtimeTime+" three\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Wait(soon(t), 2, "four", Contains("four")); err == nil || !strings.Contains(err.Error(), "keep the log: disk full") {
		t.Error(err)
	}
}

func TestWait(t *testing.T) {
	token := Contains("token")
	t.Run("for a line that is there", func(t *testing.T) {
		l, in := following(t, nil)
		write(t, l, in, "noise\nold token\n", 2)
		if n, err := l.Wait(soon(t), 0, "the token", token); err != nil || n != 1 {
			t.Errorf("%d, %v", n, err)
		}
	})
	t.Run("for a line that comes", func(t *testing.T) {
		l, in := following(t, nil)
		type result struct {
			n   int
			err error
		}
		got := make(chan result, 1)
		ctx := soon(t)
		go func() {
			n, err := l.Wait(ctx, 0, "the token", token)
			got <- result{n, err}
		}()
		for i := range 3 {
			write(t, l, in, fmt.Sprintf("noise %d\n", i), i+1)
		}
		write(t, l, in, "new token\n", 4)
		if r := <-got; r.err != nil || r.n != 3 {
			t.Errorf("%d, %v", r.n, r.err)
		}
	})
	t.Run("from a line on", func(t *testing.T) {
		l, in := following(t, nil)
		write(t, l, in, "old token\n", 1)
		if n, err := l.Wait(shortly(t), 1, "the token", token); err == nil {
			t.Fatalf("the old line was taken: %d", n)
		}
		got := make(chan int, 1)
		ctx := soon(t)
		go func() { n, _ := l.Wait(ctx, 1, "the token", token); got <- n }()
		write(t, l, in, "new token\n", 2)
		if n := <-got; n != 1 {
			t.Errorf("line %d", n)
		}
	})
	t.Run("in vain", func(t *testing.T) {
		l, in := following(t, nil)
		write(t, l, in, "first\nlast\n", 2)
		_, err := l.Wait(shortly(t), 0, "the line of t1", Contains("t1"))
		if err == nil || err.Error() != "waited in the log of ns/pod (app) for the line of t1: 20ms went by; its last line was last" {
			t.Error(err)
		}
	})
	t.Run("in an empty log", func(t *testing.T) {
		l, _ := following(t, nil)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		_, err := l.Wait(ctx, 0, "the line of t1", Contains("t1"))
		if !errors.Is(err, context.DeadlineExceeded) || !strings.HasSuffix(err.Error(), "its last line was nothing") {
			t.Error(err)
		}
	})
	t.Run("in a log that ended", func(t *testing.T) {
		l, in := following(t, nil)
		write(t, l, in, "last token\n", 1)
		in.CloseWithError(errors.New("the pod is gone"))
		_, err := l.Wait(soon(t), 0, "the line of t1", Contains("t1"))
		if err == nil || err.Error() != "the log of ns/pod (app) ended (the pod is gone) before the line of t1" {
			t.Error(err)
		}
		if _, err := l.Wait(soon(t), 0, "the token", token); err != nil {
			t.Errorf("a line that came before the end: %v", err)
		}
	})
	t.Run("in a log that ends meanwhile", func(t *testing.T) {
		l, in := following(t, nil)
		got := make(chan error, 1)
		ctx := soon(t)
		go func() { _, err := l.Wait(ctx, 0, "the line of t1", Contains("t1")); got <- err }()
		in.Close()
		if err := <-got; !errors.Is(err, io.EOF) {
			t.Error(err)
		}
	})
}

func TestContains(t *testing.T) {
	if match := Contains("a", "b"); !match([]byte("b, a")) || match([]byte("a")) || match([]byte("b")) {
		t.Error("a line matches that lacks a text, or none does")
	}
}
