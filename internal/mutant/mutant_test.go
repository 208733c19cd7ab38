package mutant

import (
	"slices"
	"testing"

	"twohop/internal/claim"
	"twohop/internal/kube/kubetest"
	"twohop/internal/lab"
)

func all(t *testing.T) []Mutant {
	t.Helper()
	_, client := kubetest.New(t)
	l, err := lab.New(client, 1, "", lab.Images{})
	if err != nil {
		t.Fatal(err)
	}
	mutants, err := All(l)
	if err != nil {
		t.Fatal(err)
	}
	return mutants
}

// Each claim has to turn under a fault, and each fault has to turn claims that
// the registry has.
func TestEachClaimHasAMutant(t *testing.T) {
	turned := map[claim.ID]int{}
	names := map[string]bool{}
	for _, m := range all(t) {
		if names[m.Name] {
			t.Errorf("two mutants are called %q", m.Name)
		}
		names[m.Name] = true
		if harmless := m.Where == Harmless; harmless != (len(m.Turns) == 0) {
			t.Errorf("%s: harmless %v, and has to turn %v", m.Name, harmless, m.Turns)
		}
		for _, id := range m.Turns {
			if _, err := claim.ByID(id); err != nil {
				t.Errorf("%s: %v", m.Name, err)
			}
			turned[id]++
		}
		if len(slices.Compact(slices.Sorted(slices.Values(m.Turns)))) != len(m.Turns) {
			t.Errorf("%s names a claim twice: %v", m.Name, m.Turns)
		}
	}
	for _, c := range claim.All() {
		if turned[c.ID] == 0 {
			t.Errorf("no mutant has to turn %s: add it to one that breaks what it rests on", c.ID)
		}
	}
}
