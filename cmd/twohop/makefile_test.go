package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// make help lists every target, once, with what it does.
func TestMakeHelpListsEachTarget(t *testing.T) {
	root := filepath.Join("..", "..")
	raw, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	phony := regexp.MustCompile(`(?m)^\.PHONY: (.+)$`).FindSubmatch(raw)
	if phony == nil {
		t.Fatal("the Makefile names no .PHONY targets")
	}
	listed := map[string]int{}
	for _, line := range regexp.MustCompile(`(?m)^  (\S+) +(\S.*)$`).FindAllStringSubmatch(makes(t, root, "help"), -1) {
		listed[line[1]]++
	}
	targets := strings.Fields(string(phony[1]))
	for _, target := range targets {
		if listed[target] != 1 {
			t.Errorf("make help lists %s %d times: write what it does behind ## in its one rule with prerequisites", target, listed[target])
		}
	}
	if len(listed) != len(targets) {
		t.Errorf("make help lists %v, and .PHONY has %v", listed, targets)
	}
}

// make without a target is make e2e, as make help says.
func TestMakeDefaultsToE2E(t *testing.T) {
	root := filepath.Join("..", "..")
	if got, want := makes(t, root, "--dry-run"), makes(t, root, "--dry-run", "e2e"); got != want || !strings.Contains(got, "twohop run") {
		t.Errorf("make does %q, and make e2e does %q", got, want)
	}
}

func makes(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("make", append([]string{"--no-print-directory", "-C", dir}, args...)...)
	cmd.Env = append(os.Environ(), "MAKEFLAGS=", "MFLAGS=", "MAKELEVEL=") // of a make that runs this test
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}
