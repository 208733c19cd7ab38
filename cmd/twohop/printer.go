package main

import (
	"fmt"
	"io"
	"os"
	"time"
)

// printer writes progress: each line with the seconds since the start.
type printer struct {
	w     io.Writer
	start time.Time
}

func newPrinter(w io.Writer) *printer { return &printer{w: w, start: time.Now()} }

func (p *printer) printf(format string, args ...any) {
	fmt.Fprintf(p.w, "%7.1fs  %s\n", time.Since(p.start).Seconds(), fmt.Sprintf(format, args...))
}

func (p *printer) println(line string) { fmt.Fprintln(p.w, line) }

// live is the terminal that a long build may rewrite a line of, or nil.
func (p *printer) live() *os.File {
	if !isTerminal(p.w) {
		return nil
	}
	return p.w.(*os.File)
}
