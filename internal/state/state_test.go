package state

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// The test binary is also the other process that competes for a lock:
// TWOHOP_TEST says what it does, then it writes a line and waits for its
// standard input to end.
func TestMain(m *testing.M) {
	act, ok := map[string]func() error{
		"cluster a": func() error { _, err := HoldCluster(context.Background(), "a", 1, quiet); return err },
		"lab a 2":   func() error { _, err := HoldLab(context.Background(), "a", 2, quiet); return err },
		"build":     func() error { _, err := HoldBuild(context.Background(), quiet); return err },
		"images":    func() error { _, err := HoldImages(context.Background(), quiet); return err },
		"inherited": func() error { return startSleeper(true) },
		"leaking":   func() error { return startSleeper(false) },
	}[os.Getenv("TWOHOP_TEST")]
	if !ok {
		os.Exit(m.Run())
	}
	if err := act(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
}

func quiet(string, ...any) {}

// startSleeper leaves a child behind, as podman leaves a container's monitor.
func startSleeper(tell bool) error {
	if tell {
		if err := Inherited(); err != nil {
			return err
		}
	}
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		return err
	}
	fmt.Println(cmd.Process.Pid)
	return nil
}

func folder(t *testing.T) string {
	t.Helper()
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	dir, err := Dir()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// other starts the other process; pass is handed to it. It returns what it
// said, and how to end it.
func other(t *testing.T, act string, pass Hold) (said []string, pid int, end func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "TWOHOP_TEST="+act)
	pass.Pass(cmd)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	end = func() { _ = in.Close(); _ = cmd.Wait() }
	t.Cleanup(end)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if lines.Text() == "ready" {
			return said, cmd.Process.Pid, end
		}
		said = append(said, lines.Text())
	}
	t.Fatalf("the other process said %q and ended", said)
	return nil, 0, nil
}

