package suites

import (
	"slices"
	"time"

	. "github.com/onsi/gomega"
	"google.golang.org/protobuf/types/known/durationpb"
	networking "istio.io/api/networking/v1alpha3"

	"twohop/internal/check"
	"twohop/internal/manifest"
	"twohop/internal/probe"
	partnernginx "twohop/partner-nginx"
)

// rotation is one renewal of the subject's Secret while a client is at work.
type rotation struct {
	// old and new are the certificates' serials.
	old, new string
	// at is when the gateway took the new certificate, by its own clock.
	at time.Time
	// kept are the requests of a client on one connection, from before the
	// rotation until after it.
	kept []*Call
}

// rotate renews the subject's certificate while a client makes a request in each
// pace, does what follows, and then lets the client make some more.
func rotate(s *Setup, t *T, pace time.Duration, more int, then func()) *rotation {
	credential := manifest.SDSName(t.Subject.Credential)
	before, err := t.Secret(t.Gateway, credential).Leaf()
	if err != nil {
		t.Abort("before the rotation: %w", err)
	}
	renewed := s.NewPair()
	r := &rotation{old: before.Serial, new: renewed.Serial()}
	client := t.SequentialUntilStopped(more+400, pace)
	client.Await(2)
	t.During(s.Rotate("renew the Secret while the client is at work", renewed))
	holds := t.Secret(t.Gateway, credential)
	now, err := holds.Leaf()
	if err != nil {
		t.Abort("after the rotation: %w", err)
	}
	holds.Fact("certificate after the rotation", now.Serial, Equal(r.new))
	if r.at = holds.LastUpdated; r.at.IsZero() {
		t.Abort("the gateway does not say when it took the secret %s", credential)
	}
	then()
	client.Await(more)
	r.kept = client.Stop()
	return r
}

// since are the kept client's requests that reached the gateway after it had
// the new certificate.
func (r *rotation) since() (after []*Call) {
	for _, c := range r.kept {
		if began(c).After(r.at) {
			after = append(after, c)
		}
	}
	return after
}

const timelineEvent = "The gateway took the new certificate at"

func began(c *Call) time.Time                { return c.GatewayLog().StartTime }
func serialOf(c *Call) string                { return c.PartnerLog().Serial }
func connectionOf(c *Call) uint64            { return c.PartnerLog().Connection }
func last[E any](list []E) E                 { return list[len(list)-1] }
func sinceFirst(calls []*Call) time.Duration { return began(last(calls)).Sub(began(calls[0])) }

// on are the calls that came to the partner on one of its connections.
func on(connection uint64, calls []*Call) []*Call {
	return slices.DeleteFunc(slices.Clone(calls), func(c *Call) bool { return connectionOf(c) != connection })
}

var _ = Claim("H2-rotation", func(s *Setup) Experiment[*rotation] {
	// A connection that was never open before needs a cluster of its own: which
	// of its workers takes a call, and so which connection, is the proxy's
	// choice.
	const header = "x-anew"
	return Experiment[*rotation]{
		Arrange: vary(
			// At the client's own sidecar a call that meets one of its requests opens
			// a second connection of hop 1, and its next request may take that one.
			s.SecondClient("run a second application, which makes the call on a new connection"),
			s.OtherPort("another port with the same settings, for a connection that is opened after the rotation; a header leads there",
				manifest.Port{Number: otherPort, Target: strictPort, Header: header}),
		),
		Check: func(t *T) *rotation {
			var anew *Call
			r := rotate(s, t, 100*time.Millisecond, 3, func() { anew = t.CallFrom(t.SecondSidecar, check.With("-H", header+": yes")) })
			onceEach(r.kept)
			anew.Fact("a new connection: partner's verification of the client certificate", anew.PartnerLog().Verify, Equal("SUCCESS"))
			anew.Fact("a new connection: certificate is the new one", anew.PartnerLog().Serial, Equal(r.new))
			anew.Fact("a new connection: same gateway pod", anew.PartnerLog().Peer, Equal(r.kept[0].PartnerLog().Peer))
			first, path := r.kept[0], t.Timeline(r.kept, timelineEvent, r.at)
			t.Fact("living connection: requests after the gateway had the new certificate", len(r.since()), BeNumerically(">", 0), path)
			first.Fact("living connection: the partner's number of connections", len(check.Values(r.kept, connectionOf)), Equal(1))
			first.Fact("living connection: certificate stays the old one", check.Values(r.since(), serialOf), Equal([]string{r.old}))
			return r
		},
		Control: vary(everyRequestAnew(s, "every request gets a connection of its own")),
		Cause: func(_ *T, r *rotation) {
			r.kept[0].Fact("partner's connections, one for each request", len(check.Values(r.kept, connectionOf)), Equal(len(r.kept)))
			r.kept[0].Fact("certificates presented, the old and then the new", check.Values(r.kept, serialOf), Equal([]string{r.old, r.new}))
		},
		Flips: []string{"living connection: the partner's number of connections", "living connection: certificate stays the old one"},
	}
})

