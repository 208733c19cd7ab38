package suites_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"

	"golang.org/x/sync/errgroup"

	"twohop/internal/claim"
	"twohop/internal/cluster"
	"twohop/internal/experiment"
	"twohop/internal/kube"
	"twohop/internal/lab"
	"twohop/internal/observe"
	"twohop/internal/observe/live"
	"twohop/internal/verdict"
	"twohop/suites"
)

// bench is one of the run's labs. Claims are judged in it one after the other.
type bench struct {
	*runner
	number int
	lab    *lab.Lab
}

// setUp deploys the labs, each in a mesh of its own, and proves their baselines.
func (r *runner) setUp(ctx context.Context, up *cluster.Cluster) error {
	group, ctx := errgroup.WithContext(ctx)
	for i := range r.config.Labs {
		b := &bench{runner: r, number: r.config.Lab + i}
		r.benches = append(r.benches, b)
		group.Go(func() error {
			err := b.setUp(ctx, up)
			if err != nil && r.config.Labs > 1 {
				return fmt.Errorf("lab %d: %w", b.number, err)
			}
			return err
		})
	}
	return group.Wait()
}

// setUp deploys the lab. One that a killed run left in a strange state is taken away
// first and made anew.
func (b *bench) setUp(ctx context.Context, up *cluster.Cluster) error {
	client, err := kube.New(up.Kubeconfig) // each with an allowance of its own at the API server
	if err != nil {
		return err
	}
	source := live.New(ctx, client, b.config.Images.Istioctl, b.limits)
	source.OpenLog = b.folder.OpenLog
	if b.number > 1 {
		source.LogsDir = path.Join(source.LogsDir, "lab-"+strconv.Itoa(b.number))
	}
	DeferCleanup(func() { source.Close(); client.Close() })
	if b.lab, err = lab.New(client, source, b.number, b.config.Domain, b.images(), b.limits); err != nil {
		return err
	}
	if err := up.Mesh(ctx, b.lab.Set().Subject, GinkgoWriter); err != nil {
		return err
	}
	if err = b.lab.Deploy(ctx); err == nil {
		err = b.lab.Prove(ctx)
	}
	if err == nil || !up.Reused || ctx.Err() != nil {
		return err
	}
	b.say("the lab was not as it should be, and is made anew: %v", err)
	return b.rebuild(ctx)
}

func (b *bench) rebuild(ctx context.Context) error {
	if err := b.lab.Remove(ctx); err != nil {
		return err
	}
	if err := b.lab.Deploy(ctx); err != nil {
		return err
	}
	return b.lab.Prove(ctx)
}

// restore puts the baseline back and proves it. A lab that cannot be restored
// is made anew, so that the next claim is not judged on a contaminated one.
func (b *bench) restore(ctx context.Context, id claim.ID) error {
	if !b.lab.Touched() {
		return nil
	}
	if err := b.comeBack(ctx, string(id)+" left the lab contaminated"); err != nil {
		return fmt.Errorf("the lab could not be made anew after %s: %w", id, err)
	}
	return nil
}

// comeBack restores the lab and proves it; if that fails, it says what is the matter
// and makes the lab anew.
func (b *bench) comeBack(ctx context.Context, otherwise string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), labTimeout)
	defer cancel()
	err := b.lab.Restore(ctx)
	if err == nil {
		err = b.lab.Prove(ctx)
	}
	if err == nil {
		return nil
	}
	b.say("%s (%v); it is made anew", otherwise, err)
	return b.rebuild(ctx)
}

// prove makes a claim's experiment and keeps what it brought.
func (b *bench) prove(ctx context.Context, id claim.ID) (verdict.Finding, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, claimTimeout, fmt.Errorf("the claim took longer than %v", claimTimeout))
	defer cancel()
	keeper := experiment.NewKeeper(b.folder, b.key, id)
	d, err := suites.ByID(id)
	if err != nil {
		return verdict.Finding{}, err
	}
	out := d.Run(ctx, b.environment(keeper))
	out.Finding.Evidence = keeper.Evidence()
	if out.Finding.Reproduce, err = b.folder.SaveScript(id, out.Script); err != nil {
		return out.Finding, err
	}
	return out.Finding, b.folder.Record(out.Finding)
}

