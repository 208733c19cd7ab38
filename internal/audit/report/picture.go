package report

import (
	"fmt"
	"slices"
	"strings"

	"twohop/internal/audit"
)

// picture is a channel's drawing, twice: wide for a screen and paper, tall for a phone.
// The template draws the three boxes; what depends on the findings is placed here.
type picture struct {
	Title                    string
	Caller, Gateway, Partner string
	// Callers and Gateways are all of their names, for a box that shows their number.
	Callers, Gateways string
	Wide, Tall        view
}

type view struct {
	Height int
	// Arrows are the two hops; of the way around there is one if something goes it.
	Arrows []arrow
	Around *arrow
	// GatewayY and PartnerY are where the tall picture's lower boxes start.
	GatewayY, PartnerY int
}

// arrow is a hop: where it starts and ends, what it carries, and what was found on it.
type arrow struct {
	From, To int
	Name     string
	TLS      string
	Class    string
	Badges   []badge
}

// badge marks a finding on a hop.
type badge struct {
	X, Y   int
	Text   string
	Title  string
	Class  string
	Anchor string
}

const (
	badgeWidth = 42 // with the gap to the next
	badgeRow   = 26
	wideRow    = 4 // badges that fit under an arrow of the wide picture
	tallRow    = 5
)

// draw places a channel's hops and what was found on each.
func draw(r *audit.Report, c audit.Channel, anchors map[spot]string) picture {
	p := picture{
		Caller: boxName(c.Callers, "caller"), Gateway: boxName(c.Gateways, "gateway"), Partner: c.Host,
		Callers: orNone(c.Callers), Gateways: orNone(c.Gateways),
		Title: fmt.Sprintf("%s, its callers, the egress gateway, and the two hops between them: %s.", c.Host, layers(c)),
	}
	found := [3][]mark{marks(r, c.Host, 0), marks(r, c.Host, 1), marks(r, c.Host, 2)}
	badges := func(hop, x, y, perRow int) []badge { return badgesOf(found[hop], c.Host, hop, x, y, perRow, anchors) }
	hop := func(number, from, to int, b []badge) arrow {
		tls := modes(c.Hops, number)
		return arrow{From: from, To: to, Name: fmt.Sprintf("hop %d", number), TLS: tls, Class: arrowClass(found[number], tls), Badges: b}
	}

	const under, bottom = 76, 106 // below the arrows, and below the boxes
	low := max(bottom, under+badgeRow*max(rows(found[1], wideRow), rows(found[2], wideRow)))
	p.Wide = view{Height: low + 10, Arrows: []arrow{
		hop(1, 208, 376, badges(1, 210, under, wideRow)), hop(2, 584, 752, badges(2, 586, under, wideRow)),
	}}
	if len(found[0]) > 0 {
		lane := low + 34
		const perRow = 12
		p.Wide.Around = &arrow{From: bottom, To: lane, Class: arrowClass(found[0], ""), Badges: badges(0, 228, lane+10, perRow)}
		p.Wide.Height = lane + 14 + badgeRow*rows(found[0], perRow)
	}

	const box, first = 62, 6
	gateway := first + box + 56 + badgeRow*rows(found[1], tallRow)
	partner := gateway + box + 56 + badgeRow*rows(found[2], tallRow)
	p.Tall = view{Height: partner + box + 8, GatewayY: gateway, PartnerY: partner, Arrows: []arrow{
		hop(1, first+box, gateway, badges(1, 112, first+box+36, tallRow)),
		hop(2, gateway+box, partner, badges(2, 112, gateway+box+36, tallRow)),
	}}
	if len(found[0]) > 0 {
		end := partner + box
		p.Tall.Around = &arrow{From: first + box/2, To: partner + box/2, Class: arrowClass(found[0], ""), Badges: badges(0, 112, end+28, tallRow)}
		p.Tall.Height = end + 32 + badgeRow*rows(found[0], tallRow)
	}
	return p
}

// badgesOf lays badges out in rows from a corner.
func badgesOf(found []mark, host string, hop, x, y, perRow int, anchors map[spot]string) []badge {
	badges := make([]badge, 0, len(found))
	for i, m := range found {
		badges = append(badges, badge{
			X: x + badgeWidth*(i%perRow), Y: y + badgeRow*(i/perRow),
			Text: sign(m.Status) + " " + shorten(m.ID, 3), Title: m.String() + " " + m.Title, Class: markClass(m),
			Anchor: anchors[spot{m.ID, host, hop, m.Status}],
		})
	}
	return badges
}

func rows(found []mark, perRow int) int { return (len(found) + perRow - 1) / perRow }

func sign(s audit.Status) string {
	switch s {
	case audit.Unknown:
		return "?"
	case audit.Excepted:
		return "–"
	}
	return "✗"
}

func markClass(m mark) string {
	if m.Status == audit.Fail {
		return string(m.Severity)
	}
	return string(m.Status)
}

// arrowClass is good only where nothing was found and the hop is known to be encrypted.
func arrowClass(found []mark, tls string) string {
	switch {
	case len(found) > 0 && found[0].Status == audit.Fail:
		return "bad"
	case len(found) > 0, tls != "mutual":
		return "open"
	}
	return "good"
}

// modes are the TLS modes of a hop, more than one where callers differ.
func modes(hops []audit.Hop, number int) string {
	var all []string
	for _, h := range hops {
		if h.Number == number && !slices.Contains(all, h.TLS) {
			all = append(all, h.TLS)
		}
	}
	if len(all) == 0 {
		return "unknown"
	}
	return strings.Join(all, " / ")
}

func boxName(names []string, what string) string {
	switch len(names) {
	case 0:
		return "no " + what + " found"
	case 1:
		return names[0]
	}
	return plural(len(names), what)
}
