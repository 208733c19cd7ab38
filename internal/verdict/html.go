package verdict

import (
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"path"
	"sort"
	"time"
)

//go:embed report/report.html report/report.css report/report.js
var reportFiles embed.FS

// page is what report.html is made of.
type page struct {
	V           *Verdict
	Message     string
	CSS         template.CSS
	JS          template.JS
	CSP         string
	Environment []pair
	Hops        hops
	Images      []pair
	Phases      []bar
	ClaimBars   []bar
	Chapters    []chapterView
	Filters     []filter
	HasManifest bool
}

type pair struct{ Name, Value string }

// filter is one of the buttons that choose claims, with how many it shows.
type filter struct {
	Key, Label string
	Count      int
}

type chapterView struct {
	Title  string
	Claims []claimView
}

// WriteHTML writes report.html: one file that needs no network. The evidence is
// read from the run's folder and shown inline; links to it are relative.
func WriteHTML(w io.Writer, v *Verdict, dir string) error {
	asset := func(name string) (string, error) {
		raw, err := reportFiles.ReadFile("report/" + name)
		return string(raw), err
	}
	css, err := asset("report.css")
	if err != nil {
		return err
	}
	js, err := asset("report.js")
	if err != nil {
		return err
	}
	source, err := asset("report.html")
	if err != nil {
		return err
	}
	t, err := template.New("report").Funcs(template.FuncMap{
		"duration": duration, "visible": visible, "plural": plural, "base": path.Base,
		"bytes": func(n int) string { return size(int64(n)) },
		"list":  func(items ...any) []any { return items },
		"add":   func(a, b int) int { return a + b },
		"cut":   func(n int, s string) string { return cutTo(s, n) },
		"lineY": func(i int) int { return 148 + 19*i },
		"tallY": func(from, i int) int { return from + 20*i },
		"when":  func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
	}).Parse(source)
	if err != nil {
		return err
	}
	if v, err = readable(v); err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(js))
	p := page{
		V: v, Message: v.ownMessage(), CSS: template.CSS(css), JS: template.JS(js),
		// Nothing is loaded and no other script runs, whatever a log line says.
		CSP: "default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-" +
			base64.StdEncoding.EncodeToString(sum[:]) + "'",
		Environment: environmentPairs(v), Images: imagePairs(v.Run), Hops: seenHops(v), Filters: filters(v.Claims),
	}
	p.Phases, p.ClaimBars = timeline(v)
	d, err := OpenRun(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	p.HasManifest = d.Has(ManifestFile)
	for _, group := range chapters(v.Claims) {
		c := chapterView{Title: group[0].Chapter.Title()}
		for _, r := range group {
			c.Claims = append(c.Claims, viewClaim(r, d))
		}
		p.Chapters = append(p.Chapters, c)
	}
	return t.Execute(w, p)
}

func environmentPairs(v *Verdict) []pair {
	r := v.Run
	state := "new"
	if r.ClusterReused {
		state = "reused"
	}
	all := []pair{
		{"Istio", r.Istio}, {"Kubernetes", r.Kubernetes}, {"Envoy", r.Envoy}, {"Image lane", r.Lane}, {"Engine", r.Engine},
		{"Cluster", r.Cluster}, {"istiod domain", r.Domain}, {"Claims selected", r.Selection},
		{"Started", r.Start.UTC().Format("2006-01-02 15:04:05 UTC")}, {"Took", duration(r.DurationMillis)},
		{"Harness commit", r.HarnessCommit}, {"Seed", fmt.Sprint(r.Seed)}, {"Run", r.ID},
	}
	var known []pair
	for _, p := range all {
		if p.Value == "" {
			continue
		}
		if p.Name == "Cluster" {
			p.Value += " (" + state + ")"
		}
		known = append(known, p)
	}
	return known
}

func imagePairs(r Run) []pair {
	var images []pair
	for name, digest := range r.Asked.Images {
		images = append(images, pair{name, digest})
	}
	sort.Slice(images, func(i, j int) bool { return images[i].Name < images[j].Name })
	return images
}

func filters(results []Result) []filter {
	t := Count(results)
	all := []filter{
		{"all", "All", t.Claims}, {"supported", "Supported", t.Supported}, {"refuted", "Refuted", t.Refuted},
		{"inconclusive", "Inconclusive", t.Inconclusive}, {"not-run", "Not run", t.NotRun},
		{"unexpected", "Not as expected", t.Unexpected},
	}
	var used []filter
	for _, f := range all {
		if f.Count > 0 || f.Key == "all" {
			used = append(used, f)
		}
	}
	return used
}

func cutTo(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}
