package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"twohop/internal/verdict"
)

// fakeRun is `twohop run` without a cluster, for scripts: NIGHT numbers the day,
// NIGHT_IS says how it goes, ISTIO_VERSION is believed.
func fakeRun(args []string) int {
	out := ""
	for i, a := range args {
		if a == "--out" {
			out = args[i+1]
		}
	}
	night, err := strconv.Atoi(os.Getenv("NIGHT"))
	if err != nil {
		panic(err)
	}
	status, supported, ending, message := "503", true, verdict.Green, ""
	switch os.Getenv("NIGHT_IS") {
	case "refused":
		fmt.Fprintln(os.Stderr, "twohop: no such flag")
		return 2
	case "failed":
		ending, message = verdict.Failed, "no engine"
	case "moved":
		status = "404"
	case "refuted":
		supported = false
	}
	run := verdict.Run{
		Header: verdict.Header{Start: time.Date(2026, 11, night, 2, 0, 0, 0, time.UTC), Lane: "official"},
		Istio:  os.Getenv("ISTIO_VERSION"), Kubernetes: "v1.36.1",
	}
	f, err := record(out, run, status, supported)
	if err != nil {
		panic(err)
	}
	if os.Getenv("NIGHT_IS") == "inconclusive" {
		if err := os.WriteFile(filepath.Join(f.Dir, "findings", "G1.json"), []byte(`{"claim":"G1","attempts":1,"error":"the log ended"}`), 0o644); err != nil {
			panic(err)
		}
	}
	v, err := f.Finish(ending, message)
	if err != nil {
		panic(err)
	}
	return v.ExitCode
}

// script runs one of the repository's scripts, with this test as its twohop.
func script(t *testing.T, name string, env []string, args ...string) (code int, output string) {
	t.Helper()
	path := filepath.Join("..", "..", "scripts", name)
	if _, err := os.ReadFile(path); err != nil { // so that go test knows what it depends on
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	fake := filepath.Join(dir, "twohop")
	text := fmt.Sprintf("#!/bin/sh\nTWOHOP_TEST_AS=twohop\n[ \"$1\" != run ] || TWOHOP_TEST_AS=run\nexport TWOHOP_TEST_AS\nexec %q \"$@\"\n", self)
	if err := os.WriteFile(fake, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, args...)
	cmd.Env = append(append(os.Environ(), "TWOHOP="+fake), env...)
	var all bytes.Buffer
	cmd.Stdout, cmd.Stderr = &all, &all
	err = cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), all.String()
}

// nights is a machine on which nightly.sh runs every night.
type nights struct {
	t   *testing.T
	out string
	day int
}

// next runs one night and holds its exit code and what it says.
func (n *nights) next(is, istio string, code int, says string, args ...string) string {
	n.t.Helper()
	n.day++
	got, output := script(n.t, "nightly.sh", []string{"NIGHT=" + strconv.Itoa(n.day), "NIGHT_IS=" + is, "ISTIO_VERSION=" + istio},
		append([]string{"--out", n.out}, args...)...)
	if got != code || !strings.Contains(output, says) {
		n.t.Fatalf("night %d (%s): exit %d, want %d; want %q in\n%s", n.day, is, got, code, says, output)
	}
	return output
}

// runs are the days whose runs are kept.
func (n *nights) runs() string {
	dirs, err := filepath.Glob(filepath.Join(n.out, "2*"))
	if err != nil {
		n.t.Fatal(err)
	}
	var days []string
	for _, d := range dirs {
		days = append(days, strings.TrimLeft(filepath.Base(d)[6:8], "0"))
	}
	return strings.Join(days, " ")
}

func (n *nights) diff() string {
	var all []string
	for _, name := range []string{"diff.txt", "diff.md", "diff.json"} {
		if raw, err := os.ReadFile(filepath.Join(n.out, name)); err == nil {
			all = append(all, string(raw))
		}
	}
	if len(all) != 0 && len(all) != 3 {
		n.t.Fatalf("%d of the three diff files are there", len(all))
	}
	return strings.Join(all, "")
}

