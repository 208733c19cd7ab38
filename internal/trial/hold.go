package trial

import (
	"context"
	"fmt"
	"time"

	"twohop/internal/lab"
	"twohop/internal/observe"
	"twohop/internal/probe"
)

// Held is a request that is under way until it is released.
type Held struct {
	t    *T
	from *observe.Proxy
	pid  string
	done chan error
}

// Hold starts a request with a header from an application's pod and returns
// once its sidecar counts it as active in a cluster. Something on the way has to
// keep it: a route that delays requests with that header.
func (t *T) Hold(ctx context.Context, from *observe.Proxy, cluster, header string) (*Held, error) {
	caller := t.Subject
	caller.Client = from.Workload
	token := probe.NewToken()
	h := &Held{t: t, from: from, pid: "/tmp/" + token, done: make(chan error, 1)}
	curl := probe.Arguments(caller, probe.Request{Token: token, Connect: t.PartnerIP, Args: []string{"-H", header}, Timeout: time.Minute})
	command := append([]string{"sh", "-c", `echo $$ >"$0"; exec "$@"`, h.pid}, curl...)
	t.Step("meanwhile: a request that is kept under way", probe.Quote(curl))
	go func() {
		out, _, err := t.Kube.Exec(ctx, from.Workload.Namespace, from.Pod, from.Workload.Container, command...)
		h.done <- fmt.Errorf("the request that was to be held ended (%w): %.300s", err, out)
	}()
	waiting, cancel := context.WithTimeoutCause(ctx, lab.Timeouts.Line, fmt.Errorf("%v went by", lab.Timeouts.Line))
	defer cancel()
	err := lab.Poll(waiting, func() (bool, string, error) {
		select {
		case err := <-h.done:
			return false, "", err
		default:
		}
		all, err := lab.Statuses(waiting, from)
		if err != nil {
			return false, "", err
		}
		active := uint64(0)
		for _, status := range all {
			if status.Name == cluster {
				for _, host := range status.Hosts {
					active += host.Stats["rq_active"]
				}
			}
		}
		return active == 1, fmt.Sprintf("%d active requests in %s", active, cluster), nil
	})
	if err != nil {
		return nil, fmt.Errorf("wait until %s has one active request: %w", t.who(from), err)
	}
	return h, nil
}

// Release ends the request.
func (h *Held) Release(ctx context.Context) error {
	w := h.from.Workload
	if _, _, err := h.t.Kube.Exec(ctx, w.Namespace, h.from.Pod, w.Container, "sh", "-c", `kill "$(cat "$0")" && rm "$0"`, h.pid); err != nil {
		return fmt.Errorf("end the request that was held: %w", err)
	}
	select {
	case <-h.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the end of the request that was held: %w", context.Cause(ctx))
	}
}
