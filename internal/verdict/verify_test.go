package verdict

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"twohop/internal/claim"
)

func TestVerifyAcceptsWhatARunLeaves(t *testing.T) {
	for _, all := range []bool{false, true} {
		f := makeSample(t, t.TempDir(), all)
		v, err := Verify(f.Dir, "")
		if err != nil {
			t.Fatal(err)
		}
		if len(v.Problems) > 0 {
			t.Errorf("problems in an honest run:\n%s", strings.Join(v.Problems, "\n"))
		}
		if v.Files < 25 || v.Facts < 20 || v.Bytes == 0 {
			t.Errorf("checked %d files, %d facts, %d bytes: too few", v.Files, v.Facts, v.Bytes)
		}
	}
}

func TestVerifyAcceptsARunThatWasCutShort(t *testing.T) {
	f, err := Create(t.TempDir(), Run{Selection: "X1,X2"}, two)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.SaveEvidence("X1", "early", KindText, "", "", []byte("x")); err != nil {
		t.Fatal(err)
	}
	for _, ending := range []Outcome{Running, Interrupted, Failed} {
		if ending != Running {
			if _, err := f.Finish(ending, "stopped"); err != nil {
				t.Fatal(err)
			}
		}
		v, err := Verify(f.Dir, "")
		if err != nil || len(v.Problems) > 0 {
			t.Errorf("%s: %v, %v", ending, err, v.Problems)
		}
	}
}

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

// finding edits a claim's finding in its file and in the verdict alike.
func (p tamper) finding(id claim.ID, edit func(*Finding)) {
	p.t.Helper()
	p.verdict(func(v *Verdict) {
		r := result(v, id)
		edit(&r.Finding)
		p.must(writeJSON(p.path("findings/"+string(id)+".json"), r.Finding))
	})
}

func result(v *Verdict, id claim.ID) *Result {
	for i := range v.Claims {
		if v.Claims[i].ID == id {
			return &v.Claims[i]
		}
	}
	panic("no claim " + string(id))
}

