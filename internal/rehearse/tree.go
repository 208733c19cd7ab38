package rehearse

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// object is a JSON object; numbers in it are json.Number, so that nothing is rounded.
type object = map[string]any

func decode(raw []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	err := d.Decode(&v)
	return v, err
}

func clone(v any) any {
	switch v := v.(type) {
	case object:
		c := make(object, len(v))
		for k, e := range v {
			c[k] = clone(e)
		}
		return c
	case []any:
		c := make([]any, len(v))
		for i, e := range v {
			c[i] = clone(e)
		}
		return c
	}
	return v
}

// at follows keys; nil where one is absent or not in an object.
func at(v any, keys ...string) any {
	for _, k := range keys {
		o, _ := v.(object)
		v = o[k]
	}
	return v
}

func text(v any, keys ...string) string {
	switch v := at(v, keys...).(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	}
	return ""
}

func number(v any, keys ...string) int {
	n, _ := at(v, keys...).(json.Number)
	i, _ := n.Int64()
	return int(i)
}

func list(v any, keys ...string) []any {
	l, _ := at(v, keys...).([]any)
	return l
}

// each visits every object in a tree, the outer ones first.
func each(v any, visit func(object)) {
	switch v := v.(type) {
	case object:
		visit(v)
		for _, k := range slices.Sorted(maps.Keys(v)) {
			each(v[k], visit)
		}
	case []any:
		for _, e := range v {
			each(e, visit)
		}
	}
}

// whole are fields that are exchanged as one, since what they have in common says
// nothing: where something comes from.
func whole(field string) bool {
	return strings.HasSuffix(field, "sds_config") || strings.HasSuffix(field, ".rds.config_source") || field == "eds_cluster_config"
}

// diff lists the fields in which two trees differ.
func diff(field string, was, is any, found func(field, was, is string)) {
	if whole(field) {
		if a, b := compact(was), compact(is); a != b {
			found(field, a, b)
		}
		return
	}
	switch a := was.(type) {
	case object:
		if b, ok := is.(object); ok {
			keys := maps.Clone(a)
			maps.Copy(keys, b)
			for _, k := range slices.Sorted(maps.Keys(keys)) {
				diff(join(field, k), orAbsent(a, k), orAbsent(b, k), found)
			}
			return
		}
	case []any:
		if b, ok := is.([]any); ok {
			for i := range max(len(a), len(b)) {
				diff(fmt.Sprintf("%s[%d]", field, i), element(a, i), element(b, i), found)
			}
			return
		}
	}
	if a, b := compact(was), compact(is); a != b {
		found(field, a, b)
	}
}

// absent stands for what is not there; null is a value.
type absent struct{}

func orAbsent(o object, k string) any {
	if v, ok := o[k]; ok {
		return v
	}
	return absent{}
}

func element(l []any, i int) any {
	if i < len(l) {
		return l[i]
	}
	return absent{}
}

func join(field, key string) string {
	if strings.ContainsAny(key, ".[") {
		return field + "[" + key + "]"
	}
	if field == "" {
		return key
	}
	return field + "." + key
}

func compact(v any) string {
	if _, is := v.(absent); is {
		return ""
	}
	return string(encode(v))
}

func encode(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err) // trees that were decoded, and literals of this package
	}
	return bytes.TrimSpace(b.Bytes())
}
