package experiment

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"twohop/internal/check"
	"twohop/internal/manifest"
	"twohop/internal/observe"
	"twohop/internal/verdict"
)

// World is where variations are carried out: a lab. A replay has none.
type World interface {
	// Vary makes the changes in turn, and returns once the proxies have them.
	Vary(ctx context.Context, variations ...manifest.Variation) error
	// Return takes back what was changed since the set was the subject. What the
	// proxies have then is known after the next Vary.
	Return(ctx context.Context, to *manifest.Set) error
}

// Environment is what an experiment is made in.
type Environment struct {
	World World
	// Set is the subject before the experiment; nil stands for the baseline.
	Set    *manifest.Set
	Source observe.Source
	Key    observe.Key
	Limits observe.Limits
	Editor *manifest.Editor
	// Changed is told what the subject is from now on; nil: nobody asks.
	Changed func(*manifest.Set)
	// Spoil plants a fault in the experiment: mutants do.
	Spoil func(Plan) Plan
	// FactsOnly leaves out what only people read, manifests and the script: mutants
	// replay a claim thousands of times.
	FactsOnly bool
	// Checked stands for a check that was made before; it is not made again. Mutants of
	// the control's observations need it no more than once.
	Checked *Checked
	// Now is the clock by which a finding says when it was made.
	Now func() time.Time
}

// Checked is an experiment of which the check was made: what it stated, and the subject
// as it left it.
type Checked struct {
	Trial verdict.Trial
	Set   *manifest.Set
}

// Outcome is what an experiment brought.
type Outcome struct {
	// Checked is what the control goes on from; nil if it did not come to that.
	Checked *Checked
	// Finding has no evidence yet: who keeps the observations adds it.
	Finding verdict.Finding
	// Script shows a person the same by hand.
	Script []byte
}

// run is an experiment under way.
type run struct {
	ctx     context.Context
	env     Environment
	set     *manifest.Set // the subject as it should be now
	session *check.Session
	finding verdict.Finding
	checked *Checked
	script  *script
}

// Run makes the experiment. It leaves the world varied: the caller restores it,
// whatever happened here.
func (d Definition) Run(ctx context.Context, env Environment) Outcome {
	m := noMaterial()
	if !env.FactsOnly {
		m = newMaterial(env.Editor)
	}
	r := &run{ctx: ctx, env: env, set: env.Set, script: newScript(m)}
	if r.set == nil {
		r.set = env.Editor.Baseline.Clone()
	}
	r.become(r.set)
	r.session = &check.Session{Source: env.Source, Key: env.Key, Limits: env.Limits, Claim: string(d.ID),
		Script: r.script.add, Table: func(t *verdict.Table) { r.finding.Table = t }}
	start := env.Now().UTC()
	r.finding = verdict.Finding{Claim: d.ID, Start: start, Attempts: 1, Lab: env.Editor.Subject.Lab}
	if err := r.guard(d); err != nil {
		r.finding.Error = err.Error()
	}
	r.finding.DurationMillis = env.Now().Sub(start).Milliseconds()
	return Outcome{Finding: r.finding, Checked: r.checked, Script: r.script.render(d.ID, env.Editor.Subject)}
}

// guard turns an aborted check into an error, and a panic too: the finding is
// recorded whatever happens.
func (r *run) guard(d Definition) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the check panicked: %v (%s)", p, panicked())
		}
	}()
	return r.prove(d)
}

// panicked is where, in the project's own code: a whole stack has addresses in
// it, and no replay could come to the same.
func panicked() string {
	var at string
	for line := range strings.Lines(string(debug.Stack())) {
		if file, _, ok := strings.Cut(strings.TrimSpace(line), " +0x"); ok {
			parts := strings.Split(file, "/")
			name := strings.Join(parts[max(0, len(parts)-2):], "/")
			if strings.HasPrefix(name, "suites/") {
				return name
			}
			own := strings.HasPrefix(name, "check/") && !strings.HasPrefix(name, "check/check.go") // whose Recover goes on panicking
			if at == "" && (own || strings.Contains(name, "_test.go")) {
				at = name
			}
		}
	}
	return at
}

func (r *run) prove(d Definition) (err error) {
	defer check.Recover(&err)
	r.session.Enter("setup")
	// Before anything is arranged: what istiod's log says of that counts too.
	cast, err := check.New(r.ctx, r.session, r.set.Subject)
	if err != nil {
		return err
	}
	r.script.meet(cast)
	plan := d.design(&Setup{Editor: r.env.Editor, ctx: r.ctx, session: r.session, cast: cast, material: r.script.material})
	if r.env.Spoil != nil {
		plan = r.env.Spoil(plan)
	}
	r.session.Enter("check")
	if r.checked = r.env.Checked; r.checked != nil {
		trial := r.checked.Trial
		trial.Facts, trial.Cause = slices.Clone(trial.Facts), slices.Clone(trial.Cause)
		r.finding.Check = &trial
		r.become(r.checked.Set)
	} else {
		if r.finding.Check, err = r.try(plan, plan.Arrange); err != nil {
			return err
		}
		r.checked = &Checked{Trial: *r.finding.Check, Set: r.set}
		r.checked.Trial.Facts = slices.Clone(r.checked.Trial.Facts) // the flips are marked in the finding's
	}
	r.session.Enter("control")
	r.finding.Control, err = r.try(plan, plan.Control)
	r.finding.Control.Change = manifest.Changes(plan.Control)
	if err != nil {
		return fmt.Errorf("control: %w", err)
	}
	return mark(plan.Flips, r.finding.Check, r.finding.Control)
}

