package suites_test

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
	"twohop/internal/experiment"
	"twohop/internal/kube"
	"twohop/internal/lab"
	"twohop/internal/manifest"
	"twohop/internal/observe"
	"twohop/internal/observe/live"
	"twohop/internal/runconfig"
	"twohop/internal/state"
	"twohop/internal/verdict"
	"twohop/suites"
)

// Time limits of the suite's own steps, each several times what it needs.
const (
	clusterTimeout = 6 * time.Minute
	labTimeout     = 3 * time.Minute
	claimTimeout   = 90 * time.Second
)

func TestSuites(t *testing.T) {
	dir := os.Getenv(runconfig.Env)
	if dir == "" {
		t.Skip("the specs need a cluster: run them with `make e2e`")
	}
	RegisterFailHandler(Fail)
	r, err := newRunner(dir)
	if err != nil {
		t.Fatal(err)
	}
	r.register()
	suite, reporter := GinkgoConfiguration()
	suite.FailOnEmpty = true
	RunSpecs(t, "Double mTLS egress", suite, reporter)
}

// runner is Ginkgo's lifecycle of a run: a cluster, a lab, and what happens
// between two claims.
type runner struct {
	config runconfig.Config
	folder *verdict.Folder
	key    observe.Key
	asked  verdict.Asked
	limits observe.Limits
	lab    *lab.Lab
	// istio is what istiod says that it is: it selects the expectations.
	istio string
}

func newRunner(dir string) (*runner, error) {
	r := &runner{limits: observe.DefaultLimits()}
	var err error
	if r.config, err = runconfig.Load(dir); err != nil {
		return nil, err
	}
	if r.folder, err = verdict.Open(dir); err != nil {
		return nil, err
	}
	v, err := r.folder.Verdict()
	if err != nil {
		return nil, err
	}
	r.asked = v.Run.Asked
	r.key, err = observe.NewKey(v.Run.Nonce, v.Run.Header)
	return r, err
}

// register makes Ginkgo's tree: one spec for each claim.
func (r *runner) register() {
	SynchronizedBeforeSuite(func(ctx SpecContext) []byte { return r.bringUp(ctx) },
		func(ctx SpecContext, raw []byte) { r.deploy(ctx, raw) }, NodeTimeout(clusterTimeout), NodeTimeout(labTimeout+clusterTimeout))
	if r.config.Mutants != nil {
		r.registerMutants()
		return
	}
	for _, c := range claim.All() {
		var decorators []any
		if c.ID == "G2-rbac" { // last, while the gateway without a Role warms up
			decorators = append(decorators, SpecPriority(-1))
		}
		Describe(string(c.Chapter), append(decorators, func() {
			It(c.Statement, Label(string(c.ID)), SpecTimeout(claimTimeout), func(ctx SpecContext) { r.spec(ctx, c) })
		})...)
	}
}

// spec judges one claim.
func (r *runner) spec(ctx context.Context, c claim.Claim) {
	finding, err := r.prove(ctx, c.ID)
	// Whatever was found, the next claim gets a clean lab.
	restored := r.restore(ctx, c.ID)
	got, reason := verdict.Judge(c.ID, finding)
	want := c.Expect(r.istio)
	r.say("%s", progressLine(c.ID, got, want, reason, finding.DurationMillis))
	Expect(err).NotTo(HaveOccurred())
	Expect(restored).To(Succeed())
	Expect(got).To(Equal(want), reason)
}

// prove makes a claim's experiment and keeps what it brought.
func (r *runner) prove(ctx context.Context, id claim.ID) (verdict.Finding, error) {
	keeper := experiment.NewKeeper(r.folder, r.key, id)
	d, err := suites.ByID(id)
	if err != nil {
		return verdict.Finding{}, err
	}
	out := d.Run(ctx, r.environment(recording(r, keeper)))
	out.Finding.Evidence = keeper.Evidence()
	if out.Finding.Reproduce, err = r.folder.SaveScript(id, out.Script); err != nil {
		return out.Finding, err
	}
	return out.Finding, r.folder.Record(out.Finding)
}