func newNights(t *testing.T) *nights { return &nights{t: t, out: filepath.Join(t.TempDir(), "out")} }

func TestNightlyComparesWithTheLastNight(t *testing.T) {
	t.Parallel()
	n := newNights(t)
	n.next("good", "1.30.0", 0, "nothing to compare")
	if n.diff() != "" {
		t.Error("a diff with nothing")
	}
	n.next("good", "1.30.0", 0, "Same")
	if d := n.diff(); !strings.Contains(d, `"same": true`) || !strings.Contains(d, "20261101") {
		t.Errorf("the first night's diff:\n%s", d)
	}
	n.next("moved", "1.30.0", 1, "1 value changed")
	if d := n.diff(); !strings.Contains(d, "### Values that changed") {
		t.Errorf("the moved value is not in the Markdown:\n%s", d)
	}
	n.next("moved", "1.30.0", 0, "Same")
	n.next("refuted", "1.30.0", 1, "1 verdict changed")
	n.next("refuted", "1.30.0", 0, "where claims were not as expected either")
	n.next("moved", "1.30.0", 1, "1 verdict changed")
}

func TestNightlyComparesTheSameVersions(t *testing.T) {
	t.Parallel()
	n := newNights(t)
	n.next("good", "1.30.0", 0, "nothing to compare")
	n.next("moved", "1.31.1", 0, "nothing to compare")
	n.next("good", "1.30.0", 0, "Same")
	n.next("good", "1.31.1", 1, "1 value changed")
	if got := n.next("good", "1.30.0", 0, "Same"); !strings.Contains(got, "20261103") {
		t.Errorf("compared with another night than the third:\n%s", got)
	}
}

func TestNightlyOfABadNight(t *testing.T) {
	t.Parallel()
	n := newNights(t)
	n.next("refuted", "1.30.0", 1, "nothing to compare") // the verdict itself decides
	n = newNights(t)
	n.next("good", "1.30.0", 0, "nothing to compare")
	n.next("failed", "1.30.0", 3, "did not come to a verdict")
	if n.diff() != "" {
		t.Error("a night without a verdict has a diff")
	}
	n.next("inconclusive", "1.30.0", 4, "supported → inconclusive")
	n.next("refused", "1.30.0", 2, "left no folder")
	// None of them is what the next good night is compared with.
	if got := n.next("good", "1.30.0", 0, "Same"); !strings.Contains(got, "20261101") {
		t.Errorf("compared with a bad night:\n%s", got)
	}
}

func TestNightlyKeepsTheLastRuns(t *testing.T) {
	t.Parallel()
	n := newNights(t)
	other := filepath.Join(n.out, "notes")
	if err := os.MkdirAll(other, 0o755); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		n.next("good", "1.30.0", 0, "", "--keep", "3")
	}
	n.next("good", "1.30.0", 0, "removing 20261101", "--keep", "3")
	if got := n.runs(); got != "2 3 4" {
		t.Errorf("the runs of the days %s are kept, not 2 3 4", got)
	}
	// However many nights fail, the last verdict stays.
	for range 4 {
		n.next("failed", "1.30.0", 3, "", "--keep", "3")
	}
	if got := n.runs(); got != "4 6 7 8" {
		t.Errorf("the runs of the days %s are kept, not 4 and the last three", got)
	}
	n.next("good", "1.30.0", 0, "20261104", "--keep", "3")
	if _, err := os.Stat(other); err != nil {
		t.Errorf("a folder that is no run was removed: %v", err)
	}
}

