package state

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
)

// The locks, as files of Dir. The name of a cluster has no dot, so none of them
// can be mistaken for another's.
const (
	inUseFile = "in-use" // shared by all that rests on Dir; exclusive for removing it
	buildFile = "lock"   // one image build at a time
)

func clusterFile(cluster string) string      { return cluster + ".lock" }
func guestsFile(cluster string) string       { return cluster + ".guests.lock" }
func labFile(cluster string, lab int) string { return fmt.Sprintf("%s.lab-%d.lock", cluster, lab) }

var lockFile = regexp.MustCompile(`^(?:in-use|lock|([a-z0-9-]+)(?:\.(guests)|\.lab-(\d+))?\.lock)$`)

// IsLock reports whether a file of Dir is a lock: those are removed by
// Hold.Remove only.
func IsLock(name string) bool { return lockFile.MatchString(name) }

// Hold is some locks, taken together.
type Hold []*Lock

// inherited tells a child which of its descriptors are locks: FIRST COUNT.
const inherited = "TWOHOP_LOCKS"

// Pass makes a command hold the locks too, so that they last until both this
// process and the command have ended. The command calls Inherited.
func (h Hold) Pass(cmd *exec.Cmd) {
	cmd.Env = append(cmd.Environ(), fmt.Sprintf("%s=%d %d", inherited, 3+len(cmd.ExtraFiles), len(h)))
	for _, l := range h {
		cmd.ExtraFiles = append(cmd.ExtraFiles, l.file)
	}
}

// Inherited keeps the locks that Pass gave this process from its own children:
// what stays for as long as a container does (podman's monitor, its name
// server) would hold them for as long.
func Inherited() error {
	text := os.Getenv(inherited)
	if text == "" {
		return nil
	}
	var first, count int
	if _, err := fmt.Sscan(text, &first, &count); err != nil || first < 3 {
		return fmt.Errorf("%s=%q does not say which descriptors are locks", inherited, text)
	}
	for fd := first; fd < first+count; fd++ {
		syscall.CloseOnExec(fd)
	}
	return os.Unsetenv(inherited)
}

