package trial

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
// what is absent in Envoy's configuration is a nil pointer here.
func plain(v any) any {
	r := reflect.ValueOf(v)
	switch r.Kind() {
	case reflect.Pointer, reflect.Map, reflect.Slice:
		if r.IsNil() {
			return nil
		}
	}
	if r.Kind() == reflect.Pointer {
		return r.Elem().Interface()
	}
	return v
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
	case []string:
		return strings.Join(v, ", ")
	case time.Duration:
		return strconv.FormatFloat(v.Seconds(), 'f', -1, 64) + "s"
	case time.Time:
		return v.UTC().Format(time.RFC3339)
	case error:
		return v.Error()
	}
	return fmt.Sprintf("%v", v)
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
		return "contains " + strconv.Quote(m.Substr)
	case *matchers.ContainElementMatcher:
		return "has " + show(element(m.Element))
	case *matchers.BeNumericallyMatcher:
		return fmt.Sprintf("%s %s", m.Comparator, numbers(m.CompareTo))
	case *matchers.HaveLenMatcher:
		return fmt.Sprintf("%d of them", m.Count)
	case *matchers.MatchRegexpMatcher:
		return "matches " + m.Regexp
	case *matchers.NotMatcher:
		return "not " + expectation(m.Matcher, seen)
	case *matchers.AndMatcher:
		return each(m.Matchers, " and ", seen)
	case *matchers.OrMatcher:
		return each(m.Matchers, " or ", seen)
	case *matchers.ConsistOfMatcher:
		return "exactly " + numbers(m.Elements)
	}
	_, wanted, found := strings.Cut(m.FailureMessage(seen), "\nto ")
	if !found {
		return m.FailureMessage(seen)
	}
	return strings.Join(strings.Fields(wanted), " ")
}

func element(e any) any {
	if m, ok := e.(types.GomegaMatcher); ok {
		return expectation(m, nil)
	}
	return e
}

func each(all []types.GomegaMatcher, joint string, seen any) string {
	parts := make([]string, len(all))
	for i, m := range all {
		parts[i] = expectation(m, seen)
	}
	return strings.Join(parts, joint)
}

func numbers(values []any) string {
	parts := make([]string, len(values))
	for i, v := range values {
		parts[i] = show(element(v))
	}
	return strings.Join(parts, ", ")
}