func TestVerifyCatches(t *testing.T) {
	tests := []struct {
		name string
		edit func(p tamper)
		want []string // each occurs in some problem
	}{
		{"a byte of evidence altered", func(p tamper) {
			name := p.path("evidence/S1/01-sidecar-clusters.json")
			raw, err := os.ReadFile(name)
			p.must(err)
			p.must(os.WriteFile(name, []byte(strings.Replace(string(raw), "ROOTCA", "ROOTCB", 1)), 0o644))
		}, []string{"S1: evidence evidence/S1/01-sidecar-clusters.json was altered: its SHA-256 is "}},
		{"evidence removed", func(p tamper) { p.must(os.Remove(p.path("evidence/S2/01-gateway-secrets.json"))) },
			[]string{"S2: evidence evidence/S2/01-gateway-secrets.json cannot be checked: it is missing."}},
		{"evidence added", func(p tamper) { p.must(os.WriteFile(p.path("evidence/S2/99-extra"), nil, 0o644)) },
			[]string{"evidence/S2/99-extra is there, and no claim lists it."}},
		{"evidence behind a link", func(p tamper) {
			name := p.path("evidence/S2/01-gateway-secrets.json")
			p.must(os.Rename(name, p.path("elsewhere")))
			p.must(os.Symlink(p.path("elsewhere"), name))
		}, []string{"it is no regular file"}},
		{"evidence dropped from the list with its file", func(p tamper) {
			p.finding("S2", func(f *Finding) { f.Evidence = f.Evidence[:len(f.Evidence)-1] })
			files, err := filepath.Glob(p.path("evidence/S2/*control-partner-log"))
			p.must(err)
			p.must(os.Remove(files[0]))
		}, []string{"which the claim does not list"}},
		{"evidence swapped between claims", func(p tamper) {
			p.verdict(func(v *Verdict) {
				a, b := result(v, "S1"), result(v, "S2")
				a.Evidence[0], b.Evidence[0] = b.Evidence[0], a.Evidence[0]
				p.must(writeJSON(p.path("findings/S1.json"), a.Finding))
				p.must(writeJSON(p.path("findings/S2.json"), b.Finding))
			})
		}, []string{"S1: evidence/S2/01-gateway-secrets.json is not in evidence/S1, so it is another claim's evidence.",
			"S2: evidence/S1/01-sidecar-clusters.json is not in evidence/S2"}},
		{"evidence files swapped on disk", func(p tamper) {
			a, b := p.path("evidence/S1/01-sidecar-clusters.json"), p.path("evidence/S2/01-gateway-secrets.json")
			p.must(os.Rename(a, a+"x"))
			p.must(os.Rename(b, a))
			p.must(os.Rename(a+"x", b))
		}, []string{"S1: evidence evidence/S1/01-sidecar-clusters.json was altered", "S2: evidence evidence/S2/01-gateway-secrets.json was altered"}},
		{"verdict edited", func(p tamper) {
			p.verdict(func(v *Verdict) { result(v, "S-differs").Verdict = claim.Refuted })
		}, []string{"S-differs: the verdict says refuted, and its finding proves supported."}},
		{"verdict, totals, result and exit code edited alike", func(p tamper) {
			p.verdict(func(v *Verdict) {
				result(v, "S-differs").Verdict = claim.Refuted
				v.Totals = Count(v.Claims)
				v.Result = Conclude(v.Claims, "")
				v.ExitCode = v.Result.ExitCode()
			})
		}, []string{"S-differs: the verdict says refuted", "The totals say", "The result says inconclusive; the claims make it different."}},
		{"reason edited", func(p tamper) {
			p.verdict(func(v *Verdict) { result(v, "S1").Reason = "Trust me." })
		}, []string{"S1: the reason is not the one that follows from its finding, which is: The check holds"}},
		{"a fact's mark flipped", func(p tamper) {
			p.finding("S1", func(f *Finding) { f.Check.Facts[0].OK = false })
		}, []string{`fact "client, curl: status": it is marked as not holding, though 200 was expected and seen`, "S1: the verdict says supported, and its finding proves inconclusive."}},
		{"a fact's mark flipped to make a verdict", func(p tamper) {
			p.finding("S1", func(f *Finding) { f.Control.Facts[0].OK = true })
		}, []string{`fact "client, curl: status": it is marked as holding, though 200 was expected and 503 was seen`}},
		{"what was expected edited to what was seen", func(p tamper) {
			p.finding("S2", func(f *Finding) {
				f.Check.Facts[1].Seen, f.Check.Facts[1].Expected = "DEADBEEF01", "DEADBEEF01"
			})
		}, []string{`the value "DEADBEEF01" that was seen occurs in none of evidence/S2/`}},
		{"control removed", func(p tamper) { p.finding("S3", func(f *Finding) { f.Control = nil }) },
			[]string{"S3: the verdict says supported, and its finding proves inconclusive. Not proven: there is no control", "does not follow its schema"}},
		{"control removed from the verdict alone", func(p tamper) {
			p.verdict(func(v *Verdict) { result(v, "S3").Control = nil })
		}, []string{"S3: verdict.json and findings/S3.json differ in control."}},
		{"cause removed", func(p tamper) { p.finding("S2", func(f *Finding) { f.Control.Cause = nil }) },
			[]string{"S2: the verdict says supported, and its finding proves inconclusive.", "no cause was looked at"}},
		{"totals edited", func(p tamper) { p.verdict(func(v *Verdict) { v.Totals.Unexpected = 0 }) },
			[]string{"The totals say 8 claims, 5 supported, 1 refuted, 1 inconclusive, 1 not run, 0 unexpected; counting the claims gives"}},
		{"result edited", func(p tamper) { p.verdict(func(v *Verdict) { v.Result, v.ExitCode = Green, 0 }) },
			[]string{"The result says as-expected; the claims make it different.", "The exit code says 0; a run that is different ends with 1."}},
		{"exit code edited", func(p tamper) { p.verdict(func(v *Verdict) { v.ExitCode = 0 }) },
			[]string{"The exit code says 0"}},
		{"a claim dropped", func(p tamper) {
			p.verdict(func(v *Verdict) { v.Claims = v.Claims[1:] })
		}, []string{"S1: there is a finding of this claim, and verdict.json does not list the claim.", "The totals say"}},
		{"a claim that did not run dropped without a trace", func(p tamper) {
			p.verdict(func(v *Verdict) { v.Claims = v.Claims[:len(v.Claims)-1]; v.Totals = Count(v.Claims) })
		}, []string{"S-absent: the run was asked for this claim"}},
		{"a claim listed twice", func(p tamper) {
			p.verdict(func(v *Verdict) { v.Claims = append(v.Claims, v.Claims[0]); v.Totals = Count(v.Claims) })
		}, []string{"S1: verdict.json lists the claim twice."}},
		{"a finding's file edited", func(p tamper) {
			v, err := ReadVerdict(p.path(VerdictFile))
			p.must(err)
			f := result(v, "S1").Finding
			f.Check.Facts[0].Seen = "500"
			p.must(writeJSON(p.path("findings/S1.json"), f))
		}, []string{"S1: verdict.json and findings/S1.json differ in check."}},
		{"a finding's file removed", func(p tamper) { p.must(os.Remove(p.path("findings/S1.json"))) },
			[]string{"S1: verdict.json shows a finding, and findings/S1.json is missing."}},
		{"a finding hidden", func(p tamper) {
			p.verdict(func(v *Verdict) {
				r := result(v, "S-differs")
				r.Finding, r.Verdict, r.Reason = Finding{}, claim.NotRun, notRunReason
				v.Totals = Count(v.Claims)
				v.Result = Inconclusive
				v.ExitCode = 4
			})
		}, []string{"S-differs: findings/S-differs.json is there, and verdict.json shows no finding of it."}},
		{"evidence that is not what its kind says, hashed again", func(p tamper) {
			raw := []byte("HTTP/1.1 200 OK\n")
			p.finding("S1", func(f *Finding) {
				e := &f.Evidence[1]
				p.must(os.WriteFile(p.path(e.Path), raw, 0o644))
				e.SHA256 = Hash(raw)
			})
		}, []string{"S1: evidence evidence/S1/02-check-curl does not parse as curl: its last line is not the JSON object"}},
		{"a script removed", func(p tamper) { p.must(os.Remove(p.path("reproduce/S1.sh"))) },
			[]string{"S1: the script reproduce/S1.sh"}},
		{"a field nobody reads", func(p tamper) {
			raw, err := os.ReadFile(p.path(VerdictFile))
			p.must(err)
			p.must(os.WriteFile(p.path(VerdictFile), []byte(strings.Replace(string(raw), `"seed"`, `"approved": true, "seed"`, 1)), 0o644))
		}, []string{"does not follow its schema", "approved"}},
		{"half a verdict", func(p tamper) {
			p.must(os.Truncate(p.path(VerdictFile), 100))
		}, []string{"verdict.json: not JSON"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := makeSample(t, t.TempDir(), true)
			tt.edit(tamper{t, f.Dir})
			v, err := Verify(f.Dir, "")
			if err != nil {
				t.Fatal(err)
			}
			all := strings.Join(v.Problems, "\n")
			for _, want := range tt.want {
				if !strings.Contains(all, want) {
					t.Errorf("no problem says %q; there are:\n%s", want, all)
				}
			}
		})
	}
}

