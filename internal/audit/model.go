// Package audit judges a user's own egress: for each channel, whether both hops are
// encrypted and authenticated as they are meant to be, from what both proxies are
// configured with and from the objects that made it so. It has no control, so it never
// says "supported": a check passes, fails, or is unknown, and a finding may be excepted.
// It gets what was read or computed, and must not import what asks a cluster.
package audit

import (
	"twohop/internal/objects"
)

// Version is the format of a report in JSON.
const Version = "twohop.audit/v1"

// Severity says how much a finding matters.
type Severity string

// The severities, the worst first.
const (
	Critical Severity = "critical" // the call fails, or leaves unprotected
	High     Severity = "high"     // a protection is not in force, or fails one day
	Medium   Severity = "medium"   // a weakness that needs something else to go wrong
	Low      Severity = "low"
)

// Severities lists them, the worst first.
func Severities() []Severity { return []Severity{Critical, High, Medium, Low} }

// AtLeast reports whether a severity is as bad as a limit, or worse.
func (s Severity) AtLeast(limit Severity) bool { return rank(s) <= rank(limit) }

func rank(s Severity) int {
	for i, k := range Severities() {
		if s == k {
			return i
		}
	}
	return len(Severities())
}

// Status is what a check says of a place.
type Status string

// The statuses of findings. A check that found nothing has passed.
const (
	Fail     Status = "fail"
	Unknown  Status = "unknown" // it could not be learnt; the finding says why
	Excepted Status = "excepted"
)

// Result is what an audit comes to.
type Result string

// The results.
const (
	Passed  Result = "pass"
	Failed  Result = "fail"    // a finding at or above the limit
	Unclear Result = "unknown" // nothing failed, and something could not be learnt
)

// Finding is one thing to change, or to learn.
type Finding struct {
	ID       string   `json:"id"` // of the check, "01" to "30"
	Title    string   `json:"title"`
	Severity Severity `json:"severity"`
	Status   Status   `json:"status"`
	// Hop is 1 for sidecar to gateway, 2 for gateway to partner, 0 for a way around both.
	Hop  int    `json:"hop"`
	Host string `json:"host,omitempty"`
	// Object is the one to change.
	Object objects.Ref `json:"object"`
	File   string      `json:"file,omitempty"`
	Line   int         `json:"line,omitempty"`
	// Field is the path in the object, such as "spec.servers[0].tls.mode".
	Field string `json:"field,omitempty"`
	// Proxy is where it was seen: "sidecar NAMESPACE/NAME" or "gateway NAMESPACE/NAME".
	Proxy  string `json:"proxy,omitempty"`
	Seen   string `json:"seen"`
	Wanted string `json:"wanted"`
	// Patch is YAML to merge into the object, or a sentence.
	Patch string `json:"patch,omitempty"`
	Why   string `json:"why"`
	// Claim of the catalogue measured the behaviour.
	Claim string `json:"claim,omitempty"`
	// Exception is set where Status is Excepted.
	Exception *Exception `json:"exception,omitempty"`
}

// Exception is a finding that somebody answers for.
type Exception struct {
	ID      string `json:"id"`
	Host    string `json:"host,omitempty"`
	Object  string `json:"object,omitempty"` // "Kind NAMESPACE/NAME"
	Reason  string `json:"reason"`
	Owner   string `json:"owner"`
	Expires string `json:"expires"` // a day, such as 2027-01-31; it holds until that day ends
}

// Check is one that found nothing, at one channel.
type Check struct {
	ID    string `json:"id"`
	Title string `json:"title"`
	Host  string `json:"host,omitempty"`
	// Seen says what was looked at.
	Seen string `json:"seen,omitempty"`
}

// Channel is one host of the report.
type Channel struct {
	Host      string        `json:"host"`
	Ports     []string      `json:"ports"`
	Why       []string      `json:"why"`
	Callers   []string      `json:"callers"`
	Gateways  []string      `json:"gateways"`
	Objects   []objects.Ref `json:"objects"`
	Hops      []Hop         `json:"hops"`
	Result    Result        `json:"result"`
	DoubleTLS bool          `json:"doubleTLS"` // both hops use mutual TLS, as far as was seen
}

// Hop is one connection of a channel, as the proxies are configured to make it.
type Hop struct {
	Number      int    `json:"number"`
	From        string `json:"from"`
	To          string `json:"to"`
	Cluster     string `json:"cluster,omitempty"`
	TLS         string `json:"tls"` // "mutual", "simple", "plaintext", "caller's own", "unknown"
	ServerName  string `json:"serverName,omitempty"`
	Certificate string `json:"certificate,omitempty"` // the secret's name
	SANs        string `json:"sans,omitempty"`
	Connections string `json:"connections,omitempty"` // the limit, per proxy
	Rule        string `json:"rule,omitempty"`        // the DestinationRule in force
}

// Totals count findings and checks.
type Totals struct {
	Channels int              `json:"channels"`
	Passed   int              `json:"passed"`
	Failed   map[Severity]int `json:"failed"`
	Unknown  int              `json:"unknown"`
	Excepted int              `json:"excepted"`
}

// Run says what was audited, and how.
type Run struct {
	Source string `json:"source"` // "computed", "live", "snapshot"
	Istio  string `json:"istio"`
	At     string `json:"at,omitempty"` // RFC 3339
	// Inputs are the files and folders, or the cluster.
	Inputs []string `json:"inputs"`
	// Assumed is what the input does not say and was taken for granted.
	Assumed []string `json:"assumed,omitempty"`
	FailOn  Severity `json:"failOn"`
}

// Report is the result of an audit.
type Report struct {
	APIVersion string    `json:"apiVersion"`
	Run        Run       `json:"run"`
	Channels   []Channel `json:"channels"`
	Findings   []Finding `json:"findings"`
	Checks     []Check   `json:"checks"`
	Totals     Totals    `json:"totals"`
	Result     Result    `json:"result"`
}
