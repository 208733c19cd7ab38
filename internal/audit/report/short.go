package report

import (
	"fmt"
	"io"
	"strings"

	"twohop/internal/audit"
)

// writeShort writes a line for each finding, in the form that editors and problem
// matchers read from compilers, and then the totals. What is not a failure is named by
// its status in place of its severity.
func writeShort(w io.Writer, r *audit.Report, _ Options) error {
	r, err := readable(r)
	if err != nil {
		return err
	}
	for _, f := range sorted(r.Findings) {
		if _, err := fmt.Fprintln(w, shortLine(f)); err != nil {
			return err
		}
	}
	if s := nothing(r); s != "" {
		if _, err := fmt.Fprintln(w, flat(s)); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintln(w, strings.Join(totals(r), " · "))
	return err
}

func shortLine(f audit.Finding) string {
	var b strings.Builder
	if p := position(f); p != "" {
		b.WriteString(p + ": ")
	}
	word := string(f.Severity)
	if f.Status != audit.Fail {
		word = string(f.Status)
	}
	fmt.Fprintf(&b, "%s: [%s] ", word, f.ID)
	if at := target(f); at != "" {
		b.WriteString(at + ": ")
	}
	fmt.Fprintf(&b, "%s (seen %s, wanted %s)", stated(f), f.Seen, f.Wanted)
	if place := placeOf(f).String(); place != "" {
		b.WriteString(" at " + place)
	}
	return inert(flat(b.String()))
}
