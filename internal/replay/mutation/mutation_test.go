package mutation

import (
	"flag"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"twohop/internal/replay/recording"
	"twohop/internal/verdict"
)

// Gaps, which nobody has explained or closed yet, are listed in testdata/gaps.txt:
// a new one fails the test, and so does one that is no more, so that the list can
// only be true. "go test ./internal/replay/mutation -update" writes it anew, for a
// reviewer to read; an exemption, with its reason, is the other way off the list.
var update = flag.Bool("update", false, "write testdata/gaps.txt anew")

const gapsFile = "testdata/gaps.txt"

func TestRecordingMutants(t *testing.T) {
	start := time.Now()
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
	for id, why := range suite.Stale {
		t.Errorf("%s does not come out as recorded, so run \"make record\" with finished runs of these rules: %s", id, why)
	}
	score := suite.Run(reads)
	t.Logf("%s (%.1f s)", score.Line(), time.Since(start).Seconds())
	for _, line := range score.Stale {
		t.Errorf("what the facts read is out of date, so run \"make record\": %s", line)
	}
	var gaps []string
	for _, line := range score.Survivors {
		gaps = append(gaps, "survived: "+oneLine(line))
	}
	for _, line := range score.Unproven {
		gaps = append(gaps, "never turned: "+oneLine(line))
	}
	if *update {
		if err := os.WriteFile(gapsFile, []byte(strings.Join(gaps, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	raw, err := os.ReadFile(gapsFile)
	if err != nil {
		t.Fatal(err)
	}
	listed := strings.Split(strings.TrimSuffix(string(raw), "\n"), "\n")
	for _, gap := range gaps {
		if !slices.Contains(listed, gap) {
			t.Errorf("a new gap (claim | document | field | what was done): %s", gap)
		}
	}
	for _, line := range listed {
		if line != "" && !slices.Contains(gaps, line) {
			t.Errorf("%s lists what is no gap any more: %s", gapsFile, line)
		}
	}
	for _, e := range score.Unused {
		t.Errorf("the exemption %+v excuses nothing: take it out", e)
	}
	if score.Cases < 5000 || len(reads.Claims) < 90 {
		t.Errorf("%d cases of %d claims are too few: the recording is not of a whole run", score.Cases, len(reads.Claims))
	}
}

func oneLine(s string) string { return strings.ReplaceAll(s, "\n", " ") }
