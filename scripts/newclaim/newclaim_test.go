package main

import (
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const root = "../.."

// chapter has the files that the tests write to. It is the one that every source
// tree has.
const chapter = "goals"

// tree copies what newclaim reads and writes.
func tree(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, pattern := range []string{registryDir + "/*.go", "suites/" + chapter + ".go"} {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v, %v", pattern, files, err)
		}
		for _, from := range files {
			text, err := os.ReadFile(from)
			if err != nil {
				t.Fatal(err)
			}
			to := filepath.Join(dir, filepath.Dir(pattern), filepath.Base(from))
			if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(to, text, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}

func read(t *testing.T, dir, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Both skeletons, one after the other, compile in the place of the real files,
// and are formatted as gofmt does.
func TestSkeletonsCompile(t *testing.T) {
	dir := tree(t)
	for id, expected := range map[string]string{"X-supported": "supported", "X-refuted": "refuted"} {
		var said strings.Builder
		if err := run([]string{"--root", dir, "--id", id, "--chapter", chapter, "--expected", expected}, &said); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{id + " is in internal/claim/goals.go and suites/goals.go", "make e2e CLAIMS=" + id, "make docs", "make record"} {
			if !strings.Contains(said.String(), want) {
				t.Errorf("it does not say %q:\n%s", want, said.String())
			}
		}
	}
	overlay := map[string]map[string]string{"Replace": {}}
	var files []string
	for _, path := range []string{registryDir + "/" + chapter + ".go", "suites/" + chapter + ".go"} {
		real, err := filepath.Abs(filepath.Join(root, path))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, filepath.Join(dir, path))
		overlay["Replace"][real] = files[len(files)-1]
	}
	raw, err := json.Marshal(overlay)
	if err != nil {
		t.Fatal(err)
	}
	list := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(list, raw, 0o644); err != nil {
		t.Fatal(err)
	}
	// Compiled, and not linked into a program: that takes half a minute.
	cmd := exec.Command("go", "build", "-overlay", list, "./suites", "./"+registryDir)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("the suites with the skeletons: %v\n%s", err, out)
	}
	if out, err := exec.Command("gofmt", append([]string{"-l"}, files...)...).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("gofmt: %v\n%s", err, out)
	}
}

// A file that lacks what the skeleton imports gets it.
func TestImportsAreAdded(t *testing.T) {
	s := skeleton{id: "X-new", chapter: "goals", expected: "refuted"}
	for _, before := range []string{"package suites\n", "package suites\n\nimport \"fmt\"\n\nvar _ = fmt.Sprint\n", "package suites\n\nimport (\n\t. \"github.com/onsi/gomega\"\n)\n"} {
		got, err := s.experiment("x.go", []byte(before))
		for _, want := range []string{`. "github.com/onsi/gomega"`, `networking "istio.io/api/networking/v1alpha3"`, `Claim("X-new", `} {
			if err != nil || strings.Count(string(got), want) != 1 {
				t.Errorf("%v: %q is not there once in\n%s", err, want, got)
			}
		}
	}
}

func TestRefusals(t *testing.T) {
	dir := tree(t)
	before := read(t, dir, "internal/claim/goals.go") + read(t, dir, "suites/goals.go")
	for _, tt := range []struct{ id, chapter, expected, says string }{
		{"", chapter, "supported", "a claim needs an id and a chapter: make new-claim ID="},
		{"X-1", "", "supported", "a claim needs an id and a chapter"},
		{"G1", chapter, "supported", "the id is taken: internal/claim/goals.go has the claim G1"},
		{"h2-ROTATION", chapter, "supported", "write letters and digits"},
		{"H2-ROTATION", chapter, "supported", "internal/claim/hop2.go has the claim H2-rotation"},
		{"../X", chapter, "supported", "cannot name a file"},
		{"X 1", chapter, "supported", "cannot name a file"},
		{"Hop1", chapter, "supported", "another meaning"},
		{"X-1", "hop3", "supported", `no chapter is called "hop3": the chapters are goals, hop1, hop2, pool, traps, field`},
		{"X-1", "../goals", "supported", "no chapter is called"},
		{"X-1", chapter, "inconclusive", "write supported or refuted"},
		{"X-1", "hop1", "supported", "suites/hop1.go is to get the claim and cannot be read"},
	} {
		err := run([]string{"--root", dir, "--id", tt.id, "--chapter", tt.chapter, "--expected", tt.expected}, io.Discard)
		if err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s in %s: %v, want %q", tt.id, tt.chapter, err, tt.says)
		}
	}
	if after := read(t, dir, "internal/claim/goals.go") + read(t, dir, "suites/goals.go"); after != before {
		t.Error("a refusal left something behind")
	}
	if registry := read(t, dir, "internal/claim/hop1.go"); strings.Contains(registry, "X-1") {
		t.Error("the registry got a claim whose experiment could not be written")
	}
}
