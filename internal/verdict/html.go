package verdict

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"path"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"time"

	"twohop/internal/claim"
)

//go:embed report/report.html report/report.css report/report.js
var reportFiles embed.FS

// page is what report.html is made of.
type page struct {
	V           *Verdict
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

// held is a value that a proxy holds: where, what, and the value.
type held struct{ Where, Name, Value string }

// filter is one of the buttons that choose claims, with how many it shows.
type filter struct {
	Key, Label string
	Count      int
}

type chapterView struct {
	Title  string
	Claims []claimView
}

type claimView struct {
	Result
	Mark      string // expected, unexpected or open
	CheckView *trialView
	CtrlView  *trialView
	Probes    []probeView
	Others    []evidenceView
	Script    string
	Open      bool
}

type trialView struct {
	Change string
	Holds  bool
	Facts  []factView
	Cause  []factView
}

type factView struct {
	Fact
	// Where is the fact's name up to its last ": ", What the rest.
	Where, What string
	Decides     bool
}

func viewFact(f Fact, decides bool) factView {
	v := factView{Fact: f, What: f.Name, Decides: decides}
	if i := strings.LastIndex(f.Name, ": "); i > 0 {
		v.Where, v.What = f.Name[:i], f.Name[i+2:]
	}
	return v
}

// probeView is one request and what each witness wrote about it.
type probeView struct {
	Title    string
	Token    string
	Witness  []evidenceView
	Negative bool
}

// bar is a line of the timeline; Left and Width are per cent of the run.
type bar struct {
	Label, Class, Took string
	Left, Width        float64
	Anchor             string
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
		V: v, CSS: template.CSS(css), JS: template.JS(js),
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
		{"Cluster", r.Cluster}, {"istiod domain", r.Domain}, {"Claims asked for", r.Selection},
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
	for name, digest := range r.Images {
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

func viewClaim(r Result, d *RunDir) claimView {
	c := claimView{Result: r, Mark: "open", Open: r.Unexpected() || r.Verdict == claim.Inconclusive}
	switch {
	case r.Unexpected():
		c.Mark = "unexpected"
	case r.AsExpected():
		c.Mark = "expected"
	}
	decides := r.Decisive()
	c.CheckView, c.CtrlView = viewTrial(r.Check, decides), viewTrial(r.Control, decides)

	about := map[string][]Fact{}
	for _, trial := range []*Trial{r.Check, r.Control} {
		if trial == nil {
			continue
		}
		for _, f := range append(trial.Facts[:len(trial.Facts):len(trial.Facts)], trial.Cause...) {
			for _, p := range f.Evidence {
				about[p] = append(about[p], f)
			}
		}
	}
	opened := 0
	for _, e := range r.Evidence {
		view := viewEvidence(d, e, about[e.Path], decides)
		if !isWitness(e) {
			if (e.Kind == KindClusters || e.Kind == KindSecrets) && view.Marks > 0 && opened < 2 {
				view.Open = true
				opened++
			}
			c.Others = append(c.Others, view)
			continue
		}
		// The logs of a request follow what curl said of it, and name its token.
		token := tokenOf(e)
		at := len(c.Probes) - 1
		if token != "" {
			for at = len(c.Probes) - 1; at >= 0 && c.Probes[at].Token != token; at-- {
			}
		}
		if at < 0 || (token == "" && e.Kind == KindCurl) {
			c.Probes = append(c.Probes, probeView{Token: token})
			at = len(c.Probes) - 1
		}
		c.Probes[at].Witness = append(c.Probes[at].Witness, view)
	}
	for i := range c.Probes {
		c.Probes[i].Title = fmt.Sprintf("Request %d of %d", i+1, len(c.Probes))
		for _, stage := range []string{"check", "control"} {
			if strings.Contains(filepath.Base(c.Probes[i].Witness[0].Path), "-"+stage+"-") {
				c.Probes[i].Title += ", in the " + stage
			}
		}
	}
	if r.Reproduce != "" {
		if raw, err := d.ReadFile(r.Reproduce); err == nil {
			c.Script = string(raw)
		}
	}
	return c
}

// isWitness reports whether a file is one of the logs of a request.
func isWitness(e Evidence) bool {
	return e.Kind == KindCurl || e.Kind == KindAccessLog || e.Kind == KindPartnerLog
}

var token = regexp.MustCompile(`\bt[0-9a-f]{12}\b`)

func tokenOf(e Evidence) string { return token.FindString(e.Command) }

func viewTrial(t *Trial, decides map[string]bool) *trialView {
	if t == nil {
		return nil
	}
	v := &trialView{Change: t.Change, Holds: t.Holds()}
	for _, f := range t.Facts {
		v.Facts = append(v.Facts, viewFact(f, decides[f.Name]))
	}
	for _, f := range t.Cause {
		v.Cause = append(v.Cause, viewFact(f, true))
	}
	return v
}

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

func cutTo(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
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

// readable is a copy of the verdict without control characters in any value.
func readable(v *Verdict) (*Verdict, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var doc any
	if err := dec.Decode(&doc); err != nil {
		return nil, err
	}
	if raw, err = json.Marshal(eachString(doc, visible)); err != nil {
		return nil, err
	}
	var copied Verdict
	return &copied, json.Unmarshal(raw, &copied)
}

func eachString(node any, change func(string) string) any {
	switch node := node.(type) {
	case string:
		return change(node)
	case []any:
		for i := range node {
			node[i] = eachString(node[i], change)
		}
	case map[string]any:
		out := make(map[string]any, len(node))
		for k, v := range node {
			out[change(k)] = eachString(v, change)
		}
		return out
	}
	return node
}

// visible keeps a value's lines and shows its other control characters, so
// that none hides or reorders what is read.
func visible(s string) string {
	lines := strings.Split(strings.ReplaceAll(s, "\r\n", "\n"), "\n")
	for i, l := range lines {
		lines[i] = clean(strings.ReplaceAll(l, "\t", "    "))
	}
	return strings.Join(lines, "\n")
}
