package corpus

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// A step into a tree is a key of a map (string) or an index of a list (int).

// at is the value at the end of the steps, nil if there is none.
func at(tree any, steps ...any) any {
	for _, step := range steps {
		switch s := step.(type) {
		case string:
			m, _ := tree.(map[string]any)
			tree = m[s]
		case int:
			l, _ := tree.([]any)
			if s < 0 || s >= len(l) {
				return nil
			}
			tree = l[s]
		}
	}
	return tree
}

// edit is what becomes of a value; keep is false for one that is deleted.
type edit func(old any) (value any, keep bool)

func to(value any) edit    { return func(any) (any, bool) { return value, true } }
func gone(any) (any, bool) { return nil, false }

// edited is the tree with the value at the end of the steps edited. It shares with the
// old tree whatever does not lie on the way. Maps on the way are made where there are
// none.
func edited(tree map[string]any, e edit, steps ...any) map[string]any {
	made, _ := along(tree, steps, e)
	m, _ := made.(map[string]any)
	return m
}

func along(tree any, steps []any, e edit) (any, bool) {
	if len(steps) == 0 {
		return e(tree)
	}
	switch step := steps[0].(type) {
	case string:
		m, _ := tree.(map[string]any)
		old, had := m[step]
		value, keep := along(old, steps[1:], e)
		if !keep && !had {
			return tree, true
		}
		made := maps.Clone(m)
		if made == nil {
			made = map[string]any{}
		}
		if keep {
			made[step] = value
		} else {
			delete(made, step)
		}
		return made, true
	case int:
		l, _ := tree.([]any)
		if step < 0 || step >= len(l) {
			return tree, true
		}
		value, keep := along(l[step], steps[1:], e)
		made := slices.Clone(l)
		if keep {
			made[step] = value
		} else {
			made = slices.Delete(made, step, step+1)
		}
		return made, true
	}
	return tree, true
}

// deep is a copy that shares nothing.
func deep[T any](value T) T {
	var copied func(any) any
	copied = func(v any) any {
		switch v := v.(type) {
		case map[string]any:
			made := make(map[string]any, len(v))
			for k, one := range v {
				made[k] = copied(one)
			}
			return made
		case []any:
			made := make([]any, len(v))
			for i, one := range v {
				made[i] = copied(one)
			}
			return made
		}
		return v
	}
	made, _ := copied(value).(T)
	return made
}

// visit calls for each value of a tree but the root, parents first, keys in order.
func visit(tree any, found func(steps []any, value any)) {
	var down func(value any, steps []any)
	down = func(value any, steps []any) {
		if len(steps) > 0 {
			found(slices.Clone(steps), value)
		}
		switch v := value.(type) {
		case map[string]any:
			for _, k := range slices.Sorted(maps.Keys(v)) {
				down(v[k], append(slices.Clone(steps), k))
			}
		case []any:
			for i, one := range v {
				down(one, append(slices.Clone(steps), i))
			}
		}
	}
	down(tree, nil)
}

// path writes steps as objects.Object.Line reads them.
func path(steps ...any) string {
	var b strings.Builder
	for _, step := range steps {
		switch s := step.(type) {
		case int:
			b.WriteString("[" + strconv.Itoa(s) + "]")
		case string:
			switch {
			case strings.ContainsAny(s, ".[]"):
				b.WriteString("[" + s + "]")
			case b.Len() > 0:
				b.WriteString("." + s)
			default:
				b.WriteString(s)
			}
		}
	}
	return b.String()
}

// keys joins the steps' keys without the indices, for telling fields by what they are.
func keys(steps []any) string {
	var all []string
	for _, step := range steps {
		if s, ok := step.(string); ok {
			all = append(all, s)
		}
	}
	return strings.Join(all, "/")
}

// list is a value as a list; nil if it is none.
func list(value any) []any {
	l, _ := value.([]any)
	return l
}

func text(value any) string {
	s, _ := value.(string)
	return s
}