// environment is the lab, with all that its cluster answers kept.
func (b *bench) environment(keeper *experiment.Keeper) experiment.Environment {
	return experiment.Environment{World: b.lab, Source: observe.Record(b.lab.Source, keeper), Key: b.key, Limits: b.limits, Editor: b.lab.Editor(), Now: time.Now}
}

// identify asks the lab's parts what they are.
func (b *bench) identify(ctx context.Context, keeper *experiment.Keeper) (experiment.Identity, error) {
	return experiment.Identify(ctx, observe.Record(b.lab.Source, keeper), b.key, b.limits, b.lab.Set().Subject, b.asked, func() experiment.Ground {
		return experiment.NewGround(b.number, b.config.Domain, b.images(), b.lab.Certificates)
	})
}

// judging is the claims on their way through the labs: a lab that is free takes the
// next one. Their specs wait for what it finds.
type judging struct {
	found  map[claim.ID]chan judged
	failed chan struct{} // closed when a lab is lost
	stop   context.CancelFunc
	labs   sync.WaitGroup
	lost   sync.Once
	err    error // why a lab is lost
}

// judged is what a lab found of a claim.
type judged struct {
	finding verdict.Finding
	err     error // it could not be kept
}

// begin starts to judge claims in all labs.
func (r *runner) begin(ctx context.Context, claims []claim.Claim, newLabs bool) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	r.judging = &judging{found: map[claim.ID]chan judged{}, failed: make(chan struct{}), stop: cancel}
	queue := make(chan claim.Claim, len(claims))
	for _, c := range inTurn(claims, newLabs) {
		r.judging.found[c.ID] = make(chan judged, 1)
		queue <- c
	}
	close(queue)
	for _, b := range r.benches {
		r.judging.labs.Go(func() {
			for c := range queue {
				if ctx.Err() != nil {
					return
				}
				if err := b.judge(ctx, c); err != nil {
					r.judging.lose(err)
					return
				}
			}
		})
	}
}

// judge judges a claim. An error is that the lab is of no use any more.
func (b *bench) judge(ctx context.Context, c claim.Claim) error {
	finding, err := b.prove(ctx, c.ID)
	// Whatever was found, the next claim gets a clean lab.
	restored := b.restore(ctx, c.ID)
	got, reason := verdict.Judge(c.ID, finding)
	b.say("%s", progressLine(c.ID, got, c.Expect(b.istio), reason, finding.DurationMillis))
	b.judging.found[c.ID] <- judged{finding, err}
	return restored
}

func (j *judging) lose(err error) {
	j.lost.Do(func() {
		j.err = err
		j.stop()
		close(j.failed)
	})
}

// end stops what is under way, and waits for it.
func (j *judging) end() {
	j.stop()
	j.labs.Wait()
}

// await waits for a claim. fatal is why a lab is lost.
func (j *judging) await(ctx context.Context, id claim.ID) (found judged, fatal error) {
	select {
	case found = <-j.found[id]:
		return found, nil
	case <-j.failed:
		return found, j.err
	case <-ctx.Done():
		j.end()
		return found, errors.Join(context.Canceled, context.Cause(ctx))
	}
}

// late rests on a gateway whose Envoy waits 15 s for a secret that never comes, from
// when it starts. Where the labs are new, the claim would wait for it too.
const late claim.ID = "G2-rbac"

// inTurn is the order in which claims begin: the longest first, so that the labs end
// together.
func inTurn(claims []claim.Claim, newLabs bool) []claim.Claim {
	takes := func(c claim.Claim) time.Duration {
		if c.ID == late && newLabs {
			return -1
		}
		return c.Takes
	}
	return slices.SortedStableFunc(slices.Values(claims), func(a, b claim.Claim) int { return cmp.Compare(takes(b), takes(a)) })
}
