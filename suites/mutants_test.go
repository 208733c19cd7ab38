package suites

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
	"twohop/internal/lab"
	"twohop/internal/mutant"
	"twohop/internal/runconfig"
	"twohop/internal/trial"
	"twohop/internal/verdict"
)

// mutantsLabel selects the one spec of a mutation run.
const mutantsLabel = "mutants"

// registerMutants adds the spec that plants each fault and judges the claims
// that have to turn, and others. It belongs to no claim, so it is there only
// when it is asked for.
func registerMutants() {
	Describe("mutants", func() {
		It("turn the claims that rest on what they break", Label(mutantsLabel), SpecTimeout(80*time.Minute), func(ctx SpecContext) {
			// A silent witness is part of the game; nobody waits long for it.
			lab.Timeouts.Line = 2 * time.Second
			all, err := mutant.All(bench)
			Expect(err).NotTo(HaveOccurred())
			all = slices.DeleteFunc(all, func(m mutant.Mutant) bool { return !strings.Contains(m.Name, config.Mutants.Only) })
			Expect(all).NotTo(BeEmpty(), "no mutant's name contains %q", config.Mutants.Only)
			var fates []mutant.Fate
			for i, m := range all {
				fate := plant(ctx, m)
				fates = append(fates, fate)
				say("%d/%d %s: %s", i+1, len(all), m.Name, fate.Words())
				raw, err := json.MarshalIndent(fates, "", "  ")
				Expect(err).NotTo(HaveOccurred())
				Expect(os.WriteFile(filepath.Join(folder.Dir, runconfig.MutantsFile), raw, 0o644)).To(Succeed())
			}
			Expect(mutant.Survivors(fates)).To(BeEmpty())
		})
	})
}

// plant puts one fault into the lab for each claim in turn, and brings the
// baseline back in between.
func plant(ctx context.Context, m mutant.Mutant) mutant.Fate {
	fate := mutant.Fate{Name: m.Name, Where: m.Where, Claims: map[claim.ID]mutant.Turn{}}
	ids := slices.Clone(m.Turns)
	for _, id := range config.Mutants.Also {
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	for _, id := range ids {
		c, err := claim.ByID(id)
		Expect(err).NotTo(HaveOccurred())
		turn := mutant.Turn{Must: slices.Contains(m.Turns, id), Expected: c.Expect(config.Images.Istio.Version)}
		if _, err := bench.Vary(ctx, m.Plant...); err != nil {
			Expect(restore(ctx, id)).To(Succeed())
			Fail(fmt.Sprintf("%s could not be planted: %v", m.Name, err))
		}
		finding := judge(ctx, id, m.Spoil)
		turn.Verdict, turn.Reason = verdict.Judge(id, finding)
		fate.Claims[id] = turn
		Expect(restore(ctx, id)).To(Succeed())
	}
	return fate
}

// judge makes a claim's experiment in the time that its spec has.
func judge(ctx context.Context, id claim.ID, spoil func(trial.Experiment) trial.Experiment) verdict.Finding {
	ctx, cancel := context.WithTimeout(ctx, claimTimeout)
	defer cancel()
	experiment := experiments[id]
	if spoil != nil {
		experiment = func(t *trial.T) trial.Experiment { return spoil(experiments[id](t)) }
	}
	return trial.Run(ctx, bench, id, forgetful{}, experiment)
}

// forgetful keeps no evidence: what mutants show is the verdict.
type forgetful struct{}

func (forgetful) SaveEvidence(_ claim.ID, name, kind, witness, command string, _ []byte) (verdict.Evidence, error) {
	return verdict.Evidence{Path: name, Kind: kind, Witness: witness, Command: command}, nil
}
func (forgetful) SaveScript(claim.ID, []byte) (string, error) { return "", nil }
func (forgetful) Record(verdict.Finding) error                { return nil }
