package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"twohop/internal/claim"
	"twohop/internal/images"
	"twohop/internal/verdict"
)

// measurement is one run of `twohop run`, taken apart.
type measurement struct {
	Mode string `json:"mode"` // cold, "other line", warm or kept
	// Seconds are of the phases by name, of the claims, and of the whole
	// process; the difference is what the phases do not cover.
	Seconds map[string]float64 `json:"seconds"`
	// CPUSeconds are the harness's and those of all that it started and waited for;
	// the cluster's own are not among them.
	CPUSeconds float64 `json:"cpuSeconds"`
	// MedianClaim is the median of a claim with its control, in seconds, of
	// those that wait for no timer.
	MedianClaim float64 `json:"medianClaimSeconds"`
	// PeakMiB is the largest resident set of the harness's processes.
	PeakMiB  float64 `json:"peakMiB"`
	ExitCode int     `json:"exitCode"`
	Run      string  `json:"run"`
}

// benchmark is bench.json.
type benchmark struct {
	Date    time.Time     `json:"date"`
	Machine string        `json:"machine"`
	Commit  string        `json:"commit,omitempty"`
	Claims  string        `json:"claims"`
	Runs    []measurement `json:"runs"`
}

func newBenchCmd() *cobra.Command {
	var l live
	var claims string
	var kept int
	var cold bool
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure how long each phase of a run takes",
		Long: `Bench times whole runs, phase by phase: one with the images present and no
cluster, then several on the cluster it kept. It removes the cluster at the end,
prints a table and writes bench.json next to the runs.

With --cold it starts with a run for which nothing has been built, the harness
included: that run has empty Go caches, an empty Twohop cache and an empty podman
storage. A run on another Istio line follows, for which the first line's images and
caches are there. All of it is removed afterwards. Installed packages stay, so the
time apt takes is not measured.`,
		Example: `  twohop bench
  twohop bench --cold --kept 3`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := cmp.Or(l.check(), l.checkVersions()); err != nil {
				return err
			}
			if _, err := selectClaims(cmd, claims); err != nil {
				return err
			}
			out, err := cmd.Flags().GetString("out")
			if err != nil {
				return err
			}
			b := &bencher{live: &l, out: filepath.Join(out, "bench"), w: cmd.OutOrStdout(), claims: claims}
			return b.run(kept, cold)
		},
	}
	l.flags(cmd)
	claimsFlag(cmd, &claims, "claims and chapters to judge in each run (CLAIMS)")
	cmd.Flags().IntVar(&kept, "kept", 5, "number of runs on the kept cluster")
	cmd.Flags().BoolVar(&cold, "cold", os.Getenv("COLD") == "1", "start with a run for which nothing has been built (COLD=1)")
	return cmd
}

type bencher struct {
	*live
	out, claims string
	w           io.Writer
	before      measurement // what the next run needed beforehand: it counts as its part
}

func (b *bencher) run(kept int, cold bool) error {
	if err := os.MkdirAll(b.out, 0o755); err != nil {
		return err
	}
	result := benchmark{Date: time.Now().UTC().Round(time.Second), Machine: machine(), Commit: sourceCommit(), Claims: b.claims}
	measure := func(mode string, environment ...string) error {
		fmt.Fprintf(b.w, "%s …\n", mode)
		m, err := b.measure(mode, environment)
		if err == nil {
			result.Runs = append(result.Runs, m)
		}
		return err
	}
	down := func() error { return b.twohop(os.Environ(), "down", "--cluster", b.cluster).Run() }
	if cold {
		if err := b.cold(measure); err != nil {
			return err
		}
	}
	if err := down(); err != nil {
		return fmt.Errorf("remove the cluster: %w", err)
	}
	err := measure("warm", "KEEP=1")
	for range kept {
		err = errors.Join(err, measure("kept", "KEEP=1"))
	}
	err = errors.Join(err, down())
	raw, jsonErr := json.MarshalIndent(result, "", "  ")
	if err = errors.Join(err, jsonErr); err != nil {
		return err
	}
	path := filepath.Join(b.out, "bench.json")
	if err := os.WriteFile(path, append(raw, '\n'), 0o644); err != nil {
		return err
	}
	result.print(b.w)
	fmt.Fprintf(b.w, "\nAs JSON: %s\n", path)
	for _, m := range result.Runs {
		if m.ExitCode != 0 {
			return &exitError{m.ExitCode, fmt.Errorf("the %s run %s ended with exit code %d, so its times do not count: read its report, then run bench again", m.Mode, m.Run, m.ExitCode)}
		}
	}
	return nil
}

