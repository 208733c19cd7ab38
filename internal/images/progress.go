package images

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// quietEvery is how often a build says how far it is, without a terminal.
const quietEvery = 15 * time.Second

// journal tells people what a build does: lines worth saying, the state of all
// steps that are under way, and in a file everything that every command wrote.
type journal struct {
	log  func(format string, args ...any)
	live *os.File
	file *os.File

	mu    sync.Mutex
	start time.Time
	steps []*step
	stop  chan struct{}
	done  chan struct{}
}

// step is one piece of a build: its name and how far it is.
type step struct {
	j     *journal
	name  string
	state string
	start time.Time
}

func newJournal(o Options, logFile string) (*journal, error) {
	if err := os.MkdirAll(filepath.Dir(logFile), 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	return &journal{log: o.Log, live: o.Live, file: f, start: time.Now()}, nil
}

// watch starts telling how far the steps are, until close.
func (j *journal) watch() {
	if j.stop != nil {
		return
	}
	j.stop, j.done = make(chan struct{}), make(chan struct{})
	every := quietEvery
	if j.live != nil {
		every = time.Second
	}
	go func() {
		defer close(j.done)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-j.stop:
				return
			case now := <-tick.C:
				j.mu.Lock()
				line := j.line(now)
				j.mu.Unlock()
				if line == "" {
					continue
				}
				if j.live != nil {
					fmt.Fprintf(j.live, "\r\x1b[K%s", clip(line, 110))
				} else {
					j.say("%s", line)
				}
			}
		}
	}()
}

// line is the state of the build in one line; empty with nothing under way.
func (j *journal) line(now time.Time) string {
	var parts []string
	for _, s := range j.steps {
		part := s.name
		if s.state != "" {
			part += " " + s.state
		}
		parts = append(parts, part)
	}
	if len(parts) == 0 {
		return ""
	}
	return fmt.Sprintf("images: [%s] %s", clock(now.Sub(j.start)), strings.Join(parts, " · "))
}

// say tells a person, on a line of its own, and the file.
func (j *journal) say(format string, args ...any) {
	j.logf(format, args...)
	if j.log == nil {
		return
	}
	if j.live != nil {
		fmt.Fprint(j.live, "\r\x1b[K")
	}
	j.log(format, args...)
}

// logf tells the file only.
func (j *journal) logf(format string, args ...any) {
	if j.file == nil {
		return
	}
	line := fmt.Sprintf("%s %s\n", time.Now().Format("15:04:05.000"), strings.TrimRight(fmt.Sprintf(format, args...), "\n"))
	_, _ = io.WriteString(j.file, line)
}

func (j *journal) close() {
	if j.stop != nil {
		close(j.stop)
		<-j.done
		if j.live != nil {
			fmt.Fprint(j.live, "\r\x1b[K")
		}
	}
	if j.file != nil {
		_ = j.file.Close()
	}
}

// step runs one named piece of a build and says how long it took.
func (j *journal) step(name string, work func(*step) error) error {
	s := &step{j: j, name: name, start: time.Now()}
	j.mu.Lock()
	j.steps = append(j.steps, s)
	j.mu.Unlock()
	j.logf("%s: begins", name)
	err := work(s)
	j.mu.Lock()
	for i := range j.steps {
		if j.steps[i] == s {
			j.steps = append(j.steps[:i], j.steps[i+1:]...)
			break
		}
	}
	j.mu.Unlock()
	took := time.Since(s.start)
	if err != nil {
		j.logf("%s: failed after %s: %v", name, clock(took), err)
		return fmt.Errorf("%s: %w", name, err)
	}
	if took >= 2*time.Second {
		j.say("images: %s: done in %s", name, clock(took))
	} else {
		j.logf("%s: done in %s", name, took.Round(time.Millisecond))
	}
	return nil
}

// set says how far the step is.
func (s *step) set(format string, args ...any) {
	s.j.mu.Lock()
	s.state = fmt.Sprintf(format, args...)
	s.j.mu.Unlock()
}

// tailLines is how much of a command's output an error repeats.
const tailLines = 8

// run runs a command, with its output going to the journal line by line and,
// if onLine is there, to onLine. The error holds the last lines.
func (s *step) run(cmd *exec.Cmd, onLine func(line string)) error {
	s.j.logf("%s: $ %s", s.name, strings.Join(cmd.Args, " "))
	reader, writer := io.Pipe()
	if cmd.Stdout == nil {
		cmd.Stdout = writer
	}
	cmd.Stderr = writer
	var tail []string
	read := make(chan struct{})
	go func() {
		defer close(read)
		lines := bufio.NewReader(reader)
		for {
			line, err := lines.ReadString('\n')
			if line = strings.TrimRight(line, "\r\n"); line != "" {
				s.j.logf("%s: %s", s.name, line)
				tail = append(tail[max(0, len(tail)-tailLines+1):], line)
				if onLine != nil {
					onLine(line)
				}
			}
			if err != nil {
				return
			}
		}
	}()
	err := cmd.Run()
	_ = writer.Close()
	<-read
	if err != nil {
		return fmt.Errorf("%s: %w: %s", filepath.Base(cmd.Path), err, strings.Join(tail, " / "))
	}
	return nil
}

// clock prints a duration as people read one: 0:07, 12:34.
func clock(d time.Duration) string {
	seconds := int(d.Round(time.Second).Seconds())
	return fmt.Sprintf("%d:%02d", seconds/60, seconds%60)
}

func clip(line string, width int) string {
	if runes := []rune(line); len(runes) > width {
		return string(runes[:width-1]) + "…"
	}
	return line
}

// goLine says what a line of `go build -v` means: a package that is being
// compiled, a module that is being fetched, or neither.
func goLine(line string) (compiled, fetched bool) {
	if strings.HasPrefix(line, "go: downloading ") {
		return false, true
	}
	return line != "" && !strings.HasPrefix(line, "#") && !strings.ContainsAny(line, " \t:"), false
}
