package replay

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"twohop/internal/claim"
	"twohop/internal/observe"
	"twohop/internal/replay/recording"
	"twohop/internal/verdict"
)

// lateLine appends a line about a claim's request to a log, as if it had been held
// back until the run's end.
func lateLine(t *testing.T, files recording.Files, id claim.ID, role string) {
	t.Helper()
	f := forge(t, files)
	name, text := f.window(id, "check", role).Log, `{"path":"/probe/`+f.token(id, "check")+`"}`
	log, err := observe.ParseLog(files[name], true)
	if err != nil {
		t.Fatal(err)
	}
	var last observe.LogLine
	log.Each(func(_ int, l observe.LogLine) { last = l })
	files[name] = append(bytes.Clone(files[name]), observe.FormatLine(log.Len(), observe.LogLine{At: last.At, Text: []byte(text)})...)
	f.seal()
}

// withoutGaps numbers the lines of a recording's logs anew, so that they are those
// of a run.
func withoutGaps(t *testing.T, files recording.Files) {
	t.Helper()
	f := forge(t, files)
	for _, l := range f.v.Run.Logs {
		log, err := observe.ParseLog(files[l.Path], true)
		if err != nil {
			t.Fatal(err)
		}
		var raw []byte
		place, n := make([]int, log.Len()+1), 0
		for old := range log.Len() {
			place[old] = n
			if lines, _ := log.Range(old, old+1); len(lines) == 1 {
				raw = append(raw, observe.FormatLine(n, lines[0])...)
				n++
			}
		}
		place[log.Len()] = n
		files[l.Path] = raw
		f.windows(func(w *verdict.Window) {
			if w.Log == l.Path {
				w.From, w.To = place[w.From], place[w.To]
			}
		})
	}
	f.seal()
}

// A run that seals its logs and its replay say the same of a line that came late:
// what the claim says of absence or number is not proven.
func TestALateLineMakesItsClaimInconclusive(t *testing.T) {
	for _, role := range []string{"gateway", "partner", "sidecar"} {
		t.Run(role, func(t *testing.T) {
			t.Parallel()
			files := recordedRun(t)
			withoutGaps(t, files)
			none, err := Late(onDisk(t, files))
			if err != nil || len(none) > 0 {
				t.Fatalf("Late() = %v, %v where nothing came late", none, err)
			}
			lateLine(t, files, "G4", role)
			dir := onDisk(t, files)
			late, err := Late(dir)
			if err != nil {
				t.Fatal(err)
			}
			if len(late) != 1 || !strings.Contains(late["G4"], "came after the log had been read up to line") {
				t.Fatalf("Late() = %v", late)
			}

			v, err := verify(files, options{otherRules: true})
			if err != nil {
				t.Fatal(err)
			}
			if !says(v, "G4: the check cannot be made again: line ") {
				t.Errorf("verify-run does not see the late line: %q", v.Problems)
			}

			// The run records what it found, and then they agree.
			folder, err := verdict.Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			findings, err := folder.Findings()
			if err != nil {
				t.Fatal(err)
			}
			finding := findings["G4"]
			finding.Error = late["G4"]
			if err := folder.Record(finding); err != nil {
				t.Fatal(err)
			}
			ended, err := folder.Finish("", "")
			if err != nil {
				t.Fatal(err)
			}
			if g4 := ended.Claims[len(ended.Claims)-1]; g4.ID != "G4" || g4.Verdict != claim.Inconclusive || ended.Result != verdict.Inconclusive {
				t.Errorf("%s is %s, the run %s", g4.ID, g4.Verdict, ended.Result)
			}
			run, err := verdict.OpenRun(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer run.Close()
			if v, err = verify(run, options{otherRules: true}); err != nil || len(v.Problems) > 0 {
				t.Errorf("verify-run does not agree with the run: %v, %q", err, v.Problems)
			}
		})
	}
}

func TestLateNeedsAWholeRun(t *testing.T) {
	files := recordedRun(t)
	if _, err := Late(onDisk(t, files)); err == nil || !strings.Contains(err.Error(), "is not as a run keeps it") {
		t.Errorf("gaps in the logs: %v", err)
	}
	withoutGaps(t, files)
	dir := onDisk(t, files)
	if err := os.Remove(filepath.Join(dir, "evidence", "G1", "check-004-curl.txt")); err != nil {
		t.Fatal(err)
	}
	if _, err := Late(dir); err == nil || !strings.Contains(err.Error(), "it is missing") {
		t.Errorf("evidence that is missing: %v", err)
	}
}