// recording is the cluster as a source, with all that it answers kept.
func recording(r *runner, keeper *experiment.Keeper) observe.Source {
	return observe.Record(r.lab.Source, keeper)
}

func (r *runner) environment(source observe.Source) experiment.Environment {
	return experiment.Environment{World: r.lab, Source: source, Key: r.key, Limits: r.limits, Editor: r.lab.Editor(), Now: time.Now}
}

// restore puts the baseline back and proves it. A lab that cannot be restored
// is made anew, so that the next claim is not judged on a contaminated one.
func (r *runner) restore(ctx context.Context, id claim.ID) error {
	if !r.lab.Touched() {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), labTimeout)
	defer cancel()
	err := r.lab.Restore(ctx)
	if err == nil {
		err = r.lab.Prove(ctx)
	}
	if err == nil {
		return nil
	}
	r.say("%s left the lab contaminated (%v); it is made anew", id, err)
	if err := r.rebuild(ctx); err != nil {
		r.environmentFailed(fmt.Errorf("the lab could not be made anew after %s: %w", id, err))
	}
	return nil
}

func (r *runner) rebuild(ctx context.Context) error {
	if err := r.lab.Remove(ctx); err != nil {
		return err
	}
	if err := r.lab.Deploy(ctx); err != nil {
		return err
	}
	return r.lab.Prove(ctx)
}

// shared is what the first process tells the others.
type shared struct {
	Kubeconfig string
	Reused     bool
}

func (r *runner) bringUp(ctx context.Context) []byte {
	if err := cluster.UseNetwork(r.config.ClusterName); err != nil {
		Fail(err.Error())
	}
	started := time.Now()
	current := ""
	phase := func(name string) {
		if current != "" {
			r.endPhase(current, started)
		}
		current, started = name, time.Now()
		r.say("%s …", phaseWords(name))
	}
	var up *cluster.Cluster
	var err error
	if r.config.Guest() {
		up, err = cluster.Attach(ctx, r.config.Cluster())
	} else {
		up, err = cluster.Up(ctx, r.config.Cluster(), r.config.Keep, filepath.Join(r.folder.Dir, "node-logs"), GinkgoWriter, phase)
	}
	DeferCleanup(r.takeDown)
	if err != nil {
		r.environmentFailed(err)
	}
	if current != "" {
		r.endPhase(current, started)
	}
	Expect(r.folder.SetRun(func(run *verdict.Run) {
		run.ClusterReused = up.Reused
		if up.ReuseNote != "" {
			run.Notes = append(run.Notes, up.ReuseNote)
		}
	})).To(Succeed())
	if up.ReuseNote != "" {
		r.say("%s", up.ReuseNote)
	}
	raw, err := json.Marshal(shared{Kubeconfig: up.Kubeconfig, Reused: up.Reused})
	Expect(err).NotTo(HaveOccurred())
	return raw
}

func (r *runner) deploy(ctx context.Context, raw []byte) {
	var from shared
	Expect(json.Unmarshal(raw, &from)).To(Succeed())
	client, err := kube.New(from.Kubeconfig)
	if err != nil {
		r.environmentFailed(err)
	}
	r.say("lab …")
	started := time.Now()
	if err := r.newLab(ctx, client, from.Reused); err != nil {
		r.environmentFailed(err)
	}
	if err := r.identify(ctx); err != nil {
		r.environmentFailed(err)
	}
	r.endPhase("lab", started)
}

func phaseWords(name string) string {
	words := map[string]string{"down": "removing what an earlier run left", "cluster": "kind cluster", "istio": "Istio"}
	return words[name]
}

func (r *runner) images() manifest.Images {
	return manifest.Images{Client: r.config.Images.ClientImage, Partner: r.config.Images.PartnerImage}
}

func (r *runner) labNumber() int { return max(r.config.Lab, 1) + GinkgoParallelProcess() - 1 }

