package mutant

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"twohop/internal/claim"
)

func turn(must bool, expected, got claim.Verdict) Turn {
	return Turn{Must: must, Expected: expected, Verdict: got}
}

func TestSurvivors(t *testing.T) {
	for _, c := range []struct {
		name string
		fate Fate
		want string
	}{
		{"a fault that turns what it has to", Fate{Where: Fixtures, Claims: map[claim.ID]Turn{
			"G1": turn(true, claim.Supported, claim.Inconclusive), "G4": turn(false, claim.Supported, claim.Supported),
		}}, "turned G1"},
		{"a fault that leaves what it has to turn", Fate{Where: Fixtures, Claims: map[claim.ID]Turn{
			"G1": turn(true, claim.Supported, claim.Supported), "G2": turn(true, claim.Supported, claim.Inconclusive),
		}}, "SURVIVED G1"},
		{"a fault that turns more than it has to", Fate{Where: Fixtures, Claims: map[claim.ID]Turn{
			"G1": turn(true, claim.Supported, claim.Refuted), "G2": turn(false, claim.Supported, claim.Inconclusive),
		}}, "turned G1, G2"},
		{"a refuted claim on which the fault does not show", Fate{Where: Partner, Claims: map[claim.ID]Turn{
			"G3-yaml": turn(true, claim.Refuted, claim.Refuted),
		}}, "SURVIVED G3-yaml"},
		{"a harmless change under which nothing turns", Fate{Where: Harmless, Claims: map[claim.ID]Turn{
			"G1": turn(false, claim.Supported, claim.Supported),
		}}, "nothing turned"},
		{"a harmless change under which something turns", Fate{Where: Harmless, Claims: map[claim.ID]Turn{
			"G1": turn(false, claim.Supported, claim.Inconclusive),
		}}, "turned G1, although harmless"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.fate.Words(); got != c.want {
				t.Errorf("words: %q, not %q", got, c.want)
			}
			survives := strings.Contains(c.want, "SURVIVED") || strings.Contains(c.want, "although")
			if got := len(Survivors([]Fate{c.fate})) > 0; got != survives {
				t.Errorf("survivor: %v, not %v", got, survives)
			}
		})
	}
}

func TestMarkdown(t *testing.T) {
	everything := Fate{Name: "all is lost", Where: Collectors, Claims: map[claim.ID]Turn{}}
	for _, c := range claim.All() {
		everything.Claims[c.ID] = turn(c.ID != "G3-yaml", claim.Supported, claim.Inconclusive)
	}
	everything.Claims["G3-yaml"] = turn(false, claim.Refuted, claim.Refuted)
	fates := []Fate{
		everything,
		{Name: "a letter too many", Where: Fixtures, Claims: map[claim.ID]Turn{
			"G1": turn(true, claim.Supported, claim.Refuted),
			"G2": turn(true, claim.Supported, claim.Supported),
			"G3": turn(false, claim.Supported, claim.Inconclusive),
			"G4": turn(false, claim.Supported, claim.Supported),
		}},
		{Name: "a comment", Where: Harmless, Claims: map[claim.ID]Turn{"G1": turn(false, claim.Supported, claim.Supported)}},
	}
	var b bytes.Buffer
	if err := WriteMarkdown(&b, fates, "RUN"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"Run: RUN.",
		"2 faults, 1 harmless changes, 1 survivors.",
		fmt.Sprintf("| collectors' input | all is lost | %d: all but G3-yaml |  | G3-yaml |  |", len(claim.All())-1),
		"| fixtures | a letter too many | G1 (refuted) | G3 | G4 | G2 |",
		"| harmless | a comment |  |  | G1 |  |",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in:\n%s", want, b.String())
		}
	}
}
