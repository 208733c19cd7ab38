package check

import (
	"fmt"
	"math"
	"regexp"
	"strings"
	"time"

	"al.essio.dev/pkg/shellescape"

	"twohop/internal/observe"
	"twohop/internal/probe"
	"twohop/internal/subject"
)

// Step notes a command for the script that reproduces the claim. There a failure
// is something to see, too.
func (t *T) Step(what, command string) { t.say(what, command+" || status") }

// say notes lines of the script, in the words of experiment/reproduce.sh.
func (t *T) say(what string, lines ...string) {
	t.session.Script(what, t.elsewhere(strings.Join(lines, "\n")), nil)
}

// elsewhere turns what is true of the run's cluster alone into what is true of
// another one: pods into Deployments, and the address of the partner's Service
// into the script's variable.
func (t *T) elsewhere(command string) string {
	for _, p := range t.cast.Pods {
		if d := t.deployment(p.Role); d != "" && p.Name != "" {
			command = strings.ReplaceAll(command, p.Name, "deploy/"+d)
		}
	}
	if t.PartnerService == "" {
		return command
	}
	resolve := regexp.MustCompile(`(--resolve [^ ']+:)` + regexp.QuoteMeta(t.PartnerService) + `\b`)
	return resolve.ReplaceAllString(command, `$1"$$address"`)
}

// deployment is whose pod plays a role; a gateway pod without traffic has none.
func (t *T) deployment(role subject.Role) string {
	switch role {
	case subject.Sidecar:
		return t.Subject.Client.Deployment
	case subject.Gateway:
		return t.Subject.Gateway.Deployment
	case subject.SecondSidecar:
		return t.Subject.SecondClient().Deployment
	case subject.SecondGateway:
		return t.Subject.SecondGateway().Deployment
	case subject.Partner:
		return t.Subject.Partner.Deployment
	case subject.Istiod:
		return t.Subject.ControlPlane.Deployment()
	}
	return ""
}

// request notes a request of a client that others do not wait for: what the
// script calls it is its first token.
func (t *T) request(what string, q observe.Requests, r probe.Request) {
	s, command := q.Subject, probe.Arguments(q.Subject, r)
	if q.Stoppable || q.Held {
		command = probe.Stoppable(q.Request, command)
	}
	t.say(what, fmt.Sprintf("background %s %s", q.Request.Token, inClient(s, command)))
}

// stop notes the end of what request began.
func (t *T) stop(what string, q observe.Requests) {
	t.say(what, inClient(q.Subject, probe.StopCommand(q.Request.Token))+" || status")
}

func inClient(s subject.Subject, command []string) string {
	return fmt.Sprintf("kubectl exec -n %s deploy/%s -c %s -- %s", s.Client.Namespace, s.Client.Deployment, s.Client.Container, probe.Quote(command))
}

// pause notes that the run waited for something that takes about so long.
func (t *T) pause(until string, d time.Duration) {
	t.say("until "+until, fmt.Sprintf("sleep %d", int(math.Ceil(d.Seconds()))))
}

// logs notes where a person reads what the proxies and the partner wrote about
// requests.
func (t *T) logs(q observe.Requests, tokens ...string) {
	const most = 8 // more do not fit a line that a person reads
	line := "logs " + shellescape.Quote(strings.Join(tokens[:min(most, len(tokens))], "|"))
	of := []string{workload(q.Subject.Client, q.Subject.Gateway.Proxy), workload(t.Subject.Gateway, t.Subject.Gateway.Proxy)}
	if t.SecondGateway != nil {
		of = append(of, workload(t.Subject.SecondGateway(), t.Subject.Gateway.Proxy))
	}
	of = append(of, workload(t.Subject.Partner, t.Subject.Partner.Container))
	t.say("what the proxies and the partner say about it", line+" "+strings.Join(of, " "))
}

func workload(w subject.Workload, container string) string {
	return w.Namespace + "/" + w.Deployment + "/" + container
}
