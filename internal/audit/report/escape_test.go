package report

import (
	"encoding/json"
	"encoding/xml"
	"io"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"twohop/internal/audit"
)

// attack tries to be more than text wherever it is written.
const attack = "</script></title><script>pwned()</script><img src=x onerror=\"pwned()\">' onmouseover='pwned()' {{.}} {0} " +
	"javascript:pwned() [link](https://evil.example) ![x](//evil.example) <https://evil.example> @someone ``` ` | # * _ \r\n" +
	"```\n# heading\n::error::pwned ##[group]x ##vso[task]y\x00\x1b[31m\x1b]8;;https://evil.example\a\u009b2J\u202e\u2066\u2028\U000e0001\xff"

// hostile is the rich report with the attack at the end of every value that is a user's.
func hostile(t *testing.T) *audit.Report {
	t.Helper()
	r := rich()
	at := r.Run.At
	eachString(reflect.ValueOf(&r.Channels).Elem(), poisoned)
	eachString(reflect.ValueOf(&r.Findings).Elem(), poisoned)
	eachString(reflect.ValueOf(&r.Checks).Elem(), poisoned)
	eachString(reflect.ValueOf(&r.Run).Elem(), poisoned)
	r.Run.At = at
	return r
}

// poisoned leaves alone what is not a user's: a check's words for a status or a severity.
func poisoned(s string) string {
	switch s {
	case "", "fail", "unknown", "excepted", "pass", "critical", "high", "medium", "low", "plaintext", "mutual":
		return s
	}
	return s + attack
}

func TestNoControlCharacterGetsOut(t *testing.T) {
	for _, format := range Formats() {
		got := render(t, format, hostile(t), Options{})
		for _, r := range got {
			// Markdown breaks mentions and links with a space of no width.
			if r != '\n' && unseen(r) && (format != "markdown" || r != '\u200b') {
				t.Errorf("%s: %U got out", format, r)
				break
			}
		}
	}
}

func TestShortKeepsOneLineForEachFinding(t *testing.T) {
	r := hostile(t)
	if got, want := strings.Count(render(t, "short", r, Options{}), "\n"), len(r.Findings)+1; got != want {
		t.Errorf("%d lines, want %d", got, want)
	}
}

func TestNoLineIsACommandToACI(t *testing.T) {
	for _, format := range []string{"text", "short"} {
		if got := render(t, format, hostile(t), Options{}); regexp.MustCompile(`(?m)^ *::|##\[|##vso\[`).MatchString(got) {
			t.Errorf("%s: a value is a command", format)
		}
	}
	for line, want := range map[string]string{"  ::error::x": "  : :error::x", "a ::b": "a ::b", "::": ": :", "x ##[group]": "x # #[group]"} {
		if got := inert(line); got != want {
			t.Errorf("inert(%q) = %q, want %q", line, got, want)
		}
	}
}

func TestNoValueIsAHeading(t *testing.T) {
	r := hostile(t)
	for i := range r.Findings {
		r.Findings[i].Patch = "" // its lines are fenced
	}
	if regexp.MustCompile(`(?m)^ *# `).MatchString(render(t, "markdown", r, Options{})) {
		t.Error("a value became a heading")
	}
}

var (
	tags      = regexp.MustCompile(`<\s*([a-zA-Z]+)`)
	quoted    = regexp.MustCompile(`"[^"]*"`)
	handlers  = regexp.MustCompile(`<[^>]*\son[a-z]+\s*=[^>]*>`)
	addresses = regexp.MustCompile(`(?:href|src)="([^"]*)"`)
)

func TestHTMLHasNoTagOfAValue(t *testing.T) {
	got, clean := render(t, "html", hostile(t), Options{}), render(t, "html", rich(), Options{})
	known := map[string]bool{}
	for _, m := range tags.FindAllStringSubmatch(clean, -1) {
		known[m[1]] = true
	}
	for _, m := range tags.FindAllStringSubmatch(got, -1) {
		if !known[m[1]] {
			t.Errorf("a value became <%s>", m[1])
		}
	}
	if m := handlers.FindString(quoted.ReplaceAllString(got, `""`)); m != "" {
		t.Errorf("a value became a handler: %s", m)
	}
	for _, bad := range []string{"<script", "@import", "url("} {
		if strings.Contains(got, bad) {
			t.Errorf("the page has %q", bad)
		}
	}
	for _, m := range addresses.FindAllStringSubmatch(got, -1) {
		id, within := strings.CutPrefix(m[1], "#")
		switch {
		case m[1] == "data:,":
		case !within:
			t.Errorf("the page leads out to %q", m[1])
		case !strings.Contains(got, `id="`+id+`"`):
			t.Errorf("nothing has the id %q", id)
		}
	}
}

