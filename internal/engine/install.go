package engine

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// Install installs Debian packages, saying so first. It refuses, with one
// sentence on what to install by hand, where it may not or cannot. reason says
// what they are for.
func Install(ctx context.Context, o Options, reason string, packages ...string) error {
	list := strings.Join(packages, " ")
	if o.NoInstall {
		return &EnvironmentError{What: reason + ", and NO_INSTALL is set", Do: "install " + list + " by hand, or unset NO_INSTALL"}
	}
	if os.Geteuid() != 0 {
		return &EnvironmentError{What: reason + ", and this is not root", Do: "install " + list + " by hand, or run as root"}
	}
	apt, err := exec.LookPath("apt-get")
	if err != nil || !debianLike() {
		return &EnvironmentError{What: reason + ", and this is neither Debian nor Ubuntu", Do: "install " + list + " by hand"}
	}
	o.log("installing with apt: %s (%s)", list, reason)
	install := append([]string{"install", "-y", "--no-install-recommends"}, packages...)
	if err := aptGet(ctx, apt, install...); err == nil {
		return nil
	}
	// The lists may be missing or old: refresh them and try once more.
	if err := aptGet(ctx, apt, "update"); err != nil {
		return notAnswering(ctx, err)
	}
	if err := aptGet(ctx, apt, install...); err != nil {
		return notAnswering(ctx, err)
	}
	return nil
}

func notAnswering(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return &EnvironmentError{What: "apt could not install what is needed", Do: "see that the Debian mirror answers (`apt-get update`) and that the disk has room, then run again", Err: err}
}

func aptGet(ctx context.Context, apt string, args ...string) error {
	cmd := Process(ctx, apt, append([]string{"-q", "-o", "Acquire::Retries=2", "-o", "Acquire::http::Timeout=30", "-o", "Acquire::https::Timeout=30", "-o", "DPkg::Lock::Timeout=120"}, args...)...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("apt-get %s: %w: %s", args[0], err, lastLines(string(out), 3))
	}
	return nil
}

func installPodman(ctx context.Context, o Options, tried string) error {
	return Install(ctx, o, "no container engine answers ("+tried+")", "podman", "runc", "iptables")
}

// debianLike reports whether /etc/os-release says Debian, Ubuntu or a child of theirs.
func debianLike() bool {
	f, err := os.Open("/etc/os-release")
	if err != nil {
		return false
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), "=")
		if key != "ID" && key != "ID_LIKE" {
			continue
		}
		for _, id := range strings.Fields(strings.Trim(value, `"`)) {
			if id == "debian" || id == "ubuntu" {
				return true
			}
		}
	}
	return false
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], " / ")
}
