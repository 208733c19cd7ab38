// Package analysis reads what `istioctl analyze -o json` prints. It is pure: it
// runs nothing and knows no cluster.
package analysis

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Message is one finding of the analyzer's.
type Message struct {
	Code  string `json:"code"`  // "IST0129"
	Level string `json:"level"` // Info, Warning or Error
	// Text is the finding in the analyzer's words.
	Text string `json:"message"`
	// Origin is the object that it is about: "DestinationRule ns/name", or
	// "Namespace name" for what lies in no namespace.
	Origin string `json:"origin"`
}

// Parse reads the analyzer's whole output. No findings are an empty list; output
// that is not a list, or a finding without a code, is an error.
func Parse(raw []byte) ([]Message, error) {
	if len(bytes.TrimSpace(raw)) == 0 {
		return nil, fmt.Errorf("istioctl analyze printed nothing where JSON was expected: it does so for a namespace that does not exist")
	}
	var all []Message
	if err := json.Unmarshal(raw, &all); err != nil {
		return nil, fmt.Errorf("istioctl analyze printed no list of messages (%w): %.200s", err, raw)
	}
	for i, m := range all {
		if m.Code == "" || m.Level == "" {
			return nil, fmt.Errorf("message %d of istioctl analyze has no code or no level: %+v", i, m)
		}
	}
	return all, nil
}

// Namespace of the object that the message is about; for a message about a
// namespace that namespace itself.
func (m Message) Namespace() string {
	kind, name, _ := strings.Cut(m.Origin, " ")
	if namespace, _, ok := strings.Cut(name, "/"); ok {
		return namespace
	}
	if kind == "Namespace" {
		return name
	}
	return ""
}

// String is the message as a line of text.
func (m Message) String() string {
	return fmt.Sprintf("%s %s (%s): %s", m.Code, m.Level, m.Origin, m.Text)
}

// About keeps the messages about objects in the given namespaces.
func About(all []Message, namespaces ...string) []Message {
	return slices.DeleteFunc(slices.Clone(all), func(m Message) bool { return !slices.Contains(namespaces, m.Namespace()) })
}

// Beyond keeps the messages that the known ones do not account for. Two messages
// are alike if code and object are: texts quote the value at fault.
func Beyond(all, known []Message) []Message {
	left := map[[2]string]int{}
	for _, m := range known {
		left[[2]string{m.Code, m.Origin}]++
	}
	return slices.DeleteFunc(slices.Clone(all), func(m Message) bool {
		k := [2]string{m.Code, m.Origin}
		left[k]--
		return left[k] >= 0
	})
}

// Codes lists the messages' codes and objects ("IST0129 DestinationRule ns/name"), sorted, each once.
func Codes(all []Message) []string {
	var codes []string
	for _, m := range all {
		codes = append(codes, m.Code+" "+m.Origin)
	}
	slices.Sort(codes)
	return slices.Compact(codes)
}