func TestHTMLIsWellFormed(t *testing.T) {
	for name, sample := range samples {
		dec := xml.NewDecoder(strings.NewReader(strings.Replace(render(t, "html", sample(), Options{}), "<!doctype html>", "", 1)))
		dec.Strict, dec.AutoClose, dec.Entity = false, xml.HTMLAutoClose, xml.HTMLEntity
		for {
			_, err := dec.Token()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
}

func TestMarkdownEscapes(t *testing.T) {
	for _, tt := range []struct{ name, value, want string }{
		{"markup", `<img src=x>`, `&lt;img src=x&gt;`},
		{"link", "[a](b)", `\[a\](b)`},
		{"address", "https://evil.example", "https:\u200b//evil.example"},
		{"mention", "@someone", "@\u200bsomeone"},
		{"table", "a|b", `a\|b`},
		{"code", "`a`", "\\`a\\`"},
		{"lines", "a\n# b", `a \# b`},
	} {
		if got := md(tt.value); got != tt.want {
			t.Errorf("%s: md(%q) = %q, want %q", tt.name, tt.value, got, tt.want)
		}
	}
	if got := code("a`b|c\nd"); got != "`a'b\\|c d`" {
		t.Errorf("code() = %q", got)
	}
}

func TestAPatchCannotEndItsFence(t *testing.T) {
	r := rich()
	r.Findings[3].Patch = "a: |\n  ````\n<script>"
	got := render(t, "markdown", r, Options{})
	if !strings.Contains(got, "\n`````yaml\na: |\n  ````\n<script>\n`````\n") {
		t.Errorf("the fence is not longer than what it holds:\n%s", got)
	}
}

func TestSARIFMessagesAreText(t *testing.T) {
	for value, want := range map[string]string{
		"{0}":           "{{0}}",
		"[a](b)":        `[a\](b)`,
		"a[0].b":        "a[0].b",
		"tls: {mode: X": "tls: {{mode: X",
	} {
		if got := sarifText(value).Text; got != want {
			t.Errorf("sarifText(%q) = %q, want %q", value, got, want)
		}
	}
}

func TestFileURI(t *testing.T) {
	for file, want := range map[string]string{
		"":                      "",
		"standard input":        "",
		"egress/30-egress.yaml": "egress/30-egress.yaml",
		"./egress//x.yaml":      "egress/x.yaml",
		"a b/ü#?.yaml":          "a%20b/%C3%BC%23%3F.yaml",
		"a:b.yaml":              "./a:b.yaml",
		"/srv/x.yaml":           "file:///srv/x.yaml",
		"javascript:alert(1)":   "./javascript:alert%281%29",
	} {
		if got := fileURI(file); got != want && got != strings.NewReplacer("%28", "(", "%29", ")").Replace(want) {
			t.Errorf("fileURI(%q) = %q, want %q", file, got, want)
		}
	}
}

func TestVisible(t *testing.T) {
	for value, want := range map[string]string{
		"a\tb\r\nc\n\n": "a    b\nc",
		"\x1b[31m":      `\u001b[31m`,
		"\u202e\u2028":  `\u202e\u2028`,
		"\U000e0001":    `\U000e0001`,
		"빌드 é ✓":        "빌드 é ✓",
		"\xff":          `\ufffd`,
	} {
		if got := visible(value); got != want {
			t.Errorf("visible(%q) = %q, want %q", value, got, want)
		}
	}
}

func TestSARIFSaysWhatEachStatusIs(t *testing.T) {
	var log sarifLog
	if err := json.Unmarshal([]byte(render(t, "sarif", rich(), Options{})), &log); err != nil {
		t.Fatal(err)
	}
	run := log.Runs[0]
	if len(run.Results) != len(rich().Findings) {
		t.Fatalf("%d results", len(run.Results))
	}
	levels := map[string]string{"19": "error", "13": "error", "23": "warning", "15": "note", "21": "none", "20": "warning"}
	for _, result := range run.Results {
		if result.Level != levels[result.RuleID] {
			t.Errorf("%s has level %s", result.RuleID, result.Level)
		}
		if run.Tool.Driver.Rules[result.RuleIndex].ID != result.RuleID {
			t.Errorf("%s leads to another rule", result.RuleID)
		}
		if (result.Kind == "open") != (result.RuleID == "21") {
			t.Errorf("%s has kind %s", result.RuleID, result.Kind)
		}
		if (len(result.Suppressions) == 1) != (result.RuleID == "20") {
			t.Errorf("%s has %d suppressions", result.RuleID, len(result.Suppressions))
		}
	}
}
