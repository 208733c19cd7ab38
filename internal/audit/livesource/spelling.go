package livesource

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// spelledAsEnvoy spells the field names of istiod's dump as Envoy does, so that both are
// saved and read in one way. Keys that are no fields stay: those of metadata and of what
// an endpoint's metadata is matched against, such as tlsMode.
func spelledAsEnvoy(dump []byte) ([]byte, error) {
	d := json.NewDecoder(bytes.NewReader(dump))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, fmt.Errorf("the config dump cannot be read: %w", err)
	}
	return json.Marshal(respell(v))
}

func respell(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		has := func(keys ...string) bool {
			return slices.ContainsFunc(keys, func(k string) bool { return v[k] != nil })
		}
		for key, value := range v {
			// Names of extensions, clusters and labels have dots, slashes or hyphens.
			field := key
			if !strings.ContainsAny(key, "./-@ ") {
				field = snake(key)
			}
			switch {
			case field == "filter_metadata", field == "match" && has("transportSocket", "transport_socket"), field == "value" && has("typeUrl", "type_url"):
				out[field] = value
			default:
				out[field] = respell(value)
			}
		}
		return out
	case []any:
		for i := range v {
			v[i] = respell(v[i])
		}
	}
	return v
}

func snake(s string) string {
	if strings.ToLower(s) == s || strings.ToUpper(s) == s {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		if r >= 'A' && r <= 'Z' {
			if i > 0 {
				b.WriteByte('_')
			}
			r += 'a' - 'A'
		}
		b.WriteRune(r)
	}
	return b.String()
}
