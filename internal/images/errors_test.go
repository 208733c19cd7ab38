package images

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"twohop/internal/engine"
)

// module lays out a module at images/ of a folder that can be a session's root.
func module(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	files["go.mod"] = "module broken\n\ngo 1.26\n"
	for name, text := range files {
		path := filepath.Join(root, "images", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// What a person reads of a program that does not compile is where and why, and
// which file has the rest: not the names of packages that do compile.
func TestFailedBuildSaysWhereAndWhy(t *testing.T) {
	log := filepath.Join(t.TempDir(), "images.log")
	root := module(t, map[string]string{
		"main.go":         "package main\n\nimport (\n\t_ \"broken/bad\"\n\t_ \"broken/good\"\n)\n\nfunc main() {}\n",
		"good/good.go":    "package good\n\nimport _ \"broken/good/one\"\n",
		"good/one/one.go": "package one\n",
		"bad/bad.go":      "package bad\n\nvar X int = nowhere.Y\n\nvar Z string = 1\n",
	})
	j, err := newJournal(Options{}, log)
	if err != nil {
		t.Fatal(err)
	}
	s := &session{root: root, journal: j, logFile: log}
	err = j.step("broken", func(st *step) error { return s.goBuild(t.Context(), st, "", 3, "-o", os.DevNull, ".") })
	j.close()
	err = classify(err, log)
	var environment *engine.EnvironmentError
	if !errors.As(err, &environment) {
		t.Fatalf("%T %v", err, err)
	}
	const line = "bad/bad.go:3:13: undefined: nowhere"
	if text := err.Error(); !strings.Contains(text, line) || !strings.Contains(text, log) || strings.Contains(text, "broken/good") || strings.Contains(text, "Z string") {
		t.Errorf("%s\nmust hold %q and %s, and nothing else that the build wrote", text, line, log)
	}
	all, err := os.ReadFile(log)
	if err != nil || !strings.Contains(string(all), "broken/good") || !strings.Contains(string(all), line) {
		t.Errorf("the log does not hold all of it: %v\n%s", err, all)
	}
}

// A build that fails for another reason than the source keeps its last lines.
func TestFailedBuildOfNothing(t *testing.T) {
	log := filepath.Join(t.TempDir(), "images.log")
	j, err := newJournal(Options{}, log)
	if err != nil {
		t.Fatal(err)
	}
	defer j.close()
	s := &session{root: module(t, map[string]string{}), journal: j}
	err = j.step("go", func(st *step) error { return s.goBuild(t.Context(), st, "", 1, "./nothing") })
	if compile := (*compileError)(nil); err == nil || errors.As(err, &compile) || !strings.Contains(err.Error(), "nothing") {
		t.Errorf("%v", err)
	}
}

func TestCompilerError(t *testing.T) {
	for line, want := range map[string]bool{
		"pilot/x.go:3:1: undefined: y":                        true,
		"../../root/go/pkg/mod/a@v1.2.3/b/x.go:12:34: cannot": true,
		"main.go:4:2: no required module provides package x":  true,
		"# istio.io/istio/pilot":                              false,
		"istio.io/istio/pilot":                                false,
		"	have (int)":                                         false,
		"go: downloading x v1.2.3":                            false,
		"/usr/lib/python3/x.py:3: DeprecationWarning":         false,
	} {
		if got := compilerError.MatchString(line); got != want {
			t.Errorf("%q: %v", line, got)
		}
	}
}

// A full disk is the cause even where the compiler complains as well.
func TestFullDiskIsNoCompilerError(t *testing.T) {
	err := classify(&compileError{line: "a/x.go:1:1: could not import b", err: errors.New("go: exit status 1: write $WORK/b: no space left on device")}, "/the/log")
	if !strings.Contains(err.Error(), "the disk is full") {
		t.Error(err)
	}
}
