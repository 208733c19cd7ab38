package verdict

import (
	"bytes"
	"context"
	"encoding/xml"
	"flag"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/onsi/ginkgo/v2/reporters"

	"twohop/internal/claim"
)

var keep = flag.String("sample", "", "keep the sample run in this folder, to look at its report")

func TestKeepSample(t *testing.T) {
	if *keep == "" {
		t.Skip("-sample names no folder")
	}
	if err := os.MkdirAll(*keep, 0o755); err != nil {
		t.Fatal(err)
	}
	makeSample(t, *keep, true)
}

func init() {
	// The sample's stand-ins for G1, G2 and G3, whose words are the registry's.
	for _, id := range []claim.ID{"S1", "S2", "S3"} {
		pictured[id] = true
	}
}

func renderHTML(t *testing.T, v *Verdict, dir string) string {
	t.Helper()
	var b bytes.Buffer
	if err := WriteHTML(&b, v, dir); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestHTMLAnswersANewcomer(t *testing.T) {
	f := makeSample(t, t.TempDir(), true)
	v, err := f.Verdict()
	if err != nil {
		t.Fatal(err)
	}
	html := renderHTML(t, v, f.Dir)
	for what, want := range map[string]string{
		"outcome":              "<h1>a verdict differs</h1>",
		"version":              "<dt>Istio</dt><dd>1.31</dd>",
		"statement":            "Hop 1 is mesh mTLS: a DestinationRule and a Gateway server, both ISTIO_MUTUAL, as a pair.",
		"reason":               "hop 2 on SIMPLE with the same CA",
		"a deciding fact":      `<tr class="no decides">`,
		"the control's change": "<b>Change:</b> drop tls from the hop-1 DestinationRule",
		"a marked value":       "<mark>http_code: 200</mark>",
		"who saw it":           "Partner, log",
		"how to see it again":  "reproduce/S1.sh",
		"an image's digest":    "sha256:abab",
		"the picture's limit":  "max connections 77",
		"a claim's own table":  "NC cluster_not_found",
		"an absence":           "this witness recorded nothing",
		"token":                "<code>t00000000000000a1</code>",
	} {
		if !strings.Contains(html, want) {
			t.Errorf("%s: the report does not contain %q", what, want)
		}
	}
	if n := strings.Count(html, `<details class="claim `); n != len(v.Claims) {
		t.Errorf("%d claims in the report, want %d", n, len(v.Claims))
	}
}

var attribute = regexp.MustCompile(`(?:href|src)="([^"]*)"`)

func TestHTMLIsSelfContainedAndItsLinksResolve(t *testing.T) {
	f := makeSample(t, t.TempDir(), true)
	v, err := f.Verdict()
	if err != nil {
		t.Fatal(err)
	}
	if err := f.SaveManifest([]byte("kind: Namespace\n")); err != nil {
		t.Fatal(err)
	}
	html := renderHTML(t, v, f.Dir)
	evidence := 0
	for _, m := range attribute.FindAllStringSubmatch(html, -1) {
		link := strings.ReplaceAll(m[1], "&amp;", "&")
		switch {
		case link == "data:,":
		case strings.HasPrefix(link, "#"):
			if !strings.Contains(html, `id="`+link[1:]+`"`) {
				t.Errorf("nothing has the id that %s leads to", link)
			}
		default:
			u, err := url.Parse(link)
			if err != nil || u.IsAbs() || u.Host != "" {
				t.Errorf("%q leads out of the folder (%v)", link, err)
				continue
			}
			if _, err := os.Stat(filepath.Join(f.Dir, filepath.FromSlash(u.Path))); err != nil {
				t.Errorf("a link does not resolve: %v", err)
			}
			if strings.Contains(u.Path, "evidence/") {
				evidence++
			}
		}
	}
	if evidence < 30 {
		t.Errorf("only %d links to evidence", evidence)
	}
	if strings.Contains(html, "@import") || strings.Contains(html, "url(") {
		t.Error("the report loads something")
	}
}

// hostile is a value that tries to be more than text in every place.
const hostile = `</script><script>document.documentElement.dataset.pwned=1</script><img src=x onerror="document.documentElement.dataset.pwned=1">"' onmouseover='alert(1)' {{.}} javascript:alert(1) ` +
	"\x00\x1b[31m\u202e\u2066"

// hostileRun has a hostile value in every field that a run's subject can fill.
func hostileRun(t *testing.T) *Folder {
	t.Helper()
	f := makeSample(t, t.TempDir(), true)
	p := tamper{t, f.Dir}
	p.verdict(func(v *Verdict) {
		v.Message, v.Run.Istio, v.Run.Notes, v.Run.Cluster = hostile, hostile, []string{hostile}, hostile
		v.Run.Asked.Images[hostile] = hostile
		v.Phases[0].Name = hostile
		r := &v.Claims[0]
		r.Statement, r.Reason, r.Lesson, r.Section, r.Error = hostile, hostile, hostile, hostile, hostile
		for _, trial := range []*Trial{r.Check, r.Control} {
			trial.Change = hostile
			for i := range trial.Facts {
				trial.Facts[i].Name, trial.Facts[i].Seen, trial.Facts[i].Expected = hostile, hostile, hostile
				trial.Facts[i].Evidence = []string{"javascript:alert(1)", hostile}
			}
		}
		for i := range r.Evidence {
			r.Evidence[i].Command = hostile
			p.must(os.WriteFile(p.path(r.Evidence[i].Path), []byte(hostile), 0o644))
		}
		r.Evidence = append(r.Evidence, Evidence{Path: hostile, Kind: hostile, Witness: hostile}, Evidence{Path: "../../../etc/hostname", Kind: KindText})
		r.Table = &Table{Title: hostile, Header: []string{hostile}, Rows: [][]string{{hostile}}}
		r.Reproduce = "javascript:alert(1)"
	})
	return f
}

func TestHostileTextStaysText(t *testing.T) {
	f := hostileRun(t)
	v, err := f.Verdict()
	if err != nil {
		t.Fatal(err)
	}
	html := renderHTML(t, v, f.Dir)
	if n := strings.Count(html, "<script"); n != 1 {
		t.Errorf("%d scripts, want the report's own one", n)
	}
	for _, bad := range []string{"<img", `href="javascript:`, `" onmouseover`, "' onmouseover='", "\x00", "\x1b", "\u202e", "\u2066"} {
		if strings.Contains(html, bad) {
			t.Errorf("%q reached the page", bad)
		}
	}
	// The other renderings must take it as well.
	var junit, markdown, metrics bytes.Buffer
	if err := WriteJUnit(&junit, v); err != nil {
		t.Error(err)
	} else if err := xml.Unmarshal(junit.Bytes(), &reporters.JUnitTestSuites{}); err != nil {
		t.Errorf("junit.xml of hostile values: %v", err)
	}
	if err := WriteMarkdown(&markdown, v); err != nil || strings.Contains(markdown.String(), "<img") {
		t.Errorf("summary.md of hostile values: %v", err)
	}
	if err := WriteMetrics(&metrics, v); err != nil || strings.ContainsAny(metrics.String(), "\x00\x1b") {
		t.Errorf("metrics.txt of hostile values: %v", err)
	}
}

func TestHTMLDoesNotReadOutsideTheFolder(t *testing.T) {
	out := t.TempDir()
	f := makeSample(t, out, false)
	secret := filepath.Join(out, "secret")
	if err := os.WriteFile(secret, []byte("outside the folder"), 0o644); err != nil {
		t.Fatal(err)
	}
	v, err := f.Verdict()
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(f.Dir, "evidence", "S1", "98-link")
	if err := os.Symlink(secret, link); err != nil {
		t.Fatal(err)
	}
	v.Claims[0].Evidence = append(v.Claims[0].Evidence,
		Evidence{Path: "../secret", Kind: KindText}, Evidence{Path: "evidence/S1/98-link", Kind: KindText})
	v.Claims[0].Reproduce = "../secret"
	if strings.Contains(renderHTML(t, v, f.Dir), "outside the folder") {
		t.Error("a file outside the run's folder is in the report")
	}
}

func TestHTMLShowsWhatIsMissingOrAltered(t *testing.T) {
	f := makeSample(t, t.TempDir(), false)
	v, err := f.Verdict()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(f.Dir, v.Claims[0].Evidence[0].Path)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(f.Dir, v.Claims[0].Evidence[1].Path), []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	html := renderHTML(t, v, f.Dir)
	for _, want := range []string{"This file is missing.", "This file was altered"} {
		if !strings.Contains(html, want) {
			t.Errorf("the report does not say %q", want)
		}
	}
}

func TestExcerptOfALargeDumpIsTheNamedCluster(t *testing.T) {
	var b strings.Builder
	b.WriteString(`{"configs":[`)
	for range 200 {
		b.WriteString(`{"name":"outbound|80||other.example.com","filler":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"},`)
	}
	b.WriteString(`{"cluster":{"name":"outbound|443||partner.example.com","max":4294967295,"connect_timeout":"3s","keepalive_time":300}}]}`)
	facts := []Fact{
		{Name: "gateway, outbound|443||partner.example.com: maxConnections", Seen: "4294967295"},
		{Name: "gateway, outbound|443||partner.example.com: keepalive time", Seen: "300s"},
	}
	lines, partial := jsonLines([]byte(b.String()), facts)
	text := strings.Join(lines, "\n")
	if !partial || strings.Contains(text, "other.example.com") || !strings.Contains(text, `"max": 4294967295`) {
		t.Errorf("partial %v:\n%s", partial, text)
	}
	var marked []string
	for _, l := range lines {
		if shows(l, deciding(facts, nil)) {
			marked = append(marked, strings.TrimSpace(l))
		}
	}
	if got := strings.Join(marked, " "); got != `"keepalive_time": 300, "max": 4294967295,` && got != `"keepalive_time": 300, "max": 4294967295` {
		t.Errorf("marked: %s", got)
	}
}

func TestPictureTakesOnlyChecksThatHold(t *testing.T) {
	r := Result{ID: "G1", Chapter: claim.Goals, Verdict: claim.Refuted,
		Finding: Finding{Check: &Trial{Facts: []Fact{{Name: "client sidecar, c: SNI", Seen: "x"}}}}}
	if h := seenHops(&Verdict{Claims: []Result{r}}); len(h.Sidecar) > 0 || len(h.Claims) > 0 {
		t.Errorf("a refuted claim is in the picture: %+v", h)
	}
	r.Verdict = claim.Supported
	if h := seenHops(&Verdict{Claims: []Result{r}}); len(h.Sidecar) != 1 || len(h.Hop1) != 1 || h.Hop1[0] != "SNI x" {
		t.Errorf("the picture: %+v", h)
	}
}

// TestInABrowser loads reports in a headless Chromium, if there is one: no
// message on the console, no script of a hostile value runs, and the filter works.
func TestInABrowser(t *testing.T) {
	browser := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "chrome"} {
		if p, err := exec.LookPath(name); err == nil {
			browser = p
			break
		}
	}
	if browser == "" {
		t.Skip("no Chromium (apt-get install chromium)")
	}
	if testing.Short() {
		t.Skip("-short")
	}
	load := func(t *testing.T, page string) (dom, console string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
			"--disable-background-networking", "--disable-component-update", "--disable-sync", "--user-data-dir="+t.TempDir(),
			"--enable-logging=stderr", "--virtual-time-budget=2000", "--dump-dom", "file://"+page)
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		if err := cmd.Run(); err != nil {
			t.Skipf("the browser does not run here: %v\n%s", err, errs.String())
		}
		for line := range strings.Lines(errs.String()) {
			if strings.Contains(line, "CONSOLE") {
				console += line
			}
		}
		return out.String(), console
	}
	t.Run("sample", func(t *testing.T) {
		f := makeSample(t, t.TempDir(), true)
		dom, console := load(t, filepath.Join(f.Dir, "report.html#claim-S1"))
		if console != "" {
			t.Errorf("on the console: %s", console)
		}
		if !regexp.MustCompile(`id="claim-S1"[^>]* open`).MatchString(dom) {
			t.Error("the claim that the address names is not open")
		}
		if strings.Contains(dom, `class="tools" role="search" hidden`) {
			t.Error("the filter is not shown, so the script did not run")
		}
	})
	t.Run("hostile", func(t *testing.T) {
		f := hostileRun(t)
		v, err := f.Verdict()
		if err != nil {
			t.Fatal(err)
		}
		html := renderHTML(t, v, f.Dir)
		page := filepath.Join(f.Dir, "report.html")
		if err := os.WriteFile(page, []byte(html), 0o644); err != nil {
			t.Fatal(err)
		}
		pwned := regexp.MustCompile(`<html[^>]*data-pwned`)
		if dom, console := load(t, page); pwned.MatchString(dom) || console != "" {
			t.Errorf("a script of a hostile value ran, or was kept from it only by the policy: %s", console)
		}
		// What is looked for does show where a value is not escaped.
		naive := filepath.Join(t.TempDir(), "naive.html")
		if err := os.WriteFile(naive, []byte("<!doctype html><html><body>"+hostile), 0o644); err != nil {
			t.Fatal(err)
		}
		if dom, _ := load(t, naive); !pwned.MatchString(dom) {
			t.Error("the hostile value is harmless by itself, so this test proves nothing")
		}
	})
}