// Close ends this process's hold.
func (h Hold) Close() error {
	var errs []error
	for _, l := range h {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}

// want is one lock of several, and what to say while it cannot be had.
type want struct {
	file string
	mode Mode
	what string
}

// take takes locks in their order, which is the same for everybody.
func take(ctx context.Context, say func(string, ...any), wants ...want) (Hold, error) {
	dir, err := Dir()
	if err != nil {
		return nil, err
	}
	var h Hold
	for _, w := range wants {
		l, err := Take(ctx, filepath.Join(dir, w.file), w.mode, func(held *HeldError) {
			say("%s (%s): waiting for it to end", w.what, held.Holder)
		})
		if err != nil {
			return nil, errors.Join(err, h.Close())
		}
		h = append(h, l)
	}
	return h, nil
}

var inUse = want{inUseFile, Shared, "everything is being removed"}

// HoldImages is for a command that makes images and touches no cluster.
func HoldImages(ctx context.Context, say func(string, ...any)) (Hold, error) {
	return take(ctx, say, inUse)
}

// HoldCluster is for the owner of a cluster: whoever brings it up or takes it
// down, and works in its first labs. It waits, and says so, while another owner
// holds it, or a guest one of the labs.
func HoldCluster(ctx context.Context, cluster string, labs int, say func(string, ...any)) (Hold, error) {
	wants := []want{inUse, {clusterFile(cluster), Exclusive, fmt.Sprintf("another run is using the cluster %q", cluster)}}
	for n := 2; n <= labs; n++ {
		wants = append(wants, labLock(cluster, n))
	}
	return take(ctx, say, wants...)
}

// HoldLab is for a guest in a cluster that somebody else owns: one guest for
// each number, and no end of the cluster while there are guests.
func HoldLab(ctx context.Context, cluster string, lab int, say func(string, ...any)) (Hold, error) {
	return take(ctx, say, inUse, labLock(cluster, lab), want{guestsFile(cluster), Shared, fmt.Sprintf("the cluster %q is being removed", cluster)})
}

func labLock(cluster string, n int) want {
	return want{labFile(cluster, n), Exclusive, fmt.Sprintf("another run is using lab %d of the cluster %q", n, cluster)}
}

// HoldBuild is for one image build.
func HoldBuild(ctx context.Context, say func(string, ...any)) (Hold, error) {
	return take(ctx, say, want{buildFile, Exclusive, "images: another run is building them"})
}

// GuestsError says that a cluster cannot be removed, and for whom.
type GuestsError struct {
	Cluster string
	Guests  []string
}

func (e *GuestsError) Error() string {
	return fmt.Sprintf("the cluster %q stays up while guests are in it: %s", e.Cluster, strings.Join(e.Guests, ", "))
}

// KeepGuestsOut is for removing a cluster: while it is held, no guest enters.
// With guests in the cluster it is a *GuestsError.
func KeepGuestsOut(cluster string) (*Lock, error) {
	dir, err := Dir()
	if err != nil {
		return nil, err
	}
	l, err := Try(filepath.Join(dir, guestsFile(cluster)), Exclusive)
	var held *HeldError
	if !errors.As(err, &held) {
		return l, err
	}
	guests, err := holders(dir, func(of string, lab bool) bool { return of == cluster && lab })
	if err != nil {
		return nil, err
	}
	if len(guests) == 0 {
		guests = []string{anotherProcess} // what the file says is the last remover's
	}
	return nil, &GuestsError{Cluster: cluster, Guests: guests}
}

// BusyError says that runs are under way on what is to be removed.
type BusyError struct{ Holders []string }

func (e *BusyError) Error() string {
	return "runs are under way, and would lose what they rest on: " + strings.Join(e.Holders, ", ") + ": end them or wait, and try again"
}

// HoldAll is for removing everything: it locks out all that HoldImages,
// HoldCluster and HoldLab let in, and holds each known cluster. If one of them
// is held it is a *BusyError, at once.
func HoldAll() (Hold, error) {
	dir, err := Dir()
	if err != nil {
		return nil, err
	}
	busy := &BusyError{}
	all, err := Try(filepath.Join(dir, inUseFile), Exclusive)
	var held *HeldError
	if err != nil && !errors.As(err, &held) {
		return nil, err
	}
	var h Hold
	if all != nil {
		h = Hold{all}
	}
	// Each lock by itself too: it names its holder, and a version of this
	// program from before there was the first one holds only these.
	busy.Holders, err = holders(dir, func(string, bool) bool { return true })
	if err == nil && len(busy.Holders) == 0 && held != nil {
		busy.Holders = []string{anotherProcess} // it is about to take locks, or to end
	}
	if err == nil && len(busy.Holders) > 0 {
		err = busy
	}
	if err != nil {
		return nil, errors.Join(err, h.Close())
	}
	clusters, err := Clusters()
	for _, cluster := range clusters {
		var l *Lock
		if l, err = Try(filepath.Join(dir, clusterFile(cluster)), Exclusive); err != nil {
			break
		}
		h = append(h, l)
	}
	if err != nil {
		return nil, errors.Join(err, h.Close())
	}
	return h, nil
}

// Remove ends a hold of HoldAll: it removes the lock files, each while it is
// held, the first one last, and the folder if it is empty then.
func (h Hold) Remove() error {
	var errs []error
	own := map[string]bool{}
	for _, l := range slices.Backward(h) {
		own[filepath.Base(l.path)] = true
		if l != h[0] {
			errs = append(errs, l.Remove())
		}
	}
	dir := filepath.Dir(h[0].path)
	entries, err := os.ReadDir(dir)
	errs = append(errs, err)
	for _, e := range entries {
		if own[e.Name()] || !IsLock(e.Name()) {
			continue
		}
		l, err := Try(filepath.Join(dir, e.Name()), Exclusive)
		if err == nil {
			err = l.Remove()
		}
		errs = append(errs, err)
	}
	errs = append(errs, h[0].Remove())
	if left, err := os.ReadDir(dir); err == nil && len(left) == 0 {
		errs = append(errs, os.Remove(dir))
	}
	return errors.Join(errs...)
}

const kubeconfigSuffix = ".kubeconfig"

// Kubeconfig is where the kubeconfig of a cluster of ours is.
func Kubeconfig(cluster string) (string, error) {
	dir, err := Dir()
	return filepath.Join(dir, cluster+kubeconfigSuffix), err
}

// Clusters are the clusters that Dir knows of, by their kubeconfigs.
func Clusters() ([]string, error) {
	dir, err := Dir()
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), kubeconfigSuffix); ok {
			names = append(names, name)
		}
	}
	return names, nil
}

// holders names who holds the locks of dir that are asked for: those of a
// cluster (its own or a lab's), and the build's, whose cluster is empty.
func holders(dir string, asked func(cluster string, lab bool) bool) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var found []string
	for _, e := range entries {
		m := lockFile.FindStringSubmatch(e.Name())
		if m == nil || e.Name() == inUseFile || m[2] != "" || !asked(m[1], m[3] != "") {
			continue
		}
		l, err := Try(filepath.Join(dir, e.Name()), Shared)
		if err == nil {
			_ = l.Close()
			continue
		}
		var held *HeldError
		if !errors.As(err, &held) {
			return nil, err
		}
		what := "the image build"
		switch {
		case m[3] != "":
			what = fmt.Sprintf("lab %s of the cluster %q", m[3], m[1])
		case m[1] != "":
			what = fmt.Sprintf("the cluster %q", m[1])
		}
		found = append(found, what+", held by "+held.Holder)
	}
	return found, nil
}
