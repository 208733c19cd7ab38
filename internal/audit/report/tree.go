package report

import (
	"fmt"
	"slices"
	"strings"

	"twohop/internal/audit"
)

// stretch is a hop that several callers make in the same way.
type stretch struct {
	audit.Hop // without From
	Froms     []string
}

// stretches brings hops together that differ only in where they start.
func stretches(hops []audit.Hop) []stretch {
	var found []stretch
	for _, h := range hops {
		from := h.From
		h.From = ""
		i := slices.IndexFunc(found, func(s stretch) bool { return s.Hop == h })
		if i < 0 {
			i = len(found)
			found = append(found, stretch{Hop: h})
		}
		found[i].Froms = append(found[i].Froms, from)
	}
	slices.SortStableFunc(found, func(a, b stretch) int { return a.Number - b.Number })
	return found
}

// Details are what is known of a hop, by label.
func (s stretch) Details() [][2]string {
	all := [][2]string{
		{"SNI", s.ServerName}, {"certificate", s.Certificate}, {"SANs", s.SANs},
		{"limit", s.Connections}, {"rule", s.Rule}, {"cluster", s.Cluster},
	}
	return slices.DeleteFunc(all, func(d [2]string) bool { return d[1] == "" })
}

// mark is what one check says of one hop.
type mark struct {
	ID       string
	Title    string
	Severity audit.Severity
	Status   audit.Status
}

func (m mark) String() string {
	switch m.Status {
	case audit.Unknown:
		return fmt.Sprintf("? [%s] unknown", m.ID)
	case audit.Excepted:
		return fmt.Sprintf("- [%s] excepted", m.ID)
	}
	return fmt.Sprintf("✗ [%s] %s", m.ID, m.Severity)
}

// marks are those of a channel's hop, the worst first.
func marks(r *audit.Report, host string, hop int) []mark {
	var found []mark
	for _, f := range sorted(r.Findings) {
		m := mark{f.ID, stated(f), f.Severity, f.Status}
		if f.Host == host && f.Hop == hop && !slices.Contains(found, m) {
			found = append(found, m)
		}
	}
	return found
}

func marksColour(found []mark) string {
	switch {
	case len(found) == 0:
		return green
	case found[0].Status == audit.Fail:
		return red
	case found[0].Status == audit.Unknown:
		return yellow
	}
	return dim
}

func (t *text) channels(r *audit.Report) {
	if len(r.Channels) == 0 {
		return
	}
	t.section("CHANNELS", "each hop as the proxies are configured to make it")
	for i, c := range r.Channels {
		if i > 0 {
			t.line("")
		}
		t.channel(r, c)
	}
}

func (t *text) channel(r *audit.Report, c audit.Channel) {
	t.ends(channelTitle(c), strings.ToUpper(string(c.Result))+" · "+layers(c), bold, resultColour(c.Result))
	if len(c.Hops) == 0 {
		t.indent("  ", "  ", "No hop computed: callers "+orNone(c.Callers)+"; gateways "+orNone(c.Gateways)+".", yellow)
	}
	// The gateway ends one hop and starts the next: it is written once.
	last := ""
	for _, s := range stretches(c.Hops) {
		from := flat(listed(s.Froms, 4))
		if from != last {
			t.indent("  ", "  ", from, "")
		}
		t.stretch(s, marks(r, c.Host, s.Number))
		t.indent("  ", "  ", s.To, "")
		last = s.To
	}
	for _, m := range marks(r, c.Host, 0) {
		t.indent("  around the gateway: ", "    ", m.String()+"  "+m.Title, marksColour([]mark{m}))
	}
}

func (t *text) stretch(s stretch, found []mark) {
	const bar = "  │  "
	colour := marksColour(found)
	var words []string
	for _, m := range found {
		words = append(words, m.String())
	}
	first := fmt.Sprintf("%s: %s", hopName(s.Number), s.TLS)
	if len(words) > 0 {
		first = pad(first, 24) + strings.Join(words, "  ")
	}
	for _, l := range wrapKept(first, t.width-len(bar)) {
		t.line(bar + t.paint(colour, l))
	}
	for _, d := range s.Details() {
		label := pad(d[0], len("certificate  "))
		t.indent(bar+t.paint(dim, label), bar+strings.Repeat(" ", len(label)), d[1], "")
	}
	t.line("  ▼")
}

// wrapKept wraps only what does not fit, so that columns stay where it does.
func wrapKept(s string, n int) []string {
	if columns(s) <= n {
		return []string{s}
	}
	return wrap(s, n)
}

func channelTitle(c audit.Channel) string {
	if len(c.Ports) == 0 {
		return c.Host
	}
	return c.Host + "  port " + listed(c.Ports, 6)
}

// layers says whether a call has both: what was not seen is not missing.
func layers(c audit.Channel) string {
	switch {
	case c.DoubleTLS:
		return "mutual TLS on both hops"
	case !seenWhole(c):
		return "TLS not fully known"
	}
	return "not mutual TLS on both hops"
}

// seenWhole reports whether the TLS mode of both hops is known.
func seenWhole(c audit.Channel) bool {
	var seen [3]bool
	for _, h := range c.Hops {
		if h.TLS == "unknown" {
			return false
		}
		if h.Number > 0 && h.Number < len(seen) {
			seen[h.Number] = true
		}
	}
	return seen[1] && seen[2]
}

func orNone(items []string) string {
	if len(items) == 0 {
		return "none"
	}
	return listed(items, 4)
}
