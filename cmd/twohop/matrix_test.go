package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"twohop/internal/claim"
	"twohop/internal/matrix"
	"twohop/internal/verdict"
)

// A combination is not judged again only if its last run is complete, conclusive and of
// this commit; whatever else is there is no reason to skip it.
func TestMatrixKeepsWhatStands(t *testing.T) {
	commit := sourceCommit()
	clean := commit != "" && filepath.Ext(commit) == "" && commit[max(0, len(commit)-6):] != "-dirty"
	c := matrix.Combination{Istio: "1.31", Kubernetes: "v1.36.1", Envoy: "1.39.3"}
	whole := func() *verdict.Verdict {
		f, err := verdict.Create(t.TempDir(), verdict.Run{Header: verdict.Header{HarnessCommit: commit, Domain: "cluster.local"}}, claim.All())
		if err != nil {
			t.Fatal(err)
		}
		v, err := f.Verdict()
		if err != nil {
			t.Fatal(err)
		}
		v.Result, v.Totals = verdict.Green, verdict.Totals{Claims: len(v.Claims), Supported: len(v.Claims)}
		return v
	}
	for name, tt := range map[string]struct {
		change       func(v *verdict.Verdict)
		kept, stands bool
	}{
		"whole":               {func(*verdict.Verdict) {}, true, clean},
		"inconclusive":        {func(v *verdict.Verdict) { v.Result, v.Totals.Inconclusive = verdict.Inconclusive, 1 }, true, false},
		"not all":             {func(v *verdict.Verdict) { v.Totals.NotRun = 1 }, false, false},
		"failed":              {func(v *verdict.Verdict) { v.Result = verdict.Failed }, false, false},
		"another commit":      {func(v *verdict.Verdict) { v.Run.HarnessCommit = "0123456789ab" }, true, false},
		"a domain of its own": {func(v *verdict.Verdict) { v.Run.Domain = "corp.example" }, true, false},
		"a few claims":        {func(v *verdict.Verdict) { v.Claims = v.Claims[:7] }, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			m := &matrixRunner{out: t.TempDir()}
			if m.kept(c) != nil || m.stands(m.kept(c)) {
				t.Fatal("where there is no run, none is kept")
			}
			v := whole()
			tt.change(v)
			raw, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			dir := filepath.Join(m.folder(c), "latest")
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, verdict.VerdictFile), raw, 0o644); err != nil {
				t.Fatal(err)
			}
			kept := m.kept(c)
			if (kept != nil) != tt.kept || m.stands(kept) != tt.stands {
				t.Errorf("kept %v, stands %v", kept != nil, m.stands(kept))
			}
		})
	}
}

func TestMatrixExitCode(t *testing.T) {
	row := func(code int) *matrix.Row { return &matrix.Row{Verdict: &verdict.Verdict{ExitCode: code}} }
	for _, tt := range []struct {
		rows []*matrix.Row
		want int
	}{
		{nil, 0}, {[]*matrix.Row{row(0), row(0)}, 0}, {[]*matrix.Row{row(4), row(0)}, 4}, {[]*matrix.Row{row(1), row(4)}, 1},
		{[]*matrix.Row{row(4), row(1)}, 1}, {[]*matrix.Row{{}, row(1)}, 3},
	} {
		code := exitOK
		for _, r := range tt.rows {
			code = worse(code, r)
		}
		if code != tt.want {
			t.Errorf("%d rows: exit %d, want %d", len(tt.rows), code, tt.want)
		}
	}
}
