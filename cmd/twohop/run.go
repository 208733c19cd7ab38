package main

import (
	"bufio"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"twohop"
	"twohop/internal/attest"
	"twohop/internal/claim"
	"twohop/internal/cluster"
	"twohop/internal/engine"
	"twohop/internal/images"
	"twohop/internal/replay"
	"twohop/internal/runconfig"
	"twohop/internal/state"
	"twohop/internal/subject"
	"twohop/internal/verdict"
)

var (
	clusterName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,40}[a-z0-9])?$`)
	dnsName     = regexp.MustCompile(`^[a-z0-9-]+(\.[a-z0-9-]+)*$`)
)

const (
	// runTimeout bounds the suite as a whole; Ginkgo's own default is an hour.
	runTimeout     = 30 * time.Minute
	mutantsTimeout = 90 * time.Minute
	// cleanupGrace is how long an interrupted suite may take to clean up.
	cleanupGrace = 90 * time.Second
)

func newRunCmd() *cobra.Command {
	var l live
	var claims, keyFile, labs string
	var readKeep func()
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Judge claims on a live cluster and write the verdict",
		Long: `Run finds a container engine, prepares the images, brings up a kind cluster with
Istio and the lab, runs the specs of the chosen claims and writes the verdict.
"make e2e" runs this command.`,
		Example: `  twohop run
  twohop run --claims G3,G4
  KEEP=1 twohop run --claims all
  IMAGES=official ISTIO_VERSION=1.30.0 twohop run`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := cmp.Or(l.check(), l.checkVersions()); err != nil {
				return err
			}
			selection, err := selectClaims(cmd, claims)
			if err != nil {
				return err
			}
			out, err := cmd.Flags().GetString("out")
			if err != nil {
				return err
			}
			key, err := readKey(keyFile, attest.ParsePrivateKey)
			if err != nil {
				return usageError("--sign-key %s: %v", keyFile, err)
			}
			if err := l.chooseLabs(labs, len(selection)); err != nil {
				return err
			}
			readKeep()
			ctx, stop := interruptible(cmd.Context())
			defer stop()
			r := &runner{live: &l, selection: selection, claims: claims, key: key, p: newPrinter(cmd.OutOrStdout())}
			return r.run(ctx, out)
		},
	}
	l.flags(cmd)
	claimsFlag(cmd, &claims, "claims and chapters to judge, separated by commas, or \"all\" (CLAIMS)")
	cmd.Flags().StringVar(&keyFile, "sign-key", os.Getenv("SIGN_KEY"), "sign the run's files with this private key, a PEM file in PKCS8 (ed25519 or ECDSA; SIGN_KEY)")
	readKeep = l.keepFlag(cmd)
	cmd.Flags().IntVar(&l.lab, "lab", 1, "number of the lab; from 2 on, the run is a guest in a cluster that is up, next to other runs")
	labsFlag(cmd, &labs)
	return cmd
}

// From manyClaims on, a run has labsForMany labs: a further one takes some seconds to
// come up, once in a cluster. A third one saves a quarter of the time on two cores; but
// then they are busy all the time, and claims about times may be inconclusive.
const manyClaims, labsForMany = 20, 2

// autoLabs chooses the number of labs by that of the claims.
const autoLabs = "auto"

func labsFlag(cmd *cobra.Command, into *string) {
	cmd.Flags().StringVar(into, "labs", env("LABS", autoLabs), "number of labs in which claims are judged at the same time; auto chooses by the number of claims (LABS)")
}

// chooseLabs sees to the number of labs.
func (l *live) chooseLabs(said string, claims int) error {
	l.labs = 1
	if said == autoLabs {
		if l.lab <= 1 && claims >= manyClaims {
			l.labs = labsForMany
		}
		return nil
	}
	n, err := strconv.Atoi(said)
	if err != nil || n < 1 || n > verdict.MostLabs {
		return usageError("LABS=%q is not a number of labs: write auto, or 1 to %d", said, verdict.MostLabs)
	}
	if l.lab > 1 && n > 1 {
		return usageError("LABS=%d: a guest (--lab %d) has one lab", n, l.lab)
	}
	l.labs = n
	return nil
}

// runner makes one run.
type runner struct {
	*live
	selection []claim.Claim
	claims    string
	key       *attest.Key // signs the run; nil: nobody does
	p         *printer
	folder    *verdict.Folder
}

func (r *runner) run(ctx context.Context, out string) error {
	var err error
	r.folder, err = verdict.Create(out, verdict.Run{Header: verdict.Header{Selection: r.claims, HarnessCommit: sourceCommit()}}, r.selection)
	if err != nil {
		return &exitError{exitEnvironment, err}
	}
	ending, message := verdict.Green, ""
	proveErr := r.prove(ctx)
	if proveErr != nil {
		ending, message = verdict.Failed, oneLine(proveErr)
	}
	if ctx.Err() != nil {
		ending, message = verdict.Interrupted, "the run was interrupted and cleaned up"
		if guests := (*state.GuestsError)(nil); errors.As(proveErr, &guests) {
			message = "the run was interrupted; " + guests.Error()
		}
		if errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
			message = "the run took too long and was stopped"
		}
	}
	if err := r.seal(); err != nil {
		ending, message = verdict.Failed, oneLine(err)
	}
	v, err := r.folder.Finish(ending, message)
	if err != nil {
		return &exitError{exitEnvironment, err}
	}
	if err := attest.Seal(context.WithoutCancel(ctx), r.folder, r.key); err != nil {
		return &exitError{exitEnvironment, err}
	}
	r.p.println("")
	opts := textOptions(r.p.w)
	opts.Dir = r.folder.Dir
	if err := verdict.WriteText(r.p.w, v, opts); err != nil {
		return err
	}
	if v.ExitCode != 0 {
		return &exitError{code: v.ExitCode}
	}
	return nil
}

// seal ends what the run has kept: the logs, and what they say of claims whose
// lines came late.
func (r *runner) seal() error {
	if err := r.folder.SealLogs(); err != nil {
		return err
	}
	late, err := replay.Late(r.folder.Dir)
	if err != nil {
		return err
	}
	findings, err := r.folder.Findings()
	if err != nil {
		return err
	}
	for id, text := range late {
		f := findings[id]
		f.Error = text
		if err := r.folder.Record(f); err != nil {
			return err
		}
	}
	return nil
}

// prove does everything from the engine to the last claim. Its error is why
// the environment failed; what the claims say is in the folder.
func (r *runner) prove(ctx context.Context) error {
	locks, err := r.hold(ctx)
	if err != nil {
		return err
	}
	defer locks.Close()
	if err := r.takeKept(ctx); err != nil {
		return err
	}
	eng, set, err := r.prepare(ctx, r.p, filepath.Join(r.folder.Dir, "images.log"), func(name string) func() {
		started := time.Now()
		return func() {
			if err := r.folder.AddPhase(name, started); err != nil {
				r.p.printf("%v", err)
			}
		}
	})
	if err != nil {
		return err
	}
	if err := r.header(eng, set); err != nil {
		return err
	}
	config, err := r.config(eng, set)
	if err != nil {
		return err
	}
	if err := config.Save(r.folder.Dir); err != nil {
		return err
	}
	suiteErr := r.suite(ctx, locks)
	if failure, err := os.ReadFile(filepath.Join(r.folder.Dir, runconfig.FailureFile)); err == nil {
		suiteErr = errors.New(string(failure))
	}
	if r.lab > 1 || r.keep {
		return suiteErr // the next run takes the cluster, or removes what is not whole
	}
	// The suite takes its cluster down itself. This is for a suite that could
	// not; with nothing there it does nothing.
	if err := cluster.UseNetwork(r.cluster); err != nil {
		return err
	}
	return errors.Join(suiteErr, r.takeDown(ctx, func() error {
		return cluster.Down(context.WithoutCancel(ctx), r.cluster, eng.Name, io.Discard)
	}))
}

// header says what the run is made with. From here on it stands: the run's tokens
// are derived from it.
func (r *runner) header(eng *engine.Engine, set *images.Set) error {
	nonce := make([]byte, 16)
	if _, err := rand.Read(nonce); err != nil {
		return err
	}
	domain := r.domainOrDefault()
	return r.folder.SetRun(func(v *verdict.Run) {
		v.Nonce, v.Rules, v.Seed = hex.EncodeToString(nonce), twohop.Rules(), v.Start.Unix()
		v.Lane, v.Engine, v.Cluster, v.Lab, v.Domain = set.Lane, strings.TrimSpace(eng.Name+" "+eng.Version), r.cluster, max(r.lab, 1), domain
		v.Labs = max(r.labs, 1)
		v.Asked = verdict.Asked{Istio: set.Istio.Version, IstioRevision: set.Istio.Revision, Kubernetes: set.KubernetesVersion, Envoy: set.EnvoyVersion, Images: set.Digests}
		if set.Istio.Revision != "" {
			v.Notes = append(v.Notes, "Istio is built from source, revision "+set.Istio.Revision)
		}
		if set.UpstreamEnvoy {
			v.Notes = append(v.Notes, "the proxies run upstream Envoy, without Istio's own filters (ALPN, metadata exchange, telemetry)")
		}
		v.Notes = append(v.Notes, set.Notes...)
		if len(set.ByTag) > 0 {
			v.Notes = append(v.Notes, "pulled by tag, with a digest that is recorded and not pinned: "+strings.Join(set.ByTag, ", "))
		}
	})
}

func (l *live) domainOrDefault() string {
	if l.domain == "" {
		return subject.Default().Domain
	}
	return l.domain
}

// suite runs the specs in a process of their own. Specs that fail are not an
// error: the findings say so. An error is a suite that did not get to judge.
func (r *runner) suite(ctx context.Context, locks state.Hold) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	binary := filepath.Join(filepath.Dir(self), "suites.test")
	if _, err := os.Stat(binary); err != nil {
		return fmt.Errorf("the compiled specs are missing (%s): run `make build`", binary)
	}
	dir, err := filepath.Abs(r.folder.Dir)
	if err != nil {
		return err
	}
	v, err := r.folder.Verdict()
	if err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(dir, "ginkgo.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	labels := []string{"mutants"}
	timeout := mutantsTimeout
	if r.mutants == nil {
		labels, timeout = nil, runTimeout
		for _, c := range r.selection {
			labels = append(labels, string(c.ID))
		}
	}
	cmd := exec.Command(binary, "--ginkgo.label-filter="+strings.Join(labels, " || "), "--ginkgo.v", "--ginkgo.no-color",
		"--ginkgo.timeout="+timeout.String(), fmt.Sprintf("--ginkgo.seed=%d", v.Run.Seed), "--test.run=^TestSuites$", "--test.timeout=0")
	cmd.Env = append(os.Environ(), runconfig.Env+"="+dir)
	cmd.Stdout, cmd.Stderr = log, log
	locks.Pass(cmd) // an orphaned suite still holds the cluster
	cmd.SysProcAttr = childAttr()
	ended := make(chan error, 1)
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // Pdeathsig is the death of the thread that started it
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			ended <- cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start the specs: %w", err)
	}
	watched, stopWatching := context.WithCancel(context.Background())
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		r.watch(watched, filepath.Join(dir, runconfig.ProgressFile))
	}()
	err = await(ctx, r.p, cmd, ended)
	stopWatching()
	<-watching
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 1 {
		return nil // a failed spec, or a failed BeforeSuite with its own sentence
	}
	if err != nil {
		return fmt.Errorf("the specs ended with %w: read their log, %s", err, log.Name())
	}
	return nil
}

// await waits for the suite. When ctx ends, the suite is asked to clean up, and
// killed if it does not come to an end.
func await(ctx context.Context, p *printer, cmd *exec.Cmd, ended <-chan error) error {
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	p.printf("interrupted: cleaning up (this takes a few seconds) …")
	_ = cmd.Process.Signal(os.Interrupt)
	select {
	case err := <-ended:
		return err
	case <-time.After(cleanupGrace):
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		return errors.Join(errors.New("the specs did not clean up in time and were killed; `make down` removes what they left"), <-ended)
	}
}

// watch prints the lines of the progress file as they come.
func (r *runner) watch(ctx context.Context, path string) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	var in *bufio.Reader
	done, partial := 0, ""
	for {
		last := ctx.Err() != nil
		if in == nil {
			if f, err := os.Open(path); err == nil {
				defer f.Close()
				in = bufio.NewReader(f)
			}
		}
		for in != nil {
			line, err := in.ReadString('\n')
			if partial += line; err != nil {
				break
			}
			if strings.HasPrefix(partial, "claim ") {
				done++
				partial = fmt.Sprintf("%d/%d %s", done, len(r.selection), strings.TrimPrefix(partial, "claim "))
			}
			r.p.printf("%s", strings.TrimSuffix(partial, "\n"))
			partial = ""
		}
		if last {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// sourceCommit is the commit of the harness, with "-dirty" if the work tree
// differs from it; empty outside a git checkout.
func sourceCommit() string {
	out, err := exec.Command("git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*").Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }
