package suites_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"twohop/internal/claim"
	"twohop/internal/experiment"
	"twohop/internal/mutant"
	"twohop/internal/runconfig"
	"twohop/internal/verdict"
	"twohop/suites"
)

// mutantsTimeout bounds a mutation run.
const mutantsTimeout = 80 * time.Minute

// registerMutants adds the one spec of a mutation run: it plants each fault and
// judges the claims that have to turn. It belongs to no claim, so it is there only
// when it is asked for.
func (r *runner) registerMutants() {
	Describe("mutants", func() {
		It("turn the claims that rest on what they break", Label("mutants"), SpecTimeout(mutantsTimeout), func(ctx SpecContext) {
			// A silent witness is part of the game; nobody waits long for it.
			r.limits.Line = 2 * time.Second
			plan := r.benches[0].plan()
			all := fates{of: make([][]mutant.Fate, len(plan)), report: mutant.Report{Run: filepath.Base(r.folder.Dir)}}
			for _, m := range plan {
				all.report.Planned += len(m.Kills)
			}
			r.saveMutants(all.report)
			turns := make(chan int, len(plan))
			for i := range plan {
				turns <- i
			}
			close(turns)
			var labs sync.WaitGroup
			for _, b := range r.benches {
				b.lab.Source.Limits.Line = r.limits.Line
				labs.Go(func() {
					defer GinkgoRecover()
					for i := range turns {
						m := b.plan()[i] // in the names of this lab
						b.plant(ctx, m, func(fate mutant.Fate) {
							r.say("%d/%d %s, %s: %s", i+1, len(plan), m.Name, fate.Claim, fate.Words())
							all.add(i, fate, r.saveMutants)
						})
					}
				})
			}
			labs.Wait()
			report := all.report
			Expect(report.Whole()).To(Succeed())
			Expect(report.Survivors()).To(BeEmpty())
		})
	})
}

// fates are what became of the mutants, in the order of the plan, whichever lab came
// to them first.
type fates struct {
	mu     sync.Mutex
	of     [][]mutant.Fate
	report mutant.Report
}

// add notes a fate, and saves the report so far.
func (f *fates) add(i int, fate mutant.Fate, save func(mutant.Report)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.of[i] = append(f.of[i], fate)
	f.report.Fates = slices.Concat(f.of...)
	save(f.report)
}

// plan is what is planted: all of it, or what was asked for.
func (b *bench) plan() (plan []mutant.Mutant) {
	all, err := mutant.All(b.lab.Editor())
	Expect(err).NotTo(HaveOccurred())
	for _, m := range all {
		if !strings.Contains(m.Name, b.config.Mutants.Only) {
			continue
		}
		if only := b.config.Mutants.Also; len(only) > 0 {
			m.Kills = slices.DeleteFunc(m.Kills, func(k mutant.Kill) bool { return !slices.Contains(only, k.Claim) })
		}
		if len(m.Kills) > 0 {
			plan = append(plan, m)
		}
	}
	Expect(plan).NotTo(BeEmpty(), "no mutant's name contains %q, or none is for these claims", b.config.Mutants.Only)
	return plan
}

// plant puts one fault into the lab, judges claims, and takes it out again.
func (b *bench) plant(ctx context.Context, m mutant.Mutant, judged func(mutant.Fate)) {
	planted := b.lab.Plant(ctx, m.Plant...)
	for _, k := range m.Kills {
		c, err := claim.ByID(k.Claim)
		Expect(err).NotTo(HaveOccurred())
		fate := mutant.Fate{Mutant: m.Name, Where: m.Where, Claim: k.Claim, Expected: c.Expect(b.istio)}
		if planted != nil {
			fate.Verdict, fate.Why = claim.NotRun, fmt.Sprintf("it could not be planted: %v", planted)
			judged(fate)
			continue
		}
		finding := b.judgeMutant(ctx, k.Claim, m.Spoil)
		fate.Verdict, fate.Why = verdict.Judge(k.Claim, finding)
		if m.Where == mutant.Harmless {
			fate.OK = fate.Verdict == fate.Expected
		} else {
			fate.OK, fate.Why = k.Killed(finding, fate.Expected, fate.Verdict)
		}
		judged(fate)
		if err := b.lab.Restore(ctx); err != nil {
			// A broken subject may not come back by itself.
			Expect(b.uproot(ctx)).To(Succeed())
			Expect(b.lab.Plant(ctx, m.Plant...)).To(Succeed())
		}
	}
	Expect(b.uproot(ctx)).To(Succeed())
}

// uproot brings the baseline back. A lab that cannot be restored is made anew.
func (b *bench) uproot(ctx context.Context) error {
	b.lab.Uproot()
	return b.comeBack(ctx, "the lab could not be restored")
}

// judgeMutant makes a claim's experiment in the time that its spec has. Its evidence is
// listed, and not kept: what mutants show is the verdict.
func (b *bench) judgeMutant(ctx context.Context, id claim.ID, spoil func(experiment.Plan) experiment.Plan) verdict.Finding {
	ctx, cancel := context.WithTimeout(ctx, claimTimeout)
	defer cancel()
	d, err := suites.ByID(id)
	Expect(err).NotTo(HaveOccurred())
	keeper := experiment.NewKeeper(forgetful{}, b.key, id)
	env := b.environment(keeper)
	env.Spoil, env.Set = spoil, b.lab.Set()
	finding := d.Run(ctx, env).Finding
	finding.Evidence = keeper.Evidence()
	return finding
}

// forgetful keeps no bytes.
type forgetful struct{}

func (forgetful) SaveFile(_ claim.ID, name string, _ []byte) (path, sum string, err error) {
	return name, strings.Repeat("0", 64), nil
}

func (r *runner) saveMutants(report mutant.Report) {
	raw, err := json.MarshalIndent(report, "", "  ")
	Expect(err).NotTo(HaveOccurred())
	Expect(os.WriteFile(filepath.Join(r.folder.Dir, runconfig.MutantsFile), raw, 0o644)).To(Succeed())
}
