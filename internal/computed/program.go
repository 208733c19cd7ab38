package computed

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// Program finds the program with istiod's code of a line, such as "1.31": beside the
// command itself, as a release has it; in the cache; or compiled from the source tree at
// root, which takes Go and, the first time, minutes. say gets a line if it compiles.
func Program(ctx context.Context, root, cache, line string, say func(string)) (string, error) {
	name := "twohop-computed-" + line
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	if self, err := os.Executable(); err == nil {
		if resolved, err := filepath.EvalSymlinks(self); err == nil {
			self = resolved
		}
		if beside := filepath.Join(filepath.Dir(self), name); runs(beside) {
			return beside, nil
		}
	}
	if root == "" || cache == "" {
		return "", fmt.Errorf("there is no %s beside twohop: unpack the whole release archive, or run from a source tree with a home folder", name)
	}
	hash, err := sourceHash(filepath.Join(root, "images"), line)
	if err != nil {
		return "", err
	}
	kept := filepath.Join(cache, "computed-"+hash, name)
	if runs(kept) {
		return kept, nil
	}
	say("compiling istiod's code of line " + line + ": this takes minutes the first time, and is kept")
	return kept, build(ctx, root, line, kept)
}

func runs(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// sourceHash is that of all that decides the program.
func sourceHash(images, line string) (string, error) {
	sum := sha256.New()
	files, err := fs.Glob(os.DirFS(images), "computed/*.go")
	if err != nil {
		return "", err
	}
	for _, f := range append(files, "istio-"+line+"/go.mod", "istio-"+line+"/go.sum") {
		raw, err := os.ReadFile(filepath.Join(images, f))
		if err != nil {
			return "", fmt.Errorf("no module for Istio line %s: %w", line, err)
		}
		fmt.Fprintf(sum, "%s %d\n", f, len(raw))
		sum.Write(raw)
	}
	return hex.EncodeToString(sum.Sum(nil)[:8]), nil
}

// build compiles with the flags of the images, so that packages are compiled once for
// both: see internal/images.
func build(ctx context.Context, root, line, to string) error {
	temp := to + fmt.Sprintf(".%d", os.Getpid())
	defer os.Remove(temp)
	cmd := exec.CommandContext(ctx, "go", "build", "-modfile", filepath.Join("istio-"+line, "go.mod"), "-pgo=off",
		"-tags", "no_btrfs,no_devmapper,no_zfs,disable_pgv",
		"-ldflags", "-s -w -X istio.io/istio/pkg/version.buildVersion="+line, "-o", temp, "./computed")
	cmd.Dir = filepath.Join(root, "images")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false", "GOWORK=off")
	var errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &errs, &errs
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("istiod's code of line %s does not compile: %w: %s", line, err, last(errs.String()))
	}
	return os.Rename(temp, to)
}

func last(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

// DefaultLine is the Istio line whose code computes unless another one is asked for.
const DefaultLine = "1.31"
