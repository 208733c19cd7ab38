// Package livetest is the reading side of a cluster in memory, for unit tests of
// what observes one: pods whose logs a test writes, ports that a test serves,
// and commands that a test answers. It has what live.Cluster asks for, and must not
// import anything of the project.
package livetest

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Cluster is the cluster. Its functions are called for what it does not know by
// itself; one that is nil is an error to whoever asks.
type Cluster struct {
	// OnExec answers a command.
	OnExec func(pod, container string, command []string) (stdout, stderr []byte, err error)
	// OnPodGet answers a request to a pod's port.
	OnPodGet func(pod string, port int, path string) ([]byte, error)
	// OnGet answers for the API server.
	OnGet func(path string) ([]byte, error)
	// OnDryRun answers for the API server's admission.
	OnDryRun func(document string) ([]byte, error)

	mu    sync.Mutex
	logs  map[string]*log
	ports map[string]int // "pod:port": the loopback port that serves it
}

// New is a cluster without pods.
func New() *Cluster { return &Cluster{logs: map[string]*log{}, ports: map[string]int{}} }

// Pod is a pod as the API server describes it.
func Pod(namespace, name, ip string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Status: corev1.PodStatus{PodIP: ip}}
}

// log is what a container has written; each reader gets all of it.
type log struct {
	mu      sync.Mutex
	raw     bytes.Buffer
	ended   error
	changed chan struct{}
}

func (c *Cluster) log(pod string) *log {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.logs[pod] == nil {
		c.logs[pod] = &log{changed: make(chan struct{})}
	}
	return c.logs[pod]
}

func (l *log) change(do func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	do()
	close(l.changed)
	l.changed = make(chan struct{})
}

// Print writes lines into a pod's log, as the runtime does; one that ended gets none.
func (c *Cluster) Print(pod string, lines ...string) {
	l := c.log(pod)
	l.change(func() {
		if l.ended != nil {
			return
		}
		for _, line := range lines {
			fmt.Fprintf(&l.raw, "%s %s\n", time.Now().UTC().Format(time.RFC3339Nano), line)
		}
	})
}

// End ends a pod's log.
func (c *Cluster) End(pod string, err error) {
	l := c.log(pod)
	l.change(func() { l.ended = err })
}

// reader reads a log from its beginning until it ends or ctx does.
type reader struct {
	ctx context.Context
	log *log
	at  int
}

func (r *reader) Read(p []byte) (int, error) {
	for {
		r.log.mu.Lock()
		n, ended, changed := copy(p, r.log.raw.Bytes()[r.at:]), r.log.ended, r.log.changed
		r.log.mu.Unlock()
		if r.at += n; n > 0 {
			return n, nil
		}
		if ended != nil {
			return 0, ended
		}
		select {
		case <-changed:
		case <-r.ctx.Done():
			return 0, r.ctx.Err()
		}
	}
}

func (*reader) Close() error { return nil }

// Logs follows a pod's log.
func (c *Cluster) Logs(ctx context.Context, _, pod, _ string) (io.ReadCloser, error) {
	return &reader{ctx: ctx, log: c.log(pod)}, nil
}

// Serve makes a port of a pod answer over HTTP; without a name, of every pod.
func (c *Cluster) Serve(t *testing.T, pod string, port int, handler http.HandlerFunc) {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	c.open(t, pod, port, server.Listener)
}

func (c *Cluster) open(t *testing.T, pod string, port int, l net.Listener) {
	t.Helper()
	_, local, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(local)
	if err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ports[fmt.Sprintf("%s:%d", pod, port)] = n
}

// ServeTLS makes a port of a pod (of every pod, without a name) refuse each handshake, and tells the server name
// that was asked for: a gateway's listener does so with a name that it has no
// filter chain for.
func (c *Cluster) ServeTLS(t *testing.T, pod string, port int, refused func(serverName string)) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	c.open(t, pod, port, l)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				config := &tls.Config{GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
					refused(hello.ServerName)
					return nil, errors.New("filter_chain_not_found")
				}}
				_ = tls.Server(conn, config).Handshake() // refused is told what there is to tell
			}()
		}
	}()
}

// Forward opens a port to one that is served.
func (c *Cluster) Forward(_ context.Context, namespace, pod string, port int) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, pod := range []string{pod, ""} {
		if local, ok := c.ports[fmt.Sprintf("%s:%d", pod, port)]; ok {
			return local, nil
		}
	}
	return 0, fmt.Errorf("port-forward to %s/%s:%d: connection refused", namespace, pod, port)
}

// Exec runs a command.
func (c *Cluster) Exec(_ context.Context, namespace, pod, container string, command ...string) ([]byte, []byte, error) {
	if c.OnExec == nil {
		return nil, nil, fmt.Errorf("exec %q in %s/%s (%s): the test answers no command", command, namespace, pod, container)
	}
	return c.OnExec(pod, container, command)
}

// Run is Exec.
func (c *Cluster) Run(ctx context.Context, namespace, pod, container string, command ...string) ([]byte, []byte, error) {
	return c.Exec(ctx, namespace, pod, container, command...)
}

// PodGet asks a pod's port.
func (c *Cluster) PodGet(_ context.Context, namespace, pod string, port int, path string) ([]byte, error) {
	if c.OnPodGet == nil {
		return nil, fmt.Errorf("get %s/%s:%d%s: the test answers no request", namespace, pod, port, path)
	}
	return c.OnPodGet(pod, port, path)
}

// Get reads a path of the API server's.
func (c *Cluster) Get(_ context.Context, path string) ([]byte, error) {
	if c.OnGet == nil {
		return nil, fmt.Errorf("get %s: the test answers no request", path)
	}
	return c.OnGet(path)
}

// DryRunCreate asks for admission.
func (c *Cluster) DryRunCreate(_ context.Context, document string) ([]byte, error) {
	if c.OnDryRun == nil {
		return nil, errors.New("the test answers no dry run")
	}
	return c.OnDryRun(document)
}

// KubeconfigPath is a file that is not there.
func (c *Cluster) KubeconfigPath() string { return "/nonexistent/kubeconfig" }
