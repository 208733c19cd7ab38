package verdict

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"twohop/internal/claim"
)

// Verification is what checking a run's folder found, without a cluster.
type Verification struct {
	Run    string `json:"run"`
	Claims int    `json:"claims"`
	Facts  int    `json:"facts"`
	Files  int    `json:"files"`
	Bytes  int64  `json:"bytes"`
	// Problems are contradictions, one sentence each. Without any, the verdict
	// follows from the evidence that is there.
	Problems []string `json:"problems"`
	// Notes are what a reader should know and what could not be checked.
	Notes []string `json:"notes"`
}

// verifier walks a run's folder.
type verifier struct {
	Verification
	dir     string
	v       *Verdict
	listed  map[string]claim.ID // evidence path: the claim that lists it
	content map[string][]byte   // evidence path: its bytes, where they could be read
}

func (c *verifier) problem(format string, args ...any) {
	c.Problems = append(c.Problems, fmt.Sprintf(format, args...))
}

func (c *verifier) note(format string, args ...any) {
	c.Notes = append(c.Notes, fmt.Sprintf(format, args...))
}

// Verify checks a run's folder: the schema, the hash of every evidence file,
// that each parses as its kind, that nothing is missing or left over, that
// verdict.json agrees with the findings, that every verdict, reason and count
// follows from them, and that values which were seen occur in the evidence.
//
// harnessCommit is the commit of this program, empty if unknown: the registry
// is held against a verdict of the same commit strictly, and differences to
// another's are notes. The error is for a folder that cannot be read at all.
func Verify(dir, harnessCommit string) (*Verification, error) {
	raw, err := os.ReadFile(filepath.Join(dir, VerdictFile))
	if err != nil {
		return nil, fmt.Errorf("no verdict: %w", err)
	}
	c := &verifier{
		Verification: Verification{Problems: []string{}, Notes: []string{}},
		dir:          dir, listed: map[string]claim.ID{}, content: map[string][]byte{},
	}
	schema, err := SchemaProblems(raw)
	if err != nil {
		c.problem("%s: %v.", VerdictFile, err)
		return &c.Verification, nil
	}
	for _, p := range schema {
		c.problem("%s does not follow its schema: %s.", VerdictFile, p)
	}
	c.v = &Verdict{}
	if err := decodeStrict(raw, c.v); err != nil {
		c.problem("%s cannot be read as a verdict: %v.", VerdictFile, err)
		return &c.Verification, nil
	}
	c.Run, c.Claims = c.v.Run.ID, len(c.v.Claims)

	c.findings()
	for _, r := range c.v.Claims {
		c.evidence(r)
	}
	c.leftOver()
	c.refold(harnessCommit)
	for _, r := range c.v.Claims {
		c.facts(r)
	}
	c.registry(harnessCommit)
	return &c.Verification, nil
}

// findings holds verdict.json against the files that the specs wrote.
func (c *verifier) findings() {
	files, err := (&Folder{Dir: c.dir}).Findings()
	if err != nil {
		c.problem("The findings cannot be read: %v.", err)
		return
	}
	seen := map[claim.ID]bool{}
	for _, r := range c.v.Claims {
		if seen[r.ID] {
			c.problem("%s: %s lists the claim twice.", r.ID, VerdictFile)
		}
		seen[r.ID] = true
		file, onDisk := files[r.ID]
		name := path.Join(FindingsDir, string(r.ID)+".json")
		inVerdict := !reflect.ValueOf(r.Finding).IsZero()
		switch {
		case onDisk && !inVerdict:
			c.problem("%s: %s is there, and %s shows no finding of it.", r.ID, name, VerdictFile)
		case !onDisk && inVerdict:
			c.problem("%s: %s shows a finding, and %s is missing.", r.ID, VerdictFile, name)
		case onDisk && canonical(file) != canonical(r.Finding):
			c.problem("%s: %s and %s differ in %s.", r.ID, VerdictFile, name, differing(r.Finding, file))
		}
	}
	for _, id := range sortedKeys(files) {
		if !seen[id] {
			c.problem("%s: there is a finding of this claim, and %s does not list the claim.", id, VerdictFile)
		}
	}
}

