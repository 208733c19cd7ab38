// Package twohop is the rules by which a verdict follows from observations: the
// sources of all that judges, as they were compiled in. Only a program with the
// same rules can work a run's verdict out again. It reads them as bytes, and must
// not import anything of the project.
package twohop

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"strings"
)

// sources are the rooms that judge, what they judge with, and go.sum, which pins
// the libraries. A test holds the list against the imports of package suites.
//
//go:embed go.sum suites fixtures partner-nginx
//go:embed internal/analysis internal/check internal/claim internal/envoy internal/experiment internal/manifest
//go:embed internal/observe internal/probe internal/replay/*.go internal/sockets internal/subject internal/verdict
var sources embed.FS

// Rules is the hash of the sources, tests and recordings left out.
func Rules() string {
	sum := sha256.New()
	err := fs.WalkDir(sources, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(path, "_test.go") || strings.Contains(path, "/testdata/") || strings.HasPrefix(path, "internal/observe/live/") {
			return err
		}
		raw, err := fs.ReadFile(sources, path)
		if err != nil {
			return err
		}
		// A checkout may have other line ends.
		raw = bytes.ReplaceAll(raw, []byte("\r\n"), []byte("\n"))
		fmt.Fprintf(sum, "%s %d\n%s", path, len(raw), raw)
		return nil
	})
	if err != nil {
		panic(err) // the files are part of the program
	}
	return hex.EncodeToString(sum.Sum(nil)[:16])
}
