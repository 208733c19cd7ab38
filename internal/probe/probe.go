// Package probe makes one request from the application's container: curl, with
// a token in the path by which three logs are joined. It believes curl's own
// report and not the status of exec, which gets lost on bad days.
package probe

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"twohop/internal/envoy"
	"twohop/internal/kube"
	"twohop/internal/subject"
)

// Request is what to ask for.
type Request struct {
	// Token is found again in the path, and so in every log. NewToken makes one.
	Token string
	// Connect is the address that the host's name stands for; the name itself
	// is in no DNS.
	Connect string
	// More are the tokens of further requests, which follow one after the other
	// on the connection of the first, at most one in each Pace.
	More []string
	Pace time.Duration
	// AtOnce makes all requests at the same time instead, each on a connection
	// of its own; bodies are then left out, since curl would mix them.
	AtOnce bool
	// Want is the kind of answer that the partner shall give.
	Want Answer
	// Args are further arguments for curl.
	Args []string
	// Timeout bounds each request; 0 means DefaultTimeout.
	Timeout time.Duration
}

// Answer is a kind of answer; the path asks for it (partner-nginx/echo.conf).
type Answer string

// The kinds.
const (
	Plain Answer = "probe" // at once; the zero value means the same
	Slow  Answer = "slow"  // after SlowAnswer
	Fail  Answer = "fail"  // 503, the partner's own
)

// SlowAnswer is how long a slow answer takes.
const SlowAnswer = 400 * time.Millisecond

// DefaultTimeout is long enough for a connect timeout of 3 s at each hop.
const DefaultTimeout = 10 * time.Second

// Reply is what curl said.
type Reply struct {
	envoy.CurlResult
	// Raw is curl's output, its JSON report in the last line.
	Raw     []byte
	Command string
}

// NewToken returns a token that no other request has.
func NewToken() string {
	b := make([]byte, 6)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	return "t" + hex.EncodeToString(b)
}

// Path is where a token's request goes.
func Path(token string) string { return Plain.path(token) }

func (a Answer) path(token string) string {
	if a == "" {
		a = Plain
	}
	return "/" + string(a) + "/" + token
}

// Arguments returns curl's command line for the subject.
func Arguments(s subject.Subject, r Request) []string {
	timeout := r.Timeout
	if timeout == 0 {
		timeout = DefaultTimeout
	}
	args := []string{"curl", "--silent", "--show-error", "--max-time", fmt.Sprintf("%g", timeout.Seconds()),
		"--write-out", `\n%{json}\n`}
	if r.Connect != "" {
		args = append(args, "--resolve", fmt.Sprintf("%s:%d:%s", s.ExternalHost, s.AppPort, r.Connect))
	}
	args = append(args, r.Args...)
	if r.Pace > 0 {
		args = append(args, "--rate", fmt.Sprintf("%d/s", max(1, time.Second/r.Pace)))
	}
	if r.AtOnce {
		args = append(args, "--parallel", "--parallel-immediate", "--parallel-max", strconv.Itoa(1+len(r.More)))
	}
	for _, token := range append([]string{r.Token}, r.More...) {
		if r.AtOnce {
			args = append(args, "--output", "/dev/null")
		}
		args = append(args, s.URL(r.Want.path(token)))
	}
	return args
}

// Do makes the request from a pod of the subject's client. raw is returned
// even when it does not parse, so that it can be kept.
func Do(ctx context.Context, client *kube.Client, s subject.Subject, pod string, r Request) (reply Reply, stderr []byte, err error) {
	replies, stdout, stderr, err := DoAll(ctx, client, s, pod, r)
	reply = Reply{Raw: stdout, Command: Command(s, r)}
	if err != nil {
		return reply, stderr, err
	}
	return replies[0], stderr, nil
}

// DoAll makes a request and those that follow it on its connection. There is a
// reply for each of them, in order (at once: in the order of their ends); every
// reply's Raw is all that curl printed.
func DoAll(ctx context.Context, client *kube.Client, s subject.Subject, pod string, r Request) (replies []Reply, raw, stderr []byte, err error) {
	return do(ctx, client, s, pod, r, Arguments(s, r), envoy.ParseCurlMany)
}

func do(ctx context.Context, client *kube.Client, s subject.Subject, pod string, r Request, command []string,
	parse func([]byte) ([]envoy.CurlResult, error),
) (replies []Reply, raw, stderr []byte, err error) {
	stdout, stderr, execErr := client.Exec(ctx, s.Client.Namespace, pod, s.Client.Container, command...)
	results, err := parse(stdout)
	if err != nil {
		if execErr != nil {
			err = fmt.Errorf("%w (%w)", err, execErr)
		}
		return nil, stdout, stderr, fmt.Errorf("the probe %s brought no report of curl's: %w", r.Token, err)
	}
	for _, result := range results {
		replies = append(replies, Reply{CurlResult: result, Raw: stdout, Command: Command(s, r)})
	}
	return replies, stdout, stderr, nil
}

// DoUntilStopped is DoAll, but Stop may end it early; there is a reply for each
// request that was over by then.
func DoUntilStopped(ctx context.Context, client *kube.Client, s subject.Subject, pod string, r Request) (replies []Reply, raw, stderr []byte, err error) {
	// --no-buffer: what a stopped curl has not written out is lost.
	r.Args = append([]string{"--no-buffer"}, r.Args...)
	command := append([]string{"sh", "-c", `echo $$ >"$0" && exec "$@"`, pidFile(r)}, Arguments(s, r)...)
	return do(ctx, client, s, pod, r, command, envoy.ParseCurlStopped)
}

// Stop ends the requests of DoUntilStopped. That they have ended by themselves
// is an error: then there were too few of them for what was waited for.
func Stop(ctx context.Context, client *kube.Client, s subject.Subject, pod string, r Request) error {
	_, _, err := client.Exec(ctx, s.Client.Namespace, pod, s.Client.Container,
		"sh", "-c", `kill "$(cat "$0")" && rm "$0"`, pidFile(r))
	if err != nil {
		return fmt.Errorf("stop the %d requests from %s on: %w", 1+len(r.More), r.Token, err)
	}
	return nil
}

func pidFile(r Request) string { return "/tmp/" + r.Token + ".pid" }

// Command is what a person would type to make the request.
func Command(s subject.Subject, r Request) string {
	return fmt.Sprintf("kubectl exec -n %s deploy/%s -c %s -- %s", s.Client.Namespace, s.Client.Deployment, s.Client.Container, Quote(Arguments(s, r)))
}

// Quote writes a command line as a POSIX shell reads it.
func Quote(args []string) string {
	quoted := make([]string, len(args))
	for i, a := range args {
		if a != "" && !strings.ContainsAny(a, " \t\n\\'\"$`*?[]{}()<>|&;#~!") {
			quoted[i] = a
			continue
		}
		quoted[i] = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
	}
	return strings.Join(quoted, " ")
}
