package verdict

import (
	"regexp"
	"strings"
)

// unsteady is what differs between any two runs of the same thing.
var unsteady = []struct {
	pattern *regexp.Regexp
	becomes string
}{
	// A claim may be judged in another lab the next time (subject.Renames).
	{regexp.MustCompile(`\b(twohop-(?:app|egress|unbound|partner)|istio-system)-\d+\b`), "$1"},
	{regexp.MustCompile(`api\.partner-\d+\.example\.com\b`), "api.partner.example.com"},
	{regexp.MustCompile(`api\.partner(-\d*)?(\.[a-z.]*)?…`), "api.partner…"},
	{regexp.MustCompile(`\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:?\d{2})?`), "<time>"},
	{regexp.MustCompile(`\b[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b`), "<uuid>"},
	{regexp.MustCompile(`\b\d{1,3}(\.\d{1,3}){3}(:\d+)?\b`), "<address>"},
	{regexp.MustCompile(`\bt[0-9a-f]{12,16}\b`), "<token>"},
	{regexp.MustCompile(`-[0-9a-f]{8,10}-[bcdfghjklmnpqrstvwxz2456789]{5}\b`), "-<pod>"},
	{regexp.MustCompile(`\b([0-9a-fA-F]{2}:){7,}[0-9a-fA-F]{2}\b`), "<hex>"},
	{regexp.MustCompile(`-----BEGIN%20CERTIFICATE-----[^"]*`), "<certificate>"},
	{regexp.MustCompile(`\b[0-9a-f]{16,}\b|\b[0-9A-F]{16,}\b`), "<hex>"},
	{regexp.MustCompile(`\b\d{13,}\b`), "<number>"},
	// The partner's answer counts its connections and tells the time.
	{regexp.MustCompile(`"(connection|connection_requests|msec)": ?"?[\d.]+"?`), `"$1":<number>`},
}

// shortHex may be a part of a name that was made at random.
var shortHex = regexp.MustCompile(`\b[0-9a-f]{8,15}\b|\b[0-9A-F]{8,15}\b`)

// counted is a fact about which of its connections a proxy used: both number them as
// they come.
var counted = regexp.MustCompile(`connection(, that of the first)?$|the connection is a new one$`)

// sameConnection reports whether two values of a fact are such numbers.
func sameConnection(fact, a, b string) bool {
	return counted.MatchString(fact) && digits.MatchString(a) && digits.MatchString(b)
}

var digits = regexp.MustCompile(`^\d+$`)

// steady replaces what differs between any two runs.
func steady(s string) string {
	for _, u := range unsteady {
		s = u.pattern.ReplaceAllString(s, u.becomes)
	}
	return shortHex.ReplaceAllStringFunc(s, func(hex string) string {
		if !strings.ContainsAny(hex, "0123456789") || !strings.ContainsAny(hex, "abcdefABCDEF") {
			return hex // 4294967295 is a limit
		}
		return "<hex>"
	})
}

// alike compares two values; of texts that were cut short, as far as both go.
func alike(a, b string) bool {
	a, cutA := strings.CutSuffix(steady(a), "…")
	b, cutB := strings.CutSuffix(steady(b), "…")
	if cutA && cutB {
		return strings.HasPrefix(a, b) || strings.HasPrefix(b, a)
	}
	return a == b && cutA == cutB
}
