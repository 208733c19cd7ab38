// Package live answers questions from a cluster: Envoy's admin API through a
// port-forward, commands by exec, logs as they are followed. It reads; the only
// thing that it makes happen is what an observation is of (a request, a log
// line). It must not import the lab, which writes.
package live

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"twohop/internal/observe"
	"twohop/internal/subject"
)

// Cluster is what a Source asks a cluster for; *kube.Client is one.
type Cluster interface {
	// Logs follows a container's log, each line with the runtime's time, from a
	// second ago on until ctx ends.
	Logs(ctx context.Context, namespace, pod, container string) (io.ReadCloser, error)
	// Exec runs a command in a container and returns what it printed.
	Exec(ctx context.Context, namespace, pod, container string, command ...string) (stdout, stderr []byte, err error)
	// Run is Exec in a container with a shell, for commands that come often.
	Run(ctx context.Context, namespace, pod, container string, command ...string) (stdout, stderr []byte, err error)
	// Forward opens a loopback port to a pod's port until ctx ends, and returns it.
	Forward(ctx context.Context, namespace, pod string, port int) (int, error)
	// PodGet asks a port of a pod over HTTP, through the API server.
	PodGet(ctx context.Context, namespace, pod string, port int, path string) ([]byte, error)
	// Get reads a path of the API server's.
	Get(ctx context.Context, path string) ([]byte, error)
	// DryRunCreate asks the API server whether it would create a document.
	DryRunCreate(ctx context.Context, document string) ([]byte, error)
	// KubeconfigPath is the file by which istioctl finds the cluster.
	KubeconfigPath() string
}

// Source is the cluster as a source of observations.
type Source struct {
	Kube Cluster
	// Istioctl is the path of the program, for what only it can say.
	Istioctl string
	Limits   observe.Limits
	// Push makes istiod push to the gateway now, and returns the push's version or a later
	// one's: the lab's barrier. istiod's log is flushed by it.
	Push func(ctx context.Context) (version string, err error)
	// LogsDir is the folder of the run's folder that keeps the logs.
	LogsDir string
	// OpenLog makes the file that keeps a log, by its path in the run's folder;
	// nil keeps none.
	OpenLog func(path string) (io.WriteCloser, error)

	attached context.Context
	detach   context.CancelFunc

	mu             sync.Mutex
	roles          map[subject.Role]*pod
	opened         map[string]int // log files, by path
	istiod         *admin
	partnerService string
}

// pod plays a role.
type pod struct {
	observe.Pod
	container string // whose log it is
	admin     *admin // of a proxy
	log       *Log
	cancel    context.CancelFunc
}

// New is a source without a cast: the lab attaches its pods.
func New(ctx context.Context, client Cluster, istioctl string, limits observe.Limits) *Source {
	s := &Source{Kube: client, Istioctl: istioctl, Limits: limits, LogsDir: "logs", roles: map[subject.Role]*pod{}, opened: map[string]int{}}
	s.attached, s.detach = context.WithCancel(context.WithoutCancel(ctx))
	return s
}

// Close ends the connections.
func (s *Source) Close() { s.detach() }

