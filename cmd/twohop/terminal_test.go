package main

import (
	"bytes"
	"os"
	"testing"
)

func TestOnlyATerminalIsOne(t *testing.T) {
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if isTerminal(null) {
		t.Error("/dev/null counts as a terminal: it is a device, and nobody looks at it")
	}
	if isTerminal(&bytes.Buffer{}) {
		t.Error("a buffer counts as a terminal")
	}
	if opts := textOptions(null); opts.Colour || opts.Width != 0 {
		t.Errorf("options for /dev/null: %+v", opts)
	}
}
