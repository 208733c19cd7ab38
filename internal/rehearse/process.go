package rehearse

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"
)

// The longest that a proxy may take.
const (
	readyWithin   = 20 * time.Second
	barrierWithin = 5 * time.Second
)

// process is an Envoy that runs.
type process struct {
	name string // NAMESPACE/NAME of its proxy
	dir  string
	cmd  *exec.Cmd
	gone chan struct{} // closed when it has ended
	err  error         // why, once gone is closed
	away bool          // it was meant to end

	config   *http.Server // answers what a control plane would
	client   *http.Client // speaks to admin and barrier, by host name
	barriers int
	read     int64 // of the access log
}

// start runs Envoy with a bootstrap and resources. It ends with the rehearsal, however
// that ends, as far as the operating system helps.
func start(program, name, dir string, boot *Boot) (*process, error) {
	p := &process{name: name, dir: dir, gone: make(chan struct{})}
	if err := os.WriteFile(filepath.Join(dir, bootstrapFile), boot.Bootstrap, 0o600); err != nil {
		return nil, err
	}
	l, err := net.Listen("unix", filepath.Join(dir, configSocket))
	if err != nil {
		return nil, err
	}
	p.config = &http.Server{Handler: boot.Resources, ReadHeaderTimeout: readyWithin}
	go func() { _ = p.config.Serve(l) }()
	log, err := os.Create(filepath.Join(dir, envoyLogFile))
	if err != nil {
		_ = p.config.Close()
		return nil, err
	}
	p.cmd = exec.Command(program, "--config-path", filepath.Join(dir, bootstrapFile), "--concurrency", "1", "--disable-hot-restart",
		"--log-level", "warning", "--file-flush-interval-msec", "2", "--file-flush-min-size-kb", "1", "--drain-time-s", "1")
	p.cmd.Stdout, p.cmd.Stderr, p.cmd.SysProcAttr = log, log, withParent()
	started := make(chan error)
	go func() {
		// Linux ends the process with the thread that started it.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer log.Close()
		if err := p.cmd.Start(); err != nil {
			started <- err
			return
		}
		started <- nil
		p.err = p.cmd.Wait()
		close(p.gone)
	}()
	if err := <-started; err != nil {
		_ = p.config.Close()
		return nil, fmt.Errorf("start Envoy: %w: is %s an Envoy for this machine?", err, program)
	}
	p.client = &http.Client{Timeout: barrierWithin, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			host, _, _ := net.SplitHostPort(address)
			return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(dir, host))
		},
	}}
	return p, nil
}

// kill ends the process and waits until it is gone.
func (p *process) kill() {
	p.away = true
	select {
	case <-p.gone:
	default:
		_ = p.cmd.Process.Kill()
		<-p.gone
	}
	_ = p.config.Close()
}

// ready waits until Envoy says that it is.
func (p *process) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	state := "it has not answered"
	for {
		body, err := p.admin(ctx, "ready")
		if err == nil {
			return nil
		}
		if len(body) > 0 {
			state = strings.TrimSpace(string(body))
		}
		select {
		case <-p.gone:
			return fmt.Errorf("the Envoy of %s ended (%v): %s", p.name, p.err, p.words())
		case <-ctx.Done():
			return fmt.Errorf("the Envoy of %s did not become ready (%s): %w: %s", p.name, state, ctx.Err(), p.words())
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// admin asks Envoy's admin interface. An answer other than 200 is an error; its body is
// returned all the same.
func (p *process) admin(ctx context.Context, path string) ([]byte, error) {
	return p.get(ctx, adminSocket, path, http.StatusOK)
}

func (p *process) get(ctx context.Context, socket, path string, want int) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+socket+"/"+path, nil)
	if err != nil {
		return nil, err
	}
	answer, err := p.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != want {
		err = fmt.Errorf("%s: %s answered %s", p.name, path, answer.Status)
	}
	return body, err
}

// words are the last of Envoy's log that tell something of the configuration.
func (p *process) words() string {
	told := slices.DeleteFunc(p.log(), func(l string) bool {
		// These come of the bootstrap, or of every configuration of Istio's.
		return strings.Contains(l, "Deprecated field") || strings.Contains(l, "using deprecated") || strings.Contains(l, "active downstream connections")
	})
	if len(told) > 8 {
		told = told[len(told)-8:]
	}
	return strings.Join(told, "; ")
}

