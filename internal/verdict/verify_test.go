package verdict

import (
	"path/filepath"
	"strings"
	"testing"

	"twohop/internal/claim"
)

// tamper edits a run's folder.
type tamper struct {
	t   *testing.T
	dir string
}

func (p tamper) path(name string) string { return filepath.Join(p.dir, filepath.FromSlash(name)) }

func (p tamper) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p tamper) verdict(edit func(v *Verdict)) {
	p.t.Helper()
	v, err := ReadVerdict(p.path(VerdictFile))
	p.must(err)
	edit(v)
	p.must(writeJSON(p.path(VerdictFile), v))
}

func result(v *Verdict, id claim.ID) *Result {
	for i := range v.Claims {
		if v.Claims[i].ID == id {
			return &v.Claims[i]
		}
	}
	panic("no claim " + string(id))
}

func TestVerificationRenders(t *testing.T) {
	v := &Verification{Run: "r", Claims: 1, Facts: 2, Files: 3, Bytes: 2048, Problems: []string{"X1: bad."}, Notes: []string{"X2: unknown."}}
	var text, markdown strings.Builder
	if err := v.WriteText(&text, TextOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := v.WriteMarkdown(&markdown); err != nil {
		t.Fatal(err)
	}
	want := "Run r\n  ✗ X1: bad.\n  – X2: unknown.\nNot verified: 1 problem in 1 claim, 2 facts and 3 evidence files (2.0 KiB).\n"
	if text.String() != want {
		t.Errorf("text:\n%s", text.String())
	}
	if !strings.Contains(markdown.String(), "- X1: bad.") {
		t.Errorf("markdown:\n%s", markdown.String())
	}
}