func canonical(f Finding) string {
	raw, err := json.Marshal(f)
	if err != nil {
		return err.Error()
	}
	return string(raw)
}

// differing names the fields in which two findings differ.
func differing(a, b Finding) string {
	var names []string
	va, vb := reflect.ValueOf(a), reflect.ValueOf(b)
	for i := range va.NumField() {
		ja, errA := json.Marshal(va.Field(i).Interface())
		jb, errB := json.Marshal(vb.Field(i).Interface())
		if errA != nil || errB != nil || !bytes.Equal(ja, jb) {
			name, _, _ := strings.Cut(va.Type().Field(i).Tag.Get("json"), ",")
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}

// evidence re-hashes and re-parses every file that a claim lists.
func (c *verifier) evidence(r Result) {
	for _, e := range r.Evidence {
		if other, ok := c.listed[e.Path]; ok {
			c.problem("%s: %s is listed twice (also by %s).", r.ID, e.Path, other)
			continue
		}
		c.listed[e.Path] = r.ID
		if !filepath.IsLocal(filepath.FromSlash(e.Path)) || path.Dir(e.Path) != path.Join(EvidenceDir, string(r.ID)) {
			c.problem("%s: %s is not in %s/%s, so it is another claim's evidence.", r.ID, e.Path, EvidenceDir, r.ID)
			continue
		}
		raw, err := readWithin(c.dir, e.Path)
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				err = errors.New("it is missing")
			}
			c.problem("%s: evidence %s cannot be checked: %v.", r.ID, e.Path, err)
			continue
		}
		c.content[e.Path] = raw
		c.Files++
		c.Bytes += int64(len(raw))
		if got := hash(raw); got != e.SHA256 {
			c.problem("%s: evidence %s was altered: its SHA-256 is %s…, the verdict says %s….", r.ID, e.Path, got[:12], prefix(e.SHA256, 12))
		}
		if err := parses(e.Kind, raw); err != nil {
			// Evidence that does not parse is why a claim is inconclusive; for a
			// verdict it is a contradiction.
			say := c.problem
			if r.Error != "" {
				say = c.note
			}
			say("%s: evidence %s does not parse as %s: %v.", r.ID, e.Path, e.Kind, err)
		}
	}
	if r.Reproduce != "" {
		if _, err := readWithin(c.dir, r.Reproduce); err != nil {
			c.problem("%s: the script %s that shows how to see it again cannot be read.", r.ID, r.Reproduce)
		}
	}
}

// readWithin reads a regular file of the run's folder and follows no path or
// link out of it.
func readWithin(dir, name string) ([]byte, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	name = filepath.FromSlash(name)
	info, err := root.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("it is no regular file (%s)", info.Mode().Type())
	}
	return root.ReadFile(name)
}

func prefix(s string, n int) string { return s[:min(n, len(s))] }

// parses reports why bytes are not what their kind promises.
func parses(kind string, raw []byte) error {
	switch kind {
	case KindText:
		return nil
	case KindJSON, KindClusters, KindSecrets:
		return oneJSON(raw)
	case KindYAML:
		dec := yaml.NewDecoder(bytes.NewReader(raw))
		for {
			var doc any
			if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return err
			}
		}
	case KindCurl:
		lines := bytes.Split(bytes.TrimRight(raw, "\r\n"), []byte("\n"))
		trailer := map[string]any{}
		if err := json.Unmarshal(lines[len(lines)-1], &trailer); err != nil {
			return errors.New("its last line is not the JSON object of curl's -w '%{json}'")
		}
		if _, ok := trailer["http_code"]; !ok {
			return errors.New("the JSON of its last line has no http_code, so it is not curl's")
		}
		return nil
	case KindAccessLog, KindPartnerLog:
		lines := bufio.NewScanner(bytes.NewReader(raw))
		lines.Buffer(nil, 16<<20)
		for n := 1; lines.Scan(); n++ {
			line := bytes.TrimSpace(lines.Bytes())
			if len(line) == 0 {
				continue
			}
			if err := json.Unmarshal(line, &map[string]any{}); err != nil {
				return fmt.Errorf("line %d is not a JSON object: %w", n, err)
			}
		}
		return lines.Err()
	}
	return errors.New("the kind is unknown")
}