// outlived are the calls on the last connection that presents a certificate, and
// next the first call on the connection that came after it, nil if none did.
func outlived(calls []*Call, serial string) (lasted []*Call, next *Call) {
	for i, c := range calls {
		if serialOf(c) == serial {
			lasted, next = on(connectionOf(c), calls), nil
		} else if next == nil {
			next = calls[i]
		}
	}
	return lasted, next
}

var _ = Claim("H2-rotation-bound", func(s *Setup) Experiment[*rotation] {
	const (
		bound = time.Second
		pace  = 50 * time.Millisecond
		// Envoy's timer runs from the end of the handshake, the log's time from
		// the request that asked for the connection; busy cores are late.
		late  = 250 * time.Millisecond
		early = 25 * time.Millisecond
		// So many slow responses, one after the other, take twice the bound; the
		// third is under way when it is reached.
		slowOnes = 5
	)
	maxDuration := func(change string, d *durationpb.Duration) Variation {
		return hop2Pool(s, change, func(p *networking.ConnectionPoolSettings) { p.Tcp.MaxConnectionDuration = d })
	}
	return Experiment[*rotation]{
		Arrange: vary(maxDuration("hop 2's maxConnectionDuration is 1s", durationpb.New(bound))),
		Check: func(t *T) *rotation {
			// The change has replaced hop 2's cluster: the first of them opens a connection.
			slow := t.Sequential(slowOnes, 10*time.Millisecond, check.Slow).Calls()
			r := rotate(s, t, pace, int(3*bound/2/pace), func() {})
			onceEach(slices.Concat(slow, r.kept))
			path := t.Timeline(slices.Concat(slow, r.kept), timelineEvent, r.at)
			underWay := on(connectionOf(slow[0]), slow)
			slow[0].Fact("slow responses that arrived", check.Answered(slow, 200), Equal(slowOnes))
			t.Fact("slow requests, the last on the first connection: begun so long after its opening", sinceFirst(underWay),
				And(BeNumerically(">", bound-probe.SlowAnswer), BeNumerically("<", bound)), path)
			last(underWay).Fact("slow requests, the last on the first connection: took", last(underWay).GatewayLog().Duration, BeNumerically(">=", probe.SlowAnswer))

			// The rotation may begin on a connection that the slow requests have left.
			lasted, next := outlived(slices.Concat(slow, r.kept), r.old)
			if len(lasted) == 0 {
				t.Abort("no request of the client's presented the old certificate")
			}
			var apart *time.Duration
			if next != nil {
				d := began(next).Sub(began(lasted[0]))
				apart = &d
			}
			t.Fact("old certificate, last presented after the rotation", began(last(lasted)).Sub(r.at), BeNumerically("<=", bound+late), path)
			t.Fact("last connection with the old certificate, its life", sinceFirst(lasted), BeNumerically("<=", bound+late), path)
			t.Fact("next connection, so long after that one had opened", apart, BeNumerically(">=", bound-early), path)
			last(r.kept).Fact("certificate at the end is the new one", serialOf(last(r.kept)), Equal(r.new))
			return r
		},
		Control: vary(maxDuration("drop maxConnectionDuration", nil)),
		Cause: func(t *T, r *rotation) {
			final, path := last(r.kept), t.Timeline(r.kept, timelineEvent, r.at)
			final.Fact("partner's connections", len(check.Values(r.kept, connectionOf)), Equal(1))
			final.Fact("certificate at the end is the old one", serialOf(final), Equal(r.old))
			t.Fact("old certificate, presented so long after the rotation", began(final).Sub(r.at), BeNumerically(">", bound), path)
		},
		Flips: []string{
			"slow requests, *: begun so long after its opening", "old certificate, *", "last connection *", "next connection, *",
			"certificate at the end is the new one",
		},
	}
})

