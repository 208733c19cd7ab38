// Package suites holds the specs: one file for each chapter of the registry,
// one spec for each claim. This file is their lifecycle: a cluster, a lab for
// each parallel process, and what happens between two claims.
package suites

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"twohop/internal/claim"
	"twohop/internal/cluster"
	"twohop/internal/kube"
	"twohop/internal/lab"
	"twohop/internal/runconfig"
	"twohop/internal/trial"
	"twohop/internal/verdict"
)

// Time limits of the suite's own steps, each several times what it needs.
const (
	clusterTimeout = 6 * time.Minute
	labTimeout     = 3 * time.Minute
	claimTimeout   = 90 * time.Second
	downTimeout    = 2 * time.Minute
)

var (
	config runconfig.Config
	folder *verdict.Folder
	bench  *lab.Lab
)

func TestSuites(t *testing.T) {
	dir := os.Getenv(runconfig.Env)
	if dir == "" {
		t.Skip("the specs need a cluster: run them with `make e2e`")
	}
	RegisterFailHandler(Fail)
	var err error
	if config, err = runconfig.Load(dir); err != nil {
		t.Fatal(err)
	}
	if folder, err = verdict.Open(dir); err != nil {
		t.Fatal(err)
	}
	if config.Mutants != nil {
		registerMutants()
	}
	suite, reporter := GinkgoConfiguration()
	suite.FailOnEmpty = true
	RunSpecs(t, "Double mTLS egress", suite, reporter)
}

// shared is what the first process tells the others.
type shared struct {
	Kubeconfig string
	Reused     bool
}

var _ = SynchronizedBeforeSuite(func(ctx SpecContext) []byte {
	if err := cluster.UseNetwork(config.ClusterName); err != nil {
		Fail(err.Error())
	}
	started := time.Now()
	current := ""
	phase := func(name string) {
		if current != "" {
			endPhase(current, started)
		}
		current, started = name, time.Now()
		say("%s …", phaseWords[name])
	}
	var up *cluster.Cluster
	var err error
	if config.Guest() {
		up, err = cluster.Attach(ctx, config.Cluster())
	} else {
		up, err = cluster.Up(ctx, config.Cluster(), config.Keep, filepath.Join(folder.Dir, "node-logs"), GinkgoWriter, phase)
	}
	DeferCleanup(takeDown)
	if err != nil {
		environmentFailed(err)
	}
	if current != "" {
		endPhase(current, started)
	}
	Expect(folder.SetRun(func(r *verdict.Run) {
		r.Seed = GinkgoRandomSeed()
		r.Cluster, r.ClusterReused, r.Kubernetes, r.Domain = config.ClusterName, up.Reused, up.Kubernetes, config.Cluster().Istio.Domain
		if up.ReuseNote != "" {
			r.Notes = append(r.Notes, up.ReuseNote)
		}
	})).To(Succeed())
	if up.ReuseNote != "" {
		say("%s", up.ReuseNote)
	}
	raw, err := json.Marshal(shared{Kubeconfig: up.Kubeconfig, Reused: up.Reused})
	Expect(err).NotTo(HaveOccurred())
	return raw
}, func(ctx SpecContext, raw []byte) {
	var from shared
	Expect(json.Unmarshal(raw, &from)).To(Succeed())
	client, err := kube.New(from.Kubeconfig)
	if err != nil {
		environmentFailed(err)
	}
	if GinkgoParallelProcess() == 1 {
		say("lab …")
	}
	started := time.Now()
	if err := newLab(ctx, client, from.Reused); err != nil {
		environmentFailed(err)
	}
	if GinkgoParallelProcess() == 1 {
		endPhase("lab", started)
		saveLab(ctx)
	}
}, NodeTimeout(clusterTimeout), NodeTimeout(labTimeout+clusterTimeout))

var phaseWords = map[string]string{"down": "removing what an earlier run left", "cluster": "kind cluster", "istio": "Istio"}

// newLab deploys the process's lab and proves its baseline. A lab that a killed
// run left in a strange state is taken away first and made anew.
func newLab(ctx context.Context, client *kube.Client, reused bool) error {
	var err error
	bench, err = lab.New(client, max(config.Lab, 1)+GinkgoParallelProcess()-1, config.Domain, lab.Images{Client: config.Images.ClientImage, Partner: config.Images.PartnerImage})
	if err != nil {
		return err
	}
	bench.Istioctl = config.Images.Istioctl
	if err = bench.Deploy(ctx); err == nil {
		err = bench.Prove(ctx)
	}
	if err == nil || !reused || ctx.Err() != nil {
		return err
	}
	say("the lab was not as it should be, and is made anew: %v", err)
	return rebuild(ctx)
}