// Attach makes a pod play a role. A pod that plays it already is left as it is,
// so that its log goes on; a proxy is asked by its admin API from now on.
func (s *Source) Attach(ctx context.Context, role subject.Role, p *corev1.Pod, container string, isProxy bool) error {
	if old := s.find(role); old != nil {
		if old.Name == p.Name && old.Namespace == p.Namespace && !old.log.Ended() {
			return nil
		}
		s.Dismiss(role)
	}
	attached, cancel := context.WithCancel(s.attached)
	a := &pod{Pod: observe.Pod{Role: role, Namespace: p.Namespace, Name: p.Name, IP: p.Status.PodIP}, container: container, cancel: cancel}
	err := s.follow(attached, a)
	if err == nil && isProxy {
		a.admin, err = forwardAdmin(attached, s.Kube, p.Namespace, p.Name, adminPort, fmt.Sprintf("Envoy of %s/%s", p.Namespace, p.Name))
	}
	if err == nil && role == subject.Istiod {
		s.istiod, err = forwardAdmin(attached, s.Kube, p.Namespace, p.Name, debugPort, "istiod")
	}
	if err != nil {
		cancel()
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.roles[role] = a
	return nil
}

func (s *Source) follow(ctx context.Context, p *pod) (err error) {
	path := fmt.Sprintf("%s/%s-%s.log", s.LogsDir, strings.ReplaceAll(string(p.Role), "/", "-"), p.Name)
	var keep io.WriteCloser
	if s.OpenLog != nil {
		s.mu.Lock()
		s.opened[path]++
		if n := s.opened[path]; n > 1 { // the stream was cut, or the pod played the role before
			path = fmt.Sprintf("%s-%d.log", strings.TrimSuffix(path, ".log"), n)
		}
		s.mu.Unlock()
		if keep, err = s.OpenLog(path); err != nil {
			return fmt.Errorf("keep the log of %s/%s: %w", p.Namespace, p.Name, err)
		}
	}
	p.Log = path
	p.log, err = Follow(ctx, s.Kube, p.Namespace, p.Name, p.container, path, keep)
	return err
}

// Dismiss leaves a role to nobody.
func (s *Source) Dismiss(role subject.Role) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p, ok := s.roles[role]; ok {
		p.cancel()
		delete(s.roles, role)
	}
}

// ServePartner says what the address of the partner's Service is.
func (s *Source) ServePartner(address string) { s.partnerService = address }

// PartnerService is the address of the partner's Service.
func (s *Source) PartnerService() string { return s.partnerService }

// Pod is who plays a role; an error names the role that nobody does.
func (s *Source) Pod(role subject.Role) (observe.Pod, error) {
	p, err := s.role(role)
	if err != nil {
		return observe.Pod{}, err
	}
	return p.Pod, nil
}

// Log is the log of a role's pod.
func (s *Source) Log(role subject.Role) (*Log, error) {
	p, err := s.role(role)
	if err != nil {
		return nil, err
	}
	return p.log, nil
}

func (s *Source) role(role subject.Role) (*pod, error) {
	if p := s.find(role); p != nil {
		return p, nil
	}
	return nil, fmt.Errorf("no pod plays the %s", role)
}

func (s *Source) find(role subject.Role) *pod {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.roles[role]
}

// Admin asks a proxy's admin API.
func (s *Source) Admin(ctx context.Context, role subject.Role, path string) ([]byte, error) {
	p, err := s.role(role)
	if err != nil {
		return nil, err
	}
	if p.admin == nil {
		return nil, fmt.Errorf("the %s is no proxy", role)
	}
	return p.admin.get(ctx, path)
}

// Begin answers a question; nothing is kept.
func (s *Source) Begin(ctx context.Context, _ observe.Slot, q observe.Question, _ observe.Meta) observe.Pending {
	if q, ok := q.(observe.Requests); ok {
		return s.requests(ctx, q)
	}
	started := time.Now()
	done := make(chan struct{})
	p := &pending{done: done}
	go func() {
		defer close(done)
		p.answer, p.err = s.answer(ctx, q)
		p.answer.Took = time.Since(started)
	}()
	return p
}

// pending is an answer that a goroutine brings.
type pending struct {
	done   chan struct{}
	answer observe.Answer
	err    error
}

func (p *pending) Answer(ctx context.Context) (observe.Answer, error) {
	select {
	case <-p.done:
		return p.answer, p.err
	case <-ctx.Done():
		return observe.Answer{}, context.Cause(ctx)
	}
}