func TestNightlyAgainstAGivenRun(t *testing.T) {
	t.Parallel()
	n := newNights(t)
	n.next("good", "1.30.0", 0, "")
	n.next("moved", "1.30.0", 1, "")
	dirs, err := filepath.Glob(filepath.Join(n.out, "20261101*"))
	if err != nil || len(dirs) != 1 {
		t.Fatal(dirs, err)
	}
	n.next("moved", "1.30.0", 1, "1 value changed", "--against", dirs[0])
	n.next("good", "1.30.0", 0, "Same", "--against", filepath.Base(dirs[0]))
	n.next("good", "1.30.0", 2, "could not be compared", "--against", "no-such-run")
	if n.diff() != "" {
		t.Error("half a diff is left")
	}
}

func TestNightlyUsage(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		args []string
		env  string
		code int
		says string
	}{
		{[]string{"--help"}, "", 0, "Exit codes:"},
		{[]string{"-h"}, "", 0, "Usage:"},
		{[]string{"--zebra"}, "", 2, "unknown argument --zebra"},
		{[]string{"--out"}, "", 2, "--out needs a value"},
		{[]string{"--keep", "1"}, "", 2, "--keep 1 is not a number from 2"},
		{[]string{"--keep", "ten"}, "", 2, "--keep ten"},
		{[]string{"--keep", "08", "--help"}, "", 0, "Usage:"},
		{nil, "TWOHOP=/no/such/twohop", 2, "/no/such/twohop is not there: make build makes it"},
	} {
		code, output := script(t, "nightly.sh", []string{tt.env}, tt.args...)
		if code != tt.code || !strings.Contains(output, tt.says) {
			t.Errorf("%q: exit %d, want %d; want %q in\n%s", tt.args, code, tt.code, tt.says, output)
		}
	}
}

func TestRuns(t *testing.T) {
	out := t.TempDir()
	makeRun(t, out, "1.30.0", "503")
	b := filepath.Base(makeRun(t, out, "1.31.0", "503"))
	if err := os.MkdirAll(filepath.Join(out, "20990101T000000Z-broken"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(out, "20990101T000000Z-broken", "verdict.json"), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		args   []string
		code   int
		stdout string
		lines  int // of stdout
	}{
		{"all", nil, 0, "unreadable: ", 4},
		{"as JSON", []string{"-o", "json"}, 0, `"istio": "1.30.0"`, 0},
		{"as Markdown", []string{"-o", "markdown"}, 0, "| 1.31.0 |", 5},
		{"ids", []string{"-q"}, 0, b, 3},
		{"by result", []string{"-q", "--result", "as-expected"}, 0, b, 2},
		{"by a result that none has", []string{"-q", "--result", "different,failed"}, 0, "", 0},
		{"like one of other versions", []string{"-q", "--like", b}, 0, "", 0},
		{"none", []string{"--out", filepath.Join(out, "none")}, 0, "RESULT", 1},
		{"none, as JSON", []string{"--out", filepath.Join(out, "none"), "-o", "json"}, 0, "[]", 1},
		{"an unknown result", []string{"--result", "green"}, 2, "", 0},
		{"like an unknown run", []string{"--like", "nowhere"}, 2, "", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code, stdout, stderr := run(append([]string{"runs", "--out", out}, tt.args...)...)
			if code != tt.code || !strings.Contains(stdout, tt.stdout) || (code == 0) != (stderr == "") {
				t.Errorf("exit %d, want %d\n%s%s", code, tt.code, stdout, stderr)
			}
			if got := strings.Count(stdout, "\n"); tt.lines > 0 && got != tt.lines || strings.HasPrefix(tt.name, "by a result") && got > 0 {
				t.Errorf("%d lines, want %d:\n%s", got, tt.lines, stdout)
			}
		})
	}
	again := filepath.Base(makeRun(t, out, "1.31.0", "503"))
	if _, stdout, _ := run("runs", "--out", out, "-q", "--like", again); strings.TrimSpace(stdout) != b {
		t.Errorf("like %s: %q, want %s", again, stdout, b)
	}
}