func rebuild(ctx context.Context) error {
	if err := bench.Remove(ctx); err != nil {
		return err
	}
	if err := bench.Deploy(ctx); err != nil {
		return err
	}
	return bench.Prove(ctx)
}

// saveLab keeps what was applied, and the versions that only the lab knows.
func saveLab(ctx context.Context) {
	manifest, err := lab.Manifest(bench.Baseline()...)
	Expect(err).NotTo(HaveOccurred())
	Expect(folder.SaveManifest(manifest)).To(Succeed())
	version, err := bench.EnvoyVersion(ctx)
	Expect(err).NotTo(HaveOccurred())
	Expect(folder.SetRun(func(r *verdict.Run) { r.Envoy = version })).To(Succeed())
}

// takeDown removes the cluster, unless it is kept; then the lab goes back to
// its baseline.
func takeDown(ctx SpecContext) {
	if config.Keep || config.Guest() {
		if bench != nil && bench.Touched() {
			Expect(bench.Restore(ctx)).To(Succeed())
		}
		return
	}
	started := time.Now()
	say("taking the cluster down …")
	Expect(cluster.Down(ctx, config.ClusterName, config.Engine, GinkgoWriter)).To(Succeed())
	endPhase("down", started)
}

// environmentFailed ends the suite before any claim: the parent reads the
// sentence and exits with 3.
func environmentFailed(err error) {
	if errors.Is(err, context.Canceled) {
		Fail("interrupted")
	}
	if writeErr := os.WriteFile(filepath.Join(folder.Dir, runconfig.FailureFile), []byte(err.Error()), 0o644); writeErr != nil {
		err = errors.Join(err, writeErr)
	}
	AbortSuite(err.Error())
}

func endPhase(name string, started time.Time) {
	if err := folder.AddPhase(name, started); err != nil {
		GinkgoWriter.Println(err)
	}
}

// say tells the person who watches.
func say(format string, args ...any) {
	f, err := os.OpenFile(filepath.Join(folder.Dir, runconfig.ProgressFile), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		GinkgoWriter.Println(err)
		return
	}
	defer f.Close()
	fmt.Fprintf(f, format+"\n", args...)
}

// experiments are those of all claims, for the mutants.
var experiments = map[claim.ID]func(*trial.T) trial.Experiment{}

// Claim makes the one spec of a claim. The experiment says what is checked,
// what is varied and what must be different then.
func Claim(id claim.ID, experiment func(*trial.T) trial.Experiment, decorators ...any) bool {
	c, err := claim.ByID(id)
	if err != nil {
		panic(err) // a spec for something that nobody claims
	}
	experiments[id] = experiment
	return Describe(string(c.Chapter), append(decorators, func() {
		It(c.Statement, Label(string(id)), SpecTimeout(claimTimeout), func(ctx SpecContext) {
			finding := trial.Run(ctx, bench, id, folder, experiment)
			// Whatever was found, the next claim gets a clean lab.
			restored := restore(ctx, id)
			got, reason := verdict.Judge(id, finding)
			want := c.Expect(config.Images.Istio.Version)
			say("%s", progressLine(id, got, want, reason, finding.DurationMillis))
			Expect(restored).To(Succeed())
			Expect(got).To(Equal(want), reason)
		})
	})...)
}

// restore puts the baseline back and proves it. A lab that cannot be restored
// is made anew, so that the next claim is not judged on a contaminated one.
func restore(ctx context.Context, id claim.ID) error {
	if !bench.Touched() {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), labTimeout)
	defer cancel()
	err := bench.Restore(ctx)
	if err == nil {
		err = bench.Prove(ctx)
	}
	if err == nil {
		return nil
	}
	say("%s left the lab contaminated (%v); it is made anew", id, err)
	if err := rebuild(ctx); err != nil {
		environmentFailed(fmt.Errorf("the lab could not be made anew after %s: %w", id, err))
	}
	return nil
}

func progressLine(id claim.ID, got, want claim.Verdict, reason string, millis int64) string {
	mark := "as expected"
	if got != want {
		mark = fmt.Sprintf("NOT as expected (%s): %s", want, reason)
	}
	return fmt.Sprintf("claim %s: %s, %s, %.1fs", id, got, mark, float64(millis)/1000)
}
