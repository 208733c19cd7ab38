package suites_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
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
			r.lab.Source.Limits.Line = r.limits.Line
			plan := r.plan()
			report := mutant.Report{Run: filepath.Base(r.folder.Dir)}
			for _, m := range plan {
				report.Planned += len(m.Kills)
			}
			r.saveMutants(report)
			for i, m := range plan {
				r.plant(ctx, m, func(fate mutant.Fate) {
					report.Fates = append(report.Fates, fate)
					r.say("%d/%d %s, %s: %s", i+1, len(plan), m.Name, fate.Claim, fate.Words())
					r.saveMutants(report)
				})
			}
			Expect(report.Whole()).To(Succeed())
			Expect(report.Survivors()).To(BeEmpty())
		})
	})
}

// plan is what is planted: all of it, or what was asked for.
func (r *runner) plan() (plan []mutant.Mutant) {
	all, err := mutant.All(r.lab.Editor())
	Expect(err).NotTo(HaveOccurred())
	for _, m := range all {
		if !strings.Contains(m.Name, r.config.Mutants.Only) {
			continue
		}
		if only := r.config.Mutants.Also; len(only) > 0 {
			m.Kills = slices.DeleteFunc(m.Kills, func(k mutant.Kill) bool { return !slices.Contains(only, k.Claim) })
		}
		if len(m.Kills) > 0 {
			plan = append(plan, m)
		}
	}
	Expect(plan).NotTo(BeEmpty(), "no mutant's name contains %q, or none is for these claims", r.config.Mutants.Only)
	return plan
}

// plant puts one fault into the lab, judges claims, and takes it out again.
func (r *runner) plant(ctx context.Context, m mutant.Mutant, judged func(mutant.Fate)) {
	planted := r.lab.Plant(ctx, m.Plant...)
	for _, k := range m.Kills {
		c, err := claim.ByID(k.Claim)
		Expect(err).NotTo(HaveOccurred())
		fate := mutant.Fate{Mutant: m.Name, Where: m.Where, Claim: k.Claim, Expected: c.Expect(r.istio)}
		if planted != nil {
			fate.Verdict, fate.Why = claim.NotRun, fmt.Sprintf("it could not be planted: %v", planted)
			judged(fate)
			continue
		}
		finding := r.judge(ctx, k.Claim, m.Spoil)
		fate.Verdict, fate.Why = verdict.Judge(k.Claim, finding)
		if m.Where == mutant.Harmless {
			fate.OK = fate.Verdict == fate.Expected
		} else {
			fate.OK, fate.Why = k.Killed(finding, fate.Expected, fate.Verdict)
		}
		judged(fate)
		if err := r.lab.Restore(ctx); err != nil {
			// A broken subject may not come back by itself.
			Expect(r.uproot(ctx)).To(Succeed())
			Expect(r.lab.Plant(ctx, m.Plant...)).To(Succeed())
		}
	}
	Expect(r.uproot(ctx)).To(Succeed())
}

// uproot brings the baseline back. A lab that cannot be restored is made anew.
func (r *runner) uproot(ctx context.Context) error {
	r.lab.Uproot()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), labTimeout)
	defer cancel()
	err := r.lab.Restore(ctx)
	if err == nil {
		err = r.lab.Prove(ctx)
	}
	if err == nil {
		return nil
	}
	r.say("the lab could not be restored (%v); it is made anew", err)
	return r.rebuild(ctx)
}

// judge makes a claim's experiment in the time that its spec has. Its evidence is
// listed, and not kept: what mutants show is the verdict.
func (r *runner) judge(ctx context.Context, id claim.ID, spoil func(experiment.Plan) experiment.Plan) verdict.Finding {
	ctx, cancel := context.WithTimeout(ctx, claimTimeout)
	defer cancel()
	d, err := suites.ByID(id)
	Expect(err).NotTo(HaveOccurred())
	keeper := experiment.NewKeeper(forgetful{}, r.key, id)
	env := r.environment(recording(r, keeper))
	env.Spoil, env.Set = spoil, r.lab.Set()
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
