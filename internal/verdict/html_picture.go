package verdict

import (
	"regexp"
	"sort"
	"strings"

	"twohop/internal/claim"
)

// hops is what the picture of the two hops shows, taken from facts.
type hops struct {
	Sidecar, Gateway, Partner []held
	// Lines under each arrow of the picture.
	Hop1, Hop2 []string
	Claims     []claim.ID
}

// proxyFact splits "client sidecar, outbound|…: SNI" into who, what and field.
var proxyFact = regexp.MustCompile(`^(client sidecar|gateway|partner)(?:, (.*))?: ([^:]+)$`)

// seenHops gathers what the goals' checks saw on each proxy in the state that
// the guide prescribes. Only checks that hold count: the others speak of
// states that a claim broke on purpose.
func seenHops(v *Verdict) hops {
	var h hops
	had := map[string]bool{}
	for _, r := range v.Claims {
		if r.Chapter != claim.Goals || r.Verdict != claim.Supported || r.Check == nil || !pictured[r.ID] {
			continue
		}
		for _, f := range r.Check.Facts {
			m := proxyFact.FindStringSubmatch(f.Name)
			// How many requests there were is about a call, not about a proxy.
			if m == nil || had[f.Name] || strings.HasPrefix(m[3], "requests of") {
				continue
			}
			had[f.Name] = true
			p := held{m[2], m[3], f.Seen}
			switch m[1] {
			case "client sidecar":
				h.Sidecar = append(h.Sidecar, p)
			case "gateway":
				h.Gateway = append(h.Gateway, p)
			case "partner":
				h.Partner = append(h.Partner, p)
			}
		}
		h.Claims = append(h.Claims, r.ID)
	}
	h.Sidecar, h.Gateway, h.Partner = byPlace(h.Sidecar), byPlace(h.Gateway), byPlace(h.Partner)
	h.Hop1 = underArrow(h.Sidecar)
	h.Hop2 = underArrow(append(h.Gateway[:len(h.Gateway):len(h.Gateway)], h.Partner...))
	return h
}

// byPlace brings together what is held in one place (a cluster, a secret), in
// the order in which places were first looked at.
func byPlace(seen []held) []held {
	first := map[string]int{}
	for i, h := range seen {
		if _, ok := first[h.Where]; !ok {
			first[h.Where] = i
		}
	}
	sort.SliceStable(seen, func(i, j int) bool { return first[seen[i].Where] < first[seen[j].Where] })
	return seen
}

// Height is the wide picture's, which grows with the lines under its arrows.
func (h hops) Height() int { return 148 + 19*max(len(h.Hop1), len(h.Hop2)) }

// pictured are the claims whose check is made in the state that the guide
// prescribes, so that what they saw belongs into the picture.
var pictured = map[claim.ID]bool{"G1": true, "G2": true, "G3": true}

// underArrow picks what says most about a hop: names, certificates, limits.
func underArrow(seen []held) []string {
	var lines []string
	for _, want := range []struct{ label, pattern string }{
		{"SNI", `(?i)\bsni( of hop 2)?$`}, {"certificate", `(?i)client certificate by SDS`}, {"max connections", `(?i)max ?connections$`},
		{"connect timeout", `(?i)connect ?timeout$`}, {"keepalive", `(?i)keepalive( time)?$`},
	} {
		pattern := regexp.MustCompile(want.pattern)
		for _, p := range seen {
			if pattern.MatchString(p.Name) && p.Value != "absent" {
				lines = append(lines, want.label+" "+clean(p.Value))
				break
			}
		}
	}
	return lines
}

// held is a value that a proxy holds: where, what, and the value.
type held struct{ Where, Name, Value string }
