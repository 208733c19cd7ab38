package verdict

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"twohop/internal/claim"
)

// What a run's folder may make its reader take in. A whole run holds tens of
// MiB, its largest file a few.
const (
	maxFileBytes = 64 << 20
	maxRunBytes  = 1 << 30
	maxRunFiles  = 100_000
)

// RunDir reads a run's folder, which somebody else may have made: regular
// files only, within the folder only, of bounded size, and without ever waiting
// for a writer. It is not safe for concurrent use.
type RunDir struct {
	root    *os.Root
	left    int64 // bytes that may still be read
	entries int   // how many a folder may have
}

// OpenRun opens a run's folder for reading. dir itself may be a link, as
// out/latest is: the caller named it.
func OpenRun(dir string) (*RunDir, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &RunDir{root: root, left: maxRunBytes, entries: maxRunFiles}, nil
}

// Close releases the folder.
func (d *RunDir) Close() error { return d.root.Close() }

// ReadFile reads a file by its path within the folder, as evidence entries
// spell it: separated by slashes, without "." and "..". It refuses links,
// folders, FIFOs, sockets, devices, files of more than 64 MiB, and anything once
// the reads of this RunDir add up to 1 GiB. A file that is missing is fs.ErrNotExist.
func (d *RunDir) ReadFile(name string) ([]byte, error) {
	before, err := d.lstat(name)
	if err != nil {
		return nil, err
	}
	if !before.Mode().IsRegular() {
		return nil, refused(name, before.Mode())
	}
	f, err := d.open(name, before)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return d.take(name, f, before.Size())
}

// open opens the file that was looked at before, and no other that took its
// place since: with O_NONBLOCK, since opening a FIFO would wait for a writer.
func (d *RunDir) open(name string, before fs.FileInfo) (*os.File, error) {
	f, err := d.root.OpenFile(filepath.FromSlash(name), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	opened, err := f.Stat()
	if err == nil && !os.SameFile(before, opened) {
		err = fmt.Errorf("%s was replaced while it was being read", name)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// take reads a file of the given size, which may have grown since, and counts
// its bytes.
func (d *RunDir) take(name string, f io.Reader, n int64) (raw []byte, err error) {
	most := min(maxFileBytes, d.left)
	if n <= most {
		if raw, err = io.ReadAll(io.LimitReader(f, most+1)); err != nil {
			return nil, err
		}
		n = int64(len(raw))
	}
	switch {
	case n > maxFileBytes:
		return nil, fmt.Errorf("%s is larger than %d MiB", name, maxFileBytes>>20)
	case n > most:
		return nil, fmt.Errorf("%s does not fit: the files read of this run add up to more than %d MiB", name, maxRunBytes>>20)
	}
	d.left -= n
	return raw, nil
}

// Walk lists everything below a folder that is not a folder itself, by path
// within the run's folder and sorted. It follows no link and lists what ReadFile
// refuses too. A folder that is missing is fs.ErrNotExist; more than 100,000
// entries are an error.
func (d *RunDir) Walk(dir string) ([]string, error) {
	info, err := d.lstat(dir)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("%s is not a folder (%s)", dir, kindOf(info.Mode()))
	}
	var names []string
	seen := 0
	err = fs.WalkDir(d.root.FS(), dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if seen++; seen > d.entries {
			return fmt.Errorf("%s has more than %d entries", dir, d.entries)
		}
		if !e.IsDir() {
			names = append(names, name)
		}
		return nil
	})
	return names, err
}

// Has reports whether ReadFile would find a regular file.
func (d *RunDir) Has(name string) bool {
	info, err := d.lstat(name)
	return err == nil && info.Mode().IsRegular()
}

// lstat looks at a path and at each folder on the way: os.Root follows links
// that stay inside, and then one claim's folder could stand for another's.
func (d *RunDir) lstat(name string) (fs.FileInfo, error) {
	if !fs.ValidPath(name) {
		return nil, fmt.Errorf("%q is not a path within the run's folder", name)
	}
	for at := range name {
		if name[at] != '/' {
			continue
		}
		info, err := d.root.Lstat(filepath.FromSlash(name[:at]))
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			return nil, fmt.Errorf("%s is not a folder (%s)", name[:at], kindOf(info.Mode()))
		}
	}
	return d.root.Lstat(filepath.FromSlash(name))
}

func refused(name string, mode fs.FileMode) error {
	return fmt.Errorf("%s is not a regular file (%s)", name, kindOf(mode))
}

func kindOf(mode fs.FileMode) string {
	switch mode.Type() {
	case 0:
		return "a regular file"
	case fs.ModeDir:
		return "a folder"
	case fs.ModeSymlink:
		return "a symbolic link"
	case fs.ModeNamedPipe:
		return "a FIFO"
	case fs.ModeSocket:
		return "a socket"
	}
	return "a device"
}

// readRunFile reads one file by its path on this machine, by RunDir's rules.
func readRunFile(path string) ([]byte, error) {
	d, err := OpenRun(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.ReadFile(filepath.Base(path))
}

// Files are a run's files, by their paths within its folder: a RunDir, or what
// was read of one. A file that is missing is fs.ErrNotExist.
type Files interface {
	ReadFile(name string) ([]byte, error)
	// Walk lists all files below a folder, sorted.
	Walk(dir string) ([]string, error)
}

// ReadFindings reads every finding, by the claim that its file names.
func ReadFindings(run Files) (map[claim.ID]Finding, error) {
	findings := map[claim.ID]Finding{}
	paths, err := run.Walk(FindingsDir)
	if errors.Is(err, fs.ErrNotExist) {
		return findings, nil
	}
	if err != nil {
		return nil, fmt.Errorf("the findings cannot be listed: %w", err)
	}
	for _, p := range paths {
		id, isFinding := strings.CutSuffix(path.Base(p), ".json")
		if !isFinding || strings.HasPrefix(id, ".") {
			continue // a temporary file of a process that was killed
		}
		if path.Dir(p) != FindingsDir {
			return nil, fmt.Errorf("%s is not a finding: it is in a folder of its own", p)
		}
		raw, err := run.ReadFile(p)
		if err != nil {
			return nil, fmt.Errorf("a finding cannot be read: %w", err)
		}
		var finding Finding
		if err := decodeStrict(raw, &finding); err != nil {
			return nil, fmt.Errorf("%s is not a finding: %w", p, err)
		}
		findings[claim.ID(id)] = finding
	}
	return findings, nil
}
