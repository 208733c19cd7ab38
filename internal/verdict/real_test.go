package verdict

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"twohop/internal/claim"
)

// realRun unpacks the folder of a run of the goals on a live cluster (source
// lane, Istio 1.31) and folds it with this program, whose words may be newer.
func realRun(t *testing.T) *Folder {
	t.Helper()
	archive, err := os.Open(filepath.Join("testdata", "real-run.tgz"))
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	unzipped, err := gzip.NewReader(archive)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for files := tar.NewReader(unzipped); ; {
		h, err := files.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, filepath.FromSlash(h.Name))
		if h.Typeflag == tar.TypeDir {
			err = os.MkdirAll(path, 0o755)
		} else {
			var raw []byte
			if raw, err = io.ReadAll(files); err == nil {
				err = os.WriteFile(path, raw, 0o644)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	f, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Finish("", ""); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestARealRunFoldsVerifiesAndRenders(t *testing.T) {
	f := realRun(t)
	v, err := f.Verdict()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range v.Claims {
		if r.Verdict != claim.Supported && r.Verdict != claim.Refuted {
			t.Errorf("%s: %s: %s", r.ID, r.Verdict, r.Reason)
		}
	}
	checked, err := Verify(f.Dir, "")
	if err != nil {
		t.Fatal(err)
	}
	if len(checked.Problems) > 0 {
		t.Errorf("a real run does not verify:\n%s", strings.Join(checked.Problems, "\n"))
	}
	if checked.Files < 80 || checked.Facts < 100 {
		t.Errorf("%d files and %d facts were checked: too few", checked.Files, checked.Facts)
	}
	if d := Diff(v, v); !d.Same {
		t.Errorf("a run differs from itself: %s", d.Summary())
	}

	html := renderHTML(t, v, f.Dir)
	for what, want := range map[string]string{
		"hop 1's limit in the picture":    ">max connections 77</text>",
		"hop 2's limit in the picture":    ">max connections 83</text>",
		"hop 2's secret in the picture":   ">certificate kubernetes://partner-client-cre",
		"the deciding field of a proxy":   "<mark>        &#34;max_connections&#34;: 77,</mark>",
		"the flag of a refused request":   "response_flags: UC",
		"the partner's error":             "client sent no required SSL certificate",
		"istiod's words":                  "not authorized",
		"the witness that saw nothing":    "no line: this witness recorded nothing",
		"a step to see the claim by hand": "make up",
	} {
		if !strings.Contains(html, want) {
			t.Errorf("%s: the report does not contain %q", what, want)
		}
	}
	if len(html) > 2<<20 {
		t.Errorf("the report has %d bytes", len(html))
	}
	for _, r := range v.Claims {
		c := viewClaim(r, openRun(t, f.Dir))
		for _, p := range c.Probes {
			if p.Token == "" || len(p.Witness) != 4 {
				t.Errorf("%s, %s: %d witnesses of token %q, want curl, sidecar, gateway and partner", r.ID, p.Title, len(p.Witness), p.Token)
			}
		}
	}
}

// TestEveryTamperedByteOfARealRunShows alters one byte of each evidence file in
// turn.
func TestEveryTamperedByteOfARealRunShows(t *testing.T) {
	f := realRun(t)
	v, err := f.Verdict()
	if err != nil {
		t.Fatal(err)
	}
	altered := 0
	for _, r := range v.Claims {
		for _, e := range r.Evidence {
			path := filepath.Join(f.Dir, filepath.FromSlash(e.Path))
			raw, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if len(raw) == 0 {
				raw = []byte{0}
			}
			raw[len(raw)/2] ^= 1
			if err := os.WriteFile(path, raw, 0o644); err != nil {
				t.Fatal(err)
			}
			altered++
		}
	}
	checked, err := Verify(f.Dir, "")
	if err != nil {
		t.Fatal(err)
	}
	caught := 0
	for _, p := range checked.Problems {
		if strings.Contains(p, " was altered: ") {
			caught++
		}
	}
	if caught != altered || altered == 0 {
		t.Errorf("%d of %d altered files were caught", caught, altered)
	}
}
