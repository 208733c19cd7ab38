package kube

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"al.essio.dev/pkg/shellescape"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/remotecommand"
)

// Run runs a command in a container that has a POSIX shell and can write to /tmp,
// and returns what it printed, as Exec does. Several may run at the same time.
//
// To start an exec costs the node more than most commands do (a TLS connection at the
// API server and one at the kubelet, a process that enters the container). So the
// commands of a container go to a shell there that stays: a shell that is busy is left
// alone, and another one is started.
func (c *Client) Run(ctx context.Context, namespace, pod, container string, command ...string) (stdout, stderr []byte, err error) {
	if slices.ContainsFunc(command, func(word string) bool { return strings.Contains(word, "\n") }) {
		return c.Exec(ctx, namespace, pod, container, command...) // the shell reads lines
	}
	of := namespace + "/" + pod + " (" + container + ")"
	s := c.shells.take(of)
	if s == nil {
		s = startShell(func(ctx context.Context, stdin io.Reader, stdout, stderr io.Writer) error {
			return c.stream(ctx, namespace, pod, container, stdin, stdout, stderr)
		})
	}
	code, stdout, stderr, err := s.run(ctx, command)
	if err != nil {
		return stdout, stderr, fmt.Errorf("run %q in %s: %w", strings.Join(command, " "), of, err)
	}
	c.shells.give(of, s)
	if code != 0 {
		err = fmt.Errorf("run %q in %s: the command ended with exit code %d: %s", strings.Join(command, " "), of, code, bytes.TrimSpace(stderr))
	}
	return stdout, stderr, err
}

// stream execs the shell.
func (c *Client) stream(ctx context.Context, namespace, pod, container string, stdin io.Reader, stdout, stderr io.Writer) error {
	url := c.Typed.CoreV1().RESTClient().Post().Resource("pods").Namespace(namespace).Name(pod).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Container: container, Command: []string{"sh", "-c", shellLoop}, Stdin: true, Stdout: true, Stderr: true}, scheme.ParameterCodec).URL()
	exec, err := remotecommand.NewSPDYExecutor(c.Config, "POST", url)
	if err != nil {
		return err
	}
	return exec.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: stdin, Stdout: stdout, Stderr: stderr})
}

// shells are those that wait for a command, by their container.
type shells struct {
	mu   sync.Mutex
	idle map[string][]*shell
}

func (s *shells) take(of string) *shell {
	s.mu.Lock()
	defer s.mu.Unlock()
	for list := s.idle[of]; len(list) > 0; list = s.idle[of] {
		last := list[len(list)-1]
		s.idle[of] = list[:len(list)-1]
		if last.alive() {
			return last
		}
	}
	return nil
}

func (s *shells) give(of string, idle *shell) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.idle == nil {
		s.idle = map[string][]*shell{}
	}
	s.idle[of] = append(s.idle[of], idle)
}

// Close ends the shells that wait for a command.
func (c *Client) Close() {
	c.shells.mu.Lock()
	defer c.shells.mu.Unlock()
	for _, list := range c.shells.idle {
		for _, s := range list {
			s.stop(errors.New("the client was closed"))
		}
	}
	c.shells.idle = nil
}

// shellLoop reads commands, one in each line. Each prints to files of its own, since
// its output may have any bytes; what the shell then prints is a line with the exit
// code and the files' sizes, and the files.
const shellLoop = `f=${TMPDIR:-/tmp}/twohop-shell.$$
trap 'rm -f "$f.out" "$f.err"' EXIT
while IFS= read -r line; do
  eval "$line" >"$f.out" 2>"$f.err" </dev/null
  echo "$? $(wc -c <"$f.out") $(wc -c <"$f.err")"
  cat "$f.out" "$f.err"
done`

// shell is a process in a container that runs commands, one after the other.
type shell struct {
	stdin  *io.PipeWriter
	stdout *bufio.Reader
	stop   context.CancelCauseFunc
	ended  chan struct{}
	err    error        // why it ended
	stderr bytes.Buffer // of the shell itself
}

func startShell(stream func(ctx context.Context, stdin io.Reader, stdout, stderr io.Writer) error) *shell {
	in, stdin := io.Pipe()
	out, stdout := io.Pipe()
	ctx, stop := context.WithCancelCause(context.Background()) // it outlives the command that it is started for
	s := &shell{stdin: stdin, stdout: bufio.NewReader(out), stop: stop, ended: make(chan struct{})}
	context.AfterFunc(ctx, func() { // whoever reads or writes hears of it at once
		in.CloseWithError(context.Cause(ctx))
		stdout.CloseWithError(context.Cause(ctx))
	})
	go func() {
		defer close(s.ended)
		s.err = stream(ctx, in, stdout, &s.stderr)
		if cause := context.Cause(ctx); cause != nil {
			s.err = cause
		}
		if s.err == nil {
			s.err = errors.New("the shell ended")
		}
		stop(s.err)
	}()
	return s
}

func (s *shell) alive() bool {
	select {
	case <-s.ended:
		return false
	default:
		return true
	}
}

// run has a command run. After an error the shell is of no use any more.
func (s *shell) run(ctx context.Context, command []string) (code int, stdout, stderr []byte, err error) {
	unwatch := context.AfterFunc(ctx, func() { s.stop(context.Cause(ctx)) })
	defer unwatch()
	if _, err := io.WriteString(s.stdin, shellescape.QuoteCommand(command)+"\n"); err != nil {
		return 0, nil, nil, s.broken(err)
	}
	head, err := s.stdout.ReadString('\n')
	if err != nil {
		return 0, nil, nil, s.broken(err)
	}
	var sizes [2]int
	if _, err := fmt.Sscan(head, &code, &sizes[0], &sizes[1]); err != nil {
		return 0, nil, nil, s.broken(fmt.Errorf("the shell said %q", head))
	}
	both := make([]byte, sizes[0]+sizes[1])
	if n, err := io.ReadFull(s.stdout, both); err != nil {
		return 0, both[:min(n, sizes[0])], nil, s.broken(err)
	}
	return code, both[:sizes[0]], both[sizes[0]:], nil
}

// broken ends the shell, and says why it is of no use.
func (s *shell) broken(err error) error {
	s.stop(err)
	<-s.ended
	if text := bytes.TrimSpace(s.stderr.Bytes()); len(text) > 0 {
		return fmt.Errorf("%w: %s", s.err, text)
	}
	return s.err
}
