package verdict

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestWhatIsJudgedIsSynced holds the order too: a file's bytes are on the disk
// before it takes its name, and that name before the next file is written.
func TestWhatIsJudgedIsSynced(t *testing.T) {
	f, err := Create(t.TempDir(), Run{}, two)
	if err != nil {
		t.Fatal(err)
	}
	var synced []string
	f.sync = func(file *os.File) error {
		name := filepath.Base(file.Name())
		if strings.HasPrefix(name, ".tmp-") {
			raw, err := os.ReadFile(file.Name())
			if err != nil || len(raw) == 0 {
				t.Errorf("synced before it was written: %v", err)
			}
			name = "file"
		}
		synced = append(synced, name)
		return nil
	}
	if _, _, err := f.SaveFile("X1", "a", []byte("a")); err != nil {
		t.Fatal(err)
	}
	if len(synced) > 0 {
		t.Errorf("evidence was synced: %q", synced)
	}
	if err := f.Record(Finding{Claim: "X1"}); err != nil {
		t.Fatal(err)
	}
	if want := []string{"file", FindingsDir, "file", filepath.Base(f.Dir)}; !slices.Equal(synced, want) {
		t.Errorf("synced %q, want %q", synced, want)
	}
	f.sync = func(*os.File) error { return os.ErrInvalid }
	if err := f.Record(Finding{Claim: "X2"}); err == nil {
		t.Error("a finding that did not reach the disk counts as recorded")
	}
}

// BenchmarkWrite measures what it costs to have a file's bytes on the disk
// before going on.
func BenchmarkWrite(b *testing.B) {
	for _, n := range []int{4 << 10, 256 << 10} {
		content := bytes.Repeat([]byte("x"), n)
		for name, sync := range map[string]func(*os.File) error{
			"cached": func(*os.File) error { return nil }, "synced": (*os.File).Sync,
		} {
			b.Run(name+"/"+size(int64(n)), func(b *testing.B) {
				path := filepath.Join(b.TempDir(), "file")
				for b.Loop() {
					if err := replace(path, content, sync); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
