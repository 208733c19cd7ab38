package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"twohop/internal/verdict"
)

// forge is a GitHub with at most one issue, reached by a gh that keeps it in a
// folder.
type forge struct {
	t   *testing.T
	dir string
	env []string
}

func newForge(t *testing.T) *forge {
	t.Helper()
	dir := t.TempDir()
	const gh = `#!/bin/sh
set -e
cd "$FORGE"
all="$*"
echo "$all" >>calls
while [ $# -gt 0 ]; do [ "$1" != --body-file ] || cat "$2" >sent; shift; done
case $all in
"issue list "*) if [ -f body ]; then echo 7; fi ;;
"label create "*) ;;
"issue create "*|"issue edit 7 "*) mv sent body ;;
"issue view 7 "*) cat body ;;
"issue comment 7 "*) mv sent comment ;;
*) echo "fake gh does not know: $all" >&2; exit 9 ;;
esac
`
	if err := os.WriteFile(filepath.Join(dir, "gh"), []byte(gh), 0o755); err != nil {
		t.Fatal(err)
	}
	return &forge{t: t, dir: dir, env: []string{"FORGE=" + dir, "PATH=" + dir + ":" + os.Getenv("PATH")}}
}

// read returns a file of the forge, empty if it is not there, and removes it
// unless it is the issue itself.
func (f *forge) read(name string) string {
	path := filepath.Join(f.dir, name)
	raw, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	if name != "body" {
		if err := os.Remove(path); err != nil {
			f.t.Fatal(err)
		}
	}
	return string(raw)
}

// turned leaves in nights what nightly.sh leaves of one version whose verdict
// was one thing and is another.
func turned(t *testing.T, nights, cell, from, to string) {
	t.Helper()
	out := t.TempDir()
	var runs []string
	for _, how := range []string{from, to} {
		f, err := record(out, verdict.Run{Istio: cell}, "503", how == "supported")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Finish("", ""); err != nil {
			t.Fatal(err)
		}
		runs = append(runs, f.Dir)
	}
	_, text, _ := run("diff", runs[0], runs[1], "-o", "markdown")
	dir := filepath.Join(nights, "diff-"+cell)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "diff.md"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestIssueIsOpenedOnceAndFollowed(t *testing.T) {
	f, nights := newForge(t), filepath.Join(t.TempDir(), "nights")
	night := func(says string) {
		t.Helper()
		code, output := script(t, "nightly-issue.sh", f.env, "--url", "https://forge.example/runs/1", nights)
		if code != 0 || !strings.Contains(output, says) {
			t.Fatalf("exit %d, want %q in\n%s", code, says, output)
		}
	}
	night("nothing was compared")
	turned(t, nights, "istio-1.30.0", "supported", "supported")
	night("no verdict turned")
	if calls := f.read("calls"); calls != "" {
		t.Errorf("a quiet night asked the forge:\n%s", calls)
	}

	turned(t, nights, "istio-1.31.1", "supported", "refuted")
	night("")
	if calls := f.read("calls"); !strings.Contains(calls, "issue create --title Nightly: a verdict turned --label nightly") {
		t.Errorf("no issue was opened:\n%s", calls)
	}
	body := f.read("body")
	for _, part := range []string{"https://forge.example/runs/1", "### istio-1.31.1", "| G1 | supported → refuted", "<!-- turned: "} {
		if !strings.Contains(body, part) {
			t.Errorf("the issue does not say %q:\n%s", part, body)
		}
	}
	for _, part := range []string{"istio-1.30.0", "### Time", "phase", "Versions"} {
		if strings.Contains(body, part) {
			t.Errorf("the issue says %q, and that did not turn:\n%s", part, body)
		}
	}

	night("") // the same again
	if calls := f.read("calls"); !strings.Contains(calls, "issue edit 7") || strings.Contains(calls, "issue create") {
		t.Errorf("the issue was not brought up to date:\n%s", calls)
	}
	if c := f.read("comment"); c != "" {
		t.Errorf("people are told twice:\n%s", c)
	}

	turned(t, nights, "istio-1.30.0", "supported", "refuted")
	night("")
	if c := f.read("comment"); !strings.Contains(c, "### istio-1.30.0") {
		t.Errorf("that more turned is told in no comment: %q", c)
	}
	if body := f.read("body"); !strings.Contains(body, "### istio-1.30.0") || !strings.Contains(body, "### istio-1.31.1") {
		t.Errorf("the issue is not up to date:\n%s", body)
	}
}

func TestIssueUsage(t *testing.T) {
	f := newForge(t)
	for _, tt := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"--help"}, 0, "Exit codes:"},
		{nil, 2, "which folder"},
		{[]string{"a", "b"}, 2, "not a and b"},
		{[]string{"--url"}, 2, "--url needs a value"},
		{[]string{"--zebra", "a"}, 2, "unknown argument --zebra"},
	} {
		code, output := script(t, "nightly-issue.sh", f.env, tt.args...)
		if code != tt.code || !strings.Contains(output, tt.says) {
			t.Errorf("%q: exit %d, want %d; want %q in\n%s", tt.args, code, tt.code, tt.says, output)
		}
	}
	// What gh says goes up.
	nights := t.TempDir()
	turned(t, nights, "istio-1.31.1", "supported", "refuted")
	if err := os.WriteFile(filepath.Join(f.dir, "gh"), []byte("#!/bin/sh\necho not signed in >&2\nexit 4\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if code, output := script(t, "nightly-issue.sh", f.env, nights); code != 4 || !strings.Contains(output, "not signed in") {
		t.Errorf("exit %d: %s", code, output)
	}
}

// Actions run with the repository's token: each is one commit, and says which
// release that is.
func TestActionsArePinned(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "..", ".github", "workflows", "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no workflows: %v", err)
	}
	uses := regexp.MustCompile(`(?m)^\s*-?\s*uses:\s*(.*)$`)
	pinned := regexp.MustCompile(`^[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$`)
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range uses.FindAllStringSubmatch(string(raw), -1) {
			if !pinned.MatchString(m[1]) {
				t.Errorf("%s: %s is not pinned by commit with its version behind", filepath.Base(file), m[1])
			}
		}
		if !regexp.MustCompile(`(?m)^permissions: \{\}$`).Match(raw) {
			t.Errorf("%s: the workflow as a whole has permissions; give them to jobs", filepath.Base(file))
		}
	}
	for ref, want := range map[string]bool{
		"actions/checkout@de0fac2e4500dabe0009e67214ff5f5447ce83dd # v6.0.2": true,
		"actions/checkout@v6": false, "actions/checkout@de0fac2 # v6.0.2": false, "actions/checkout@de0fac2e4500dabe0009e67214ff5f5447ce83dd": false,
	} {
		if pinned.MatchString(ref) != want {
			t.Errorf("%s counts as pinned: %v", ref, !want)
		}
	}
}
