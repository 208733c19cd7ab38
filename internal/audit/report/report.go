// Package report renders an audit's report: for people at a terminal, for a ticket, for
// a browser, and for the programs of a CI. It decides nothing: what failed, and how bad
// it is, the report says. It opens no file and reads no clock, and must not import what
// asks a cluster.
//
// What a report holds comes from somebody's YAML. In every format a value stays text:
// it gives a terminal no command, and a page no markup.
package report

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"twohop/internal/audit"
)

// Options is what a rendering needs besides the report.
type Options struct {
	// Colour switches the text format's colours on.
	Colour bool
	// Width is the text format's widest line in columns: 100 if zero, and 80 to 120.
	Width int
	// Strict says that the exit code counts what is unknown as not passed; JUnit follows.
	Strict bool
	// Version of twohop, for SARIF.
	Version string
}

// formats are in the order in which help lists them; the first is the default.
var formats = []struct {
	name  string
	write func(io.Writer, *audit.Report, Options) error
}{
	{"text", writeText},
	{"short", writeShort},
	{"json", writeJSON},
	{"sarif", writeSARIF},
	{"junit", writeJUnit},
	{"markdown", writeMarkdown},
	{"metrics", writeMetrics},
	{"html", writeHTML},
}

// Formats lists the names that Write knows, the default first.
func Formats() []string {
	names := make([]string, 0, len(formats))
	for _, f := range formats {
		names = append(names, f.name)
	}
	return names
}

// Write renders a report; an empty format is the default. Nothing is written where it
// fails, so that no reader takes half a report for a whole one.
func Write(w io.Writer, format string, r *audit.Report, opts Options) error {
	if format == "" {
		format = formats[0].name
	}
	for _, f := range formats {
		if f.name != format {
			continue
		}
		var b bytes.Buffer
		if err := f.write(&b, r, opts); err != nil {
			return fmt.Errorf("the report cannot be written as %s: %w", format, err)
		}
		_, err := w.Write(b.Bytes())
		return err
	}
	return fmt.Errorf("unknown format %q: choose one of %s", format, strings.Join(Formats(), ", "))
}
