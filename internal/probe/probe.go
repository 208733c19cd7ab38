// Package probe makes one request from the application's container: curl, with
// a token in the path by which three logs are joined. It believes curl's own
// report and not the status of exec, which gets lost on bad days.
package probe

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
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
	// Args are further arguments for curl.
	Args []string
	// Timeout bounds curl's whole call; 0 means DefaultTimeout.
	Timeout time.Duration
}

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
func Path(token string) string { return "/probe/" + token }

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
	return append(args, s.URL(Path(r.Token)))
}

// Do makes the request from a pod of the subject's client. raw is returned
// even when it does not parse, so that it can be kept.
func Do(ctx context.Context, client *kube.Client, s subject.Subject, pod string, r Request) (reply Reply, stderr []byte, err error) {
	args := Arguments(s, r)
	stdout, stderr, execErr := client.Exec(ctx, s.Client.Namespace, pod, s.Client.Container, args...)
	reply = Reply{Raw: stdout, Command: fmt.Sprintf("kubectl exec -n %s deploy/%s -c %s -- %s", s.Client.Namespace, s.Client.Deployment, s.Client.Container, Quote(args))}
	reply.CurlResult, err = envoy.ParseCurl(stdout)
	if err != nil {
		if execErr != nil {
			err = fmt.Errorf("%w (%w)", err, execErr)
		}
		return reply, stderr, fmt.Errorf("the probe %s brought no report of curl's: %w", r.Token, err)
	}
	return reply, stderr, nil
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
