package report

import (
	"strings"
	"unicode"

	"golang.org/x/text/width"
)

// wrap breaks s into lines of at most n columns; a word that is longer is cut.
func wrap(s string, n int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(s) {
		if line != "" && columns(line)+1+columns(word) <= n {
			line += " " + word
			continue
		}
		if line != "" {
			lines = append(lines, line)
		}
		for columns(word) > n {
			head, tail := cut(word, n)
			lines, word = append(lines, head), tail
		}
		line = word
	}
	return append(lines, line)
}

// cut takes the head of s that fits into n columns, and at least one letter.
func cut(s string, n int) (head, tail string) {
	taken := 0
	for i, r := range s {
		if taken += letter(r); taken > n && i > 0 {
			return s[:i], s[i:]
		}
	}
	return s, ""
}

// shorten keeps the first n-1 letters of a longer text.
func shorten(s string, n int) string {
	if letters := []rune(s); len(letters) > n {
		return string(letters[:n-1]) + "…"
	}
	return s
}

func pad(s string, n int) string { return s + strings.Repeat(" ", max(0, n-columns(s))) }

// columns is how many of a terminal's columns s takes.
func columns(s string) int {
	n := 0
	for _, r := range s {
		n += letter(r)
	}
	return n
}

func letter(r rune) int {
	switch {
	case unicode.In(r, unicode.Mn, unicode.Me):
		return 0
	case width.LookupRune(r).Kind() == width.EastAsianWide, width.LookupRune(r).Kind() == width.EastAsianFullwidth:
		return 2
	}
	return 1
}