// try makes changes and then the check, and looks for the cause if it does not hold.
func (r *run) try(plan Plan, variations []manifest.Variation) (*verdict.Trial, error) {
	trial := &verdict.Trial{}
	if err := r.vary(variations); err != nil {
		return trial, err
	}
	t, err := check.New(r.ctx, r.session, r.set.Subject)
	if err != nil {
		return trial, err
	}
	stage := &T{T: t, run: r}
	t.State(&trial.Facts)
	var saw any
	if err := attempt(func() { saw = plan.check(stage) }); err != nil {
		return trial, err
	}
	if trial.Holds() || plan.cause == nil {
		return trial, nil // Judge says that a cause is missing
	}
	t.State(&trial.Cause)
	if err := attempt(func() { plan.cause(stage, saw) }); err != nil {
		return trial, fmt.Errorf("look for the cause: %w", err)
	}
	return trial, nil
}

func attempt(f func()) (err error) {
	defer check.Recover(&err)
	f()
	return nil
}

// vary makes changes, writes them into the script and keeps what is applied.
func (r *run) vary(variations []manifest.Variation) error {
	if len(variations) == 0 {
		return nil
	}
	set, changed := r.set, false
	for _, v := range variations {
		next, err := v.Apply(set)
		if err != nil {
			return err
		}
		does, err := r.write(v, set, next)
		if err != nil {
			return err
		}
		set, changed = next, changed || does
	}
	if changed {
		r.script.settle()
	}
	err := r.carryOut(manifest.Changes(variations), func() error { return r.env.World.Vary(r.ctx, variations...) })
	if err == nil {
		r.become(set)
	}
	return err
}

func (r *run) become(set *manifest.Set) {
	if r.set = set; r.env.Changed != nil {
		r.env.Changed(set)
	}
}

// write keeps what leads from one set to the next, and notes it in the script. It
// reports whether there is anything to do.
func (r *run) write(v manifest.Variation, set, next *manifest.Set) (bool, error) {
	diff, err := manifest.Diff(set, next)
	if err != nil {
		return false, err
	}
	if len(diff.Put) > 0 {
		at := r.session.Next()
		if !r.env.FactsOnly {
			if err := r.keep(at, diff); err != nil {
				return false, err
			}
		}
	}
	if r.env.FactsOnly {
		return !diff.Empty(), nil
	}
	return r.script.change(v, set, next)
}

// keep keeps what a difference puts, as a person would apply it.
func (r *run) keep(at observe.Slot, diff manifest.Difference) error {
	all, err := diff.Applied()
	if err != nil {
		return err
	}
	meta := observe.Meta{Name: "applied.yaml", Kind: verdict.KindYAML, Witness: verdict.WitnessAPI, Command: all[0].Command}
	_, err = r.env.Source.Derive(at, meta, all[0].YAML)
	return err
}

// carryOut has a change made: that it was, or why not, is an observation too.
func (r *run) carryOut(what string, do func() error) error {
	q := observe.Input{What: "change: " + what, Make: func() ([]byte, error) { return nil, do() }}
	_, err := r.env.Source.Begin(r.ctx, r.session.Next(), q, observe.Meta{Name: "change.txt", Kind: verdict.KindText}).Answer(r.ctx)
	return err
}

// goBack takes back what was changed since the set was the subject.
func (r *run) goBack(to *manifest.Set) error {
	const change = "take back what was changed since"
	if _, err := r.write(manifest.Variation{Change: change}, r.set, to); err != nil {
		return err
	}
	err := r.carryOut(change, func() error { return r.env.World.Return(r.ctx, to) })
	if err == nil {
		r.become(to)
	}
	return err
}

// mark marks the facts that have to flip. A name that no fact has is an error:
// the claim would rest on something that was not looked at.
func mark(names []string, trials ...*verdict.Trial) error {
	for _, name := range names {
		found := false
		for _, t := range trials {
			for i := range t.Facts {
				if like(name, t.Facts[i].Name) {
					t.Facts[i].Flips, found = true, true
				}
			}
		}
		if !found {
			return fmt.Errorf("no fact is called %q, which is said to flip", name)
		}
	}
	return nil
}

// like reports whether a name is as a pattern says, in which * stands for any text.
func like(pattern, name string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == name
	}
	rest, ok := strings.CutPrefix(name, parts[0])
	if !ok {
		return false
	}
	last := parts[len(parts)-1]
	for _, part := range parts[1 : len(parts)-1] {
		_, after, found := strings.Cut(rest, part)
		if !found {
			return false
		}
		rest = after
	}
	return strings.HasSuffix(rest, last)
}
