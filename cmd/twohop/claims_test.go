package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"twohop/internal/claim"
)

func TestClaims(t *testing.T) {
	for _, tt := range []struct {
		name   string
		args   []string
		code   int
		stdout string
		stderr string
	}{
		{"all", nil, 0, "G3-yaml", ""},
		{"a chapter", []string{"goals"}, 0, "G3-yaml", ""},
		{"one", []string{"G3-yaml"}, 0, "goals    refuted", ""},
		{"several", []string{"G1", "G4"}, 0, "bypasses the gateway", ""},
		{"as JSON", []string{"G1", "-o", "json"}, 0, `"id": "G1"`, ""},
		{"as Markdown", []string{"G1", "-o", "markdown"}, 0, "### G1\n", ""},
		{"help has examples", []string{"--help"}, 0, "Examples:", ""},
		{"unknown", []string{"G99"}, 2, "", `no claim or chapter is called "G99"; "twohop claims" lists them all`},
		{"misspelt", []string{"G1", "G2-rbca"}, 2, "", `no claim or chapter is called "G2-rbca"; did you mean G2-rbac?`},
		{"in the wrong case", []string{"g2-rbac"}, 2, "", "did you mean G2-rbac?"},
		{"a misspelt chapter", []string{"gaols"}, 2, "", "did you mean goals?"},
		{"an empty name", []string{""}, 2, "", "no claim is named: write a chapter"},
		{"unknown format", []string{"-o", "xml"}, 2, "", "xml"},
		{"Markdown names all lines", []string{"-o", "markdown", "--istio", "1.30.0"}, 2, "", "--istio is for text and json"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code, stdout, stderr := run(append([]string{"claims"}, tt.args...)...)
			if code != tt.code || !strings.Contains(stdout, tt.stdout) || !strings.Contains(stderr, tt.stderr) || (tt.stderr == "") != (stderr == "") {
				t.Errorf("exit %d, want %d\nstdout: %s\nwant: %s\nstderr: %s\nwant: %s", code, tt.code, stdout, tt.stdout, stderr, tt.stderr)
			}
		})
	}
	if _, stdout, _ := run("claims", "G1"); strings.Contains(stdout, "G4") {
		t.Errorf("one claim was asked for:\n%s", stdout)
	}
	_, stdout, _ := run("claims", "-o", "json")
	var list []claimJSON
	if err := json.Unmarshal([]byte(stdout), &list); err != nil || len(list) != len(claim.All()) {
		t.Errorf("%d claims of %d: %v", len(list), len(claim.All()), err)
	}
	if _, stdout, _ := run("__complete", "claims", "G3"); !strings.Contains(stdout, "G3-yaml") {
		t.Errorf("completion: %s", stdout)
	}
}

func TestExpectedNamesOtherLines(t *testing.T) {
	c := claim.Claim{Expected: claim.Supported, ExpectedOn: map[string]claim.Verdict{"1.30": claim.Refuted, "1.29": claim.Inconclusive}}
	if got, want := expected(c), "supported; on Istio 1.29: inconclusive; on Istio 1.30: refuted"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// docs/claims.md is what the registry says.
func TestClaimsDocumentIsFresh(t *testing.T) {
	_, want, _ := run("claims", "-o", "markdown")
	path := filepath.Join("..", "..", "docs", "claims.md")
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v: run `make docs`", err)
	}
	if string(got) != want {
		t.Fatal("docs/claims.md is not what internal/claim says: run `make docs` and commit the file")
	}
}

func TestClaimsDocumentLinksResolve(t *testing.T) {
	_, text, _ := run("claims", "-o", "markdown")
	anchors := map[string]bool{}
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(text, -1) {
		a := anchor(strings.ReplaceAll(heading[1], `\`, ""))
		if anchors[a] {
			t.Errorf("two headings are #%s", a)
		}
		anchors[a] = true
	}
	links := regexp.MustCompile(`\]\(([^)]+)\)`).FindAllStringSubmatch(text, -1)
	if len(links) < 2*len(claim.All()) {
		t.Fatalf("%d links for %d claims", len(links), len(claim.All()))
	}
	for _, l := range links {
		if target, ok := strings.CutPrefix(l[1], "#"); ok {
			if !anchors[target] {
				t.Errorf("no heading is #%s", target)
			}
		} else if _, err := os.Stat(filepath.Join("..", "..", "docs", l[1])); err != nil {
			t.Errorf("the document links to a file that is not there: %v", err)
		}
	}
}