// newLab deploys the process's lab and proves its baseline. A lab that a killed
// run left in a strange state is taken away first and made anew.
func (r *runner) newLab(ctx context.Context, client *kube.Client, reused bool) error {
	source := live.New(ctx, client, r.config.Images.Istioctl, r.limits)
	source.OpenLog = r.folder.OpenLog
	DeferCleanup(source.Close)
	var err error
	if r.lab, err = lab.New(client, source, r.labNumber(), r.config.Domain, r.images(), r.limits); err != nil {
		return err
	}
	if err = r.lab.Deploy(ctx); err == nil {
		err = r.lab.Prove(ctx)
	}
	if err == nil || !reused || ctx.Err() != nil {
		return err
	}
	r.say("the lab was not as it should be, and is made anew: %v", err)
	return r.rebuild(ctx)
}

// identify asks the parts what they are, and keeps what was applied.
func (r *runner) identify(ctx context.Context) error {
	text, err := manifest.YAML(r.lab.Baseline().Objects()...)
	if err != nil {
		return err
	}
	if err := r.folder.SaveManifest(text); err != nil {
		return err
	}
	keeper := experiment.NewKeeper(r.folder, r.key, experiment.RunID)
	id, err := experiment.Identify(ctx, observe.Record(r.lab.Source, keeper), r.key, r.limits, r.lab.Set().Subject, r.asked, func() experiment.Ground {
		return experiment.NewGround(r.labNumber(), r.config.Domain, r.images(), r.lab.Certificates)
	})
	r.istio = id.Istio
	return errors.Join(err, r.folder.SetRun(func(run *verdict.Run) {
		id.SetRun(run)
		run.Evidence = keeper.Evidence()
	}))
}

// takeDown removes the cluster, unless it is kept; then the lab goes back to
// its baseline. A cluster with guests in it stays up: the parent waits for them
// and takes it down.
func (r *runner) takeDown(ctx context.Context) {
	if r.config.Keep || r.config.Guest() {
		if r.lab != nil && r.lab.Touched() {
			Expect(r.lab.Restore(ctx)).To(Succeed())
		}
		return
	}
	started := time.Now()
	r.say("taking the cluster down …")
	err := cluster.Down(ctx, r.config.ClusterName, r.config.Engine, GinkgoWriter)
	if guests := (*state.GuestsError)(nil); errors.As(err, &guests) {
		r.say("%v", guests)
		return
	}
	Expect(err).NotTo(HaveOccurred())
	r.endPhase("down", started)
}

// environmentFailed ends the suite before any claim: the parent reads the
// sentence and exits with 3.
func (r *runner) environmentFailed(err error) {
	if errors.Is(err, context.Canceled) {
		Fail("interrupted")
	}
	if writeErr := os.WriteFile(filepath.Join(r.folder.Dir, runconfig.FailureFile), []byte(err.Error()), 0o644); writeErr != nil {
		err = errors.Join(err, writeErr)
	}
	AbortSuite(err.Error())
}

func (r *runner) endPhase(name string, started time.Time) {
	if err := r.folder.AddPhase(name, started); err != nil {
		GinkgoWriter.Println(err)
	}
}

// say tells the person who watches.
func (r *runner) say(format string, args ...any) {
	f, err := os.OpenFile(filepath.Join(r.folder.Dir, runconfig.ProgressFile), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		GinkgoWriter.Println(err)
		return
	}
	defer f.Close()
	fmt.Fprintf(f, format+"\n", args...)
}

func progressLine(id claim.ID, got, want claim.Verdict, reason string, millis int64) string {
	seconds := float64(millis) / 1000
	switch {
	case got == want:
		return fmt.Sprintf("claim %s: %s, as expected, %.1fs", id, got, seconds)
	case got == claim.Inconclusive || got == claim.NotRun:
		return fmt.Sprintf("claim %s: %s (%s expected), %.1fs: %s", id, got, want, seconds, reason)
	}
	return fmt.Sprintf("claim %s: %s, NOT as expected (%s), %.1fs: %s", id, got, want, seconds, reason)
}
