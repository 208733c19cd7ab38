package report

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/url"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"twohop/internal/audit"
	"twohop/internal/objects"
)

// The parts of SARIF 2.1.0 that a report needs.
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool        sarifTool         `json:"tool"`
		Automation  sarifID           `json:"automationDetails"`
		Invocations []sarifInvocation `json:"invocations"`
		Results     []sarifResult     `json:"results"`
		Properties  map[string]any    `json:"properties"`
	}
	sarifID struct {
		ID string `json:"id"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name    string      `json:"name"`
		Version string      `json:"version,omitempty"`
		Rules   []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID      string        `json:"id"`
		Short   sarifMessage  `json:"shortDescription"`
		Help    *sarifMessage `json:"help,omitempty"`
		Default *sarifLevel   `json:"defaultConfiguration,omitempty"`
	}
	sarifLevel struct {
		Level string `json:"level"`
	}
	sarifMessage struct {
		Text string `json:"text"`
	}
	sarifInvocation struct {
		Successful    bool                `json:"executionSuccessful"`
		End           string              `json:"endTimeUtc,omitempty"`
		Notifications []sarifNotification `json:"toolExecutionNotifications,omitempty"`
	}
	sarifNotification struct {
		Level   string       `json:"level"`
		Message sarifMessage `json:"message"`
	}
	sarifResult struct {
		RuleID       string             `json:"ruleId"`
		RuleIndex    int                `json:"ruleIndex"`
		Kind         string             `json:"kind"`
		Level        string             `json:"level"`
		Message      sarifMessage       `json:"message"`
		Locations    []sarifLocation    `json:"locations,omitempty"`
		Fingerprints map[string]string  `json:"partialFingerprints"`
		Suppressions []sarifSuppression `json:"suppressions,omitempty"`
		Properties   map[string]any     `json:"properties"`
	}
	sarifLocation struct {
		Physical *sarifPhysical `json:"physicalLocation,omitempty"`
		Logical  []sarifLogical `json:"logicalLocations,omitempty"`
	}
	sarifPhysical struct {
		Artifact sarifArtifact `json:"artifactLocation"`
		Region   sarifRegion   `json:"region"`
	}
	sarifArtifact struct {
		URI string `json:"uri"`
	}
	sarifRegion struct {
		StartLine int `json:"startLine"`
	}
	sarifLogical struct {
		Name      string `json:"name"`
		Qualified string `json:"fullyQualifiedName"`
		Kind      string `json:"kind"`
	}
	sarifSuppression struct {
		Kind          string `json:"kind"`
		Status        string `json:"status"`
		Justification string `json:"justification"`
	}
)

// writeSARIF writes findings only: GitHub shows a result of kind pass as an alert.
func writeSARIF(w io.Writer, r *audit.Report, opts Options) error {
	r, err := readable(r)
	if err != nil {
		return err
	}
	when, err := at(r)
	if err != nil {
		return err
	}
	invocation := sarifInvocation{Successful: true}
	if !when.IsZero() {
		invocation.End = when.Format("2006-01-02T15:04:05Z")
	}
	// Without a result and without this, a run that audited nothing would look clean.
	if s := nothing(r); s != "" {
		invocation.Notifications = []sarifNotification{{Level: "warning", Message: sarifText(s)}}
	}
	rules := sarifRules(r)
	results := []sarifResult{}
	for _, f := range sorted(r.Findings) {
		result := sarifResultOf(f)
		result.RuleIndex = slices.IndexFunc(rules, func(rule sarifRule) bool { return rule.ID == f.ID })
		results = append(results, result)
	}
	return encode(w, sarifLog{
		Schema: "https://json.schemastore.org/sarif-2.1.0.json", Version: "2.1.0",
		Runs: []sarifRun{{
			Tool:       sarifTool{sarifDriver{Name: "twohop", Version: opts.Version, Rules: rules}},
			Automation: sarifID{"twohop-audit/"}, Invocations: []sarifInvocation{invocation}, Results: results,
			Properties: map[string]any{
				"source": r.Run.Source, "istio": r.Run.Istio, "assumed": list(r.Run.Assumed),
				"result": r.Result, "failOn": r.Run.FailOn, "checksPassed": r.Totals.Passed,
			},
		}},
	})
}

// sarifRules are the checks of the report by id, those that passed too.
func sarifRules(r *audit.Report) []sarifRule {
	names := titles()
	var rules []sarifRule
	add := func(id, title string) *sarifRule {
		i := slices.IndexFunc(rules, func(rule sarifRule) bool { return rule.ID == id })
		if i < 0 {
			i = len(rules)
			rules = append(rules, sarifRule{ID: id, Short: sarifText(cmp.Or(names[id], title))})
		}
		return &rules[i]
	}
	for _, f := range sorted(r.Findings) {
		rule := add(f.ID, f.Title)
		if f.Why != "" && rule.Help == nil {
			help := sarifText(because(f))
			rule.Help = &help
		}
		if f.Status == audit.Fail && rule.Default == nil {
			rule.Default = &sarifLevel{level(f.Severity)}
		}
	}
	for _, c := range r.Checks {
		add(c.ID, c.Title)
	}
	slices.SortFunc(rules, func(a, b sarifRule) int { return cmp.Compare(a.ID, b.ID) })
	return list(rules)
}

func sarifResultOf(f audit.Finding) sarifResult {
	result := sarifResult{
		RuleID: f.ID, Kind: "fail", Level: level(f.Severity), Message: sarifText(sentences(f)),
		Locations: sarifLocations(f), Fingerprints: map[string]string{"finding/v1": fingerprint(f)},
		Properties: map[string]any{"severity": f.Severity, "hop": f.Hop},
	}
	for name, value := range map[string]string{"host": f.Host, "proxy": f.Proxy, "field": f.Field, "patch": f.Patch, "claim": f.Claim} {
		if value != "" {
			result.Properties[name] = value
		}
	}
	switch f.Status {
	case audit.Unknown:
		// "open" is SARIF's word for a rule that was evaluated without enough information
		// to decide; any kind but "fail" must have the level "none".
		result.Kind, result.Level = "open", "none"
	case audit.Excepted:
		result.Suppressions = []sarifSuppression{{Kind: "external", Status: "accepted", Justification: flat(source(f.Exception))}}
	}
	return result
}

func level(s audit.Severity) string {
	switch s {
	case audit.Critical, audit.High:
		return "error"
	case audit.Medium:
		return "warning"
	}
	return "note"
}

// sentences is a finding as one paragraph: GitHub shows no more of it.
func sentences(f audit.Finding) string {
	s := fmt.Sprintf("%s. %s: seen %s, wanted %s.", capital(stated(f)), cmp.Or(target(f), f.Host), f.Seen, f.Wanted)
	if f.Why != "" {
		s += " " + because(f)
	}
	if f.Patch != "" {
		s += "\nChange: " + f.Patch
	}
	return s
}

// sarifText escapes what SARIF reads in a message: braces are placeholders, and brackets
// before a parenthesis a link.
func sarifText(s string) sarifMessage {
	return sarifMessage{strings.NewReplacer("{", "{{", "}", "}}", "](", `\](`).Replace(s)}
}

func sarifLocations(f audit.Finding) []sarifLocation {
	var l sarifLocation
	if uri := fileURI(f.File); uri != "" {
		l.Physical = &sarifPhysical{sarifArtifact{uri}, sarifRegion{max(f.Line, 1)}}
	}
	switch {
	case f.Object != (objects.Ref{}):
		name := path.Join(f.Object.Kind, f.Object.Namespace, f.Object.Name)
		l.Logical = []sarifLogical{{Name: f.Object.Name, Qualified: name, Kind: "resource"}}
	case f.Host != "":
		l.Logical = []sarifLogical{{Name: f.Host, Qualified: f.Host, Kind: "resource"}}
	}
	if l.Physical == nil && l.Logical == nil {
		return nil
	}
	return []sarifLocation{l}
}

// fileURI is a file's path as a URI, empty for what no viewer could open.
func fileURI(file string) string {
	if file == "" || file == "standard input" {
		return ""
	}
	u := url.URL{Path: path.Clean(filepath.ToSlash(file))}
	if path.IsAbs(u.Path) {
		u.Scheme = "file"
	}
	return u.String()
}

// fingerprint names a finding from run to run, however lines move.
func fingerprint(f audit.Finding) string {
	sum := sha256.Sum256([]byte(strings.Join([]string{f.ID, f.Host, fmt.Sprint(f.Hop), f.Object.String(), f.Field, f.Proxy}, "\x00")))
	return hex.EncodeToString(sum[:16])
}
