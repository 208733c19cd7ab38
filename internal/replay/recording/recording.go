// Package recording packs what a replay reads of a run into one small archive,
// and reads it back into memory: tests replay thousands of altered recordings
// without a disk. It keeps what was observed and what was said of it, and leaves
// out what is rendered from these; of the logs it keeps the lines that a check may
// read. So a recording is no run: verify-run refuses the gaps.
// The package judges nothing and knows no cluster.
package recording

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"twohop/internal/claim"
	"twohop/internal/observe"
	"twohop/internal/verdict"
)

// Files are a recording's files, by their paths within the run's folder.
type Files map[string][]byte

// ReadFile returns the bytes themselves: who alters them alters the recording.
func (f Files) ReadFile(name string) ([]byte, error) {
	raw, ok := f[name]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return raw, nil
}

// Walk lists the files below a folder, sorted.
func (f Files) Walk(dir string) ([]string, error) {
	var names []string
	for name := range f {
		if dir == "." || strings.HasPrefix(name, dir+"/") {
			names = append(names, name)
		}
	}
	if names == nil {
		return nil, &fs.PathError{Op: "open", Path: dir, Err: fs.ErrNotExist}
	}
	slices.Sort(names)
	return names, nil
}

// Clone is a copy whose files can be replaced. Their bytes are shared.
func (f Files) Clone() Files { return maps.Clone(f) }

// Take reads of a run what a recording keeps. Where claims are named, it keeps
// these alone: such a recording is a part to be put into another one.
func Take(run verdict.Files, only ...claim.ID) (Files, error) {
	raw, err := run.ReadFile(verdict.VerdictFile)
	if err != nil {
		return nil, err
	}
	v, err := verdict.Decode(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", verdict.VerdictFile, err)
	}
	files := Files{verdict.ManifestFile: nil}
	if len(only) > 0 {
		files = Files{}
		v.Run.Evidence = nil
		v.Claims = slices.DeleteFunc(v.Claims, func(c verdict.Result) bool { return !slices.Contains(only, c.ID) })
	}
	list := func(evidence []verdict.Evidence) {
		for _, e := range evidence {
			if e.Path != "" {
				files[e.Path] = nil
			}
		}
	}
	list(v.Run.Evidence)
	for _, c := range v.Claims {
		if c.Claim == "" {
			continue
		}
		list(c.Evidence)
		files[path.Join(verdict.FindingsDir, string(c.ID)+".json")] = nil
		files[c.Reproduce] = nil
	}
	for name := range files {
		if files[name], err = run.ReadFile(name); err != nil {
			return nil, err
		}
	}
	for i, l := range v.Run.Logs {
		whole, err := run.ReadFile(l.Path)
		if err != nil {
			return nil, err
		}
		if files[l.Path], err = trim(whole, windows(v, l.Path)); err != nil {
			return nil, fmt.Errorf("%s: %w", l.Path, err)
		}
		v.Run.Logs[i].SHA256 = verdict.Hash(files[l.Path])
	}
	files[verdict.VerdictFile], err = verdict.Encode(v)
	return files, err
}

// windows are those that the run's observations have on a log.
func windows(v *verdict.Verdict, log string) (on []verdict.Window) {
	for _, c := range v.Claims {
		for _, e := range c.Evidence {
			for _, w := range e.Windows {
				if w.Log == log {
					on = append(on, w)
				}
			}
		}
	}
	return on
}

// token is how a run's tokens look (observe.Key.Token).
var token = regexp.MustCompile(`t[0-9a-f]{16}`)

// trim keeps a log's last line, by whose number its length is known, the lines
// within a window and those about a request.
func trim(raw []byte, on []verdict.Window) ([]byte, error) {
	log, err := observe.ParseLog(raw, false)
	if err != nil {
		return nil, err
	}
	var kept []byte
	log.Each(func(n int, l observe.LogLine) {
		inside := slices.ContainsFunc(on, func(w verdict.Window) bool { return w.From <= n && n < w.To })
		if inside || n == log.Len()-1 || token.Match(l.Text) {
			kept = append(kept, observe.FormatLine(n, l)...)
		}
	})
	return kept, nil
}

// Pack writes the archive: the same bytes for the same files.
func (f Files) Pack() ([]byte, error) {
	var packed bytes.Buffer
	zipped, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	archive := tar.NewWriter(zipped)
	for _, name := range slices.Sorted(maps.Keys(f)) {
		h := &tar.Header{Name: name, Mode: 0o644, Size: int64(len(f[name])), ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR}
		if err := archive.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := archive.Write(f[name]); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(archive.Close(), zipped.Close()); err != nil {
		return nil, err
	}
	return packed.Bytes(), nil
}

// Unpack reads an archive that Pack wrote.
func Unpack(packed []byte) (Files, error) {
	zipped, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	files := Files{}
	for archive := tar.NewReader(zipped); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			return nil, err
		}
		if files[h.Name], err = io.ReadAll(archive); err != nil {
			return nil, err
		}
	}
}