func oneJSON(raw []byte) error {
	var v any
	return json.Unmarshal(raw, &v)
}

// leftOver finds evidence that no claim lists. A run that did not come to its
// end may have saved some for a claim that did not report.
func (c *verifier) leftOver() {
	root := filepath.Join(c.dir, EvidenceDir)
	ended := c.v.Result != Interrupted && c.v.Result != Failed && c.v.Result != Running
	notRun := map[string]bool{}
	for _, r := range c.v.Claims {
		notRun[string(r.ID)] = r.Verdict == claim.NotRun
	}
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(c.dir, name)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if _, ok := c.listed[rel]; ok {
			return nil
		}
		if !ended && notRun[path.Base(path.Dir(rel))] {
			c.note("%s was saved before the run ended, and its claim did not report.", rel)
			return nil
		}
		c.problem("%s is there, and no claim lists it.", rel)
		return nil
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.problem("The evidence cannot be listed: %v.", err)
	}
}

// refold judges every claim again and compares. Another commit's program may
// put the same reason into other words.
func (c *verifier) refold(commit string) {
	say, suffix := c.strictness(commit)
	var selection []claim.Claim
	findings := map[claim.ID]Finding{}
	for _, r := range c.v.Claims {
		selection = append(selection, r.claim())
		if !reflect.ValueOf(r.Finding).IsZero() {
			findings[r.ID] = r.Finding
		}
	}
	results := Fold(selection, findings, c.v.Run.Istio)
	for i, want := range results {
		got := c.v.Claims[i]
		if got.Verdict != want.Verdict {
			c.problem("%s: the verdict says %s, and its finding proves %s. %s", got.ID, got.Verdict, want.Verdict, want.Reason)
			continue
		}
		if got.Reason != want.Reason {
			say("%s: the reason is not the one that follows from its finding, which is: %s%s", got.ID, want.Reason, suffix)
		}
	}
	if totals := Count(results); totals != c.v.Totals {
		c.problem("The totals say %s; counting the claims gives %s.", totalsText(c.v.Totals), totalsText(totals))
	}
	outcome := Conclude(results, c.v.Result)
	if outcome != c.v.Result {
		c.problem("The result says %s; the claims make it %s.", c.v.Result, outcome)
	}
	if code := outcome.ExitCode(); code != c.v.ExitCode {
		c.problem("The exit code says %d; a run that is %s ends with %d.", c.v.ExitCode, outcome, code)
	}
	if c.v.Result == Running {
		c.note("The run has not ended, or it was killed: its result says running.")
	}
}

func totalsText(t Totals) string {
	return fmt.Sprintf("%d claims, %d supported, %d refuted, %d inconclusive, %d not run, %d unexpected",
		t.Claims, t.Supported, t.Refuted, t.Inconclusive, t.NotRun, t.Unexpected)
}

// facts holds each fact against itself and against the evidence it names.
func (c *verifier) facts(r Result) {
	own := map[string]bool{}
	for _, e := range r.Evidence {
		own[e.Path] = true
	}
	var unshown []said
	for _, part := range []struct {
		where string
		trial *Trial
	}{{"check", r.Check}, {"control", r.Control}} {
		if part.trial == nil {
			continue
		}
		for _, f := range slices.Concat(part.trial.Facts, part.trial.Cause) {
			c.Facts++
			at := fmt.Sprintf("%s: %s, fact %q", r.ID, part.where, f.Name)
			if why := contradicts(f); why != "" {
				c.problem("%s: %s.", at, why)
			}
			if len(f.Evidence) == 0 {
				unshown = append(unshown, said{f.Name, f.Name})
				continue
			}
			var texts [][]byte
			complete := true
			for _, p := range f.Evidence {
				if !own[p] {
					c.problem("%s names the evidence %s, which the claim does not list.", at, p)
				}
				raw, ok := c.content[p]
				complete = complete && ok
				texts = append(texts, raw)
			}
			if complete && searchable(f.Seen) && !measured(f) && !occurs(f.Seen, texts) {
				c.problem("%s: the value %q that was seen occurs in none of %s.", at, f.Seen, strings.Join(f.Evidence, ", "))
			}
		}
	}
	if len(unshown) > 0 {
		c.note("%s: %s no evidence file (%s).", r.ID, plural(len(unshown), "fact")+verb(len(unshown), " names", " name"), few(unshown))
	}
}

