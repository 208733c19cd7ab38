// Package engine finds a container engine and makes it fit for kind: docker if
// its daemon answers, else podman, else podman from Debian's or Ubuntu's own
// packages. It knows command lines and the containers.conf of our own; it must
// not import anything of the project, and it knows nothing of images or clusters.
package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Names of the engines that kind can use and that we look for.
const (
	Docker = "docker"
	Podman = "podman"
)

// answerWithin is how long an engine may take to say its version: a daemon
// that hangs must not look like a slow one for ever.
const answerWithin = 10 * time.Second

// EnvironmentError says that this machine, not the caller, is at fault. Its
// text is one sentence on what is wrong and one on what to do. Exit code 3.
type EnvironmentError struct {
	What string // what is wrong, and where
	Do   string // what to do about it
	Err  error  // the cause; nil where What says it all
}

func (e *EnvironmentError) Error() string {
	text := e.What
	if e.Err != nil {
		text += " (" + strings.TrimSpace(e.Err.Error()) + ")"
	}
	if e.Do != "" {
		text += ": " + e.Do
	}
	return text
}

func (e *EnvironmentError) Unwrap() error { return e.Err }

// UsageError says that a variable or an argument is wrong. Exit code 2.
type UsageError struct{ What string }

func (e *UsageError) Error() string { return e.What }

// Options of Detect. The zero value looks for any engine and may install one.
type Options struct {
	Engine    string // "", "docker" or "podman": use this one and no other
	NoInstall bool   // never install a package
	Log       func(format string, args ...any)
}

func (o Options) log(format string, args ...any) {
	if o.Log != nil {
		o.Log(format, args...)
	}
}

// Engine is a container engine that has answered.
type Engine struct {
	Name    string // docker or podman
	Version string // as the engine says it, for example "4.3.1"

	program string // the executable
	conf    string // our containers.conf; empty where the engine's own will do
	log     func(format string, args ...any)
}

// Detect returns a container engine that answers, installing podman with apt
// if there is none and that is allowed. It says what it does before it does
// it. Errors are *EnvironmentError or *UsageError.
func Detect(ctx context.Context, o Options) (*Engine, error) {
	switch o.Engine {
	case "", Docker, Podman:
	default:
		return nil, &UsageError{fmt.Sprintf("ENGINE=%q is not an engine: use docker or podman, or leave it empty", o.Engine)}
	}
	var tried []string
	if o.Engine != Podman {
		e, why := detectDocker(ctx, o.Engine == Docker)
		if e != nil {
			e.log = o.log
			o.log("engine: docker %s", e.Version)
			return e, nil
		}
		tried = append(tried, why)
		if o.Engine == Docker {
			return nil, &EnvironmentError{What: "ENGINE=docker, but " + why, Do: "start the docker daemon, or leave ENGINE empty"}
		}
	}
	e, why := detectPodman(ctx)
	if e == nil {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		tried = append(tried, why)
		if _, err := exec.LookPath("podman"); err == nil {
			// It is installed: another go at that would not help.
			return nil, &EnvironmentError{What: "no container engine answers (" + strings.Join(tried, "; ") + ")", Do: "run `podman info` and repair what it reports, or start docker"}
		}
		if err := installPodman(ctx, o, strings.Join(tried, "; ")); err != nil {
			return nil, err
		}
		if e, why = detectPodman(ctx); e == nil {
			return nil, &EnvironmentError{What: "podman was installed, but " + why, Do: "run `podman info` and repair what it reports, or start docker"}
		}
	}
	e.log = o.log
	if err := e.fit(ctx); err != nil {
		return nil, err
	}
	o.log("engine: podman %s", e.Version)
	return e, nil
}

// detectDocker looks for docker. Podman behind docker's API counts only where
// it was asked for: podman itself, if it is there, does all that docker's
// command line can make it do, and more of it right.
func detectDocker(ctx context.Context, wanted bool) (*Engine, string) {
	path, err := exec.LookPath("docker")
	if err != nil {
		return nil, "no docker command on PATH"
	}
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	// Some distributions install podman under docker's name. kind would then
	// use its docker provider on podman, which fails late and oddly.
	if out, err := output(Process(ctx, path, "--version")); err == nil && bytes.Contains(bytes.ToLower(out), []byte("podman")) {
		return nil, "the docker command is podman under another name"
	}
	out, err := output(Process(ctx, path, "version", "--format", "{{.Server.Version}}{{range .Server.Components}} {{.Name}}{{end}}"))
	if err != nil {
		return nil, fmt.Sprintf("docker's daemon does not answer (%v)", err)
	}
	version, components, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
	if version == "" {
		return nil, "docker's daemon does not say its version"
	}
	if _, err := exec.LookPath("podman"); err == nil && !wanted && strings.Contains(components, "Podman") {
		return nil, "docker's daemon is podman's API"
	}
	return &Engine{Name: Docker, Version: version, program: path}, ""
}

func detectPodman(ctx context.Context) (*Engine, string) {
	path, err := exec.LookPath("podman")
	if err != nil {
		return nil, "no podman command on PATH"
	}
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	out, err := output(Process(ctx, path, "version", "--format", "{{.Client.Version}}"))
	if err != nil {
		return nil, fmt.Sprintf("podman does not run (%v)", err)
	}
	return &Engine{Name: Podman, Version: strings.TrimSpace(string(out)), program: path}, ""
}

