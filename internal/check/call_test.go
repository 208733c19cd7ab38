package check

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/onsi/gomega"

	"twohop/internal/observe"
	"twohop/internal/observe/recorded"
	"twohop/internal/subject"
)

func TestCallIsJoinedByItsToken(t *testing.T) {
	tp := newTape(t)
	other := func(role subject.Role, file string) {
		tp.print(role, about(t, file, "tother"))
	}
	other(subject.Sidecar, "access-log-sidecar.jsonl")
	other(subject.Gateway, "access-log-gateway.jsonl")
	other(subject.Partner, "partner-access.jsonl")
	check, facts := tp.begin(calls(lines{sidecar: 1, gateway: 1, partner: 1, extra: map[subject.Role][]string{
		subject.Gateway: {about(t, "access-log-gateway.jsonl", "tthird")}, subject.Partner: {about(t, "partner-access.jsonl", "tthird")}}}))
	c := check.Call()
	if c.HTTPCode != 200 || len(c.SidecarLines) != 1 || len(c.GatewayLines) != 1 || len(c.PartnerLines) != 1 || len(c.RefusedLines)+len(c.PartnerErrors) != 0 {
		t.Fatalf("%+v", c)
	}
	if c.PartnerLog().Token != c.Token || c.PartnerLog().Verify != "SUCCESS" || !strings.HasPrefix(c.SidecarLog().UpstreamCluster, "outbound|8443|partner|") || c.GatewayLog().RequestedServerName != "partner.example.com" {
		t.Errorf("%+v", c)
	}
	c.Status(gomega.Equal(200))
	f := lastFact(t, facts)
	if diff := cmp.Diff([]string{"02-curl.txt", "gateway.log", "partner.log", "sidecar.log"}, f.Evidence); diff != "" || !f.OK || f.Negative {
		t.Errorf("%+v\n%s", f, diff)
	}
	for name, n := range map[string]int{"gateway.log": 1, "partner.log": 1, "sidecar.log": 1} {
		if got := strings.Count(tp.derived[name], "\n"); got != n || !strings.Contains(tp.derived[name], c.Token) {
			t.Errorf("%s has %d lines:\n%s", name, got, tp.derived[name])
		}
	}
}

// Without one line there is none to speak of; with two nobody can say which.
func TestLinesOfACall(t *testing.T) {
	tp := newTape(t)
	check, _ := tp.begin(calls(lines{sidecar: 1}))
	c := check.Call()
	if c.GatewayLog().Path != "" || c.PartnerLog().Token != "" || c.RefusedLog().Path != "" || c.PartnerErrorLog() != "" {
		t.Errorf("%+v", c)
	}
	if got := tp.derived["gateway.log"]; got != "" {
		t.Errorf("%q", got)
	}

	tp = newTape(t)
	check, facts := tp.begin(calls(lines{sidecar: 1, gateway: 1, partner: 2})) // a mirror
	c = check.Call()
	abortsWith(t, "the partner logged the call "+c.Token+" 2 times, not once", func() { c.PartnerLog() })
	c.Fact("partner: requests of this token", len(c.PartnerLines), gomega.Equal(1))
	if f := lastFact(t, facts); f.OK || f.Seen != "2" {
		t.Errorf("%+v", f)
	}
	tp = newTape(t)
	check, _ = tp.begin(calls(lines{sidecar: 2, gateway: 3, partner: 1})) // retries
	c = check.Call()
	abortsWith(t, "the sidecar logged the call", func() { c.SidecarLog() })
	abortsWith(t, "the gateway logged the call "+c.Token+" 3 times", func() { c.GatewayLog() })
}

func TestAFailureIsNegative(t *testing.T) {
	check, facts := newTape(t).begin()
	for status, negative := range map[int]bool{0: true, 199: true, 200: false, 204: false, 299: false, 301: true, 400: true, 503: true} {
		c := &Call{t: check}
		c.HTTPCode = status
		c.StatusOf("second call", gomega.Equal(status))
		if f := lastFact(t, facts); f.Negative != negative || !f.OK || f.Name != "second call: HTTP status" {
			t.Errorf("%d: %+v", status, f)
		}
	}
	c := &Call{t: check}
	c.Because("reason", "x", gomega.Equal("x"))
	if f := lastFact(t, facts); !f.Because || f.Negative {
		t.Errorf("%+v", f)
	}
}

// The absence of a line is stated only of a log that was read far enough.
func TestAWindowWithoutItsFlushLine(t *testing.T) {
	check, _ := newTape(t).begin(calls(lines{sidecar: 1, gateway: 1, partner: 1, noFlush: true}))
	abortsWith(t, "so what is absent may have come after it", func() { check.Call() })
}

