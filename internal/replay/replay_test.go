package replay

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"twohop/internal/replay/recording"
	"twohop/internal/verdict"
)

// fixture is a recording of a run of the goals, other one of G1 alone from
// another run on the same cluster. "make record" renews them.
var (
	fixture = sync.OnceValues(func() (recording.Files, error) { return unpack("run.tgz") })
	other   = sync.OnceValues(func() (recording.Files, error) { return unpack("other-g1.tgz") })
)

func unpack(name string) (recording.Files, error) {
	packed, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		return nil, err
	}
	return recording.Unpack(packed)
}

// whole makes tests take a recording for a run: of whatever rules, with gaps.
var whole = options{otherRules: true, gaps: true}

// recordedRun is the fixture, to be altered.
func recordedRun(t testing.TB) recording.Files {
	t.Helper()
	files, err := fixture()
	if err != nil {
		t.Fatal(err)
	}
	return files.Clone()
}

func TestARecordingVerifies(t *testing.T) {
	v, err := verify(recordedRun(t), whole)
	if err != nil {
		t.Fatal(err)
	}
	if len(v.Problems) > 0 {
		t.Errorf("the recording is stale: run \"make record\" with a finished run of these rules. What differs:\n%s", strings.Join(v.Problems, "\n"))
	}
	if v.Claims < 7 || v.Facts < 150 || v.Files < 140 {
		t.Errorf("%d claims, %d facts and %d files were checked: too few", v.Claims, v.Facts, v.Files)
	}
}

// A recording is no run: its logs have gaps, and verify-run takes none.
func TestVerifyRunRefusesARecording(t *testing.T) {
	v, err := verify(recordedRun(t), options{otherRules: true})
	if err != nil {
		t.Fatal(err)
	}
	if !says(v, "is not as a run keeps it: line") {
		t.Errorf("gaps in the logs went through: %q", v.Problems)
	}
	files := recordedRun(t)
	was, err := verdict.Decode(files[verdict.VerdictFile])
	if err != nil {
		t.Fatal(err)
	}
	files[verdict.VerdictFile] = bytes.ReplaceAll(files[verdict.VerdictFile], []byte(was.Run.Rules), []byte(strings.Repeat("0", len(was.Run.Rules))))
	v, err = verify(files, options{gaps: true})
	if err != nil {
		t.Fatal(err)
	}
	if len(v.Problems) != 1 || !says(v, "was judged by other rules") {
		t.Errorf("other rules went through: %q", v.Problems)
	}
}

func says(v *verdict.Verification, text string) bool {
	return strings.Contains(strings.Join(v.Problems, "\n"), text)
}

func BenchmarkVerify(b *testing.B) {
	files := recordedRun(b)
	for b.Loop() {
		if _, err := verify(files, whole); err != nil {
			b.Fatal(err)
		}
	}
}