func TestTwoDescriptionsCompete(t *testing.T) {
	path := filepath.Join(folder(t), "a.lock")
	first, err := Try(path, Exclusive)
	if err != nil {
		t.Fatal(err)
	}
	for _, mode := range []Mode{Exclusive, Shared} {
		_, err := Try(path, mode)
		var held *HeldError
		if !errors.As(err, &held) || !strings.Contains(held.Holder, fmt.Sprintf("process %d (", os.Getpid())) {
			t.Errorf("mode %d beside an exclusive lock: %v", mode, err)
		}
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	one, err1 := Try(path, Shared)
	two, err2 := Try(path, Shared)
	if err1 != nil || err2 != nil {
		t.Fatalf("two cannot share: %v, %v", err1, err2)
	}
	if _, err := Try(path, Exclusive); err == nil {
		t.Error("an exclusive lock beside shared ones")
	}
	if err := errors.Join(one.Close(), two.Close()); err != nil {
		t.Fatal(err)
	}
	if last, err := Try(path, Exclusive); err != nil || last.Close() != nil {
		t.Errorf("free, and not to be had: %v", err)
	}
}

// Whoever waits for a lock whose file is removed must not end up with a lock
// on a file that has no name, beside one who makes the file anew.
func TestRemovedLockLocksNobodyOut(t *testing.T) {
	path := filepath.Join(folder(t), "a.lock")
	first, err := Try(path, Exclusive)
	if err != nil {
		t.Fatal(err)
	}
	waits := make(chan struct{})
	got := make(chan *Lock)
	go func() {
		l, err := Take(t.Context(), path, Exclusive, func(*HeldError) { close(waits) })
		if err != nil {
			t.Error(err)
		}
		got <- l
	}()
	<-waits
	if err := first.Remove(); err != nil {
		t.Fatal(err)
	}
	l := <-got
	defer l.Close()
	if _, err := Try(path, Exclusive); err == nil {
		t.Error("two hold the lock of one name")
	}

	stale, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer stale.Close()
	if !(&Lock{path: path, file: stale}).current() {
		t.Error("the file of that name is not taken for it")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if (&Lock{path: path, file: stale}).current() {
		t.Error("a removed file is taken for the one of that name")
	}
}

// Takers and removers of one name, as fast as they can: never two at a time.
func TestRemovingRaces(t *testing.T) {
	path := filepath.Join(folder(t), "a.lock")
	var holders, taken atomic.Int64
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 300 {
				l, err := Try(path, Exclusive)
				var held *HeldError
				if errors.As(err, &held) {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				taken.Add(1)
				if n := holders.Add(1); n != 1 {
					t.Errorf("%d hold the lock of one name", n)
				}
				runtime.Gosched()
				holders.Add(-1)
				if err := l.Remove(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if taken.Load() < 8 {
		t.Errorf("the lock was taken %d times: nothing raced", taken.Load())
	}
}

func TestTwoOwnersCompete(t *testing.T) {
	folder(t)
	_, pid, end := other(t, "cluster a", nil)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	said := make(chan string, 1)
	say := func(format string, args ...any) { said <- fmt.Sprintf(format, args...) }
	got := make(chan error, 1)
	go func() {
		h, err := HoldCluster(ctx, "a", 1, say)
		got <- errors.Join(err, h.Close())
	}()
	if text, want := <-said, fmt.Sprintf(`another run is using the cluster "a" (process %d (`, pid); !strings.HasPrefix(text, want) || !strings.HasSuffix(text, "waiting for it to end") {
		t.Errorf("%q does not begin with %q", text, want)
	}
	select {
	case err := <-got:
		t.Fatalf("it did not wait: %v", err)
	case <-time.After(3 * retryAfter):
	}
	if h, err := HoldCluster(t.Context(), "b", 1, quiet); err != nil || h.Close() != nil {
		t.Errorf("another cluster waits too: %v", err)
	}
	end()
	if err := <-got; err != nil {
		t.Error(err)
	}
}

// The owner works in its first labs: it waits for a guest in one of them.
func TestAnOwnerWaitsForItsLabs(t *testing.T) {
	folder(t)
	guest, err := HoldLab(t.Context(), "a", 3, quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer guest.Close()
	two, err := HoldCluster(t.Context(), "a", 2, quiet)
	if err != nil || two.Close() != nil {
		t.Fatalf("lab 3 is none of two labs: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	said := ""
	if _, err := HoldCluster(ctx, "a", 3, func(format string, args ...any) { said = fmt.Sprintf(format, args...); cancel() }); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if want := `another run is using lab 3 of the cluster "a" (`; !strings.HasPrefix(said, want) {
		t.Errorf("%q does not begin with %q", said, want)
	}
}

func TestWaitingEndsWithItsContext(t *testing.T) {
	folder(t)
	other(t, "cluster a", nil)
	ctx, cancel := context.WithCancel(t.Context())
	h, err := HoldCluster(ctx, "a", 1, func(string, ...any) { cancel() })
	if !errors.Is(err, context.Canceled) || h != nil {
		t.Errorf("%v, %v", h, err)
	}
	// What was taken before it is given back.
	if _, err := HoldAll(); err == nil || strings.Contains(err.Error(), fmt.Sprint("process ", os.Getpid())) {
		t.Errorf("%v", err)
	}
}

// An orphaned child holds the cluster, until it ends; what it leaves behind does not.
func TestChildInheritsTheLock(t *testing.T) {
	for act, leaks := range map[string]bool{"inherited": false, "leaking": true} {
		t.Run(act, func(t *testing.T) {
			dir := folder(t)
			h, err := HoldCluster(t.Context(), "a", 1, quiet)
			if err != nil {
				t.Fatal(err)
			}
			said, _, end := other(t, act, h)
			if len(said) != 1 {
				t.Fatalf("no process left behind: %q", said)
			}
			var pid int
			if _, err := fmt.Sscan(said[0], &pid); err != nil {
				t.Fatal(err)
			}
			sleeper, err := os.FindProcess(pid)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = sleeper.Kill() })
			if err := h.Close(); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, clusterFile("a"))
			if _, err := Try(path, Exclusive); err == nil {
				t.Error("the child does not hold the lock of its parent")
			}
			end()
			l, err := Try(path, Exclusive)
			if held := err != nil; held != leaks {
				t.Errorf("held by what the child left behind: %v, want %v (%v)", held, leaks, err)
			}
			if err == nil {
				_ = l.Close()
			}
		})
	}
}

func TestInheritedRefusesNonsense(t *testing.T) {
	for _, text := range []string{"x", "3", "0 1"} {
		t.Setenv(inherited, text)
		if err := Inherited(); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestGuestsKeepAClusterUp(t *testing.T) {
	dir := folder(t)
	_, pid, end := other(t, "lab a 2", nil)
	_, err := KeepGuestsOut("a")
	var guests *GuestsError
	want := fmt.Sprintf(`the cluster "a" stays up while guests are in it: lab 2 of the cluster "a", held by process %d (`, pid)
	if !errors.As(err, &guests) || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("%v, want %s", err, want)
	}
	if l, err := KeepGuestsOut("b"); err != nil || l.Close() != nil {
		t.Errorf("a guest of a is one of b: %v", err)
	}
	// Guests and their owner are beside each other, two guests of one number are not.
	owner, err1 := HoldCluster(t.Context(), "a", 1, quiet)
	third, err2 := HoldLab(t.Context(), "a", 3, quiet)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	if _, err := Try(filepath.Join(dir, labFile("a", 2)), Exclusive); err == nil {
		t.Error("two guests have one number")
	}
	if err := errors.Join(owner.Close(), third.Close()); err != nil {
		t.Fatal(err)
	}
	end()
	out, err := KeepGuestsOut("a")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	said := ""
	if _, err := HoldLab(ctx, "a", 2, func(f string, a ...any) { said = fmt.Sprintf(f, a...); cancel() }); !errors.Is(err, context.Canceled) || !strings.Contains(said, `the cluster "a" is being removed`) {
		t.Errorf("a guest enters while the cluster is removed: %v, said %q", err, said)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestHoldAllRefusesWhileAnybodyRuns(t *testing.T) {
	for act, names := range map[string]string{
		"cluster a": `the cluster "a", held by process `,
		"lab a 2":   `lab 2 of the cluster "a", held by process `,
		"build":     "the image build, held by process ",
		"images":    "another process",
	} {
		t.Run(act, func(t *testing.T) {
			folder(t)
			_, pid, end := other(t, act, nil)
			if !strings.HasPrefix(names, "another") {
				names += fmt.Sprint(pid)
			}
			_, err := HoldAll()
			var busy *BusyError
			if !errors.As(err, &busy) || len(busy.Holders) != 1 || !strings.HasPrefix(busy.Holders[0], names) {
				t.Fatalf("%v, want %s", err, names)
			}
			end()
			h, err := HoldAll()
			if err != nil {
				t.Fatalf("with nobody there: %v", err)
			}
			if err := h.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestRemoveTakesAllLocksAway(t *testing.T) {
	dir := folder(t)
	for _, act := range []string{"cluster a", "lab a 2", "build"} {
		_, _, end := other(t, act, nil)
		end()
	}
	for name, text := range map[string]string{"b.kubeconfig": "", "b.kubeconfig.lock": "kind's"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	h, err := HoldAll()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Try(filepath.Join(dir, clusterFile("b")), Exclusive); err == nil {
		t.Error("a cluster that is known is not held")
	}
	// Nobody gets in before all of it is gone.
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := HoldCluster(ctx, "new", 1, func(string, ...any) { cancel() }); !errors.Is(err, context.Canceled) {
		t.Errorf("a run begins while everything is removed: %v", err)
	}
	if err := h.Remove(); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, e := range entries {
		left = append(left, e.Name())
	}
	if want := []string{"b.kubeconfig", "b.kubeconfig.lock"}; !slices.Equal(left, want) {
		t.Errorf("left %v, want %v: no lock of ours, and nobody else's file", left, want)
	}
	for _, name := range left {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if h, err = HoldAll(); err == nil {
		err = h.Remove()
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the empty folder is left: %v", err)
	}
}

// What Twohop keeps is in the user's cache folder, and nowhere else.
func TestDir(t *testing.T) {
	dir := folder(t)
	if want := filepath.Join(os.Getenv("XDG_CACHE_HOME"), "twohop"); dir != want {
		t.Errorf("%q, want %q", dir, want)
	}
	path, err := Kubeconfig("a")
	if err != nil || filepath.Dir(path) != dir {
		t.Errorf("%q, %v", path, err)
	}
	if other, _ := Kubeconfig("b"); other == path {
		t.Error("two clusters share a kubeconfig")
	}
	t.Setenv("XDG_CACHE_HOME", "")
	t.Setenv("HOME", "")
	for name, f := range map[string]func() (string, error){
		"Dir": Dir, "Kubeconfig": func() (string, error) { return Kubeconfig("a") },
	} {
		if _, err := f(); err == nil || !strings.Contains(err.Error(), "set HOME or XDG_CACHE_HOME") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestIsLock(t *testing.T) {
	for name, want := range map[string]bool{
		"lock": true, "in-use": true, "twohop.lock": true, "a.guests.lock": true, "a.lab-12.lock": true,
		"a.kubeconfig": false, "a.kubeconfig.lock": false, "containers.conf": false, "work": false, "a.lab-x.lock": false,
	} {
		if got := IsLock(name); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestToolEnv(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	dir := folder(t)
	env, err := ToolEnv()
	if err != nil {
		t.Fatal(err)
	}
	// As kubectl and istioctl look for their caches.
	cmd := exec.Command("sh", "-c", `echo "$KUBECACHEDIR"; echo "$HOME/.kube/cache"`)
	cmd.Env = env
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, cache := range strings.Fields(string(out)) {
		if !strings.HasPrefix(cache, dir+"/") {
			t.Errorf("%s is not in our folder", cache)
		}
	}
}