// TestVerifyHoldsTheRegistry edits words that only the registry can correct.
func TestVerifyHoldsTheRegistry(t *testing.T) {
	c := claim.All()[0]
	other := claim.Refuted
	if c.Expected == claim.Refuted {
		other = claim.Supported
	}
	f, err := Create(t.TempDir(), Run{Selection: "all", HarnessCommit: "aaaaaaaaaaaa"}, claim.All())
	if err != nil {
		t.Fatal(err)
	}
	p := tamper{t, f.Dir}
	p.verdict(func(v *Verdict) {
		v.Claims[0].Expected, v.Claims[0].Statement = other, "Something softer."
		v.Claims = v.Claims[:len(v.Claims)-1]
		v.Totals = Count(v.Claims)
	})
	want := []string{string(c.ID) + ": the verdict says that " + string(other) + " is expected",
		string(c.ID) + ": the statement is not the registry's", "holds this claim, and the verdict does not list it"}
	for _, tt := range []struct {
		commit  string
		problem bool
	}{{"", true}, {"aaaaaaaaaaaa1234", true}, {"bbbbbbbbbbbb", false}} {
		v, err := Verify(f.Dir, tt.commit)
		if err != nil {
			t.Fatal(err)
		}
		said := v.Notes
		if tt.problem {
			said = v.Problems
		} else if len(v.Problems) > 0 {
			t.Errorf("another commit's registry made problems: %v", v.Problems)
		}
		for _, w := range want {
			if !strings.Contains(strings.Join(said, "\n"), w) {
				t.Errorf("commit %q: %q does not say %q", tt.commit, said, w)
			}
		}
	}
}

