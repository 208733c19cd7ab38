package mutation

import (
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"twohop/internal/claim"
	"twohop/internal/replay"
	"twohop/internal/replay/recording"
	"twohop/internal/verdict"
)

// load reads the recording and what its facts read.
func load(t *testing.T) (*Suite, *Reads) {
	t.Helper()
	packed, err := os.ReadFile("testdata/whole.tgz")
	if err != nil {
		t.Fatal(err)
	}
	known, err := os.ReadFile("testdata/reads.json.gz")
	if err != nil {
		t.Fatal(err)
	}
	reads, err := UnpackReads(known)
	if err != nil {
		t.Fatal(err)
	}
	if verdict.Hash(packed) != reads.Recording {
		t.Fatal("testdata/reads.json.gz is of another recording: run \"make record\"")
	}
	files, err := recording.Unpack(packed)
	if err != nil {
		t.Fatal(err)
	}
	suite, err := Load(files)
	if err != nil {
		t.Fatal(err)
	}
	return suite, reads
}

func TestRecordingMutants(t *testing.T) {
	start := time.Now()
	debug.SetGCPercent(800) // replays are short-lived garbage: a fifth of the time
	suite, reads := load(t)
	t.Run("notice", func(t *testing.T) { mutantsNotice(t, suite, reads) })
	for id, why := range suite.Stale {
		t.Errorf("%s does not come out as recorded, so run \"make record\" with a finished run of these rules: %s", id, why)
	}
	score := suite.Run(reads)
	t.Logf("%s (%.1f s)", score.Line(), time.Since(start).Seconds())
	for _, part := range []struct {
		what  string
		lines []string
	}{
		{"recording mutants that no claim noticed (claim | document | field | what was done)", score.Survivors},
		{"facts that no alteration makes come out the other way", score.Unproven},
		{"what the facts read is out of date: run \"make record\"", score.Stale},
		{"exemptions that excuse nothing, so take them out of exempt.go (claim | document | field | what was done)", score.Unused},
	} {
		if len(part.lines) > 0 {
			t.Errorf("%s:\n%s", part.what, strings.Join(part.lines, "\n"))
		}
	}
	if score.Cases < 5000 || len(reads.Claims) != len(claim.All()) {
		t.Errorf("%d cases of %d claims are too few, or not all: the recording is not of a whole run", score.Cases, len(reads.Claims))
	}
}

// mutantsNotice tries the mutants themselves, on one claim. Reads that lack a field
// are out of date: then it is altered among the unread ones. A claim whose facts are
// as they were whatever is altered survives.
func mutantsNotice(t *testing.T, all *Suite, reads *Reads) {
	const id = "G4"
	at := slices.IndexFunc(all.subjects, func(s *subject) bool { return s.ID == id })
	if at < 0 {
		t.Fatalf("the recording lacks %s", id)
	}
	of := *all.subjects[at]
	suite := &Suite{subjects: []*subject{&of}}
	if score := suite.Run(reads); score.Killed < 80 || len(score.Stale)+len(score.Survivors)+len(score.Unproven) > 0 {
		t.Fatalf("%s as it is: %s\n%q %q %q", id, score.Line(), score.Stale, score.Survivors, score.Unproven)
	}
	known := *reads.Claims[id]
	known.Read = slices.DeleteFunc(slices.Clone(known.Read), func(r Read) bool { return len(r.Facts) > 0 })
	score := suite.Run(&Reads{Claims: map[claim.ID]*ClaimReads{id: &known}})
	if len(score.Stale) != 1 || !strings.HasPrefix(score.Stale[0], id+": altering what no fact reads moves ") {
		t.Errorf("reads that lack what facts read: %q", score.Stale)
	}
	if len(score.Unproven) == 0 {
		t.Error("facts that no case makes fail were not reported")
	}
	of.Claim = &replay.Claim{}
	*of.Claim = *all.subjects[at].Claim
	of.Verdict = claim.Inconclusive // as if nothing turned: an error is what was expected
	if score := suite.Run(reads); len(score.Survivors) < 60 {
		t.Errorf("%d survivors where whatever fails is as expected", len(score.Survivors))
	}
}
