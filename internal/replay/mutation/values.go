package mutation

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// words are the values that fields of one name have in a recording: what a field
// has elsewhere is what it could have had here.
type words map[string][]string

// most is how many values of one name are kept: enough to turn what can be turned.
const most = 12

func (w words) note(d *document) {
	for _, n := range d.nodes {
		if n.kind.alterable() && n.kind != moment && n.kind != null && n.key != "" {
			value := string(d.raw[n.start:n.end])
			if list := w[n.key]; len(list) < most && !slices.Contains(list, value) {
				w[n.key] = append(list, value)
			}
		}
	}
}

// like are values that a field could have instead, the most natural ones first:
// those it has elsewhere, then one that differs little. None of them is what it has.
func (w words) like(raw []byte, n node) []string {
	value := string(raw[n.start:n.end])
	var all []string
	for _, other := range w[n.key] {
		if sameKind(n.kind, other) {
			all = append(all, other)
		}
	}
	switch n.kind {
	case boolean:
		all = []string{"true", "false"}
	case number:
		all = append([]string{next(value)}, all...)
	case quoted:
		all = append([]string{near(value)}, all...)
	case text:
		all = append([]string{last(value)}, all...)
	}
	return without(all, value)
}

// drastic are further values, which nothing that looks closely should take.
func drastic(raw []byte, n node) []string {
	value := string(raw[n.start:n.end])
	var all []string
	switch n.kind {
	case number:
		all = []string{"0", "1", "99999999"}
	case quoted:
		all = []string{`""`, `"something else"`, `"0"`, `"99999999"`}
		var s string
		if json.Unmarshal([]byte(value), &s) == nil {
			if f, err := strconv.ParseFloat(s, 64); err == nil { // a time, it may be
				all = slices.Insert(all, 1, quote(fmt.Sprintf("%.3f", f+60)), quote(fmt.Sprintf("%.3f", f-60)))
			}
			for _, by := range []time.Duration{-time.Hour, time.Hour} {
				if moved, ok := move(s, by); ok {
					all = append(all, quote(moved))
				}
			}
		}
	case text:
		all = []string{"something-else", "0"}
	}
	return without(all, value)
}

func sameKind(k kind, value string) bool {
	switch k {
	case null: // of whatever kind: it is absent here, and there elsewhere
		return true
	case quoted:
		return strings.HasPrefix(value, `"`)
	case number:
		_, err := strconv.ParseFloat(value, 64)
		return err == nil
	case text:
		return !strings.HasPrefix(value, `"`)
	}
	return false
}

func without(all []string, value string) []string {
	var kept []string
	for _, v := range all {
		if v != value && !slices.Contains(kept, v) {
			kept = append(kept, v)
		}
	}
	return kept
}

func next(value string) string {
	if n, err := strconv.ParseUint(value, 10, 63); err == nil {
		if n == 1<<32-1 { // more do not fit where Envoy has "unlimited"
			n -= 2
		}
		return strconv.FormatUint(n+1, 10)
	}
	if f, err := strconv.ParseFloat(value, 64); err == nil {
		return fmt.Sprint(f + 1)
	}
	return "1"
}

func near(value string) string {
	var s string
	if err := json.Unmarshal([]byte(value), &s); err != nil {
		return value
	}
	if moved, ok := move(s, time.Hour); ok {
		return quote(moved)
	}
	return quote(last(s))
}

// move moves a point in time.
func move(s string, by time.Duration) (string, bool) {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return "", false
	}
	return t.Add(by).Format("2006-01-02T15:04:05.000Z07:00"), true
}

func quote(s string) string {
	raw, err := json.Marshal(s)
	if err != nil {
		panic(err) // a string
	}
	return string(raw)
}

// last changes the last letter or digit to the next one, so that an address stays
// one, and so do a duration, a hash and base64.
func last(s string) string {
	b := []byte(s)
	for i := len(b) - 1; i >= 0; i-- {
		c := b[i]
		switch {
		case c >= '0' && c <= '8', c >= 'a' && c < 'f', c > 'f' && c < 'z', c >= 'A' && c < 'F', c > 'F' && c < 'Z':
			// The unit of a duration stays.
			if c == 's' && i > 0 && b[i-1] >= '0' && b[i-1] <= '9' {
				continue
			}
			b[i]++
		case c == '9':
			b[i] = '0'
		case c == 'f', c == 'F':
			b[i] -= 5
		case c == 'z', c == 'Z':
			b[i] -= 25
		default:
			continue
		}
		return string(b)
	}
	return s + "x"
}
