// Package observe is how anything is learnt: a question, and the raw bytes that
// answer it. A Source answers; the live one (observe/live) asks a cluster, the
// recorded one (observe/recorded) reads what a run has kept. The package parses
// nothing and judges nothing, and it must not import a Kubernetes client.
package observe

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"twohop/internal/probe"
	"twohop/internal/subject"
)

// Slot is an observation's place in a run: the claim, the stage (setup, check,
// control) and which of the stage's observations it is. It is taken where the
// check asks, so a replay that asks the same in the same order finds the answer.
type Slot struct {
	Claim, Stage string
	Ordinal      int
}

func (s Slot) String() string { return fmt.Sprintf("%s/%s/%02d", s.Claim, s.Stage, s.Ordinal) }

// Key makes a run's tokens. Two runs never share one.
type Key []byte

// NewKey derives a run's key from its nonce and from all that is said of the run
// before its first observation: with another header no token is found again.
func NewKey(nonce string, header any) (Key, error) {
	raw, err := json.Marshal(header)
	if err != nil {
		return nil, err
	}
	mac := hmac.New(sha256.New, []byte(nonce))
	mac.Write(raw)
	return mac.Sum(nil), nil
}

// Token is the n-th token of a slot: what a request's path carries, by which the
// logs are joined.
func (k Key) Token(s Slot, n int) string {
	mac := hmac.New(sha256.New, k)
	fmt.Fprintf(mac, "%s/%d", s, n)
	return "t" + hex.EncodeToString(mac.Sum(nil)[:8])
}

// Question is one observation to be made. Key says it in words that are the
// same in a run and in its replay.
type Question interface{ Key() string }

// The questions.
type (
	// Pods asks who plays each role now, and where each log stands. The answer
	// is a Cast in JSON; its windows are empty ones at the logs' ends.
	Pods struct{}
	// Admin asks a proxy's admin API.
	Admin struct {
		Role subject.Role
		Path string
	}
	// PodGet asks a port of a role's pod over HTTP, through the API server.
	PodGet struct {
		Role subject.Role
		Port int
		Path string
	}
	// Get reads a path of the API server's.
	Get struct{ Path string }
	// Exec runs a command in a role's container and takes what it prints.
	Exec struct {
		Role      subject.Role
		Container string
		Command   []string
	}
	// Istioctl runs istioctl and takes what it prints.
	Istioctl struct{ Args []string }
	// DryRunCreate asks the API server whether it would create a document, which
	// it does not store. The answer is the server's, in JSON.
	DryRunCreate struct{ Document string }
	// Requests makes requests from an application's container and gathers what
	// the logs say of them. The answer is what curl printed; the windows are
	// those of the caller's sidecar, the gateways and the partner.
	Requests struct {
		From    subject.Role
		Subject subject.Subject // whose client makes them
		Request probe.Request
		// Stoppable requests end when Stop asks; Held ones too, and no log is
		// looked at for them.
		Stoppable, Held bool
		// Flush is the token of the lines that end the windows.
		Flush string
	}
	// Stop ends requests that are under way.
	Stop struct {
		From  subject.Role
		Token string // their first
	}
	// Line waits for a log line that holds all the texts. The window ends with it.
	Line struct {
		Role  subject.Role
		What  string // in errors
		Holds []string
		Since int           // the number of the first line to look at
		Limit time.Duration // 0: as long as a line may take
	}
	// Flush makes a log get a line that holds the token, and waits for it: what
	// was logged before is then read. The window ends with that line.
	Flush struct {
		Role  subject.Role
		Token string
		Since int // where the window begins
	}
	// Input is something that the harness itself contributes, such as a
	// certificate: the source that has no record of it calls Make.
	Input struct {
		What string
		Make func() ([]byte, error)
	}
	// Until asks again until the answer is as wanted; the last answer is the
	// observation, with how long it took.
	Until struct {
		Ask   Question
		What  string // "the gateway has warmed its clusters"
		Done  func(raw []byte) (done bool, last string, err error)
		Limit time.Duration
		// Or ends the wait as well: a log line that settles it the other way.
		Or *Line
	}
)

func (Pods) Key() string     { return "pods" }
func (q Admin) Key() string  { return fmt.Sprintf("admin %s %s", q.Role, q.Path) }
func (q PodGet) Key() string { return fmt.Sprintf("get %s:%d%s", q.Role, q.Port, q.Path) }
func (q Get) Key() string    { return "get " + q.Path }
func (q Exec) Key() string {
	return fmt.Sprintf("exec %s %s %s", q.Role, q.Container, probe.Quote(q.Command))
}
func (q Istioctl) Key() string     { return "istioctl " + probe.Quote(q.Args) }
func (q DryRunCreate) Key() string { return "dry-run create " + digest(q.Document) }
func (q Requests) Key() string {
	return fmt.Sprintf("requests %s %d %s", q.From, 1+len(q.Request.More), digest(probe.Quote(probe.Arguments(q.Subject, q.Request))))
}
func (q Stop) Key() string  { return fmt.Sprintf("stop %s %s", q.From, q.Token) }
func (q Line) Key() string  { return fmt.Sprintf("line %s %s", q.Role, strings.Join(q.Holds, " … ")) }
func (q Flush) Key() string { return fmt.Sprintf("flush %s %s", q.Role, q.Token) }
func (q Input) Key() string { return "input " + q.What }
func (q Until) Key() string { return "until " + q.What + ": " + q.Ask.Key() }

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:8])
}