// cold gives one run empty caches and an empty image store, and removes them.
func (b *bencher) cold(measure func(string, ...string) error) error {
	dir, err := os.MkdirTemp("", "twohop-cold-")
	if err != nil {
		return err
	}
	defer func() {
		// Go's module cache is read-only, podman's layers are mounts' leavings.
		_ = exec.Command("chmod", "-R", "u+w", dir).Run()
		_ = os.RemoveAll(dir)
	}()
	storage := filepath.Join(dir, "storage.conf")
	conf := fmt.Sprintf("[storage]\ndriver = \"overlay\"\ngraphroot = %q\nrunroot = %q\n", filepath.Join(dir, "store"), filepath.Join(dir, "run"))
	if err := os.WriteFile(storage, []byte(conf), 0o644); err != nil {
		return err
	}
	environment := []string{"KEEP=0", "GOCACHE=" + filepath.Join(dir, "gocache"), "GOMODCACHE=" + filepath.Join(dir, "modcache"),
		"XDG_CACHE_HOME=" + filepath.Join(dir, "cache"), "CONTAINERS_STORAGE_CONF=" + storage}
	b.before, err = compile(dir, append(os.Environ(), environment...))
	if err != nil {
		return err
	}
	if err := measure("cold", environment...); err != nil {
		return err
	}
	other, err := b.otherLine()
	if err != nil || other == "" {
		return err
	}
	return measure("other line", append(environment, "ISTIO_VERSION="+other)...)
}

// compile builds the harness, as "make build" does, and says what it took.
func compile(dir string, environment []string) (took measurement, err error) {
	root, err := repository()
	if err != nil {
		return took, err
	}
	started := time.Now()
	for _, args := range [][]string{{"build", "-o", dir, "./cmd/twohop"}, {"test", "-c", "-o", dir, "./suites"}} {
		cmd := exec.Command("go", args...)
		cmd.Dir, cmd.Env, cmd.Stderr = root, environment, os.Stderr
		if err := cmd.Run(); err != nil {
			return took, fmt.Errorf("compile the harness: %w", err)
		}
		took.CPUSeconds += cpuSeconds(cmd.ProcessState)
	}
	took.Seconds = map[string]float64{"harness": time.Since(started).Seconds()}
	return took, nil
}

func cpuSeconds(p *os.ProcessState) float64 { return (p.UserTime() + p.SystemTime()).Seconds() }

// otherLine is the newest line of those that the runs are not of; empty if there is
// none, or if the source lane's lines are not what is measured.
func (b *bencher) otherLine() (string, error) {
	root, err := repository()
	if err != nil || b.lane == images.Official {
		return "", err
	}
	combinations, err := images.Matrix(root, nil, nil, nil)
	if err != nil {
		return "", err
	}
	of := cmp.Or(b.istio, combinations[0].Istio)
	for _, c := range combinations {
		if c.Istio != of {
			return c.Istio, nil
		}
	}
	return "", nil
}

