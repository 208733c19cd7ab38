package verdict

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"sort"
	"strings"
)

// evidenceView is an evidence file as report.html shows it.
type evidenceView struct {
	Evidence
	Title   string
	Lines   []markedLine
	Marks   int  // lines that show a fact
	Open    bool // shown without asking
	Size    int
	Partial bool   // not the whole file is shown
	Problem string // it cannot be shown, or it is not what was saved
}

// markedLine is a line of evidence; Marked where it shows a fact.
type markedLine struct {
	Text   string
	Marked bool
}

// How much of a file is shown inline; the link leads to all of it.
const (
	wholeFile  = 6 << 10
	mostLines  = 160
	mostColumn = 400
)

var witnessTitles = map[string]string{
	WitnessClient: "Client (curl)", WitnessSidecar: "Sidecar", WitnessGateway: "Gateway",
	WitnessPartner: "Partner", WitnessIstiod: "istiod", WitnessAPI: "API server",
}

var kindTitles = map[string]string{
	KindClusters: "clusters", KindSecrets: "secrets", KindAccessLog: "access log", KindPartnerLog: "log",
	KindText: "text", KindYAML: "YAML", KindJSON: "JSON",
}

// viewEvidence reads a file and picks what shows the facts that name it.
func viewEvidence(d *RunDir, e Evidence, facts []Fact, decides map[string]bool) evidenceView {
	v := evidenceView{Evidence: e, Title: witnessTitles[e.Witness]}
	switch {
	case e.Kind == KindCurl:
		v.Title = witnessTitles[WitnessClient]
	case v.Title == "":
		v.Title = kindTitles[e.Kind]
	default:
		v.Title += ", " + kindTitles[e.Kind]
	}
	raw, err := d.ReadFile(e.Path)
	if err != nil {
		v.Problem = "This file cannot be shown: " + err.Error()
		if errors.Is(err, fs.ErrNotExist) {
			v.Problem = "This file is missing."
		}
		return v
	}
	v.Size = len(raw)
	if Hash(raw) != e.SHA256 {
		v.Problem = "This file was altered: its SHA-256 differs from the recorded one."
	}
	var lines []string
	switch e.Kind {
	case KindClusters, KindSecrets, KindJSON:
		lines, v.Partial = jsonLines(raw, facts)
	case KindCurl:
		lines = curlLines(raw)
	case KindAccessLog, KindPartnerLog:
		lines = logLines(raw)
	default:
		lines = strings.Split(strings.TrimRight(string(raw), "\n"), "\n")
	}
	if len(bytes.TrimSpace(raw)) == 0 {
		lines = nil
	}
	if len(lines) > mostLines {
		lines, v.Partial = lines[:mostLines], true
	}
	values := deciding(facts, decides)
	for _, l := range lines {
		text := visible(l)
		if r := []rune(text); len(r) > mostColumn {
			text, v.Partial = string(r[:mostColumn])+"…", true
		}
		line := markedLine{text, shows(l, values)}
		if line.Marked {
			v.Marks++
		}
		v.Lines = append(v.Lines, line)
	}
	return v
}

// deciding are the values to mark: those of deciding facts, or of all facts
// where none of a file's facts decides.
func deciding(facts []Fact, decides map[string]bool) []string {
	var all, some []string
	for _, f := range facts {
		// What a file cannot show, and what any line might.
		if contains([]string{"", "absent", "true", "false", "0", "1"}, f.Seen) {
			continue
		}
		all = append(all, f.Seen)
		if decides[f.Name] {
			some = append(some, f.Seen)
		}
	}
	if len(some) > 0 {
		return some
	}
	return all
}

// shows reports whether a line ends in one of the values, as "key: value" and
// JSON lines do, or holds it where it is long enough to be no accident.
func shows(line string, values []string) bool {
	if strings.TrimSpace(line) == "" {
		return false
	}
	_, value, _ := strings.Cut(line, ": ")
	value = strings.Trim(strings.TrimRight(value, ","), `"`)
	bare := strings.Trim(strings.TrimRight(strings.TrimSpace(line), ","), `"`)
	for _, v := range values {
		if v == value || v == bare || (len(v) >= 8 && strings.Contains(line, v)) {
			return true
		}
		if m := secondsValue.FindStringSubmatch(v); m != nil && m[1] == value {
			return true
		}
	}
	return false
}

// secondsValue is a whole number of seconds as facts show it; Envoy writes some of
// these as bare numbers.
var secondsValue = regexp.MustCompile(`^(\d+)s$`)

