package verdict

import "time"

// bar is a line of the timeline; Left and Width are per cent of the run.
type bar struct {
	Label, Class, Took string
	Left, Width        float64
	Anchor             string
}

// timeline places phases and claims within the run.
func timeline(v *Verdict) (phases, claims []bar) {
	total := float64(max(v.Run.DurationMillis, 1))
	place := func(start time.Time, millis int64) (left, width float64) {
		left = 100 * float64(start.Sub(v.Run.Start).Milliseconds()) / total
		left = min(max(left, 0), 100)
		return left, min(max(100*float64(millis)/total, 0.3), 100-left)
	}
	for _, p := range v.Phases {
		b := bar{Label: p.Name, Class: "phase", Took: duration(p.DurationMillis)}
		b.Left, b.Width = place(p.Start, p.DurationMillis)
		phases = append(phases, b)
	}
	for _, r := range v.Claims {
		if r.Start.IsZero() {
			continue
		}
		b := bar{Label: string(r.ID), Class: "claim-bar " + string(r.Verdict), Took: duration(r.DurationMillis), Anchor: string(r.ID)}
		if r.Unexpected() {
			b.Class += " unexpected"
		}
		b.Left, b.Width = place(r.Start, r.DurationMillis)
		claims = append(claims, b)
	}
	return phases, claims
}
