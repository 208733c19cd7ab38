// Package probe is what the application is told to send: a curl command line
// with a token in the path, by which the logs are joined. It runs nothing, and knows of the project the subject's
// names only.
package probe

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strconv"
	"time"

	"al.essio.dev/pkg/shellescape"

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
	// Unbuffered is for requests that are stopped: what a stopped curl has not
	// written out is lost.
	Unbuffered bool
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
	if r.Unbuffered {
		args = append(args, "--no-buffer")
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

// Stoppable wraps a command line so that StopCommand ends it.
func Stoppable(r Request, command []string) []string {
	return append([]string{"sh", "-c", `echo $$ >"$0" && exec "$@"`, pidFile(r.Token)}, command...)
}

// StopCommand ends what Stoppable wrapped, by its first token.
func StopCommand(token string) []string {
	return []string{"sh", "-c", `kill "$(cat "$0")" && rm "$0"`, pidFile(token)}
}

func pidFile(token string) string { return "/tmp/" + token + ".pid" }

// Command is what a person would type to make the request.
func Command(s subject.Subject, r Request) string {
	return fmt.Sprintf("kubectl exec -n %s deploy/%s -c %s -- %s", s.Client.Namespace, s.Client.Deployment, s.Client.Container, Quote(Arguments(s, r)))
}

// Quote writes a command line as a POSIX shell reads it.
func Quote(args []string) string { return shellescape.QuoteCommand(args) }
