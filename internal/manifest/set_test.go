package manifest

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"twohop/internal/subject"
)

// A ServiceEntry's port that istiod pushes before there is a rule for it has a
// cluster without TLS (claim F-order), and the fixtures have the ServiceEntry
// first: what is applied goes by the order of the edits.
func TestOtherPortAppliesTheRuleFirst(t *testing.T) {
	certificates, err := NewCertificates(subject.Default())
	if err != nil {
		t.Fatal(err)
	}
	baseline, err := Baseline(1, "", Images{}, certificates)
	if err != nil {
		t.Fatal(err)
	}
	e := NewEditor(baseline, certificates)
	next, err := e.OtherPort("another port", Port{Number: 444, Target: 443}).Apply(baseline)
	if err != nil {
		t.Fatal(err)
	}
	diff, err := Diff(baseline, next)
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, o := range diff.Put {
		kinds = append(kinds, KeyOf(o).Kind)
	}
	if d := cmp.Diff([]string{"DestinationRule", "ServiceEntry", "VirtualService"}, kinds); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	if undo, err := Diff(next, baseline); err != nil || len(undo.Put) != 3 || len(undo.Remove) != 0 {
		t.Errorf("undone by %v, %v", undo, err)
	}
}
