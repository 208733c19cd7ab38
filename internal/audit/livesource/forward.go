package livesource

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
)

const (
	envoyPort  = 15000 // Envoy's admin API, on the pod's loopback
	istiodPort = 15014 // istiod's debug API; a port-forward comes from the pod's loopback, which it trusts
	// httpTimeout is for one answer; a config dump of a large mesh takes seconds.
	httpTimeout = 20 * time.Second
	// maxAnswer bounds one answer in memory.
	maxAnswer = 256 << 20
)

// portForward reaches a port of a pod. Nothing listens on this machine, where others
// could use Envoy's admin API as well: each connection is a stream of the port-forward.
func (s *Source) portForward(ctx context.Context, namespace, pod string, port int) (*http.Client, func(), error) {
	transport, upgrader, err := spdy.RoundTripperFor(s.config)
	if err != nil {
		return nil, nil, fmt.Errorf("prepare a port-forward: %w", err)
	}
	url := s.typed.CoreV1().RESTClient().Post().Resource("pods").Namespace(namespace).Name(pod).SubResource("portforward").URL()
	dialer := spdy.NewDialer(upgrader, &http.Client{Transport: transport, Timeout: httpTimeout}, http.MethodPost, url)
	connection, _, err := dialer.Dial(portforward.PortForwardProtocolV1Name)
	if err != nil {
		return nil, nil, err
	}
	requests := 0
	var mu sync.Mutex
	dial := func(context.Context, string, string) (net.Conn, error) {
		mu.Lock()
		defer mu.Unlock()
		headers := http.Header{}
		headers.Set(corev1.StreamType, corev1.StreamTypeError)
		headers.Set(corev1.PortHeader, strconv.Itoa(port))
		headers.Set(corev1.PortForwardRequestIDHeader, strconv.Itoa(requests))
		requests++
		problems, err := connection.CreateStream(headers)
		if err != nil {
			return nil, err
		}
		_ = problems.Close() // only the other side writes to it
		headers.Set(corev1.StreamType, corev1.StreamTypeData)
		data, err := connection.CreateStream(headers)
		if err != nil {
			return nil, err
		}
		return newStreamConn(data, problems), nil
	}
	client := &http.Client{Timeout: httpTimeout, Transport: &http.Transport{DialContext: dial, MaxConnsPerHost: 1, DisableCompression: true}}
	stop := context.AfterFunc(ctx, func() { connection.Close() })
	return client, func() {
		stop()
		client.CloseIdleConnections()
		connection.Close()
	}, nil
}

// stream is one of a port-forward's.
type stream interface {
	io.ReadWriteCloser
	Reset() error
}

// streamConn is a stream as a connection. Its deadlines are the HTTP client's: it closes
// the connection when the time is over.
type streamConn struct {
	stream
	problem chan string
}

func newStreamConn(data stream, problems io.Reader) *streamConn {
	c := &streamConn{stream: data, problem: make(chan string, 1)}
	go func() {
		text, _ := io.ReadAll(io.LimitReader(problems, 4096)) // the connection's end ends it
		if len(text) > 0 {
			c.problem <- string(text)
			_ = data.Reset()
		}
		close(c.problem)
	}()
	return c
}

// Read says what the kubelet said, where that is why there is nothing to read.
func (c *streamConn) Read(p []byte) (int, error) {
	n, err := c.stream.Read(p)
	if err != nil && n == 0 {
		select {
		case text := <-c.problem:
			if text != "" {
				return 0, errors.New(strings.TrimSpace(text))
			}
		case <-time.After(time.Second):
		}
	}
	return n, err
}

func (c *streamConn) Close() error {
	_ = c.stream.Close()
	return c.stream.Reset()
}

type address struct{}

func (address) Network() string { return "port-forward" }
func (address) String() string  { return "pod" }

func (c *streamConn) LocalAddr() net.Addr              { return address{} }
func (c *streamConn) RemoteAddr() net.Addr             { return address{} }
func (c *streamConn) SetDeadline(time.Time) error      { return nil }
func (c *streamConn) SetReadDeadline(time.Time) error  { return nil }
func (c *streamConn) SetWriteDeadline(time.Time) error { return nil }

// statusError is an answer that is not 200.
type statusError struct {
	code int
	text string
}

func (e *statusError) Error() string {
	return fmt.Sprintf("it answers %d %s: %.200s", e.code, http.StatusText(e.code), strings.TrimSpace(e.text))
}

// ask gets a path of a pod's port; a token is sent if there is one.
func ask(ctx context.Context, client *http.Client, path, token string) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1"+path, nil)
	if err != nil {
		return nil, err
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the answer to %s: %w", path, err)
	case res.StatusCode != http.StatusOK:
		return nil, &statusError{res.StatusCode, string(raw)}
	case len(raw) > maxAnswer:
		return nil, fmt.Errorf("the answer to %s is larger than %d MB", path, maxAnswer>>20)
	}
	return raw, nil
}
