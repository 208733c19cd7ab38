package check

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"twohop/internal/observe"
	"twohop/internal/probe"
	"twohop/internal/subject"
)

// noted is a stage whose steps a test reads.
func noted() (*T, *[]string) {
	var steps []string
	t := &T{
		Subject: subject.Default(), PartnerService: "10.96.0.1",
		cast: observe.Cast{Pods: []observe.Pod{
			{Role: subject.Gateway, Name: "partner-egressgateway-88d-x"}, {Role: subject.SecondGateway, Name: "second-partner-egressgateway-6f-y"},
			{Role: subject.Istiod, Name: "istiod-1-z"}, {Role: subject.ExtraGateway("list-1"), Name: "list-1"}, {Role: subject.Sidecar},
		}},
		session: &Session{Script: func(_, command string, _ []byte) { steps = append(steps, command) }},
	}
	return t, &steps
}

// A script is for another cluster than the run's: it names no pod that has a
// Deployment and no address.
func TestElsewhere(t *testing.T) {
	stage, _ := noted()
	for in, want := range map[string]string{
		"kubectl exec -n a partner-egressgateway-88d-x -c istio-proxy -- ss": "kubectl exec -n a deploy/partner-egressgateway -c istio-proxy -- ss",
		"kubectl exec -n a second-partner-egressgateway-6f-y -- ss":          "kubectl exec -n a deploy/second-partner-egressgateway -- ss",
		"kubectl logs -n istio-system istiod-1-z -c discovery":               "kubectl logs -n istio-system deploy/istiod -c discovery",
		"kubectl exec -n a list-1 -- ss":                                     "kubectl exec -n a list-1 -- ss",
		"curl --resolve h:80:10.96.0.1 http://h/":                            `curl --resolve h:80:"$address" http://h/`,
		"curl --resolve h:80:10.96.0.12 http://h/":                           "curl --resolve h:80:10.96.0.12 http://h/",
	} {
		if d := cmp.Diff(want, stage.elsewhere(in)); d != "" {
			t.Error(d)
		}
	}
}

// A client that works in the background is begun, stopped in its container, and
// waited for.
func TestStoppableClientByHand(t *testing.T) {
	stage, steps := noted()
	q := observe.Requests{Subject: subject.Default(), Stoppable: true, Request: probe.Request{Token: "t1", Connect: "10.96.0.1", Pace: time.Second}}
	byHand := q.Request
	byHand.Token = "t1-[1-9]"
	stage.request("begin", q, byHand)
	stage.stop("stop", q)
	stage.pause("a while", 1500*time.Millisecond)
	stage.logs(q, "t1", "t2")
	want := []string{
		`background t1 kubectl exec -n twohop-app deploy/client -c app -- sh -c 'echo $$ >"$0" && exec "$@"' /tmp/t1.pid curl --silent --show-error --max-time 10 --write-out '\n%{json}\n' --resolve api.partner.example.com:80:"$address" --rate 1/s 'http://api.partner.example.com/probe/t1-[1-9]'`,
		`kubectl exec -n twohop-app deploy/client -c app -- sh -c 'kill "$(cat "$0")" && rm "$0"' /tmp/t1.pid || status`,
		"sleep 2",
		"logs 't1|t2' twohop-app/client/istio-proxy twohop-egress/partner-egressgateway/istio-proxy twohop-partner/partner/nginx",
	}
	if d := cmp.Diff(want, *steps); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}
