package suites_test

import (
	"context"
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
	"twohop/internal/manifest"
	"twohop/internal/observe"
	"twohop/internal/runconfig"
	"twohop/internal/state"
	"twohop/internal/subject"
	"twohop/internal/verdict"
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

// runner is Ginkgo's lifecycle of a run: a cluster, labs, and what happens between
// two claims.
type runner struct {
	config runconfig.Config
	folder *verdict.Folder
	key    observe.Key
	asked  verdict.Asked
	limits observe.Limits
	// istio is what istiod says that it is: it selects the expectations.
	istio   string
	benches []*bench
	judging *judging
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
	BeforeSuite(func(ctx SpecContext) { r.deploy(ctx, r.bringUp(ctx)) }, NodeTimeout(clusterTimeout+labTimeout))
	if r.config.Mutants != nil {
		r.registerMutants()
		return
	}
	for _, c := range claim.All() {
		Describe(string(c.Chapter), func() {
			It(c.Statement, Label(string(c.ID)), func(ctx SpecContext) { r.spec(ctx, c) })
		})
	}
}

// spec waits until a lab has judged its claim.
func (r *runner) spec(ctx context.Context, c claim.Claim) {
	found, fatal := r.judging.await(ctx, c.ID)
	if fatal != nil {
		r.environmentFailed(fatal)
	}
	got, reason := verdict.Judge(c.ID, found.finding)
	Expect(found.err).NotTo(HaveOccurred())
	Expect(got).To(Equal(c.Expect(r.istio)), reason)
}

func (r *runner) bringUp(ctx context.Context) *cluster.Cluster {
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
	return up
}

// deploy sets the labs up, and lets them begin with the claims.
func (r *runner) deploy(ctx context.Context, up *cluster.Cluster) {
	started := time.Now()
	if r.config.Labs == 1 {
		r.say("lab …")
	} else {
		r.say("%d labs …", r.config.Labs)
	}
	if err := r.setUp(ctx, up); err != nil {
		r.environmentFailed(err)
	}
	if err := r.identify(ctx); err != nil {
		r.environmentFailed(err)
	}
	r.endPhase("lab", started)
	if r.config.Mutants != nil {
		return
	}
	v, err := r.folder.Verdict()
	Expect(err).NotTo(HaveOccurred())
	var claims []claim.Claim
	for _, line := range v.Claims {
		c, err := claim.ByID(line.ID)
		Expect(err).NotTo(HaveOccurred())
		claims = append(claims, c)
	}
	r.begin(ctx, claims, !up.Reused)
}

func phaseWords(name string) string {
	words := map[string]string{"down": "removing what an earlier run left", "cluster": "kind cluster", "istio": "Istio"}
	return words[name]
}

func (r *runner) images() manifest.Images {
	return manifest.Images{Client: r.config.Images.ClientImage, Partner: r.config.Images.PartnerImage}
}

// identify asks the parts what they are, and keeps what was applied.
func (r *runner) identify(ctx context.Context) error {
	text, err := manifest.YAML(r.benches[0].lab.Baseline().Objects()...)
	if err != nil {
		return err
	}
	if err := r.folder.SaveManifest(text); err != nil {
		return err
	}
	if err := r.keepConfigs(ctx, r.benches[0].lab.Source); err != nil {
		r.say("%v", err) // no verdict rests on it
	}
	keeper := experiment.NewKeeper(r.folder, r.key, experiment.RunID)
	var first experiment.Identity
	var errs []error
	for i, b := range r.benches {
		id, err := b.identify(ctx, keeper)
		if errs = append(errs, err); i == 0 {
			first = id
		} else if err == nil {
			errs = append(errs, id.Alike(first))
		}
	}
	r.istio = first.Istio
	return errors.Join(append(errs, r.folder.SetRun(func(run *verdict.Run) {
		first.SetRun(run)
		run.Evidence = keeper.Evidence()
	}))...)
}

// keepConfigs keeps all that both proxies of the first lab were given before the first
// claim: no claim rests on it, and two runs can be compared by it.
func (r *runner) keepConfigs(ctx context.Context, source observe.Source) error {
	for role, name := range map[subject.Role]string{subject.Sidecar: verdict.SidecarConfigFile, subject.Gateway: verdict.GatewayConfigFile} {
		q := observe.Admin{Role: role, Path: "/config_dump"}
		answer, err := source.Begin(ctx, observe.Slot{}, q, observe.Meta{}).Answer(ctx)
		if err != nil {
			return fmt.Errorf("keep what the %s was given: %w", role, err)
		}
		if err := r.folder.Save(name, answer.Raw); err != nil {
			return err
		}
	}
	return nil
}

// takeDown removes the cluster, unless it is kept; then the labs go back to
// their baselines. A cluster with guests in it stays up: the parent waits for them
// and takes it down.
func (r *runner) takeDown(ctx context.Context) {
	if r.judging != nil {
		r.judging.end()
	}
	if r.config.Keep || r.config.Guest() {
		for _, b := range r.benches {
			if b.lab != nil && b.lab.Touched() {
				Expect(b.lab.Restore(ctx)).To(Succeed())
			}
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
