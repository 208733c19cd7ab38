package verdict

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// inTime fails the test instead of hanging it: a reader that opens a FIFO waits
// for a writer, and one that reads /dev/zero never ends.
func inTime(t *testing.T, what string, fn func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		fn()
	}()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatalf("%s did not return", what)
	}
}

// traps are what a run's folder may hold in place of a file, each made at path.
var traps = []struct {
	name, want string
	make       func(path string) error
}{
	{"link out", "a symbolic link", func(path string) error { return os.Symlink("/etc/hostname", path) }},
	{"relative link out", "a symbolic link", func(path string) error { return os.Symlink("../../../../etc/hostname", path) }},
	{"link in", "a symbolic link", func(path string) error {
		if err := os.WriteFile(path+".target", []byte("{}"), 0o644); err != nil {
			return err
		}
		return os.Symlink(filepath.Base(path)+".target", path)
	}},
	{"link to /dev/zero", "a symbolic link", func(path string) error { return os.Symlink("/dev/zero", path) }},
	{"FIFO", "a FIFO", func(path string) error { return syscall.Mkfifo(path, 0o644) }},
	{"folder", "a folder", func(path string) error { return os.Mkdir(path, 0o755) }},
	{"socket", "a socket", func(path string) error {
		fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
		if err != nil {
			return err
		}
		defer syscall.Close(fd)
		// A socket's address is short, a test's folder is not.
		short, err := os.MkdirTemp("", "s")
		if err != nil {
			return err
		}
		defer os.RemoveAll(short)
		if err := syscall.Bind(fd, &syscall.SockaddrUnix{Name: filepath.Join(short, "s")}); err != nil {
			return err
		}
		return os.Rename(filepath.Join(short, "s"), path)
	}},
	{"too large", "larger than 64 MiB", func(path string) error { return sparse(path, maxFileBytes+1) }},
}

func sparse(path string, bytes int64) error {
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		return err
	}
	return os.Truncate(path, bytes)
}

