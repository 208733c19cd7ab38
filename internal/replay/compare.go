package replay

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"twohop/internal/verdict"
)

// field is one in which two values of a type differ.
type field struct{ name, got, want string }

// differing are the JSON fields in which two values differ.
func differing(got, want any) (fields []field) {
	a, b := members(got), members(want)
	var names []string
	for name := range a {
		names = append(names, name)
	}
	for name := range b {
		if _, ok := a[name]; !ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		if string(a[name]) != string(b[name]) {
			fields = append(fields, field{name, short(a[name]), short(b[name])})
		}
	}
	return fields
}

func members(v any) map[string]json.RawMessage {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err) // plain data
	}
	m := map[string]json.RawMessage{}
	if err := json.Unmarshal(raw, &m); err != nil {
		panic(err) // an object
	}
	return m
}

func short(raw json.RawMessage) string {
	const most = 200
	text := string(raw)
	if text == "" {
		return "nothing"
	}
	if len(text) > most {
		return text[:most] + "…"
	}
	return text
}

// differingFacts says which facts of a trial are not what was worked out again.
func differingFacts(was, now *verdict.Trial) (problems []string) {
	if was == nil || now == nil {
		if was != now {
			return []string{"one of them was made and not the other"}
		}
		return nil
	}
	if was.Change != now.Change {
		problems = append(problems, fmt.Sprintf("the change is said to be %q and is %q", was.Change, now.Change))
	}
	for _, list := range []struct {
		name     string
		was, now []verdict.Fact
	}{{"fact", was.Facts, now.Facts}, {"cause", was.Cause, now.Cause}} {
		for i := range max(len(list.was), len(list.now)) {
			switch {
			case i >= len(list.was):
				problems = append(problems, fmt.Sprintf("the verdict lacks the %s %q", list.name, list.now[i].Name))
			case i >= len(list.now):
				problems = append(problems, fmt.Sprintf("the %s %q does not follow from the observations", list.name, list.was[i].Name))
			default:
				var parts []string
				for _, f := range differing(list.was[i], list.now[i]) {
					parts = append(parts, fmt.Sprintf("%s is %s in the verdict and %s by the observations", f.name, f.got, f.want))
				}
				if len(parts) > 0 {
					problems = append(problems, fmt.Sprintf("%s %q: %s", list.name, list.now[i].Name, strings.Join(parts, "; ")))
				}
			}
		}
	}
	return problems
}

// differingSoFar says which facts came out differently before the check could not
// go on: often they are why.
func differingSoFar(was, now verdict.Finding) (problems []string) {
	for _, t := range []struct {
		name     string
		was, now *verdict.Trial
	}{{"check", was.Check, now.Check}, {"control", was.Control, now.Control}} {
		if t.was == nil || t.now == nil {
			continue
		}
		n := min(len(t.was.Facts), len(t.now.Facts))
		for _, p := range differingFacts(&verdict.Trial{Facts: t.was.Facts[:n]}, &verdict.Trial{Facts: t.now.Facts[:n]}) {
			problems = append(problems, t.name+": "+p)
		}
	}
	return problems
}
