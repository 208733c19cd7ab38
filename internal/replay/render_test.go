package replay

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"twohop/internal/replay/recording"
	"twohop/internal/verdict"
)

// onDisk writes a recording where a run's folder would be.
func onDisk(t *testing.T, files recording.Files) string {
	t.Helper()
	dir := t.TempDir()
	for name, raw := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, raw, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestTheReportOfARecordedRun(t *testing.T) {
	dir := onDisk(t, recordedRun(t))
	v, err := verdict.ReadVerdict(filepath.Join(dir, verdict.VerdictFile))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := verdict.WriteHTML(&b, v, dir); err != nil {
		t.Fatal(err)
	}
	html := b.String()
	for what, want := range map[string]string{
		"hop 1's limit in the picture":    ">max connections 77</text>",
		"hop 2's limit in the picture":    ">max connections 83</text>",
		"the flag of a refused request":   "response_flags: UC",
		"the partner's error":             "client sent no required SSL certificate",
		"istiod's words":                  "not authorized",
		"the witness that saw nothing":    "no line: this witness recorded nothing",
		"a step to see the claim by hand": "make e2e CLAIMS=",
	} {
		if !strings.Contains(html, want) {
			t.Errorf("%s: the report does not contain %q", what, want)
		}
	}
	for _, bad := range []string{"This file cannot be shown", "This file is missing", "This file was altered"} {
		if strings.Contains(html, bad) {
			t.Errorf("the report says %q of a run that is whole", bad)
		}
	}
	if len(html) > 2<<20 {
		t.Errorf("the report has %d bytes", len(html))
	}
	if d := verdict.Diff(v, v); !d.Same {
		t.Errorf("a run differs from itself: %s", d.Summary())
	}
}

// Files that are none are refused and named, wherever a replay reads.
func TestTrapsInARecordedRun(t *testing.T) {
	for _, name := range []string{
		"evidence/G1/check-004-curl.txt", "findings/G1.json", "reproduce/G1.sh", "manifest.yaml", "evidence/run/run-001-ground.json",
		"logs/partner-partner-5dcbfb6c9-g2r6q.log",
	} {
		for what, make := range map[string]func(path string) error{
			"a symbolic link": func(path string) error { return os.Symlink(path+".target", path) },
			"a FIFO":          func(path string) error { return syscall.Mkfifo(path, 0o644) },
		} {
			t.Run(what+" as "+name, func(t *testing.T) {
				t.Parallel()
				files := recordedRun(t)
				if _, ok := files[name]; !ok { // another recording has another pod
					for other := range files {
						if strings.HasPrefix(other, "logs/partner-") {
							name = other
						}
					}
				}
				dir := onDisk(t, files)
				path := filepath.Join(dir, filepath.FromSlash(name))
				if err := os.Rename(path, path+".target"); err != nil {
					t.Fatal(err)
				}
				if err := make(path); err != nil {
					t.Fatal(err)
				}
				d, err := verdict.OpenRun(dir)
				if err != nil {
					t.Fatal(err)
				}
				defer d.Close()
				v, err := verify(d, whole)
				if err != nil {
					t.Fatal(err)
				}
				if !says(v, name) || !says(v, what) {
					t.Errorf("no problem names %s and %q: %q", name, what, v.Problems)
				}
			})
		}
	}
}

// TestEveryByteOfEvidenceCounts alters one byte of each file that is listed with its hash.
func TestEveryByteOfEvidenceCounts(t *testing.T) {
	files := recordedRun(t)
	altered := 0
	for name, raw := range files {
		if !strings.HasPrefix(name, "evidence/") && !strings.HasPrefix(name, "logs/") {
			continue
		}
		raw = append([]byte{}, raw...)
		if len(raw) == 0 {
			raw = []byte{0}
		}
		raw[len(raw)/2] ^= 1
		files[name] = raw
		altered++
	}
	v, err := verify(files, whole)
	if err != nil {
		t.Fatal(err)
	}
	caught := 0
	for _, p := range v.Problems {
		if strings.Contains(p, " was altered: ") {
			caught++
		}
	}
	if caught != altered || altered == 0 {
		t.Errorf("%d of %d altered files were caught", caught, altered)
	}
}