func openRun(t *testing.T, dir string) *RunDir {
	t.Helper()
	d, err := OpenRun(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func TestRunDirReadsRegularFilesOnly(t *testing.T) {
	for _, trap := range traps {
		t.Run(trap.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.Mkdir(filepath.Join(dir, "evidence"), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := trap.make(filepath.Join(dir, "evidence", "x")); err != nil {
				t.Fatal(err)
			}
			d := openRun(t, dir)
			inTime(t, "ReadFile", func() {
				if raw, err := d.ReadFile("evidence/x"); err == nil || !strings.Contains(err.Error(), trap.want) {
					t.Errorf("ReadFile() = %d bytes, error %v, want one that says %q", len(raw), err, trap.want)
				}
			})
			if names, err := d.Walk("evidence"); err != nil || (trap.name != "folder" && !slices.Contains(names, "evidence/x")) {
				t.Errorf("Walk() = %q, %v: what cannot be read must be listed all the same", names, err)
			}
		})
	}
}

func TestRunDirStaysWithinItsFolder(t *testing.T) {
	out := t.TempDir()
	dir := filepath.Join(out, "run")
	for path, content := range map[string]string{"secret": "outside", "run/evidence/G1/01-a": "a", "run/evidence/G2/01-b": "b"} {
		path = filepath.Join(out, path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	for link, target := range map[string]string{"evidence/G3": "G2", "evidence/G4": "../..", "findings": "evidence"} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	d := openRun(t, dir)
	for _, tt := range []struct{ name, want string }{
		{"../secret", "not a path within"},
		{"evidence/../../secret", "not a path within"},
		{"evidence/../evidence/G1/01-a", "not a path within"},
		{"./evidence/G1/01-a", "not a path within"},
		{filepath.Join(dir, "evidence/G1/01-a"), "not a path within"},
		{"", "not a path within"},
		{"evidence/G3/01-b", "evidence/G3 is not a folder (a symbolic link)"},
		{"evidence/G4/secret", "evidence/G4 is not a folder (a symbolic link)"},
		{"evidence/G1/01-a/b", "01-a is not a folder (a regular file)"},
	} {
		if raw, err := d.ReadFile(tt.name); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("ReadFile(%q) = %q, error %v, want one that says %q", tt.name, raw, err, tt.want)
		}
	}
	if _, err := d.ReadFile("evidence/G1/02-none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is missing: %v", err)
	}
	names, err := d.Walk("evidence")
	if want := []string{"evidence/G1/01-a", "evidence/G2/01-b", "evidence/G3", "evidence/G4"}; err != nil || !slices.Equal(names, want) {
		t.Errorf("Walk() = %q, %v, want %q", names, err, want)
	}
	if names, err := d.Walk("findings"); err == nil {
		t.Errorf("Walk() of a link = %q", names)
	}
	if _, err := d.Walk("nothing"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Walk() of a folder that is missing: %v", err)
	}
}

func TestRunDirCapsTheWholeRun(t *testing.T) {
	dir := t.TempDir()
	for name, n := range map[string]int{"a": 100, "b": 101, "c": 100} {
		if err := os.WriteFile(filepath.Join(dir, name), bytes.Repeat([]byte("x"), n), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	d := openRun(t, dir)
	d.left = 200
	for _, step := range []struct {
		name string
		fits bool
	}{{"a", true}, {"b", false}, {"c", true}, {"a", false}} {
		if _, err := d.ReadFile(step.name); (err == nil) != step.fits || (err != nil && !strings.Contains(err.Error(), "add up to more than 1024 MiB")) {
			t.Errorf("%s, with the cap nearly reached: %v", step.name, err)
		}
	}
}

func TestRunDirCapsWhatItLists(t *testing.T) {
	f := makeSample(t, t.TempDir(), false)
	d := openRun(t, f.Dir)
	names, err := d.Walk(FindingsDir)
	if err != nil || len(names) != 5 {
		t.Fatalf("Walk() = %q, %v", names, err)
	}
	d.entries = len(names)
	if names, err := d.Walk(FindingsDir); err == nil || !strings.Contains(err.Error(), "more than 5 entries") {
		t.Errorf("one entry too many (the folder counts): %q, %v", names, err)
	}
}

func TestAFindingInAFolderOfItsOwnIsRefused(t *testing.T) {
	f := makeSample(t, t.TempDir(), false)
	old, deep := filepath.Join(f.Dir, FindingsDir, "S1.json"), filepath.Join(f.Dir, FindingsDir, "x", "S1.json")
	if err := errors.Join(os.Mkdir(filepath.Dir(deep), 0o755), os.Rename(old, deep)); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Findings(); err == nil || !strings.Contains(err.Error(), "in a folder of its own") {
		t.Errorf("Findings() error = %v", err)
	}
}

func TestAFileThatIsReplacedIsNotRead(t *testing.T) {
	for _, trap := range traps {
		t.Run(trap.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "x")
			if err := os.WriteFile(path, []byte("{}"), 0o644); err != nil {
				t.Fatal(err)
			}
			d := openRun(t, dir)
			before, err := d.lstat("x")
			if err != nil {
				t.Fatal(err)
			}
			// Kept, so that its inode is not given to what takes its place.
			if err := errors.Join(os.Rename(path, path+".before"), trap.make(path)); err != nil {
				t.Fatal(err)
			}
			inTime(t, "open", func() {
				if f, err := d.open("x", before); err == nil {
					f.Close()
					t.Error("another file was opened")
				}
			})
		})
	}
}

func TestAFileThatGrowsWhileItIsReadIsCapped(t *testing.T) {
	d := &RunDir{left: 10}
	if raw, err := d.take("x", strings.NewReader("more than it said"), 4); err == nil {
		t.Errorf("take() = %q", raw)
	}
	if raw, err := d.take("x", strings.NewReader("0123456789"), 4); err != nil || len(raw) != 10 {
		t.Errorf("take() = %q, %v", raw, err)
	}
}

// TestNoReaderOfARunFallsForATrap puts each trap in the place of each file that
// a command reads, and has every reader look.
func TestNoReaderOfARunFallsForATrap(t *testing.T) {
	for _, trap := range traps {
		for _, file := range []string{VerdictFile, FindingsDir + "/S1.json", EvidenceDir + "/S1/check-002-curl", ReproduceDir + "/S1.sh"} {
			t.Run(trap.name+" as "+file, func(t *testing.T) {
				f := makeSample(t, t.TempDir(), false)
				v, err := f.Verdict()
				if err != nil {
					t.Fatal(err)
				}
				path := filepath.Join(f.Dir, file)
				if err := errors.Join(os.Remove(path), trap.make(path)); err != nil {
					t.Fatal(err)
				}
				inTime(t, "a reader", func() {
					_, err := ReadVerdict(filepath.Join(f.Dir, VerdictFile))
					if (err != nil) != (file == VerdictFile) || (err != nil && !strings.Contains(err.Error(), f.Dir)) {
						t.Errorf("ReadVerdict: %v", err)
					}
					if _, err := f.Findings(); (err != nil) != (strings.HasPrefix(file, FindingsDir) && trap.name != "folder") {
						t.Errorf("Findings: %v", err)
					}
					if err := ValidateFile(filepath.Join(f.Dir, VerdictFile)); (err != nil) != (file == VerdictFile) {
						t.Errorf("ValidateFile: %v", err)
					}
					html := renderHTML(t, v, f.Dir)
					if strings.HasPrefix(file, EvidenceDir) && !strings.Contains(html, trap.want) {
						t.Errorf("the report does not say %q of the evidence", trap.want)
					}
				})
			})
		}
	}
}