func TestRefusedLines(t *testing.T) {
	refused := func(ip string) string {
		return strings.NewReplacer(`"downstream_remote_address":"127.0.0.1:41138"`, `"downstream_remote_address":"`+ip+`:41138"`, `"path":"/probe/t-ok"`, `"path":null`,
			`"downstream_transport_failure_reason":null`, `"downstream_transport_failure_reason":"TLS_error:HTTP_REQUEST"`).Replace(about(t, "access-log-gateway.jsonl", "t-ok"))
	}
	tp := newTape(t)
	tp.print(subject.Gateway, refused(podIP)) // before the call
	check, _ := tp.begin(calls(lines{sidecar: 1, extra: map[subject.Role][]string{subject.Gateway: {refused("127.0.0.11"), refused(podIP), refused(podIP)}}}))
	c := check.Call()
	if len(c.RefusedLines) != 2 || c.RefusedLog().DownstreamTransportFailureReason != "TLS_error:HTTP_REQUEST" || len(c.GatewayLines) != 0 {
		t.Errorf("%+v", c)
	}
	if got := tp.derived["gateway-refused.log"]; strings.Count(got, "\n") != 2 {
		t.Error(got)
	}
}

func TestPartnersErrors(t *testing.T) {
	tp := newTape(t)
	const said = `2026/11/25 01:30:48 [info] 7#7: *111 client sent no required SSL certificate while reading client request headers, client: 10.244.0.8, server: api.*, request: "GET /probe/TOKEN HTTP/1.1", host: "h"`
	check, _ := tp.begin(func(tp *tape, q observe.Question) recorded.Entry {
		token := q.(observe.Requests).Request.Token
		return calls(lines{sidecar: 1, partner: 1, extra: map[subject.Role][]string{subject.Partner: {strings.ReplaceAll(said, "TOKEN", token), strings.ReplaceAll(said, "TOKEN", "tother")}}})(tp, q)
	})
	c := check.Call()
	if !strings.Contains(c.PartnerErrorLog(), "client sent no required SSL certificate") || len(c.PartnerErrors) != 1 || len(c.PartnerLines) != 1 {
		t.Errorf("%+v", c)
	}
	if strings.Count(tp.derived["partner-errors.txt"], "\n") != 1 {
		t.Error(tp.derived)
	}
}

func TestAtOnce(t *testing.T) {
	tp := newTape(t)
	check, _ := tp.begin(calls(lines{sidecar: 1, gateway: 1, partner: 1}))
	all := check.AtOnce(3)
	tokens := map[string]bool{}
	for _, c := range all {
		tokens[c.Token] = true
		if c.PartnerLog().Token != c.Token || !strings.HasSuffix(c.URL, c.Token) {
			t.Errorf("%+v", c)
		}
	}
	if q := tp.asked[0].(observe.Requests); len(tokens) != 3 || !q.Request.AtOnce {
		t.Errorf("%v, %+v", tokens, q)
	}
	if Answered(all, 200) != 3 || Answered(all, 503) != 0 || Arrived(all, 200) != 3 || Callers(all) != 1 || len(Connections(all)) != 1 {
		t.Errorf("%v", all)
	}
	check, _ = newTape(t).begin(calls(lines{sidecar: 1, finished: 2}))
	abortsWith(t, "curl reports 2 requests, and 3 were made", func() { check.AtOnce(3) })
}

func TestReportOfAnotherRequest(t *testing.T) {
	check, _ := newTape(t).begin(func(tp *tape, q observe.Question) recorded.Entry {
		return recorded.Entry{Raw: []byte(about(tp.t, "curl-ok.txt", "tother"))}
	})
	abortsWith(t, "none of them is t", func() { check.Call() })
}

