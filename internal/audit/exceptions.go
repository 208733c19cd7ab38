package audit

import (
	"bytes"
	"fmt"
	"os"
	"time"

	"sigs.k8s.io/yaml"
)

// exceptionsFile is the format of a file of exceptions.
type exceptionsFile struct {
	Exceptions []Exception `json:"exceptions"`
}

// ReadExceptions reads a file of exceptions. One without an id, a reason, an owner or a
// date is an error that says which.
func ReadExceptions(path string) ([]Exception, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var f exceptionsFile
	if err := yaml.UnmarshalStrict(raw, &f); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for i, e := range f.Exceptions {
		for _, field := range [][2]string{{"id", e.ID}, {"reason", e.Reason}, {"owner", e.Owner}, {"expires", e.Expires}} {
			if field[1] == "" {
				return nil, fmt.Errorf("%s: exception %d has no %s", path, i+1, field[0])
			}
		}
		if _, known := kinds[e.ID]; !known {
			return nil, fmt.Errorf("%s: exception %d: there is no check %q", path, i+1, e.ID)
		}
		if _, err := time.Parse(time.DateOnly, e.Expires); err != nil {
			return nil, fmt.Errorf("%s: exception %d: expires is a day, such as 2027-01-31: %w", path, i+1, err)
		}
	}
	return f.Exceptions, nil
}

// baselineFor is how long a baseline's exceptions hold.
const baselineFor = 90 * 24 * time.Hour

// WriteBaseline writes an exception for each finding that fails. Owner and reason are
// for people to fill in: a file without them is refused when it is read.
func WriteBaseline(path string, r *Report, now time.Time) error {
	f := exceptionsFile{Exceptions: []Exception{}}
	seen := map[Exception]bool{}
	for _, found := range r.Findings {
		if found.Status != Fail {
			continue
		}
		e := Exception{ID: found.ID, Host: found.Host, Object: found.Object.String(), Reason: "found when the baseline was written: " + found.Title, Expires: now.Add(baselineFor).Format(time.DateOnly)}
		if !seen[e] {
			seen[e] = true
			f.Exceptions = append(f.Exceptions, e)
		}
	}
	raw, err := yaml.Marshal(f)
	if err != nil {
		return err
	}
	head := []byte("# Findings that were there when this file was written. Fill in each owner: without\n# one the file is refused.\n")
	return os.WriteFile(path, append(head, bytes.TrimSpace(raw)...), 0o644)
}
