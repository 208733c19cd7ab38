package report

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"unicode"
	"unicode/utf8"

	"twohop/internal/audit"
)

// readable is a copy of the report in which no value holds a control character. It is
// made of all values at once, so that a field which the model gains later is not missed.
func readable(r *audit.Report) (*audit.Report, error) {
	raw, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	var safe audit.Report
	if err := json.Unmarshal(raw, &safe); err != nil {
		return nil, err
	}
	eachString(reflect.ValueOf(&safe).Elem(), visible)
	return &safe, nil
}

func eachString(v reflect.Value, change func(string) string) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(change(v.String()))
	case reflect.Pointer:
		if !v.IsNil() {
			eachString(v.Elem(), change)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			eachString(v.Field(i), change)
		}
	case reflect.Slice:
		for i := range v.Len() {
			eachString(v.Index(i), change)
		}
	}
}

// visible keeps a value's lines and spells its other control characters out, so that
// none hides, reorders or colours what is read.
func visible(s string) string {
	var b strings.Builder
	for _, r := range strings.ReplaceAll(s, "\r\n", "\n") {
		switch {
		case r == '\t':
			b.WriteString("    ")
		case r != '\n' && unseen(r):
			b.WriteString(spelled(r))
		default:
			b.WriteRune(r)
		}
	}
	return strings.TrimRight(b.String(), "\n")
}

// unseen are control characters, and those that only steer how others are shown.
func unseen(r rune) bool {
	return r == utf8.RuneError || unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp)
}

func spelled(r rune) string {
	if r > 0xffff {
		return fmt.Sprintf(`\U%08x`, r)
	}
	return fmt.Sprintf(`\u%04x`, r)
}

// flat puts a value on one line.
func flat(s string) string { return strings.Join(strings.Fields(s), " ") }

// inert is a line that a CI's log reader does not take for a command: GitHub reads "::"
// at the start of a line, after any spaces, and "##[" anywhere; Azure reads "##vso[".
func inert(line string) string {
	line = strings.NewReplacer("##[", "# #[", "##vso[", "# #vso[").Replace(line)
	if rest := strings.TrimLeft(line, " "); strings.HasPrefix(rest, "::") {
		line = line[:len(line)-len(rest)] + ": " + rest[1:]
	}
	return line
}
