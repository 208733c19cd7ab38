package envoy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// adminType prefixes the types of a config dump's entries.
const adminType = "type.googleapis.com/envoy.admin.v3."

// NoSectionError says that an answer holds sections, but not the one looked
// for: the question was another, so "empty" would be a wrong conclusion.
type NoSectionError struct {
	Section string   // for example "ClustersConfigDump"
	Have    []string // the types that were there
}

func (e *NoSectionError) Error() string {
	return fmt.Sprintf("config dump has no %s; it holds %s", e.Section, list(e.Have))
}

// object is a JSON object whose keys may be spelled as Envoy prints them
// (snake_case) or as istioctl does (camelCase).
type object map[string]json.RawMessage

func (o object) get(snake string) json.RawMessage {
	if v, ok := o[snake]; ok {
		return v
	}
	return o[camel(snake)]
}

// text returns a string field, "" when it is absent.
func (o object) text(snake string) (string, error) {
	v := o.get(snake)
	if v == nil {
		return "", nil
	}
	var s string
	if err := json.Unmarshal(v, &s); err != nil {
		return "", fmt.Errorf("field %s: want a string, have %s", snake, excerpt(v))
	}
	return s, nil
}

// entry is one resource of a config dump, still raw.
type entry struct {
	// list is the field of the section that held it, "" where the answer was
	// of ?resource=, which tells the entry's type but not its list.
	list string
	// kind is the entry's type within the section ("DynamicCluster"), "" in a
	// section, whose lists imply it.
	kind string
	body object
}

// entries returns the resources of one section of an answer of /config_dump,
// whether it was asked for in full, by ?mask= or by ?resource=. An answer
// without any resource is empty; one with other sections only is a
// *NoSectionError.
func entries(raw []byte, section string, lists ...string) (version string, found []entry, err error) {
	var top object
	if err := json.Unmarshal(raw, &top); err != nil {
		return "", nil, fmt.Errorf("config dump: not a JSON object (%v): %s", err, excerpt(raw))
	}
	for key := range top {
		if key != "configs" {
			return "", nil, fmt.Errorf("config dump: unexpected field %q beside \"configs\": %s", key, excerpt(raw))
		}
	}
	var configs []object
	if body, ok := top["configs"]; ok {
		if err := json.Unmarshal(body, &configs); err != nil {
			return "", nil, fmt.Errorf("config dump: \"configs\" is not a list of objects: %w", err)
		}
	}
	matched := len(configs) == 0
	var have []string
	for i, config := range configs {
		typ, err := config.text("@type")
		if err != nil || typ == "" {
			return "", nil, fmt.Errorf("config dump: entry %d has no @type", i)
		}
		name := strings.TrimPrefix(typ, adminType)
		have = append(have, name)
		if kind, ok := strings.CutPrefix(name, section+"."); ok {
			matched = true
			found = append(found, entry{kind: kind, body: config})
			continue
		}
		if name != section {
			continue
		}
		matched = true
		if version, err = config.text("version_info"); err != nil {
			return "", nil, fmt.Errorf("config dump: %s: %w", section, err)
		}
		in, err := listed(config, section, lists)
		if err != nil {
			return "", nil, err
		}
		found = append(found, in...)
	}
	if !matched {
		return "", nil, &NoSectionError{Section: section, Have: have}
	}
	return version, found, nil
}

// listed returns the entries of a section's lists.
func listed(section object, name string, lists []string) ([]entry, error) {
	var found []entry
	for _, l := range lists {
		body := section.get(l)
		if body == nil {
			continue
		}
		var objects []object
		if err := json.Unmarshal(body, &objects); err != nil {
			return nil, fmt.Errorf("config dump: %s.%s is not a list of objects: %w", name, l, err)
		}
		for _, o := range objects {
			found = append(found, entry{list: l, body: o})
		}
	}
	return found, nil
}

// snakeKeys decodes JSON after spelling every object key in snake_case, for
// structs that read both Envoy's and istioctl's spelling. The values of free
// maps (metadata) are respelled too: do not read those through it.
func snakeKeys(raw []byte, into any) error {
	var v any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		return err
	}
	out, err := json.Marshal(respell(v))
	if err != nil {
		return err
	}
	return json.Unmarshal(out, into)
}

func respell(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, x := range v {
			out[snake(k)] = respell(x)
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
	var b strings.Builder
	for _, r := range s {
		if r >= 'A' && r <= 'Z' {
			b.WriteByte('_')
			r += 'a' - 'A'
		}
		b.WriteRune(r)
	}
	return b.String()
}

func camel(s string) string {
	parts := strings.Split(s, "_")
	for i, p := range parts[1:] {
		if p != "" {
			parts[i+1] = strings.ToUpper(p[:1]) + p[1:]
		}
	}
	return strings.Join(parts, "")
}

// uintText is an unsigned number that may be printed as a JSON string, as
// protobuf's JSON does with 64 bits and nginx with everything.
type uintText uint64

func (u *uintText) UnmarshalJSON(b []byte) error {
	n, err := strconv.ParseUint(strings.Trim(string(b), `"`), 10, 64)
	if err != nil {
		return fmt.Errorf("want an unsigned number, have %s", excerpt(b))
	}
	*u = uintText(n)
	return nil
}

// excerpt quotes the start of raw bytes for an error text.
func excerpt(raw []byte) string {
	const most = 160
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 {
		return "(nothing)"
	}
	if len(raw) > most {
		return strconv.Quote(string(raw[:most])) + "…"
	}
	return strconv.Quote(string(raw))
}

func sortedKeys[V any](m map[string]V) []string {
	return slices.Sorted(maps.Keys(m))
}

// list renders names for an error text, sorted.
func list(names []string) string {
	if len(names) == 0 {
		return "nothing"
	}
	return strings.Join(slices.Sorted(slices.Values(names)), ", ")
}
