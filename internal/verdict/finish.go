package verdict

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
)

// renderings are the files beside verdict.json, each made from it alone but
// for report.html, which also shows the evidence.
var renderings = []struct {
	file   string
	render func(w io.Writer, v *Verdict, dir string) error
}{
	{"result.txt", func(w io.Writer, v *Verdict, dir string) error { return WriteText(w, v, TextOptions{Dir: dir}) }},
	{"summary.md", func(w io.Writer, v *Verdict, _ string) error { return WriteMarkdown(w, v) }},
	{"junit.xml", func(w io.Writer, v *Verdict, _ string) error { return WriteJUnit(w, v) }},
	{"metrics.txt", func(w io.Writer, v *Verdict, _ string) error { return WriteMetrics(w, v) }},
	{"report.html", WriteHTML},
}

// Finish ends the run: it folds for the last time, writes verdict.json and
// validates it against the schema, and renders the files beside it.
//
// ending is Failed or Interrupted where the run did not come to its end;
// whatever else is passed, the claims decide the outcome. message is one
// sentence on why, and may be empty. The verdict is returned, and is on disk,
// even where rendering fails.
func (f *Folder) Finish(ending Outcome, message string) (*Verdict, error) {
	v, err := f.conclude(ending, message)
	if err != nil {
		return nil, err
	}
	return v, errors.Join(
		ValidateFile(filepath.Join(f.Dir, VerdictFile)),
		Render(f.Dir, v),
	)
}

// Render writes result.txt, summary.md, junit.xml, metrics.txt and report.html
// into a run's folder. One that fails does not keep the others from being written.
func Render(dir string, v *Verdict) error {
	var errs []error
	for _, r := range renderings {
		var b bytes.Buffer
		if err := r.render(&b, v, dir); err != nil {
			errs = append(errs, fmt.Errorf("%s cannot be rendered: %w", r.file, err))
			continue
		}
		errs = append(errs, writeAtomic(filepath.Join(dir, r.file), b.Bytes()))
	}
	return errors.Join(errs...)
}