func TestSequentialClient(t *testing.T) {
	tp := newTape(t)
	tp.print(subject.Partner, "old")
	tp.marks[subject.Partner] = 1
	var q observe.Requests
	reported := calls(lines{sidecar: 1, gateway: 1, partner: 1, finished: 2})
	late := &recorded.Entry{} // the answer comes when the client is stopped
	check, _ := tp.begin(
		func(tp *tape, asked observe.Question) recorded.Entry {
			q = asked.(observe.Requests)
			*late = reported(tp, asked)
			return *late
		},
		func(tp *tape, asked observe.Question) recorded.Entry { // Begun
			line := asked.(observe.Line)
			if line.Role != subject.Partner || line.Since != 1 || len(line.Holds) != 1 || line.Holds[0] != q.Request.Token {
				t.Errorf("%+v", line)
			}
			return recorded.Entry{}
		},
		func(tp *tape, asked observe.Question) recorded.Entry { // Made
			flush := asked.(observe.Flush)
			tp.print(subject.Partner, `flush-`+flush.Token)
			return recorded.Entry{Windows: []observe.Window{tp.window(subject.Partner, flush.Since, flush.Token)}}
		},
		func(tp *tape, asked observe.Question) recorded.Entry { // Await: once more Made …
			flush := asked.(observe.Flush)
			tp.print(subject.Partner, `flush-`+flush.Token)
			return recorded.Entry{Windows: []observe.Window{tp.window(subject.Partner, flush.Since, flush.Token)}}
		},
		func(_ *tape, asked observe.Question) recorded.Entry { // … and the line of the next
			if line := asked.(observe.Line); line.Holds[0] != q.Request.More[1] || line.Limit != 20*time.Millisecond+observe.DefaultLimits().Line {
				t.Errorf("%+v", line)
			}
			return recorded.Entry{}
		},
		func(_ *tape, asked observe.Question) recorded.Entry {
			if stop := asked.(observe.Stop); stop.Token != q.Request.Token || stop.From != subject.Sidecar {
				t.Errorf("%+v", stop)
			}
			return recorded.Entry{}
		},
	)
	client := check.SequentialUntilStopped(5, 20*time.Millisecond)
	client.Begun()
	if made := client.Made(); made != 2 {
		t.Errorf("%d requests were made", made)
	}
	client.Await(1)
	if !q.Stoppable || q.Request.Pace != 20*time.Millisecond || !q.Request.Unbuffered || len(q.Request.More) != 4 {
		t.Errorf("%+v", q)
	}
	if all := client.Stop(); len(all) != 2 || all[1].Token != q.Request.More[0] || all[1].PartnerLog().Token != all[1].Token {
		t.Errorf("%v", all)
	}
	client.awaited = 4
	tp.answers = append(tp.answers, tp.answers[2])
	abortsWith(t, "a client makes 5 requests at most, and has made 4 when 2 more are wanted", func() { client.Await(2) })
}

func TestAwaitClosing(t *testing.T) {
	tp := newTape(t)
	const end = "2026/11/23 16:39:25 [info] 22558#22558: *1 client 127.0.0.1 closed keepalive connection"
	from := 0
	check, _ := tp.begin(
		calls(lines{sidecar: 1, gateway: 1, partner: 1}),
		func(tp *tape, q observe.Question) recorded.Entry {
			line := q.(observe.Line)
			if diff := cmp.Diff([]string{"*1 ", "closed keepalive connection"}, line.Holds); diff != "" {
				t.Error(diff)
			}
			tp.print(subject.Partner, "noise", "noise", end)
			return recorded.Entry{Windows: []observe.Window{tp.window(subject.Partner, from, line.Holds[0])}}
		})
	all := check.AtOnce(2)
	c := check.AwaitClosing(all)
	// The lines of the tape are a second apart: two calls, the flush, noise, the end.
	if c.Life != 5*time.Second || c.Idle != 4*time.Second || !strings.Contains(c.Said, "closed keepalive connection") {
		t.Errorf("%+v", c)
	}
	if got := strings.Count(tp.derived["partner-closing.txt"], "\n"); got != 3 {
		t.Errorf("%d lines:\n%s", got, tp.derived["partner-closing.txt"])
	}
	check, _ = newTape(t).begin(calls(lines{sidecar: 1}))
	c2 := check.Call()
	abortsWith(t, "none of 1 calls reached the partner", func() { check.AwaitClosing([]*Call{c2}) })
}

func TestTimeline(t *testing.T) {
	tp := newTape(t)
	check, _ := tp.begin(calls(lines{sidecar: 1, gateway: 1, partner: 1}))
	all := check.AtOnce(2)
	start := all[0].GatewayLog().StartTime
	all[1].GatewayLines[0].StartTime = start.Add(1500 * time.Millisecond)
	all[1].PartnerLines[0].Connection = 9
	if path := check.Timeline(all, "the rotation", start.Add(-time.Second)); path != "timeline.txt" {
		t.Error(path)
	}
	got := strings.Split(strings.TrimSpace(tp.derived["timeline.txt"]), "\n")
	if len(got) != 5 || !strings.HasPrefix(got[0], "the rotation: 2026-11-23T16:37:37.937Z") {
		t.Fatalf("%q", got)
	}
	for row, want := range map[int]string{
		3: "16:37:38.937 1s 1 0s - 764d0ce1786357d6a767a8dce99099e51c891d97 200",
		4: "16:37:40.437 2.5s 9 0s 1.5s 764d0ce1786357d6a767a8dce99099e51c891d97 200",
	} {
		if got := strings.Join(strings.Fields(strings.ReplaceAll(got[row], "1 s", "1s")), " "); got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
	}
}