// Command returns an engine command that is ready to run. When ctx ends, the
// command's whole process group is told to stop, and is killed if it does not.
func (e *Engine) Command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := Process(ctx, e.program, args...)
	if e.conf != "" {
		cmd.Env = append(os.Environ(), "CONTAINERS_CONF="+e.conf)
	}
	return cmd
}

// Output runs an engine command and returns its standard output. The error
// names the command and holds what it wrote to standard error.
func (e *Engine) Output(ctx context.Context, args ...string) ([]byte, error) {
	return output(e.Command(ctx, args...))
}

// Setenv puts the engine's settings into this process's environment, for
// libraries that execute the engine themselves, as kind does.
func (e *Engine) Setenv() error {
	if e.conf != "" {
		if err := os.Setenv("CONTAINERS_CONF", e.conf); err != nil {
			return err
		}
	}
	return os.Setenv("KIND_EXPERIMENTAL_PROVIDER", e.Name)
}

// Process returns a command that runs in a process group of its own, so that
// the end of ctx reaches its children too: first SIGTERM, and SIGKILL to what
// is left ten seconds later.
func Process(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error {
		group := -cmd.Process.Pid
		time.AfterFunc(10*time.Second, func() { _ = syscall.Kill(group, syscall.SIGKILL) })
		return syscall.Kill(group, syscall.SIGTERM)
	}
	cmd.WaitDelay = 12 * time.Second
	return cmd
}

func output(cmd *exec.Cmd) ([]byte, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		said := strings.TrimSpace(stderr.String())
		if said == "" {
			said = "it wrote nothing to standard error"
		}
		return stdout.Bytes(), fmt.Errorf("%s %s: %w: %s", filepath.Base(cmd.Path), strings.Join(cmd.Args[1:], " "), err, said)
	}
	return stdout.Bytes(), nil
}

// stateDir is where our own files live: never /etc.
func stateDir() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", &EnvironmentError{What: "there is no folder for caches", Do: "set HOME or XDG_CACHE_HOME", Err: err}
	}
	return filepath.Join(cache, "twohop"), nil
}

// modulesDir must exist on the host, because kind's podman provider mounts it;
// containers need nothing in it.
var modulesDir = "/lib/modules" // a variable for tests

// fit makes podman fit for kind: our containers.conf where its defaults cannot
// work on this machine, and the folder that kind mounts.
func (e *Engine) fit(ctx context.Context) error {
	dir, err := stateDir()
	if err != nil {
		return err
	}
	f, err := lookAround(ctx, e)
	if err != nil {
		return err
	}
	// Left by an earlier run in this very process or its parent, ours is not
	// the user's.
	ours := filepath.Join(dir, "containers.conf")
	if f.UserConf == ours {
		f.UserConf = ""
	}
	text, why := containersConf(f)
	switch {
	case text == "":
	case f.UserConf != "":
		e.log("engine: podman keeps its own settings (%s); on this machine we would have set: %s", f.UserConf, strings.Join(why, "; "))
	default:
		if old, err := os.ReadFile(ours); err != nil || string(old) != text {
			e.log("engine: writing settings for podman of our own to %s: %s", ours, strings.Join(why, "; "))
		}
		if err := writeFile(ours, text); err != nil {
			return &EnvironmentError{What: "cannot write " + ours, Do: "make room there or set XDG_CACHE_HOME", Err: err}
		}
		e.conf = ours
	}
	if _, err := os.Stat(modulesDir); errors.Is(err, os.ErrNotExist) && os.Geteuid() == 0 {
		e.log("engine: making an empty %s, which kind mounts into its nodes", modulesDir)
		if err := os.MkdirAll(modulesDir, 0o755); err != nil {
			return &EnvironmentError{What: "cannot make " + modulesDir + ", which kind's podman provider mounts", Do: "make it by hand", Err: err}
		}
		if err := writeFile(filepath.Join(dir, "made-lib-modules"), modulesDir+"\n"); err != nil {
			return &EnvironmentError{What: "cannot note in " + dir + " that " + modulesDir + " is ours", Do: "make room there or set XDG_CACHE_HOME", Err: err}
		}
	}
	return nil
}

// RemoveTraces removes what Detect left on the machine, but for packages: our
// containers.conf, and /lib/modules if we made it and it is still empty.
func RemoveTraces() error {
	dir, err := stateDir()
	if err != nil {
		return err
	}
	note := filepath.Join(dir, "made-lib-modules")
	if _, err := os.Stat(note); err == nil {
		// Remove, not RemoveAll: with something in it, it is no longer ours.
		if err := os.Remove(modulesDir); err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, syscall.ENOTEMPTY) {
			return fmt.Errorf("removing the empty %s we made: %w", modulesDir, err)
		}
	}
	for _, path := range []string{note, filepath.Join(dir, "containers.conf")} {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// writeFile writes by rename, so that a reader never sees half a file.
func writeFile(path, text string) error {
	if old, err := os.ReadFile(path); err == nil && string(old) == text {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.WriteString(text)
	if err := errors.Join(err, tmp.Chmod(0o644), tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}
