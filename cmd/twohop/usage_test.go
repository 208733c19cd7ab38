package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Each of these ends before anything is made. Should one not, the run cannot
// begin either, since its folder would be below a file.
func TestClaimsToJudge(t *testing.T) {
	out := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(out, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	const howTo = "=goals, CLAIMS=all, a chapter or ids such as CLAIMS=G1,H2-rotation, or leave it out"
	for _, tt := range []struct {
		name   string
		claims string // CLAIMS, "-" if it is not set
		args   []string
		code   int
		stderr string
	}{
		{"CLAIMS is empty", "", []string{"run"}, 2, "twohop: CLAIMS is empty: write CLAIMS" + howTo + "\n"},
		{"CLAIMS is blank", " ", []string{"run"}, 2, "twohop: CLAIMS is empty: write CLAIMS" + howTo + "\n"},
		{"CLAIMS is empty, for bench", "", []string{"bench"}, 2, "CLAIMS is empty"},
		{"--claims is empty", "-", []string{"run", "--claims", ""}, 2, "--claims is empty: write --claims=goals, --claims=all"},
		{"--claims is empty and CLAIMS too", "", []string{"run", "--claims="}, 2, "--claims is empty"},
		{"CLAIMS is misspelt", "G1,G2-rbca", []string{"run"}, 2, `CLAIMS: no claim or chapter is called "G2-rbca"; did you mean G2-rbac?`},
		{"--claims is misspelt", "-", []string{"run", "--claims", "g1"}, 2, `--claims: no claim or chapter is called "g1"; did you mean G1?`},
		{"misspelt, for bench", "-", []string{"bench", "--claims", "pol"}, 2, "did you mean pool?"},
		{"misspelt, for mutants", "-", []string{"mutants", "--claims", "G1,trap"}, 2, "did you mean traps?"},
		{"empty, for mutants", "-", []string{"mutants", "--claims", ""}, 2, "--claims is empty"},
		{"claims as arguments", "-", []string{"run", "G1", "G2"}, 2, "run takes no arguments: to choose claims, write --claims G1,G2"},

		{"--claims has precedence over an empty CLAIMS", "", []string{"run", "--claims", "G1"}, 3, "not a directory"},
		{"CLAIMS is not set", "-", []string{"run"}, 3, "not a directory"},
		{"CLAIMS is a chapter", "hop1", []string{"run"}, 3, "not a directory"},
		{"CLAIMS is not for mutants", "", []string{"mutants"}, 3, "not a directory"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("CLAIMS", tt.claims) // and puts back what there was
			if tt.claims == "-" {
				if err := os.Unsetenv("CLAIMS"); err != nil {
					t.Fatal(err)
				}
			}
			code, stdout, stderr := run(append(tt.args, "--out", out)...)
			if code != tt.code || !strings.Contains(stderr, tt.stderr) {
				t.Errorf("exit %d, want %d\nstderr: %s\nwant: %s\nstdout: %s", code, tt.code, stderr, tt.stderr, stdout)
			}
		})
	}
}

func TestLabs(t *testing.T) {
	for _, tt := range []struct {
		said               string
		lab, claims, chose int
		says               string
	}{
		{"auto", 1, 8, 1, ""},
		{"auto", 1, 94, labsForMany, ""},
		{"auto", 2, 94, 1, ""}, // a guest has the lab that it names
		{"5", 1, 1, 5, ""},
		{"1", 2, 94, 1, ""},
		{"2", 2, 94, 0, "LABS=2: a guest (--lab 2) has one lab"},
		{"many", 1, 94, 0, `LABS="many" is not a number of labs: write auto, or 1 to 16`},
		{"0", 1, 94, 0, `LABS="0" is not a number of labs`},
		{"17", 1, 94, 0, `LABS="17" is not a number of labs`},
	} {
		l := live{lab: tt.lab}
		err := l.chooseLabs(tt.said, tt.claims)
		if tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says)) || tt.says == "" && (err != nil || l.labs != tt.chose) {
			t.Errorf("%+v: %d labs, %v", tt, l.labs, err)
		}
	}
}

func TestLiveFlagsSayWhatToWrite(t *testing.T) {
	for _, tt := range []struct{ flag, value, says string }{
		{"--images", "mine", `IMAGES="mine" is not a lane: write auto, official or source`},
		{"--cluster", "Two Hop", "use lower-case letters, digits and '-'"},
		{"--domain", "a b", `DOMAIN="a b" is not a DNS name: write one such as cluster.local`},
	} {
		if code, _, stderr := run("kubeconfig", tt.flag, tt.value); code != exitUsage || !strings.Contains(stderr, tt.says) {
			t.Errorf("%s %q: exit %d, stderr %q, want %q", tt.flag, tt.value, code, stderr, tt.says)
		}
	}
}