func (b *bencher) measure(mode string, environment []string) (measurement, error) {
	out := filepath.Join(b.out, strings.ReplaceAll(mode, " ", "-"))
	cmd := b.twohop(append(os.Environ(), environment...), "run", "--out", out, "--claims", b.claims,
		"--images", b.lane, "--cluster", b.cluster)
	started := time.Now()
	err := cmd.Run()
	whole := time.Since(started)
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return measurement{}, err
	}
	v, err := verdict.ReadVerdict(filepath.Join(out, "latest", verdict.VerdictFile))
	if err != nil {
		return measurement{}, err
	}
	m := measurement{Mode: mode, Seconds: map[string]float64{"whole": whole.Seconds()}, CPUSeconds: b.before.CPUSeconds + cpuSeconds(cmd.ProcessState),
		ExitCode: cmd.ProcessState.ExitCode(), Run: v.Run.ID}
	for name, s := range b.before.Seconds {
		m.Seconds[name] = s
		m.Seconds["whole"] += s
	}
	b.before = measurement{}
	for _, p := range v.Phases {
		m.Seconds[p.Name] += float64(p.DurationMillis) / 1000
	}
	var each []float64
	m.Seconds["claims"] = v.Span().Seconds()
	for _, c := range v.Claims {
		if known, err := claim.ByID(c.ID); err == nil && known.Takes == 0 && c.DurationMillis > 0 {
			each = append(each, float64(c.DurationMillis)/1000)
		}
	}
	if slices.Sort(each); len(each) > 0 {
		m.MedianClaim = each[len(each)/2]
	}
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		// Of the process and the children that it waited for: the suite too.
		m.PeakMiB = float64(usage.Maxrss) / 1024
	}
	return m, nil
}

func (b *bencher) twohop(environment []string, args ...string) *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		self = os.Args[0]
	}
	cmd := exec.Command(self, args...)
	cmd.Env = environment
	cmd.Stderr = os.Stderr
	return cmd
}

// print writes a row for each run, and the medians of the kept ones.
func (b benchmark) print(w io.Writer) {
	phases := []string{"harness", "engine", "images", "cluster", "istio", "lab", "claims", "down", "whole"}
	fmt.Fprintf(w, "\n%s, %s, commit %s, claims: %s; seconds\n\n", b.Date.Format(time.DateOnly), b.Machine, b.Commit, b.Claims)
	tab := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(tab, "run\t%s\tCPU\tmedian claim\tpeak MiB\t\n", strings.Join(phases, "\t"))
	row := func(name string, m measurement) {
		fmt.Fprintf(tab, "%s\t", name)
		for _, p := range phases {
			if s, ok := m.Seconds[p]; ok {
				fmt.Fprintf(tab, "%.1f\t", s)
			} else {
				fmt.Fprint(tab, "–\t")
			}
		}
		fmt.Fprintf(tab, "%.0f\t%.2f\t%.0f\t\n", m.CPUSeconds, m.MedianClaim, m.PeakMiB)
	}
	kept := measurement{Seconds: map[string]float64{}}
	for _, m := range b.Runs {
		row(m.Mode, m)
	}
	for _, p := range phases {
		if v, ok := median(b.Runs, "kept", func(m measurement) (float64, bool) { s, ok := m.Seconds[p]; return s, ok }); ok {
			kept.Seconds[p] = v
		}
	}
	kept.CPUSeconds, _ = median(b.Runs, "kept", func(m measurement) (float64, bool) { return m.CPUSeconds, true })
	kept.MedianClaim, _ = median(b.Runs, "kept", func(m measurement) (float64, bool) { return m.MedianClaim, true })
	kept.PeakMiB, _ = median(b.Runs, "kept", func(m measurement) (float64, bool) { return m.PeakMiB, true })
	if len(kept.Seconds) > 0 {
		row("median kept", kept)
	}
	_ = tab.Flush() // the error is w's, and the caller's writer is a terminal
}

func median(runs []measurement, mode string, of func(measurement) (float64, bool)) (float64, bool) {
	var values []float64
	for _, m := range runs {
		if v, ok := of(m); ok && m.Mode == mode {
			values = append(values, v)
		}
	}
	if len(values) == 0 {
		return 0, false
	}
	slices.Sort(values)
	return values[len(values)/2], true
}

// machine says what the times were measured on.
func machine() string {
	name := runtime.GOOS + "/" + runtime.GOARCH
	if raw, err := os.ReadFile("/etc/os-release"); err == nil {
		for line := range strings.Lines(string(raw)) {
			if pretty, ok := strings.CutPrefix(strings.TrimSpace(line), "PRETTY_NAME="); ok {
				name = strings.Trim(pretty, `"`)
			}
		}
	}
	return fmt.Sprintf("%d cores, %s", runtime.NumCPU(), name)
}
