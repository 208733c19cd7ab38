package report

import (
	"embed"
	"fmt"
	"html/template"
	"io"
	"strings"

	"twohop/internal/audit"
)

//go:embed page/report.html page/report.css
var pageFiles embed.FS

// page is what the HTML is made of.
type page struct {
	R        *audit.Report
	CSS      template.CSS
	Headline string
	Nothing  string
	Audited  string
	Totals   []string
	Failed   []card
	Unknown  []card
	Excepted []card
	Channels []channelView
}

// card is a group of findings with the anchor that marks in the pictures lead to.
type card struct {
	group
	Anchor string
}

type channelView struct {
	audit.Channel
	Layers  string
	Picture picture
	Hops    []stretch
}

// writeHTML writes one page that loads nothing, runs nothing and can be mailed.
func writeHTML(w io.Writer, r *audit.Report, _ Options) error {
	r, err := readable(r)
	if err != nil {
		return err
	}
	css, err := pageFiles.ReadFile("page/report.css")
	if err != nil {
		return err
	}
	t, err := template.New("report.html").Funcs(template.FuncMap{
		"position": position, "stated": stated, "target": target, "because": because, "source": source, "learn": learn,
		"places":  func(v variant) string { return places(v, "; ") },
		"listed":  func(items []string) string { return listed(items, 12) },
		"join":    func(items []string) string { return strings.Join(items, " · ") },
		"shorten": func(n int, s string) string { return shorten(flat(s), n) },
		"down":    func(from, by int) int { return from + by },
	}).ParseFS(pageFiles, "page/report.html")
	if err != nil {
		return err
	}
	p := page{
		R: r, CSS: template.CSS(css), Headline: headline(r), Nothing: nothing(r),
		Audited: strings.Join(audited(r), " · "), Totals: totals(r),
		Failed: cards(r, audit.Fail), Unknown: cards(r, audit.Unknown), Excepted: cards(r, audit.Excepted),
	}
	anchors := anchorsOf(p.Failed, p.Unknown, p.Excepted)
	for _, c := range r.Channels {
		p.Channels = append(p.Channels, channelView{
			Channel: c, Layers: layers(c), Hops: stretches(c.Hops), Picture: draw(r, c, anchors),
		})
	}
	return t.Execute(w, p)
}

func cards(r *audit.Report, status audit.Status) []card {
	var found []card
	for i, g := range grouped(r, status) {
		found = append(found, card{g, fmt.Sprintf("%s-%d", status, i+1)})
	}
	return found
}

// anchorsOf leads from a check's word on a host and hop to its card.
func anchorsOf(lists ...[]card) map[spot]string {
	anchors := map[spot]string{}
	for _, cards := range lists {
		for _, c := range cards {
			for _, f := range c.Members {
				s := spot{f.ID, f.Host, f.Hop, f.Status}
				if anchors[s] == "" {
					anchors[s] = c.Anchor
				}
			}
		}
	}
	return anchors
}

// spot is where a picture marks a finding.
type spot struct {
	id, host string
	hop      int
	status   audit.Status
}
