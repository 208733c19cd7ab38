package replay

import (
	"bytes"
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"twohop/internal/claim"
	"twohop/internal/experiment"
	"twohop/internal/manifest"
	"twohop/internal/observe"
	"twohop/internal/observe/recorded"
	"twohop/internal/verdict"
	"twohop/suites"
)

// again makes a claim's check again.
func (r *replay) again(id claim.ID, was verdict.Result) verdict.Finding {
	d, err := suites.ByID(id)
	if err != nil {
		r.Problem("%v.", err)
		return verdict.Finding{}
	}
	out := r.make(d, was)
	f := out.Finding
	// What nobody can work out again is taken over: the schema marks it measured.
	f.DurationMillis, f.Evidence, f.Reproduce = was.DurationMillis, was.Evidence, was.Reproduce
	if f.Error != "" && f.Error != was.Error {
		return f // compare says so; what comes after it is not made again
	}
	if was.Error == "" {
		for _, unused := range out.unused {
			r.Problem("%s: the check does not use the observation %s.", id, unused)
		}
	}
	if script, err := r.run.ReadFile(was.Reproduce); err != nil {
		r.Problem("%s: the script %s cannot be read: %v.", id, was.Reproduce, err)
	} else if !bytes.Equal(script, out.Script) {
		r.Problem("%s: %s is not the script of what was observed.", id, was.Reproduce)
	}
	for _, trial := range []*verdict.Trial{f.Check, f.Control} {
		if trial != nil {
			r.Facts += len(trial.Facts) + len(trial.Cause)
		}
	}
	return f
}

// remade is a check that was made again, and what of the observations it did not use.
type remade struct {
	experiment.Outcome
	unused []string
}

// make makes a claim's check over what was kept of it.
func (r *replay) make(d experiment.Definition, was verdict.Result) remade {
	source := r.source(d.ID)
	inputs := ""
	if r.made != nil {
		inputs = r.inputs(d.ID, was.Start, was.Lab)
		if out, ok := r.made.Load(inputs); ok {
			return out.(remade)
		}
	}
	editor := r.editors[was.Lab]
	out := remade{Outcome: d.Run(context.Background(), experiment.Environment{
		Source: source, Key: r.key, Limits: observe.DefaultLimits(), Editor: editor, Now: func() time.Time { return was.Start },
		Changed: func(set *manifest.Set) { source.Listens = listens(editor.Baseline, set) }})}
	out.unused = source.Unused(string(d.ID))
	if r.made != nil {
		r.made.Store(inputs, out)
	}
	return out
}

// inputs is a hash of all that a check is made over.
func (r *replay) inputs(id claim.ID, start time.Time, lab int) string {
	source := r.source(id)
	brief := func(e recorded.Entry) string {
		raw := hash(e.Raw)
		e.Raw = nil
		return fmt.Sprintf("%+v %s", e, raw)
	}
	ground := r.source(experiment.RunID).Entries[observe.Slot{Claim: string(experiment.RunID), Stage: experiment.StageOf(lab), Ordinal: 1}]
	parts := []string{fmt.Sprintf("%s %s %x %s", id, start, r.key, brief(ground))}
	for at, e := range source.Entries {
		parts = append(parts, fmt.Sprintf("%s %s", at, brief(e)))
		for _, w := range e.Windows {
			parts = append(parts, w.Log+" "+r.hashes[w.Log])
		}
	}
	for name, e := range source.Derived {
		parts = append(parts, fmt.Sprintf("%+v %s", name, brief(e)))
	}
	slices.Sort(parts)
	return hash([]byte(strings.Join(parts, "\n")))
}

// listens says that the gateway has a listener whatever else was changed: it and
// its Gateway are the baseline's.
func listens(baseline, set *manifest.Set) bool {
	s := baseline.Subject
	if set.Subject.Gateway != s.Gateway {
		return false
	}
	for _, k := range []manifest.Key{
		{Kind: "Gateway", Namespace: s.Gateway.Namespace, Name: s.GatewayName},
		{Kind: "Deployment", Namespace: s.Gateway.Namespace, Name: s.Gateway.Deployment},
	} {
		was, is := baseline.Find(k), set.Find(k)
		if was == nil || !reflect.DeepEqual(was, is) {
			return false
		}
	}
	return true
}
