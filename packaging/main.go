// Packaging writes what goes beside a release's archives: a software bill of materials
// for each (SPDX 2.3), and the manifest by which krew installs the plugin. It reads what
// the linker wrote into the binaries and the archives' bytes; it must not import
// anything of the project.
package main

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"text/template"
	"time"
)

const usage = `Usage: packaging sbom -name NAME BINARY...
       packaging krew -version VERSION -url URL ARCHIVE...

Both print to standard output. scripts/release.sh calls them. SOURCE_DATE_EPOCH is the
time of an SBOM.
`

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "packaging:", err)
		os.Exit(2)
	}
}

func run(args []string, out io.Writer) error {
	if len(args) == 0 {
		return errors.New("say sbom or krew\n" + usage)
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	flags.Usage = func() { fmt.Fprint(flags.Output(), usage) }
	name := flags.String("name", "", "")
	version := flags.String("version", "", "")
	url := flags.String("url", "", "")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	if flags.NArg() == 0 {
		return errors.New("name at least one file\n" + usage)
	}
	switch args[0] {
	case "sbom":
		seconds, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64)
		if err != nil {
			return fmt.Errorf("SOURCE_DATE_EPOCH is no Unix time: %w", err)
		}
		return writeSBOM(out, *name, time.Unix(seconds, 0), flags.Args())
	case "krew":
		return writeKrew(out, *version, *url, flags.Args())
	}
	return fmt.Errorf("%s is no command\n%s", args[0], usage)
}

//go:embed krew.yaml.tmpl
var krewTemplate string

// krewVersion is what krew takes for a version.
var krewVersion = regexp.MustCompile(`^v(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?$`)

// archive is one platform of the manifest.
type archive struct{ Name, OS, Arch, SHA256 string }

// writeKrew writes the manifest of archives that are named as release.sh does:
// twohop_VERSION_OS_ARCH.tar.gz.
func writeKrew(out io.Writer, version, url string, paths []string) error {
	if !krewVersion.MatchString(version) {
		return fmt.Errorf("krew takes no version %q: name one such as v1.2.3", version)
	}
	if url == "" {
		return errors.New("krew wants an address for each archive: name their folder's with -url")
	}
	var archives []archive
	for _, path := range paths {
		name := filepath.Base(path)
		platform, ok := strings.CutPrefix(strings.TrimSuffix(name, ".tar.gz"), "twohop_"+version+"_")
		os, arch, both := strings.Cut(platform, "_")
		if !ok || !both {
			return fmt.Errorf("%s is not named twohop_%s_OS_ARCH.tar.gz", name, version)
		}
		sum, err := fileSHA256(path)
		if err != nil {
			return err
		}
		archives = append(archives, archive{Name: name, OS: os, Arch: arch, SHA256: sum})
	}
	manifest, err := template.New("krew").Parse(krewTemplate)
	if err != nil {
		return err
	}
	return manifest.Execute(out, map[string]any{"Version": version, "URL": strings.TrimSuffix(url, "/"), "Archives": archives})
}

func fileSHA256(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
