package verdict

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
)

// LogsDir holds the whole logs of a run.
const LogsDir = "logs"

// SealLogs lists the run's logs with their hashes. Nobody may write them any more.
func (f *Folder) SealLogs() error {
	d, err := OpenRun(f.Dir)
	if err != nil {
		return fmt.Errorf("the run's folder cannot be opened: %w", err)
	}
	defer d.Close()
	files, err := d.Walk(LogsDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the logs cannot be listed: %w", err)
	}
	var logs []LogFile
	for _, file := range files {
		raw, err := d.ReadFile(file)
		if err != nil {
			return fmt.Errorf("a log cannot be read: %w", err)
		}
		// A process that was killed may have left a line without its end.
		if end := bytes.LastIndexByte(raw, '\n') + 1; end < len(raw) {
			raw = raw[:end]
			if err := writeAtomic(path.Join(f.Dir, file), raw); err != nil {
				return err
			}
		}
		logs = append(logs, LogFile{Path: file, SHA256: Hash(raw), Lines: bytes.Count(raw, []byte("\n"))})
	}
	return f.SetRun(func(r *Run) { r.Logs = logs })
}

// Decode reads a verdict.json of this API version.
func Decode(raw []byte) (*Verdict, error) {
	var v Verdict
	if err := decodeStrict(raw, &v); err != nil {
		return nil, err
	}
	if v.APIVersion != APIVersion {
		return nil, fmt.Errorf("apiVersion is %q; this program reads %q", v.APIVersion, APIVersion)
	}
	return &v, nil
}

// Message is what a run with these results says of itself; false where an outcome
// has a message that the claims do not give.
func Message(results []Result, o Outcome) (string, bool) {
	switch o {
	case Green, Running:
		return "", o == Green
	case Failed, Interrupted:
		return "", false
	}
	v := &Verdict{Claims: results, Totals: Count(results), Result: o}
	return v.summary(), true
}
