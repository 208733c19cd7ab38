package live

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"twohop/internal/observe"
)

// Log is a container's log, followed from when it was attached to. Lines are
// kept, in order, and written to a file as they come.
type Log struct {
	// Who names the container in errors and commands.
	Who     string
	Command string // what prints the same
	// Path is the file of the run's folder that keeps it.
	Path string

	keep    io.WriteCloser // nil: nothing is written
	mu      sync.Mutex
	lines   []observe.LogLine
	ended   error
	changed chan struct{} // closed and renewed at each new line
}

// Follow starts to read a container's log. It ends with ctx or with the pod.
func Follow(ctx context.Context, client Cluster, namespace, pod, container string, path string, keep io.WriteCloser) (*Log, error) {
	stream, err := client.Logs(ctx, namespace, pod, container)
	if err != nil {
		return nil, err
	}
	l := NewLog(fmt.Sprintf("%s/%s (%s)", namespace, pod, container), fmt.Sprintf("kubectl logs -n %s %s -c %s", namespace, pod, container), keep, stream)
	l.Path = path
	return l, nil
}

// NewLog reads a stream, which it closes, as a log; what it reads it writes to
// keep as well, where there is one.
func NewLog(who, command string, keep io.WriteCloser, stream io.ReadCloser) *Log {
	l := &Log{Who: who, Command: command, keep: keep, changed: make(chan struct{})}
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
			stamped, stampErr := observe.ParseStamped(line)
			switch {
			case stampErr != nil && err == nil: // a log that ends may end within a line
				err = stampErr
			case stampErr == nil && len(stamped.Text) > 0:
				if l.keep != nil {
					if _, keepErr := l.keep.Write(observe.FormatLine(len(l.lines), stamped)); keepErr != nil {
						err = fmt.Errorf("keep the log: %w", keepErr)
					}
				}
				l.lines = append(l.lines, stamped)
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

// Range returns the lines from one number up to, and without, another.
func (l *Log) Range(from, to int) ([]observe.LogLine, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if from < 0 || to < from || to > len(l.lines) {
		return nil, fmt.Errorf("the log of %s has %d lines, so not those from %d to %d", l.Who, len(l.lines), from, to)
	}
	return l.lines[from:to:to], nil
}

// Count is how many of the lines from a number on match.
func (l *Log) Count(from int, match func([]byte) bool) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.lines[min(from, len(l.lines)):] {
		if match(line.Text) {
			n++
		}
	}
	return n
}

// Len is the number of lines read so far.
func (l *Log) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.lines)
}

// Ended reports whether no more lines can come.
func (l *Log) Ended() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ended != nil
}

// Wait returns the number of the first line from a number on that matches, past
// or to come. If none comes before ctx ends, or the log ends first, the error
// says what was awaited.
func (l *Log) Wait(ctx context.Context, from int, what string, match func([]byte) bool) (int, error) {
	seen := from
	for {
		l.mu.Lock()
		fresh, ended, changed := l.lines[min(seen, len(l.lines)):], l.ended, l.changed
		at := len(l.lines) - len(fresh)
		l.mu.Unlock()
		for i, line := range fresh {
			if match(line.Text) {
				return at + i, nil
			}
		}
		seen = at + len(fresh)
		if ended != nil {
			return 0, fmt.Errorf("the log of %s ended (%w) before %s", l.Who, ended, what)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return 0, fmt.Errorf("waited in the log of %s for %s: %w; its last line was %.300s", l.Who, what, context.Cause(ctx), l.last())
		}
	}
}

func (l *Log) last() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.lines) == 0 {
		return "nothing"
	}
	return string(l.lines[len(l.lines)-1].Text)
}

// Contains matches lines that hold all the texts.
func Contains(texts ...string) func([]byte) bool {
	return func(line []byte) bool {
		for _, text := range texts {
			if !bytes.Contains(line, []byte(text)) {
				return false
			}
		}
		return true
	}
}

// within bounds a wait; the limit is its cause.
func within(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, limit, fmt.Errorf("%v went by", limit))
}
