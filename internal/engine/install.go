package engine

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
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
	err = aptGet(ctx, apt, install...)
	if err == nil {
		return nil
	}
	if silentMirror.MatchString(err.Error()) {
		return notAnswering(ctx, err)
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

// silentMirror is what apt writes of a mirror that does not answer; asking it
// for newer lists would only take longer.
var silentMirror = regexp.MustCompile(`(?i)connection (failed|timed out|refused)|(could not|unable to|cannot) (connect|resolve)|temporary failure`)

func notAnswering(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return &EnvironmentError{What: "apt could not install what is needed", Do: "see that the Debian mirror answers (`apt-get update`) and that the disk has room, then run again", Err: err}
}

// failuresEnough is after how many failures to connect a mirror counts as
// silent: apt itself would go on with every package of a long list.
const failuresEnough = 2

func aptGet(ctx context.Context, apt string, args ...string) error {
	bounded, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := Process(bounded, apt, append([]string{"-q", "-o", "Acquire::Retries=1", "-o", "Acquire::http::Timeout=20", "-o", "Acquire::https::Timeout=20", "-o", "DPkg::Lock::Timeout=120"}, args...)...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C")
	out := &aptOutput{silent: cancel}
	cmd.Stdout, cmd.Stderr = out, out // the same writer: exec calls it from one goroutine
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("apt-get %s: %w: %s", args[0], err, lastLines(string(out.text), 3))
	}
	return nil
}

// aptOutput keeps what apt writes, and says when its mirror is silent.
type aptOutput struct {
	text     []byte
	line     []byte
	failures int
	silent   func()
}

func (o *aptOutput) Write(p []byte) (int, error) {
	o.text = append(o.text, p...)
	for _, b := range p {
		if b != '\n' {
			o.line = append(o.line, b)
			continue
		}
		if silentMirror.Match(o.line) {
			if o.failures++; o.failures == failuresEnough {
				o.silent()
			}
		}
		o.line = o.line[:0]
	}
	return len(p), nil
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
