package check

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/onsi/gomega/matchers"
	"github.com/onsi/gomega/types"
)

// plain turns a pointer into what it points at, and a nil pointer into nil:
// what is absent in Envoy's configuration is a nil pointer here. Lists keep
// their type, so that a matcher of lists takes one that is nil for an empty one.
func plain(v any) any {
	r := reflect.ValueOf(v)
	if _, ok := v.(error); ok || r.Kind() != reflect.Pointer {
		return v
	}
	if r.IsNil() {
		return nil
	}
	return r.Elem().Interface()
}

// show writes a value as people and Envoy's JSON do.
func show(v any) string {
	switch v := v.(type) {
	case nil:
		return "absent"
	case string:
		if v == "" {
			return `"" (empty)`
		}
		return v
	case []byte:
		return string(v)
	case time.Duration:
		return strconv.FormatFloat(v.Seconds(), 'f', -1, 64) + "s"
	case time.Time:
		return v.UTC().Format("2006-01-02T15:04:05.999Z07:00") // logs tell milliseconds
	case error:
		return v.Error()
	}
	r := reflect.ValueOf(v)
	switch r.Kind() {
	case reflect.Slice, reflect.Map:
		if r.IsNil() {
			return "absent"
		}
		if r.Len() == 0 {
			return "empty"
		}
	}
	if r.Kind() == reflect.Struct { // plain took it from a pointer, whose method it may be
		p := reflect.New(r.Type())
		p.Elem().Set(r)
		if s, ok := p.Interface().(fmt.Stringer); ok {
			return s.String()
		}
	}
	if r.Kind() != reflect.Slice {
		return fmt.Sprintf("%v", v)
	}
	return list(items(r))
}

func items(slice reflect.Value) []any {
	all := make([]any, slice.Len())
	for i := range all {
		all[i] = slice.Index(i).Interface()
	}
	return all
}

// expectation puts a matcher into words. Matchers that are not known here
// speak for themselves.
func expectation(m types.GomegaMatcher, seen any) string {
	switch m := m.(type) {
	case *matchers.EqualMatcher:
		return show(plain(m.Expected))
	case *matchers.BeNilMatcher:
		return "absent"
	case *matchers.BeTrueMatcher:
		return "true"
	case *matchers.BeFalseMatcher:
		return "false"
	case *matchers.BeEmptyMatcher:
		return "empty"
	case *matchers.ContainSubstringMatcher:
		return "contains " + quoted(m.Substr, m.Args)
	case *matchers.HavePrefixMatcher:
		return "starts with " + quoted(m.Prefix, m.Args)
	case *matchers.HaveSuffixMatcher:
		return "ends with " + quoted(m.Suffix, m.Args)
	case *matchers.MatchRegexpMatcher:
		return "matches " + quoted(m.Regexp, m.Args)
	case *matchers.ContainElementMatcher:
		if _, ok := m.Element.(types.GomegaMatcher); ok {
			return "has one that " + one(m.Element)
		}
		return "has " + one(m.Element)
	case *matchers.BeNumericallyMatcher:
		return fmt.Sprintf("%s %s", m.Comparator, list(m.CompareTo))
	case *matchers.BeTemporallyMatcher:
		return m.Comparator + " " + show(m.CompareTo)
	case *matchers.HaveLenMatcher:
		return fmt.Sprintf("%d of them", m.Count)
	case *matchers.NotMatcher:
		return negated(expectation(m.Matcher, seen))
	case *matchers.HaveValueMatcher:
		return expectation(m.Matcher, seen)
	case *matchers.AndMatcher:
		return each(m.Matchers, " and ", seen)
	case *matchers.OrMatcher:
		return each(m.Matchers, " or ", seen)
	case *matchers.ConsistOfMatcher:
		elements := m.Elements
		if len(elements) == 1 { // the matcher itself takes a single list for its elements
			if r := reflect.ValueOf(elements[0]); r.Kind() == reflect.Slice {
				elements = items(r)
			}
		}
		if len(elements) == 0 {
			return "empty"
		}
		return "exactly " + list(elements)
	}
	_, wanted, found := strings.Cut(m.FailureMessage(seen), "\nto ")
	if !found {
		return m.FailureMessage(seen)
	}
	return strings.Join(strings.Fields(wanted), " ")
}

// negated turns an expectation round.
func negated(expected string) string {
	for verb, not := range map[string]string{
		"has ": "lacks ", "contains ": "does not contain ", "starts with ": "does not start with ",
		"ends with ": "does not end with ", "matches ": "does not match ",
	} {
		if rest, ok := strings.CutPrefix(expected, verb); ok {
			return not + rest
		}
	}
	return "not " + expected
}

// quoted writes the text of a matcher that takes a format and its arguments.
func quoted(format string, args []any) string {
	if len(args) > 0 {
		format = fmt.Sprintf(format, args...)
	}
	return strconv.Quote(format)
}

// one writes an element of a list that a matcher wants: a value, or what
// another matcher says.
func one(v any) string {
	if m, ok := v.(types.GomegaMatcher); ok {
		return expectation(m, nil)
	}
	return show(plain(v))
}

func list(values []any) string {
	parts := make([]string, len(values))
	for i, v := range values {
		parts[i] = one(v)
	}
	return strings.Join(parts, ", ")
}

func each(all []types.GomegaMatcher, joint string, seen any) string {
	parts := make([]string, len(all))
	for i, m := range all {
		parts[i] = expectation(m, seen)
	}
	return strings.Join(parts, joint)
}