// jsonLines prints JSON: the whole of a small document; of a large one, the
// named objects (clusters, secrets) that the facts speak of.
func jsonLines(raw []byte, facts []Fact) (lines []string, partial bool) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var doc any
	if err := dec.Decode(&doc); err != nil {
		return strings.Split(string(raw), "\n"), false
	}
	if len(raw) <= wholeFile {
		return pretty(doc), false
	}
	var names strings.Builder
	for _, f := range facts {
		names.WriteString(f.Name + "\n")
	}
	var found []any
	seen := map[string]bool{}
	named(doc, names.String(), func(name string, object map[string]any) {
		if !seen[name] {
			seen[name] = true
			found = append(found, object)
		}
	})
	if len(found) == 0 {
		return pretty(doc), false
	}
	for _, o := range found {
		lines = append(lines, pretty(o)...)
	}
	return lines, true
}

// named walks a document for the outermost objects whose name the facts
// mention, as in "gateway, outbound|443||example.com: SNI".
func named(node any, mentioned string, visit func(string, map[string]any)) {
	switch node := node.(type) {
	case []any:
		for _, item := range node {
			named(item, mentioned, visit)
		}
	case map[string]any:
		if name, ok := node["name"].(string); ok && name != "" && strings.Contains(mentioned, " "+name+": ") {
			visit(name, node)
			return
		}
		keys := make([]string, 0, len(node))
		for k := range node {
			keys = append(keys, k)
		}
		sort.Strings(keys)
		for _, k := range keys {
			named(node[k], mentioned, visit)
		}
	}
}

func pretty(doc any) []string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(doc); err != nil {
		return []string{err.Error()}
	}
	return strings.Split(strings.TrimRight(b.String(), "\n"), "\n")
}

// curlFields are what a reader wants of curl's fifty.
var curlFields = []string{
	"http_code", "exitcode", "errormsg", "method", "url_effective", "http_version", "remote_ip", "remote_port",
	"local_ip", "local_port", "content_type", "size_download", "num_connects", "time_connect", "time_starttransfer", "time_total",
}

// curlLines is the answer's body and then curl's own report.
func curlLines(raw []byte) []string {
	all := strings.Split(strings.TrimRight(string(raw), "\r\n"), "\n")
	var report map[string]any
	dec := json.NewDecoder(strings.NewReader(all[len(all)-1]))
	dec.UseNumber()
	if err := dec.Decode(&report); err != nil {
		return all
	}
	var lines []string
	for _, field := range curlFields {
		if v, ok := report[field]; ok && v != nil && v != "" {
			lines = append(lines, fmt.Sprintf("%s: %v", field, v))
		}
	}
	body := strings.TrimSpace(strings.Join(all[:len(all)-1], "\n"))
	if body != "" {
		lines = append(lines, "", "body:")
		var doc any
		if json.Unmarshal([]byte(body), &doc) == nil {
			lines = append(lines, fields(doc)...)
		} else {
			lines = append(lines, strings.Split(body, "\n")...)
		}
	}
	return lines
}

// logLines is a JSON log as "key: value" lines, without what is null or empty.
func logLines(raw []byte) []string {
	var lines []string
	for l := range strings.Lines(string(raw)) {
		l = strings.TrimSpace(l)
		if l == "" {
			continue
		}
		if len(lines) > 0 {
			lines = append(lines, "")
		}
		dec := json.NewDecoder(strings.NewReader(l))
		dec.UseNumber()
		var doc map[string]any
		if err := dec.Decode(&doc); err != nil {
			lines = append(lines, l)
			continue
		}
		lines = append(lines, fields(doc)...)
	}
	return lines
}

// logOrder puts what decides most often first; the rest follows by name.
var logOrder = []string{
	"path", "response_code", "status", "response_flags", "response_code_details", "upstream_cluster", "upstream_transport_failure_reason",
	"requested_server_name", "sni", "verify", "dn", "serial", "fingerprint", "peer", "downstream_peer_uri_san",
}

func fields(doc any) []string {
	object, ok := doc.(map[string]any)
	if !ok {
		return pretty(doc)
	}
	var lines []string
	done := map[string]bool{}
	add := func(key string) {
		value, ok := object[key]
		done[key] = true
		if !ok || value == nil || value == "" {
			return
		}
		text, isString := value.(string)
		if !isString {
			text = strings.Join(strings.Fields(strings.Join(pretty(value), " ")), " ")
		}
		lines = append(lines, key+": "+text)
	}
	for _, key := range logOrder {
		add(key)
	}
	rest := make([]string, 0, len(object))
	for key := range object {
		if !done[key] {
			rest = append(rest, key)
		}
	}
	sort.Strings(rest)
	for _, key := range rest {
		add(key)
	}
	return lines
}