func (s *Source) answer(ctx context.Context, q observe.Question) (a observe.Answer, err error) {
	switch q := q.(type) {
	case observe.Pods:
		return s.cast()
	case observe.Admin:
		a.Raw, err = s.Admin(ctx, q.Role, q.Path)
	case observe.PodGet:
		a.Raw, err = s.podGet(ctx, q)
	case observe.Get:
		a.Raw, err = s.Kube.Get(ctx, q.Path)
	case observe.Exec:
		a.Raw, err = s.Exec(ctx, q.Role, q.Container, q.Command...)
	case observe.Istioctl:
		a.Raw, err = runIstioctl(ctx, s.Istioctl, s.Kube.KubeconfigPath(), q.Args...)
	case observe.DryRunCreate:
		a.Raw, err = s.Kube.DryRunCreate(ctx, q.Document)
	case observe.Stop:
		err = s.stop(ctx, q)
	case observe.Line:
		return s.line(ctx, q)
	case observe.Flush:
		return s.flush(ctx, q)
	case observe.Input:
		a.Raw, err = q.Make()
	case observe.Until:
		return s.until(ctx, q)
	default:
		err = fmt.Errorf("a cluster cannot answer %T", q)
	}
	return a, err
}

// cast says who plays the roles, in the order of their names.
func (s *Source) cast() (a observe.Answer, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	cast := observe.Cast{PartnerService: s.partnerService}
	for _, role := range slices.Sorted(maps.Keys(s.roles)) {
		p := s.roles[role]
		cast.Pods = append(cast.Pods, p.Pod)
		n := p.log.Len()
		a.Windows = append(a.Windows, observe.Window{Role: role, Log: p.Log, From: n, To: n})
	}
	a.Raw, err = json.MarshalIndent(cast, "", "  ")
	return a, err
}

// Exec runs a command in a container of a role's pod and returns what it printed.
func (s *Source) Exec(ctx context.Context, role subject.Role, container string, command ...string) ([]byte, error) {
	p, err := s.role(role)
	if err != nil {
		return nil, err
	}
	out, _, err := s.Kube.Exec(ctx, p.Namespace, p.Name, container, command...)
	return out, err
}

// Run runs a command in a container with a shell, as Exec does, at less expense.
func (s *Source) Run(ctx context.Context, role subject.Role, container string, command ...string) ([]byte, error) {
	p, err := s.role(role)
	if err != nil {
		return nil, err
	}
	out, _, err := s.Kube.Run(ctx, p.Namespace, p.Name, container, command...)
	return out, err
}

func (s *Source) podGet(ctx context.Context, q observe.PodGet) ([]byte, error) {
	p, err := s.role(q.Role)
	if err != nil {
		return nil, err
	}
	return s.Kube.PodGet(ctx, p.Namespace, p.Name, q.Port, q.Path)
}

func (s *Source) until(ctx context.Context, q observe.Until) (a observe.Answer, err error) {
	limit := q.Limit
	if limit == 0 {
		limit = s.Limits.Push
	}
	ctx, cancel := within(ctx, limit)
	defer cancel()
	err = observe.Poll(ctx, func() (bool, string, error) {
		got, err := s.answer(ctx, q.Ask)
		if err != nil {
			return false, "", err
		}
		a.Raw, a.Windows = got.Raw, got.Windows
		if q.Or != nil {
			log, err := s.Log(q.Or.Role)
			if err != nil {
				return false, "", err
			}
			if log.Count(q.Or.Since, Contains(q.Or.Holds...)) > 0 {
				return true, "", nil
			}
		}
		return q.Done(got.Raw)
	})
	if err != nil {
		err = fmt.Errorf("wait until %s: %w", q.What, err)
	}
	return a, err
}

// Lines reads a window of a log that is followed, or was.
func (s *Source) Lines(w observe.Window) ([]observe.LogLine, error) {
	p, err := s.role(w.Role)
	if err != nil {
		return nil, err
	}
	if p.Log != w.Log {
		return nil, fmt.Errorf("the %s has been replaced: %s is not its log any more", w.Role, w.Log)
	}
	return p.log.Range(w.From, w.To)
}

// Derive keeps nothing.
func (s *Source) Derive(observe.Slot, observe.Meta, []byte) (string, error) { return "", nil }

var errNoListener = errors.New("the gateway has no listener")
