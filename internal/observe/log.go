// Package observe is the witnesses: what both proxies, the partner and istiod
// say of themselves. It hands out raw bytes and the commands that print the
// same; parsing is internal/envoy's, judging is the specs'.
package observe

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"twohop/internal/kube"
)

// Log is a container's log, followed from its start. Lines are kept, in order.
type Log struct {
	// Who names the container in errors and commands.
	Who     string
	Command string // what prints the same

	distort func([]byte) [][]byte
	mu      sync.Mutex
	lines   []Line
	ended   error
	changed chan struct{} // closed and renewed at each new line
}

// Line is a line of a log, and when the container's runtime got it.
type Line struct {
	At   time.Time
	Text []byte
}

// Follow starts to read a container's log. It ends with ctx or with the pod.
func Follow(ctx context.Context, client *kube.Client, namespace, pod, container string) (*Log, error) {
	stream, err := client.Typed.CoreV1().Pods(namespace).GetLogs(pod, &corev1.PodLogOptions{Container: container, Follow: true, Timestamps: true}).Stream(ctx)
	if err != nil {
		return nil, fmt.Errorf("follow the log of %s/%s (%s): %w", namespace, pod, container, err)
	}
	return NewLog(fmt.Sprintf("%s/%s (%s)", namespace, pod, container),
		fmt.Sprintf("kubectl logs -n %s %s -c %s", namespace, pod, container), stream), nil
}

// NewLog reads a stream, which it closes, as a log.
func NewLog(who, command string, stream io.ReadCloser) *Log {
	l := &Log{Who: who, Command: command, changed: make(chan struct{})}
	go l.read(stream)
	return l
}

func (l *Log) read(stream io.ReadCloser) {
	defer stream.Close()
	in := bufio.NewReader(stream)
	for {
		line, err := in.ReadBytes('\n')
		l.mu.Lock()
		if line = bytes.TrimRight(line, "\r\n"); len(line) > 0 {
			stamped, stampErr := stamp(line)
			switch {
			case stampErr != nil && err == nil: // a log that ends may end within a line
				err = stampErr
			case stampErr == nil && len(stamped.Text) > 0 && l.distort == nil:
				l.lines = append(l.lines, stamped)
			case stampErr == nil && len(stamped.Text) > 0:
				for _, text := range l.distort(stamped.Text) {
					l.lines = append(l.lines, Line{At: stamped.At, Text: text})
				}
			}
		}
		if err != nil {
			l.ended = err
		}
		close(l.changed)
		l.changed = make(chan struct{})
		l.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// stamp takes the runtime's time off a line: "2026-11-23T16:10:11.123456789Z text".
func stamp(line []byte) (Line, error) {
	when, text, _ := bytes.Cut(line, []byte(" "))
	at, err := time.Parse(time.RFC3339Nano, string(when))
	if err != nil {
		return Line{}, fmt.Errorf("a log line without the runtime's time: %.200s", line)
	}
	return Line{At: at, Text: text}, nil
}

// Distort makes the log say something else from now on; nil ends it. Mutants
// use it to show what a lying witness does to claims.
func (l *Log) Distort(f func([]byte) [][]byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.distort = f
}

// Matching returns the lines read so far that match.
func (l *Log) Matching(match func([]byte) bool) [][]byte { return l.MatchingAfter(0, match) }

// MatchingAfter is Matching for lines beyond the first n that were read.
func (l *Log) MatchingAfter(n int, match func([]byte) bool) [][]byte {
	var found [][]byte
	for _, line := range l.linesAfter(n, match) {
		found = append(found, line.Text)
	}
	return found
}

// Lines is Matching, with the lines' times.
func (l *Log) Lines(match func([]byte) bool) []Line { return l.linesAfter(0, match) }

func (l *Log) linesAfter(n int, match func([]byte) bool) []Line {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []Line
	for _, line := range l.lines[n:] {
		if match(line.Text) {
			found = append(found, line)
		}
	}
	return found
}

// Wait returns the first line that matches, past or to come. If none comes
// before ctx ends, or the log ends first, the error says what was awaited.
func (l *Log) Wait(ctx context.Context, what string, match func([]byte) bool) ([]byte, error) {
	line, err := l.wait(ctx, 0, what, match)
	return line.Text, err
}

// WaitLine is Wait, with the line's time.
func (l *Log) WaitLine(ctx context.Context, what string, match func([]byte) bool) (Line, error) {
	return l.wait(ctx, 0, what, match)
}

// WaitAfter is Wait for lines beyond the first n that were read.
func (l *Log) WaitAfter(ctx context.Context, n int, what string, match func([]byte) bool) error {
	_, err := l.wait(ctx, n, what, match)
	return err
}

// Len is the number of lines read so far.
func (l *Log) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.lines)
}

func (l *Log) wait(ctx context.Context, seen int, what string, match func([]byte) bool) (Line, error) {
	for {
		l.mu.Lock()
		fresh, ended, changed := l.lines[seen:], l.ended, l.changed
		seen = len(l.lines)
		l.mu.Unlock()
		for _, line := range fresh {
			if match(line.Text) {
				return line, nil
			}
		}
		if ended != nil {
			return Line{}, fmt.Errorf("the log of %s ended (%w) before %s", l.Who, ended, what)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			last := "nothing"
			if n := len(fresh); n > 0 {
				last = string(fresh[n-1].Text)
			} else if all := l.Matching(func([]byte) bool { return true }); len(all) > 0 {
				last = string(all[len(all)-1])
			}
			return Line{}, fmt.Errorf("waited in the log of %s for %s: %w; its last line was %.300s", l.Who, what, context.Cause(ctx), last)
		}
	}
}

// Contains matches lines with a text in them.
func Contains(text string) func([]byte) bool {
	return func(line []byte) bool { return bytes.Contains(line, []byte(text)) }
}
