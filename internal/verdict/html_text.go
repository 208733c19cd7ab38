package verdict

import (
	"bytes"
	"encoding/json"
	"strings"
)

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