func TestParses(t *testing.T) {
	for _, tt := range []struct {
		kind, raw string
		ok        bool
	}{
		{KindText, "\x00\xff", true},
		{KindJSON, `[1]`, true}, {KindJSON, `[1`, false}, {KindJSON, ``, false}, {KindJSON, `{} {}`, false},
		{KindClusters, `[]`, true}, {KindSecrets, `x`, false},
		{KindYAML, "a: 1\n---\nb: [2]\n", true}, {KindYAML, "a: [1\n", false},
		{KindCurl, "body\n{\"http_code\":200}\n", true}, {KindCurl, "body", false}, {KindCurl, "", false},
		{KindCurl, "body\n{\"status\":200}\n", false},
		{KindAccessLog, "", true}, {KindAccessLog, "{\"a\":1}\n\n{\"b\":2}\n", true}, {KindAccessLog, "{\"a\":1}\nnull?\n", false},
		{KindPartnerLog, "[1]\n", false},
		{"poem", "", false},
	} {
		if err := parses(tt.kind, []byte(tt.raw)); (err == nil) != tt.ok {
			t.Errorf("parses(%s, %q) = %v", tt.kind, tt.raw, err)
		}
	}
}

func TestContradicts(t *testing.T) {
	for _, tt := range []struct {
		expected, seen string
		ok, want       bool
	}{
		{"77", "77", true, false}, {"77", "83", true, true}, {"77", "83", false, false}, {"77", "77", false, true},
		{"77", "77.0", true, false}, {"1m0s", "60s", true, false}, {"3s", "10s", true, true},
		{"yes", "no", true, true}, {"absent", "83", true, true}, {"absent", "absent", true, false},
		{"at most 3", "2", true, false}, {"UF", "UF,URX", true, false}, {"a SPIFFE id", "spiffe://x", true, false},
		{"", "", false, false},
	} {
		got := contradicts(Fact{Expected: tt.expected, Seen: tt.seen, OK: tt.ok})
		if (got != "") != tt.want {
			t.Errorf("contradicts(expected %q, seen %q, ok %v) = %q", tt.expected, tt.seen, tt.ok, got)
		}
	}
}

func TestOccurs(t *testing.T) {
	encoded, err := json.Marshal(map[string]string{"a": "x<y>&\"z\""})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		value, text string
		want        bool
	}{
		{"outbound|443||x", `{"c":"outbound|443||x"}`, true},
		{`x<y>&"z"`, string(encoded), true},
		{"https://x/y", `{"u":"https:\/\/x\/y"}`, true},
		{"tls:é", `{"u":"tls:\u00e9"}`, true},
		{"ROOTCA", `{"u":"ROOTCB"}`, false},
		{"de68d6", `{"serial":"DE68D6"}`, true},
		{"300s", `{"keepalive_time": 300}`, true}, {"300s", `{"keepalive_time": 30}`, false},
		{"exact:spiffe://a", `{"exact": "spiffe://a"}`, true}, {"exact:spiffe://a", `{"exact": "spiffe://b"}`, false},
	} {
		if got := occurs(tt.value, [][]byte{[]byte(tt.text)}); got != tt.want {
			t.Errorf("occurs(%q, %q) = %v", tt.value, tt.text, got)
		}
	}
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

// What the harness worked out is in no witness's words, but it has its bound.
func TestVerifyChecksBounds(t *testing.T) {
	for _, tt := range []struct {
		expected, seen string
		holds, bounded bool
	}{
		{">= 9.9s and <= 10.9s", "10.002s", true, true},
		{">= 9.9s and <= 10.9s", "11s", false, true},
		{">= 9.9s and <= 10.9s", "1m", false, true},
		{"> 0", "3", true, true},
		{"== 1", "0", false, true},
		{"3s", "3s", false, false},
		{"> 0", "absent", false, false},
		{"not 77", "83", false, false},
		{`contains "a" and contains "b"`, "7", false, false},
	} {
		if holds, bounded := within(tt.expected, tt.seen); bounded != tt.bounded || bounded && holds != tt.holds {
			t.Errorf("%s of %s: holds %v, bounded %v", tt.expected, tt.seen, holds, bounded)
		}
	}
	for _, f := range []Fact{{Expected: "<= 1.1s", Seen: "1.6s", OK: true}, {Expected: "> 0", Seen: "9", OK: false}} {
		if contradicts(f) == "" {
			t.Errorf("%+v goes through", f)
		}
	}
}

func TestVerifyFindsValuesInParts(t *testing.T) {
	evidence := [][]byte{[]byte(`{"keepalive_time":300,"keepalive_interval":30,"keepalive_probes":3,"address":"10.244.0.7","port_value":8444,"body":"{\"token\":\"t1\",\"status\":\"200\"}"}`)}
	for value, want := range map[string]bool{
		"300/30/3": true, "301/30/3": false, "10.244.0.7:8444": true, "10.244.0.8:8444": false, `{"token":"t1","sta…`: true, `{"token":"t2","sta…`: false,
	} {
		if got := occurs(value, evidence); got != want {
			t.Errorf("%s: %v", value, got)
		}
	}
}