// Window is a part of a log.
type Window struct {
	Role subject.Role `json:"role"`
	// Log is the file of the run's folder that keeps the whole log.
	Log string `json:"log"`
	// From is the number of the first line, To that of the line after the last.
	From int `json:"from"`
	To   int `json:"to"`
	// Flush is a text in the last line: the line was caused after all that the
	// window is to hold, so what is not in it was not logged.
	Flush string `json:"flush,omitempty"`
}

// Answer is what a question brought.
type Answer struct {
	// Raw are the bytes as they came.
	Raw     []byte
	Windows []Window
	// Path is the evidence file, within the run's folder; empty where there were
	// no bytes or nothing is kept.
	Path string
	// Took is how long it took: nobody can work that out again.
	Took time.Duration
}

// Window is the answer's window on a role's log.
func (a Answer) Window(role subject.Role) (Window, error) {
	for _, w := range a.Windows {
		if w.Role == role {
			return w, nil
		}
	}
	return Window{}, fmt.Errorf("the observation has no window on the log of the %s", role)
}

// PollInterval is how often Until asks again: an answer of an admin API on
// loopback takes about a millisecond.
const PollInterval = 10 * time.Millisecond

// Poll asks until the answer is yes. An error ends it at once; when ctx ends,
// the error says what was last seen.
func Poll(ctx context.Context, ask func() (done bool, last string, err error)) error {
	return PollEvery(ctx, PollInterval, ask)
}

// PollEvery is Poll at another interval, for a question that costs more to answer.
func PollEvery(ctx context.Context, interval time.Duration, ask func() (done bool, last string, err error)) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	seen := "nothing"
	for {
		done, last, err := ask()
		if err != nil {
			// A client that limits its rate gives up just before the end, if it would
			// have to wait beyond it.
			if end, ok := ctx.Deadline(); ok && time.Until(end) < interval {
				<-ctx.Done()
			}
			if ctx.Err() != nil {
				return fmt.Errorf("%w; last seen: %s", context.Cause(ctx), seen)
			}
			return err
		}
		if done {
			return nil
		}
		seen = last
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%w; last seen: %s", context.Cause(ctx), seen)
		}
	}
}

// Pending is a question whose answer may still be under way.
type Pending interface {
	// Answer waits for it. An error is part of the observation, and recorded.
	Answer(ctx context.Context) (Answer, error)
}

// Meta is what a person needs to see the same.
type Meta struct {
	Name, Kind, Witness string // of the evidence file
	Command             string
}

// Source answers questions.
type Source interface {
	// Begin asks. The slot is the observation's place in the run.
	Begin(ctx context.Context, at Slot, q Question, meta Meta) Pending
	// Lines reads a window.
	Lines(w Window) ([]LogLine, error)
	// Derive keeps bytes that follow from observations, for people: lines of a
	// log about one request, a table. A recorded source holds what was kept
	// against them, and a difference is an error.
	Derive(at Slot, meta Meta, raw []byte) (path string, err error)
}

// LogLine is a line of a log, and when the container's runtime got it.
type LogLine struct {
	At   time.Time
	Text []byte
}

// Cast is who plays the roles.
type Cast struct {
	Pods []Pod `json:"pods"`
	// PartnerService is the address of the partner's Service.
	PartnerService string `json:"partnerService"`
}

// Pod plays a role.
type Pod struct {
	Role      subject.Role `json:"role"`
	Namespace string       `json:"namespace"`
	Name      string       `json:"name"`
	IP        string       `json:"ip"`
	// Log is the file of the run's folder that keeps its log.
	Log string `json:"log"`
}

// Find is the pod of a role; false where nobody plays it.
func (c Cast) Find(role subject.Role) (Pod, bool) {
	for _, p := range c.Pods {
		if p.Role == role {
			return p, true
		}
	}
	return Pod{}, false
}

// Limits bound the waits. Each is several times what the step needs on two busy
// cores; a step that takes longer is broken, not slow.
type Limits struct {
	Ready   time.Duration // a pod of the lab: 2 to 4 s
	Push    time.Duration // a change to reach both proxies: 0.1 to 0.3 s
	Line    time.Duration // a log line to arrive: up to 0.3 s
	Secret  time.Duration // an SDS secret to become ACTIVE: up to 15 s
	Removal time.Duration // a namespace to go: 5 to 10 s
}

// DefaultLimits are those of a run.
func DefaultLimits() Limits {
	return Limits{
		Ready:   90 * time.Second,
		Push:    15 * time.Second,
		Line:    10 * time.Second,
		Secret:  20 * time.Second,
		Removal: 60 * time.Second,
	}
}

// Paths of Envoy's admin API.
const (
	SecretsDumpPath = "/config_dump?mask=dynamic_active_secrets,dynamic_warming_secrets"
	HostsPath       = "/clusters?format=json"
	ConfigPath      = "/config_dump"
	ServerPath      = "/server_info"
	ListenersPath   = "/config_dump?resource=dynamic_listeners"
	WarmingClusters = "/config_dump?resource=dynamic_warming_clusters"
	PushPath        = "/stats?filter=(version_text|^cluster_manager.warming_clusters)$"
	AllClustersPath = "/config_dump?resource=dynamic_active_clusters"
)
