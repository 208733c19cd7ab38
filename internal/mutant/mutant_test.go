package mutant

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"twohop/internal/claim"
	"twohop/internal/manifest"
	"twohop/internal/verdict"
)

func list(t *testing.T) []Mutant {
	t.Helper()
	s, _ := manifest.Numbered(1, "")
	certificates, err := manifest.NewCertificates(s)
	if err != nil {
		t.Fatal(err)
	}
	baseline, err := manifest.Baseline(1, "", manifest.Images{}, certificates)
	if err != nil {
		t.Fatal(err)
	}
	all, err := All(manifest.NewEditor(baseline, certificates))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// A blanket mutant, which no claim can be above, says nothing of a claim: each
// needs one in the subject, or a reason why not.
func TestEachClaimHasAMutantInTheSubject(t *testing.T) {
	turned := map[claim.ID]bool{}
	for _, m := range list(t) {
		for _, k := range m.Kills {
			if m.Where != Experiments && m.Where != Harmless {
				turned[k.Claim] = true
			}
		}
	}
	for _, c := range claim.All() {
		why, ok := Exempt(c.ID)
		switch {
		case ok && turned[c.ID]:
			t.Errorf("%s has a mutant in the subject, and is exempt because it %s", c.ID, why)
		case !ok && !turned[c.ID]:
			t.Errorf("%s has no mutant in the subject", c.ID)
		}
	}
}

// Each mutant changes the subject, and what it says of claims can be true.
func TestMutantsArePlanted(t *testing.T) {
	s, _ := manifest.Numbered(1, "")
	certificates, err := manifest.NewCertificates(s)
	if err != nil {
		t.Fatal(err)
	}
	baseline, err := manifest.Baseline(1, "", manifest.Images{}, certificates)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, m := range list(t) {
		if names[m.Name] {
			t.Errorf("two mutants are called %q", m.Name)
		}
		names[m.Name] = true
		set := baseline
		for _, v := range m.Plant {
			if set, err = v.Apply(set); err != nil {
				t.Errorf("%s: %v", m.Name, err)
				break
			}
		}
		diff, err := manifest.Diff(baseline, set)
		if err != nil {
			t.Fatal(err)
		}
		if diff.Empty() && set.Subject == baseline.Subject && m.Spoil == nil && m.Name != "nothing is changed" {
			t.Errorf("%s changes nothing", m.Name)
		}
		var seen []claim.ID
		for _, k := range m.Kills {
			if _, err := claim.ByID(k.Claim); err != nil {
				t.Errorf("%s: %v", m.Name, err)
			}
			if _, err := regexp.Compile(k.Because); err != nil {
				t.Errorf("%s, %s: %v", m.Name, k.Claim, err)
			}
			if slices.Contains(seen, k.Claim) {
				t.Errorf("%s turns %s twice", m.Name, k.Claim)
			}
			seen = append(seen, k.Claim)
			if m.Where != Harmless && k.Because == "" {
				t.Errorf("%s, %s: no reason", m.Name, k.Claim)
			}
		}
	}
}

func TestKilled(t *testing.T) {
	fact := func(name, seen string, ok, flips bool) verdict.Fact {
		return verdict.Fact{Name: name, Expected: "83", Seen: seen, OK: ok, Flips: flips}
	}
	trial := func(facts ...verdict.Fact) *verdict.Trial { return &verdict.Trial{Facts: facts} }
	k := Kill{"G3", "maxConnections: expected 83, saw 82"}
	for _, c := range []struct {
		name          string
		finding       verdict.Finding
		expected, got claim.Verdict
		killed        bool
		why           string
	}{
		{"for the planted reason", verdict.Finding{Check: trial(fact("maxConnections", "82", false, true)), Control: trial(fact("maxConnections", "77", false, true))},
			claim.Supported, claim.Inconclusive, true, "saw 82"},
		{"it stayed", verdict.Finding{}, claim.Supported, claim.Supported, false, "stayed supported"},
		{"for another reason", verdict.Finding{Check: trial(fact("SNI", "x", false, false)), Control: trial()}, claim.Supported, claim.Inconclusive, false, "another reason: SNI"},
		{"a timeout", verdict.Finding{Error: "10s went by"}, claim.Supported, claim.Inconclusive, false, "another reason: error: 10s went by"},
		{"the control's own failure is none", verdict.Finding{Check: trial(fact("maxConnections", "83", true, true)), Control: trial(fact("maxConnections", "82", false, true))},
			claim.Supported, claim.Inconclusive, false, "without a failing fact"},
		{"of a refuted claim the control has to hold", verdict.Finding{Check: trial(fact("maxConnections", "1", false, true)), Control: trial(fact("maxConnections", "82", false, true))},
			claim.Refuted, claim.Inconclusive, true, "saw 82"},
	} {
		t.Run(c.name, func(t *testing.T) {
			killed, why := k.Killed(c.finding, c.expected, c.got)
			if killed != c.killed || !strings.Contains(why, c.why) {
				t.Errorf("%v, %q", killed, why)
			}
		})
	}
}

func TestReport(t *testing.T) {
	r := Report{Run: "RUN", Planned: 2, Fates: []Fate{{Mutant: "m", Where: Fixtures, Claim: "G1", OK: true, Why: "SNI: expected a, saw b"}}}
	if err := r.Whole(); err == nil || !strings.Contains(err.Error(), "1 of 2") {
		t.Errorf("a part of a run passes for the whole: %v", err)
	}
	r.Fates = append(r.Fates, Fate{Mutant: "m", Where: Fixtures, Claim: "G2", Why: "stayed supported"})
	if err := r.Whole(); err != nil {
		t.Error(err)
	}
	if s := r.Survivors(); len(s) != 1 || s[0].Claim != "G2" || !strings.HasPrefix(s[0].Words(), "SURVIVED") {
		t.Errorf("%+v", s)
	}
	var b strings.Builder
	if err := WriteMarkdown(&b, r, "WHEN"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Run: WHEN. 1 changes, 2 judgements planned and made, 1 survivors.", "| fixtures | m | G1, **G2 survived** | SNI: expected a, saw b |", "- G3-yaml: asks the API server"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in:\n%s", want, b.String())
		}
	}
	if err := (Report{}).Whole(); err == nil {
		t.Error("a run of nothing is whole")
	}
}