func verb(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

var number = regexp.MustCompile(`^-?\d+(\.\d+)?$`)

// contradicts says why a fact's own mark cannot be right. Only what is plain is
// judged: an expectation may be more than a value ("at most 3").
func contradicts(f Fact) string {
	if holds, ok := within(f.Expected, f.Seen); ok && holds != f.OK {
		return fmt.Sprintf("it is marked as holding: %v, though %s was expected and %s was seen", f.OK, f.Expected, f.Seen)
	}
	if !f.OK && f.Expected == f.Seen && f.Expected != "" {
		return fmt.Sprintf("it is marked as not holding, though %s was expected and seen", short(f.Seen))
	}
	if f.OK && f.Expected != f.Seen {
		both := func(is func(string) bool) bool { return is(f.Expected) && is(f.Seen) }
		differ := fmt.Sprintf("it is marked as holding, though %s was expected and %s was seen", short(f.Expected), short(f.Seen))
		switch {
		case both(number.MatchString):
			a, errA := strconv.ParseFloat(f.Expected, 64)
			b, errB := strconv.ParseFloat(f.Seen, 64)
			if errA != nil || errB != nil || a != b {
				return differ
			}
		case both(isDuration):
			a, _ := time.ParseDuration(f.Expected)
			b, _ := time.ParseDuration(f.Seen)
			if a != b {
				return differ
			}
		case both(isYesNo):
			return differ
		case f.Expected == "empty" && f.Seen == "absent": // no list is an empty one
		case f.Expected == "absent" || f.Seen == "absent":
			if isPlain(f.Expected) && isPlain(f.Seen) {
				return differ
			}
		}
	}
	return ""
}

// measured reports whether a value is a time that the harness worked out, such as
// that between two lines: no witness printed it. Its bound is checked.
func measured(f Fact) bool {
	_, ok := within(f.Expected, f.Seen)
	return ok && (isDuration(f.Seen) || strings.Contains(f.Seen, "."))
}

// within says whether a number or a time keeps bounds like ">= 0.9s and <= 1.9s";
// ok is false for anything else.
func within(expected, seen string) (holds, ok bool) {
	value, ok := quantity(seen)
	if !ok {
		return false, false
	}
	holds = true
	for bound := range strings.SplitSeq(expected, " and ") {
		comparator, limit, found := strings.Cut(bound, " ")
		than, ok := quantity(limit)
		if !found || !ok {
			return false, false
		}
		switch comparator {
		case ">":
			holds = holds && value > than
		case ">=":
			holds = holds && value >= than
		case "<":
			holds = holds && value < than
		case "<=":
			holds = holds && value <= than
		case "==":
			holds = holds && value == than
		default:
			return false, false
		}
	}
	return holds, true
}

// quantity is a number, or a time in seconds.
func quantity(s string) (float64, bool) {
	if n, err := strconv.ParseFloat(strings.TrimSuffix(s, "s"), 64); err == nil {
		return n, true
	}
	d, err := time.ParseDuration(s)
	return d.Seconds(), err == nil
}

func isDuration(s string) bool {
	_, err := time.ParseDuration(s)
	return err == nil
}

func isYesNo(s string) bool {
	return contains([]string{"true", "false", "yes", "no"}, strings.ToLower(s))
}

// isPlain reports whether s is one word.
func isPlain(s string) bool { return s != "" && !strings.ContainsAny(s, " \t\n") }

// searchable reports whether a value is one that a program printed, and not the
// harness's own word for it.
func searchable(seen string) bool {
	if len(seen) <= 3 || !isPlain(seen) || strings.ContainsAny(seen[:1], "+<(≥≤>") {
		return false
	}
	return !contains([]string{"absent", "present", "none", "null", "true", "false", "missing", "empty", "unknown"}, strings.ToLower(seen))
}

// secondsValue is a whole number of seconds as facts show it; Envoy writes
// some of these as bare numbers.
var secondsValue = regexp.MustCompile(`^(\d+)s$`)

// matchedValue is a string match as facts show it, its kind before the value.
var matchedValue = regexp.MustCompile(`^(?:exact|prefix|suffix|contains|regex):(.+)$`)

// Values of several parts, which a witness prints apart: a keepalive's time,
// interval and probes, an address and its port.
var (
	slashes = regexp.MustCompile(`^\d+(/\d+)+$`)
	address = regexp.MustCompile(`^(\d+\.\d+\.\d+\.\d+):(\d+)$`)
)

// occurs looks for a value in evidence, as it is or as JSON writes it. Letters
// match in either case: a serial's hex digits do not have one of their own.
func occurs(value string, texts [][]byte) bool {
	if spelled(strings.TrimSuffix(value, "…"), texts) {
		return true
	}
	var parts []string
	if slashes.MatchString(value) {
		parts = strings.Split(value, "/")
	} else if m := address.FindStringSubmatch(value); m != nil {
		parts = m[1:]
	}
	return len(parts) > 0 && !slices.ContainsFunc(parts, func(part string) bool { return !spelled(part, texts) })
}

func spelled(value string, texts [][]byte) bool {
	value = strings.ToLower(value)
	spellings := [][]byte{[]byte(value)}
	if m := secondsValue.FindStringSubmatch(value); m != nil {
		spellings = append(spellings, []byte(m[1]))
	}
	if m := matchedValue.FindStringSubmatch(value); m != nil {
		spellings = append(spellings, []byte(m[1]))
	}
	var b bytes.Buffer
	for _, html := range []bool{false, true} {
		b.Reset()
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(html)
		if enc.Encode(value) == nil {
			spellings = append(spellings, bytes.Clone(bytes.Trim(bytes.TrimSpace(b.Bytes()), `"`)))
		}
	}
	for _, text := range texts {
		text = bytes.ToLower(text)
		for _, s := range spellings {
			if bytes.Contains(text, s) {
				return true
			}
		}
		// Other encoders escape more than ours; decoded, all are alike.
		if bytes.Contains(text, []byte(`\`)) && bytes.Contains(unescape(text), []byte(value)) {
			return true
		}
	}
	return false
}

var escape = regexp.MustCompile(`\\(u[0-9a-fA-F]{4}|["\\/bfnrt])`)

func unescape(text []byte) []byte {
	return escape.ReplaceAllFunc(text, func(e []byte) []byte {
		var s string
		if json.Unmarshal([]byte(`"`+string(e)+`"`), &s) != nil {
			return e
		}
		return []byte(s)
	})
}

// strictness is how to say that words differ from this program's: a problem,
// but a note where the run was made by a program of another commit.
func (c *verifier) strictness(commit string) (say func(string, ...any), suffix string) {
	if commit != "" && c.v.Run.HarnessCommit != "" && !sameCommit(commit, c.v.Run.HarnessCommit) {
		return c.note, fmt.Sprintf(" (this program is of commit %s, the run of %s)", prefix(commit, 12), c.v.Run.HarnessCommit)
	}
	return c.problem, ""
}

// registry holds the verdict's words and selection against this program's.
func (c *verifier) registry(commit string) {
	say, suffix := c.strictness(commit)
	have := map[claim.ID]bool{}
	for _, r := range c.v.Claims {
		have[r.ID] = true
		known, err := claim.ByID(r.ID)
		if err != nil {
			c.note("%s: this program's registry does not know the claim, so its words were not checked.", r.ID)
			continue
		}
		if want := known.Expect(c.v.Run.Istio); want != r.Expected {
			say("%s: the verdict says that %s is expected; the registry expects %s%s.", r.ID, r.Expected, want, suffix)
		}
		if known.Statement != r.Statement {
			say("%s: the statement is not the registry's, which is: %s%s", r.ID, known.Statement, suffix)
		}
	}
	// What was asked for by name must be there, known to this registry or not.
	chapterOrAll := []string{"all", string(claim.Goals), string(claim.Hop1), string(claim.Hop2), string(claim.Pool), string(claim.Traps), string(claim.Field)}
	for name := range strings.SplitSeq(c.v.Run.Selection, ",") {
		if name = strings.TrimSpace(name); name != "" && !contains(chapterOrAll, name) && !have[claim.ID(name)] {
			c.problem("%s: the run was asked for this claim (%q), and the verdict does not list it.", name, c.v.Run.Selection)
			have[claim.ID(name)] = true
		}
	}
	selected, err := claim.Select(c.v.Run.Selection)
	if err != nil {
		c.note("The selection %q is not this registry's, so a claim that was dropped altogether would not show.", c.v.Run.Selection)
		return
	}
	for _, s := range selected {
		if !have[s.ID] {
			say("%s: the selection %q holds this claim, and the verdict does not list it%s.", s.ID, c.v.Run.Selection, suffix)
		}
	}
}

// sameCommit compares commits of which either may be shortened or marked.
func sameCommit(a, b string) bool {
	a, _, _ = strings.Cut(a, "-")
	b, _, _ = strings.Cut(b, "-")
	n := min(len(a), len(b))
	return n >= 7 && a[:n] == b[:n]
}

func sortedKeys[V any](m map[claim.ID]V) []claim.ID {
	var keys []claim.ID
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// Summary is the verification in one sentence.
func (v *Verification) Summary() string {
	what := fmt.Sprintf("%s, %s and %s (%s)", plural(v.Claims, "claim"), plural(v.Facts, "fact"),
		plural(v.Files, "evidence file"), size(v.Bytes))
	if len(v.Problems) == 0 {
		return "Verified: " + what + " agree with each other and with the verdict."
	}
	return fmt.Sprintf("Not verified: %s in %s.", plural(len(v.Problems), "problem"), what)
}

func size(n int64) string {
	switch {
	case n < 1<<10:
		return fmt.Sprintf("%d B", n)
	case n < 1<<20:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}

// WriteText writes the verification for people.
func (v *Verification) WriteText(w io.Writer, opts TextOptions) error {
	if opts.Width == 0 {
		opts.Width = 100
	}
	opts.Width = max(opts.Width, 80)
	t := &text{opts: opts}
	colour := colourGreen
	if len(v.Problems) > 0 {
		colour = colourRed
	}
	t.line("Run " + clean(v.Run))
	for _, p := range v.Problems {
		t.indent("  ✗ ", "    ", p)
	}
	for _, n := range v.Notes {
		t.indent("  – ", "    ", n)
	}
	for _, l := range wrap(v.Summary(), opts.Width) {
		t.line(t.paint(colour, l))
	}
	_, err := io.WriteString(w, t.b.String())
	return err
}

// WriteMarkdown writes the verification for a CI job's page.
func (v *Verification) WriteMarkdown(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "## %s %s\n\nRun `%s`.\n", mark(len(v.Problems) == 0, len(v.Problems) > 0), md(v.Summary()), code(v.Run))
	for _, part := range []struct {
		title string
		lines []string
	}{{"Problems", v.Problems}, {"Notes", v.Notes}} {
		if len(part.lines) > 0 {
			fmt.Fprintf(&b, "\n### %s\n\n", part.title)
			for _, l := range part.lines {
				fmt.Fprintf(&b, "- %s\n", md(l))
			}
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
