package observe

import (
	"bytes"
	"fmt"
	"strconv"
	"time"
)

// ParseStamped takes the runtime's time off a line:
// "2026-11-23T16:10:11.123456789Z text".
func ParseStamped(line []byte) (LogLine, error) {
	when, text, _ := bytes.Cut(line, []byte(" "))
	at, err := time.Parse(time.RFC3339Nano, string(when))
	if err != nil {
		return LogLine{}, fmt.Errorf("a log line without the runtime's time: %.200s", line)
	}
	return LogLine{At: at, Text: text}, nil
}

// FormatLine writes a line as a run keeps it: its number, its time, its text. A
// line that is lost, doubled or moved then shows.
func FormatLine(n int, l LogLine) []byte {
	return fmt.Appendf(nil, "%06d %s %s\n", n, l.At.UTC().Format(time.RFC3339Nano), l.Text)
}

// LogFile is a log as a run has kept it: lines by their number.
type LogFile struct {
	lines map[int]LogLine
	count int // of lines, or one more than the last number
}

// ParseLog reads what FormatLine wrote. Numbers have to rise by one; where
// trimmed, they only have to rise.
func ParseLog(raw []byte, trimmed bool) (*LogFile, error) {
	f := &LogFile{lines: map[int]LogLine{}}
	for line := range bytes.Lines(raw) {
		number, rest, ok := bytes.Cut(bytes.TrimRight(line, "\n"), []byte(" "))
		n, err := strconv.Atoi(string(number))
		if !ok || err != nil {
			return nil, fmt.Errorf("a line without a number: %.200s", line)
		}
		if n != f.count && (!trimmed || n < f.count) {
			return nil, fmt.Errorf("line %d stands where line %d is due", n, f.count)
		}
		l, err := ParseStamped(rest)
		if err != nil {
			return nil, err
		}
		f.lines[n], f.count = l, n+1
	}
	return f, nil
}

// Len is the number of lines, or one more than the last number.
func (f *LogFile) Len() int { return f.count }

// Range returns the lines from one number up to, and without, another.
func (f *LogFile) Range(from, to int) ([]LogLine, error) {
	if from < 0 || to < from || to > f.count {
		return nil, fmt.Errorf("the log has %d lines, so not those from %d to %d", f.count, from, to)
	}
	var lines []LogLine
	for n := from; n < to; n++ {
		if l, ok := f.lines[n]; ok {
			lines = append(lines, l)
		}
	}
	return lines, nil
}

// Each goes through the lines in the order of their numbers.
func (f *LogFile) Each(do func(n int, l LogLine)) {
	for n := range f.count {
		if l, ok := f.lines[n]; ok {
			do(n, l)
		}
	}
}