// log has the messages of Envoy's log, each on one line.
func (p *process) log() (entries []string) {
	raw, err := os.ReadFile(filepath.Join(p.dir, envoyLogFile))
	if err != nil {
		return []string{err.Error()}
	}
	for line := range strings.Lines(string(raw)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[20") || len(entries) == 0 {
			entries = append(entries, line)
		} else if line != "" {
			entries[len(entries)-1] += " " + line
		}
	}
	return entries
}

// rejected are the updates that Envoy refused, in its own words.
func (p *process) rejected(ctx context.Context) (found []Rejected, err error) {
	stats, err := p.admin(ctx, "stats?usedonly&filter=update_rejected")
	if err != nil || len(bytes.TrimSpace(stats)) == 0 {
		return nil, err
	}
	for _, entry := range p.log() {
		switch {
		case strings.Contains(entry, "Unable to parse JSON") || strings.Contains(entry, "could not find @type"):
			// One part that it does not know costs it all others, which it does not in life.
			return nil, fmt.Errorf("the Envoy of %s cannot read its configuration: %s", p.name, shorten(entry))
		case strings.Contains(entry, "Missing SDS resources"): // a secret that the scene withholds
		case strings.Contains(entry, "rejected") || strings.Contains(entry, "Error adding/updating"):
			found = append(found, Rejected{p.name, shorten(entry)})
		}
	}
	return found, nil
}

var resourceName = regexp.MustCompile(`\bname: "([^"]+)"`)

// shorten takes time and place of the source off a message, and the whole resource that
// some have in them.
func shorten(entry string) string {
	if _, after, ok := strings.Cut(entry, ".cc:"); ok {
		_, entry, _ = strings.Cut(after, "] ")
	}
	if i := strings.Index(entry, "Proto constraint validation failed"); i >= 0 {
		if m := resourceName.FindStringSubmatch(entry[:i]); m != nil {
			return m[1] + ": " + entry[i:]
		}
		return entry[i:]
	}
	const enough = 600
	if len(entry) > enough {
		entry = entry[:enough] + "…"
	}
	return entry
}

// logged are the lines of the access log since the last time. A request of the process's
// own proves that none is missing: its line comes after theirs.
func (p *process) logged(ctx context.Context) (lines [][]byte, err error) {
	select {
	case <-p.gone:
		if p.away {
			return p.unread()
		}
		return nil, fmt.Errorf("the Envoy of %s ended (%v): %s", p.name, p.err, p.words())
	default:
	}
	p.barriers++
	token := fmt.Sprintf("/twohop-barrier/%d", p.barriers)
	if _, err := p.get(ctx, barrierSocket, token[1:], http.StatusNoContent); err != nil {
		return nil, fmt.Errorf("the barrier of %s's access log: %w", p.name, err)
	}
	mark := []byte(`"path":"` + token + `"`)
	for end := time.Now().Add(barrierWithin); time.Now().Before(end); time.Sleep(time.Millisecond) {
		more, err := p.unread()
		if err != nil {
			return nil, err
		}
		for i, line := range more {
			if bytes.Contains(line, mark) {
				return append(lines, append(more[:i:i], more[i+1:]...)...), nil
			}
		}
		lines = append(lines, more...)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	return nil, fmt.Errorf("%s wrote no line of the barrier to its access log within %v", p.name, barrierWithin)
}

// unread are the whole lines that were not read yet.
func (p *process) unread() ([][]byte, error) {
	f, err := os.Open(filepath.Join(p.dir, accessLogFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if _, err := f.Seek(p.read, io.SeekStart); err != nil {
		return nil, err
	}
	raw, err := io.ReadAll(f)
	if err != nil {
		return nil, err
	}
	raw = raw[:bytes.LastIndexByte(raw, '\n')+1]
	p.read += int64(len(raw))
	return slices.Collect(func(yield func([]byte) bool) {
		for line := range bytes.Lines(raw) {
			if !yield(bytes.TrimSpace(line)) {
				return
			}
		}
	}), nil
}