var _ = Claim("H2-file-certs", func(s *Setup) Experiment[renewal] {
	// The same folder is mounted twice. What hop 2 names in the control is a mount
	// whose files do not change: that the old certificate stays is only to be
	// expected there. It is the files that make the difference, and the facts say
	// so: in both trials the gateway presents what the file that hop 2 names holds,
	// without a restart. A control in which the file changes and the agent does not
	// look cannot be had: it always watches (security/pkg/nodeagent/cache,
	// addFileWatcher), and an agent that is stopped relays no configuration either.
	const folder = "folder that hop 2 names"
	files := manifest.Files{Secret: "partner-client-files", Dir: "/etc/partner", Frozen: "/etc/partner-frozen"}
	content := func(pair *partnernginx.Pair) map[string][]byte { return s.CredentialSecret("", pair).Data }
	mounted := func(change, dir string) Variation {
		return manifest.Together(change, manifest.Input("", folder, dir), hop2TLS(s, change, func(tls *networking.ClientTLSSettings) {
			tls.CredentialName = ""
			tls.ClientCertificate, tls.PrivateKey, tls.CaCertificates = dir+"/tls.crt", dir+"/tls.key", dir+"/ca.crt"
		}))
	}
	return Experiment[renewal]{
		Arrange: vary(
			s.MountFiles("the gateway has the Secret mounted as files, once as a folder and once with subPath", files, content(s.Certificates.Credential)),
			mounted("hop 2 takes its certificates from the folder", files.Dir),
			everyRequestAnew(s, "every request gets a connection of its own"),
		),
		Check: func(t *T) renewal {
			dir := given(t, folder, files.Dir)
			held, first := t.FileSerial(dir + "/tls.crt")
			before := t.Call()
			before.StatusOf("curl before the renewal", Equal(200))
			t.Fact("gateway's file: certificate before the renewal is the one presented", held, Equal(before.PartnerLog().Serial), first)
			pair := s.NewPair()
			t.During(s.RenewFiles("renew the mounted Secret", files, content(pair), pair.Serial()))
			holds, then := t.FileSerial(dir + "/tls.crt")
			// The gateway presents what its files hold as soon as its agent has seen
			// them: wait for that and for nothing else.
			t.AwaitSerial(t.Gateway, "file-cert:"+dir+"/tls.crt~"+dir+"/tls.key", holds)
			call := t.Call()
			call.StatusOf("curl after the renewal", Equal(200))
			call.Fact("partner: the caller is the same gateway pod", call.PartnerLog().Peer, Equal(before.PartnerLog().Peer))
			t.Fact("gateway's file: certificate after the renewal is the one presented", holds, Equal(call.PartnerLog().Serial), then)
			t.Fact("gateway's file: certificate after the renewal is still the old one", holds, Equal(held), first, then)
			call.Fact("partner: certificate after the renewal is still the old one", call.PartnerLog().Serial, Equal(held))
			return renewal{call, pair.Serial()}
		},
		Cause:   func(_ *T, saw renewal) { presented(saw.call, saw.serial) },
		Control: vary(mounted("hop 2 takes them from the subPath mounts, which the kubelet does not update", files.Frozen)),
		Flips:   []string{"*: certificate after the renewal is still the old one"},
	}
})

// renewal is the call after a renewal, and the new certificate's serial.
type renewal struct {
	call   *Call
	serial string
}
