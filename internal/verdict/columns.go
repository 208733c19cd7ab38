package verdict

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// clean makes a value safe for one line of a terminal: a log line may carry
// escape sequences, and they stay text.
func clean(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\n' || r == '\t' || r == '\r':
			b.WriteByte(' ')
		case r == utf8.RuneError || unicode.IsControl(r) || unicode.Is(unicode.Cf, r):
			fmt.Fprintf(&b, "\\u%04x", r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// wrap breaks s into lines of at most n columns; a word that is longer is cut.
func wrap(s string, n int) []string {
	n = max(n, 1)
	var lines []string
	line := ""
	for _, word := range strings.Fields(s) {
		for width(word) > n {
			room := n
			if line != "" {
				room = n - width(line) - 1
			}
			// Cutting a long word is right only where the rest of the line is worth filling.
			if line != "" && room < n/2 {
				lines, line = append(lines, line), ""
				continue
			}
			head, tail := cut(word, room)
			if line != "" {
				head = line + " " + head
			}
			lines, line, word = append(lines, head), "", tail
		}
		switch {
		case line == "":
			line = word
		case width(line)+1+width(word) <= n:
			line += " " + word
		default:
			lines, line = append(lines, line), word
		}
	}
	if line != "" || len(lines) == 0 {
		lines = append(lines, line)
	}
	return lines
}

// joinWrapped joins parts with sep into lines of at most n columns, breaking
// between parts.
func joinWrapped(parts []string, sep string, n int) []string {
	var lines []string
	line := ""
	for _, p := range parts {
		switch {
		case line == "":
			line = p
		case width(line)+width(sep)+width(p) <= n:
			line += sep + p
		default:
			lines, line = append(lines, line), p
		}
	}
	return append(lines, line)
}

func cut(s string, n int) (head, tail string) {
	w := 0
	for i, r := range s {
		if w += runeWidth(r); w > n && i > 0 {
			return s[:i], s[i:]
		}
	}
	return s, ""
}

func pad(s string, n int) string     { return s + strings.Repeat(" ", max(0, n-width(s))) }
func padLeft(s string, n int) string { return strings.Repeat(" ", max(0, n-width(s))) + s }

// width is how many columns a terminal gives s. East Asian wide characters,
// which the guide's quotes may hold, take two.
func width(s string) int {
	n := 0
	for _, r := range s {
		n += runeWidth(r)
	}
	return n
}

func runeWidth(r rune) int {
	switch {
	case unicode.Is(unicode.Mn, r):
		return 0
	case r >= 0x1100 && unicode.In(r, unicode.Hangul, unicode.Han, unicode.Hiragana, unicode.Katakana):
		return 2
	case r >= 0x3000 && r <= 0x303e, r >= 0xff01 && r <= 0xff60, r >= 0x1f300 && r <= 0x1faff:
		return 2
	}
	return 1
}

// duration is a time as people read it: 320 ms, 4.2 s, 1 m 05 s, 1 h 02 m.
func duration(millis int64) string {
	d := time.Duration(millis) * time.Millisecond
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", millis)
	case d < 59950*time.Millisecond:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < time.Hour:
		d = d.Round(time.Second)
		return fmt.Sprintf("%d m %02d s", int(d.Minutes()), int(d.Seconds())%60)
	}
	d = d.Round(time.Minute)
	return fmt.Sprintf("%d h %02d m", int(d.Hours()), int(d.Minutes())%60)
}
