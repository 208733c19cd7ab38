package kube

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// here is a shell on this machine; what one that is killed leaves goes with the test.
func here(t *testing.T) func(context.Context, io.Reader, io.Writer, io.Writer) error {
	dir := t.TempDir()
	var running sync.WaitGroup
	t.Cleanup(running.Wait) // before the folder goes
	return func(ctx context.Context, stdin io.Reader, stdout, stderr io.Writer) error {
		running.Add(1)
		defer running.Done()
		cmd := exec.CommandContext(ctx, "sh", "-c", shellLoop)
		cmd.Env = append(os.Environ(), "TMPDIR="+dir)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, stderr
		cmd.WaitDelay = time.Second
		return cmd.Run()
	}
}

func TestShellRunsOneCommandAfterAnother(t *testing.T) {
	s := startShell(here(t))
	defer s.stop(nil)
	for _, tt := range []struct {
		command     []string
		code        int
		out, stderr string
	}{
		{[]string{"echo", "a  b", "c'd", `$HOME "x" \`}, 0, "a  b c'd $HOME \"x\" \\\n", ""},
		{[]string{"sh", "-c", "printf out; printf err >&2; exit 7"}, 7, "out", "err"},
		{[]string{"printf", `\0\n7 0 0\n\377`}, 0, "\x00\n7 0 0\n\xff", ""},
		{[]string{"cat"}, 0, "", ""}, // which must not read the next command
		{[]string{"true"}, 0, "", ""},
	} {
		code, out, stderr, err := s.run(t.Context(), tt.command)
		if err != nil || code != tt.code || string(out) != tt.out || string(stderr) != tt.stderr {
			t.Errorf("%q: %d, %q, %q, %v; want %+v", tt.command, code, out, stderr, err, tt)
		}
	}
	if code, _, stderr, err := s.run(t.Context(), []string{"no-such-program"}); err != nil || code != 127 || !strings.Contains(string(stderr), "not found") {
		t.Errorf("%d, %q, %v", code, stderr, err)
	}
}

// A command that does not end in time ends its shell: the next one would wait for it.
func TestShellEndsWithTheContext(t *testing.T) {
	s := startShell(here(t))
	ctx, cancel := context.WithTimeoutCause(t.Context(), 200*time.Millisecond, errors.New("no time left"))
	defer cancel()
	if _, _, _, err := s.run(ctx, []string{"sleep", "30"}); err == nil || err.Error() != "no time left" {
		t.Errorf("%v", err)
	}
	if s.alive() {
		t.Error("the shell is still there")
	}
}

// What the shell says when it breaks is the reason, and it is not taken again.
func TestShellThatBreaksIsNotTakenAgain(t *testing.T) {
	for name, tt := range map[string]struct {
		stream func(ctx context.Context, stdin io.Reader, stdout, stderr io.Writer) error
		says   string
	}{
		"the container is gone": {func(context.Context, io.Reader, io.Writer, io.Writer) error { return errors.New("container not found") }, "container not found"},
		"there is no shell": {func(_ context.Context, _ io.Reader, _, stderr io.Writer) error {
			_, _ = io.WriteString(stderr, "sh: executable file not found")
			return errors.New("exit code 127")
		}, "exit code 127: sh: executable file not found"},
		"it ends in the middle": {func(_ context.Context, stdin io.Reader, stdout, _ io.Writer) error {
			_, _ = stdin.Read(make([]byte, 1000))
			_, _ = io.WriteString(stdout, "0 100 0\nhalf")
			return nil
		}, "the shell ended"},
		"it says something else": {func(ctx context.Context, stdin io.Reader, stdout, _ io.Writer) error {
			_, _ = stdin.Read(make([]byte, 1000))
			_, _ = io.WriteString(stdout, "login:\n")
			<-ctx.Done()
			return ctx.Err()
		}, `the shell said "login:\n"`},
	} {
		t.Run(name, func(t *testing.T) {
			s := startShell(tt.stream)
			if _, _, _, err := s.run(t.Context(), []string{"true"}); err == nil || err.Error() != tt.says {
				t.Errorf("%v, want %s", err, tt.says)
			}
			var all shells
			all.give("x", s)
			if all.take("x") != nil {
				t.Error("it is taken again")
			}
		})
	}
}

func TestShellsAreTakenOnce(t *testing.T) {
	var all shells
	one, two := startShell(here(t)), startShell(here(t))
	defer one.stop(nil)
	defer two.stop(nil)
	all.give("a", one)
	all.give("b", two)
	if all.take("a") != one || all.take("a") != nil || all.take("b") != two {
		t.Error("a shell was taken twice, or for another container")
	}
}
