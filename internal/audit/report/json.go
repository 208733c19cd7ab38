package report

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"io"
	"slices"
	"strings"
	"unicode/utf16"

	"twohop/internal/audit"
)

//go:embed schema.json
var schemaJSON []byte

// Schema returns the JSON Schema (draft 2020-12) of the report.
func Schema() []byte { return bytes.Clone(schemaJSON) }

// writeJSON writes the report as it is, with a list where there is nothing to list:
// programs need not tell an empty list from null.
func writeJSON(w io.Writer, r *audit.Report, _ Options) error {
	whole := *r
	whole.Run.Inputs = list(r.Run.Inputs)
	whole.Channels = list(slices.Clone(r.Channels))
	whole.Findings, whole.Checks = list(r.Findings), list(r.Checks)
	if whole.Totals.Failed == nil {
		whole.Totals.Failed = map[audit.Severity]int{}
	}
	for i := range whole.Channels {
		c := &whole.Channels[i]
		c.Ports, c.Why, c.Callers, c.Gateways = list(c.Ports), list(c.Why), list(c.Callers), list(c.Gateways)
		c.Objects, c.Hops = list(c.Objects), list(c.Hops)
	}
	return encode(w, whole)
}

func list[T any](items []T) []T {
	if items == nil {
		return []T{}
	}
	return items
}

// encode writes indented JSON. JSON escapes only the control characters of ASCII; the
// others would reach a terminal, and are escaped too, which leaves the value the same.
func encode(w io.Writer, value any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(value); err != nil {
		return err
	}
	var out strings.Builder
	for _, r := range b.String() {
		switch {
		case r == '\n' || !unseen(r):
			out.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			out.WriteString(spelled(high) + spelled(low))
		default:
			out.WriteString(spelled(r))
		}
	}
	_, err := io.WriteString(w, out.String())
	return err
}
