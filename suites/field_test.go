package suites

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/gomega"
	"google.golang.org/protobuf/types/known/durationpb"
	networking "istio.io/api/networking/v1alpha3"
	typev1beta1 "istio.io/api/type/v1beta1"
	istio "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"twohop/internal/analysis"
	"twohop/internal/cluster"
	"twohop/internal/envoy"
	"twohop/internal/lab"
	"twohop/internal/observe"
	"twohop/internal/subject"
	"twohop/internal/trial"
	partnernginx "twohop/partner-nginx"
)

// Further kinds of partner (partner-nginx/manifest.yaml).
const (
	otherCAPort      = 8447
	otherClientsPort = 8448
	hangsUpPort      = 8460
	givesUpPort      = 8461
)

var _ = Claim("F-analyze-blind", func(t *trial.T) trial.Experiment {
	missing := "no-secret-" + trial.Unique()
	var said *trial.Analysis
	return trial.Experiment{
		Arrange: []lab.Variation{t.DestinationRule("hop 2's rule names a Secret that does not exist", t.Subject.Hop2Rule, func(dr *networking.DestinationRule) {
			hop2TLS(dr).CredentialName = missing
		})},
		Check: func(ctx context.Context, t *trial.T) (err error) {
			if said, err = t.Analyze(ctx); err != nil {
				return err
			}
			said.Fact("messages that name the missing Secret", analysis.Codes(said.Naming(missing)), Not(BeEmpty()))
			return nil
		},
		Cause: func(ctx context.Context, t *trial.T) error {
			said.Fact("messages about hop 2's rule", analysis.Codes(said.Of("DestinationRule", t.Subject.Hop2Rule)),
				ConsistOf("IST0129 DestinationRule "+t.Subject.Gateway.Namespace+"/"+t.Subject.Hop2Rule))
			// And yet the gateway asked for it, in vain.
			return istiodSays(ctx, t, "the Secret", missing, t.Subject.Gateway.Namespace+"/"+missing+" not found")
		},
		Control: []lab.Variation{lab.Add("a Gateway names the missing Secret too", &istio.Gateway{
			ObjectMeta: metav1.ObjectMeta{Name: "names-a-missing-secret", Namespace: t.Subject.Gateway.Namespace},
			Spec: networking.Gateway{
				Selector: map[string]string{"app": t.Subject.Gateway.Deployment},
				Servers: []*networking.Server{{
					Port:  &networking.Port{Number: 8999, Name: "https-missing", Protocol: "HTTPS"},
					Hosts: []string{"missing." + t.Subject.ExternalHost},
					Tls:   &networking.ServerTLSSettings{Mode: networking.ServerTLSSettings_SIMPLE, CredentialName: missing},
				}},
			},
		})},
	}
})

var _ = Claim("F-analyze-noise", func(t *trial.T) trial.Experiment {
	var said *trial.Analysis
	return trial.Experiment{
		Check: func(ctx context.Context, t *trial.T) (err error) {
			if said, err = t.Analyze(ctx); err != nil {
				return err
			}
			said.Fact("messages about hop 2's rule", analysis.Codes(said.Of("DestinationRule", t.Subject.Hop2Rule)), BeEmpty())
			return nil
		},
		Cause: func(ctx context.Context, t *trial.T) error {
			said.Fact("that no CA is set for hop 2's rule", analysis.Codes(said.Naming("no caCertificates are set to validate server identity")),
				ContainElement("IST0129 DestinationRule "+t.Subject.Gateway.Namespace+"/"+t.Subject.Hop2Rule))
			// And yet the partner is verified, with the Secret's ca.crt.
			hop2, err := t.Cluster(ctx, t.Gateway, t.Subject.Hop2Cluster())
			if err != nil {
				return err
			}
			hop2.Fact("CA by SDS", hop2.TLSOrZero().ValidationSDS, Equal(lab.SDSCAName(t.Subject.Credential)))
			call, err := t.Call(ctx)
			if err != nil {
				return err
			}
			call.Status(Equal(200))
			return nil
		},
		Control: []lab.Variation{t.DestinationRule("hop 2's rule selects the gateway's workload", t.Subject.Hop2Rule, func(dr *networking.DestinationRule) {
			dr.WorkloadSelector = &typev1beta1.WorkloadSelector{MatchLabels: map[string]string{"app": t.Subject.Gateway.Deployment}}
		})},
	}
})

var _ = Claim("F-partner-lax", func(t *trial.T) trial.Experiment {
	var call *trial.Call
	return trial.Experiment{
		Arrange: []lab.Variation{t.Hop2Port("the partner's port does not ask for a certificate", lab.Port{Number: 444, Target: laxPort})},
		Check: func(ctx context.Context, t *trial.T) (err error) {
			if call, err = t.Call(ctx); err != nil {
				return err
			}
			call.Fact("partner: verification of the client certificate", call.Arrived().Verify, Not(Equal("SUCCESS")))
			call.Fact("sidecar or gateway: a failure", call.HTTPCode != 200 || trial.Flags(call.Left())+trial.Flags(call.Through()) != "", BeTrue())
			return nil
		},
		Cause: func(ctx context.Context, t *trial.T) error {
			call.Status(Equal(200))
			call.Fact("gateway: response flags", trial.Flags(call.Through()), BeEmpty())
			call.Fact("partner: it did not ask", call.Arrived().Verify, Equal("NONE"))
			call.Fact("partner: subject of the client certificate", call.Arrived().DN, BeEmpty())
			s, err := t.Secret(ctx, t.Gateway, lab.SDSName(t.Subject.Credential))
			if err != nil {
				return err
			}
			s.Fact("the gateway has the certificate", string(s.State), Equal("ACTIVE"))
			return nil
		},
		Control: []lab.Variation{t.PartnerPortOf("the partner asks, and does not know the CA", 444, otherClientsPort)},
	}
})

var _ = Claim("F-ca-direction", func(t *trial.T) trial.Experiment {
	const theirs, ours = "x-partner-distrusts", "x-gateway-distrusts"
	var refusing, refused *trial.Call
	return trial.Experiment{
		Arrange: []lab.Variation{
			t.Hop2Port("a partner whose CA the gateway does not know", lab.Port{Number: 444, Target: otherCAPort, Header: ours}),
			t.Hop2Port("a partner that does not know the gateway's CA", lab.Port{Number: 445, Target: otherClientsPort, Header: theirs}),
		},
		Check: func(ctx context.Context, t *trial.T) (err error) {
			if refusing, err = t.Call(ctx, trial.With("--header", ours+": yes")); err != nil {
				return err
			}
			if refused, err = t.Call(ctx, trial.With("--header", theirs+": yes")); err != nil {
				return err
			}
			refused.Fact("HTTP status, as where the gateway refuses", refused.HTTPCode, Equal(refusing.HTTPCode))
			refused.Fact("gateway: flags, as where the gateway refuses", trial.Flags(refused.Through()), Equal(trial.Flags(refusing.Through())))
			return nil
		},
		Cause: func(_ context.Context, t *trial.T) error {
			refusing.Fact("the gateway refuses: HTTP status", refusing.HTTPCode, Equal(503))
			refusing.Fact("the gateway refuses: its log", trial.Logged(refusing.Through()), ContainSubstring("CERTIFICATE_VERIFY_FAILED"))
			refusing.Fact("the gateway refuses: requests at the partner", len(refusing.Partner), Equal(0))
			refused.Fact("the partner refuses: HTTP status", refused.HTTPCode, Equal(400))
			refused.Fact("the partner refuses: its answer", refused.Said(), ContainSubstring("The SSL certificate error"))
			refused.Fact("the partner refuses: verification of the client certificate", refused.Arrived().Verify, HavePrefix("FAILED:"))
			refused.Fact("the partner refuses: the gateway's log", trial.Logged(refused.Through()), HavePrefix("no flag 400 via_upstream"))
			return nil
		},
		Control: []lab.Variation{t.PartnerPortOf("lead both to the partner whose CA the gateway does not know", 445, otherCAPort)},
	}
})

var _ = Claim("F-order", func(t *trial.T) trial.Experiment {
	missing := "no-secret-" + trial.Unique()
	port := func(number uint32) lab.Port {
		return lab.Port{Number: number, Target: strictPort, Settings: func(p *networking.TrafficPolicy_PortTrafficPolicy) { p.Tls.CredentialName = missing }}
	}
	var call *trial.Call
	return trial.Experiment{
		Arrange: []lab.Variation{
			t.PortRoute("first the ServiceEntry registers a port, and the route leads there", port(444)).Live(),
			t.PortRule("then the rule asks for MUTUAL on it, with a Secret that does not exist", port(444)),
		},
		Check: func(ctx context.Context, t *trial.T) (err error) {
			if call, err = t.Call(ctx); err != nil {
				return err
			}
			call.Status(Equal(503))
			call.Fact("gateway: response flags", trial.Flags(call.Through()), Equal("NC"))
			call.Fact("partner: requests of this token", len(call.Partner), Equal(0))
			return nil
		},
		Cause: func(ctx context.Context, t *trial.T) error {
			// That the gateway waits for the Secret shows that it has the rule.
			if err := secretIs(ctx, t, lab.SDSName(missing), envoy.SecretWarming); err != nil {
				return err
			}
			call.Fact("gateway: carrying cluster", call.Through().UpstreamCluster, HavePrefix(subject.ClusterName(444, "", t.Subject.ExternalHost)))
			return plaintextToTLS(call, t)
		},
		Control: []lab.Variation{t.Hop2Port("the same for another port, the rule first", port(445))},
	}
})

var _ = Claim("F-expired", func(t *trial.T) trial.Experiment {
	var call *trial.Call
	name := "expiry-" + trial.Unique()
	expired := must(t.PKI.ClientCA.Issue("egress-client", partnernginx.Expired()))
	valid := t.NewPair()
	return trial.Experiment{
		Arrange: []lab.Variation{
			lab.Add("a Secret whose certificate has expired", t.CredentialSecret(name, expired)),
			t.Hop2Port("hop 2 presents it, one request a connection", lab.Port{Number: 444, Target: strictPort, Settings: func(p *networking.TrafficPolicy_PortTrafficPolicy) {
				p.Tls.CredentialName = name
				p.ConnectionPool.Http = &networking.ConnectionPoolSettings_HTTPSettings{MaxRequestsPerConnection: 1}
			}}).Holding(lab.SDSName(name), expired.Serial()),
		},
		Check: func(ctx context.Context, t *trial.T) error {
			s, err := t.Secret(ctx, t.Gateway, lab.SDSName(name))
			if err != nil {
				return err
			}
			leaf, err := s.Leaf()
			if err != nil {
				return err
			}
			s.Fact("its certificate has expired", leaf.NotAfter.Before(time.Now()), BeTrue())
			if call, err = t.Call(ctx); err != nil {
				return err
			}
			call.Status(Equal(400))
			call.Fact("partner's answer", call.Said(), ContainSubstring("The SSL certificate error"))
			call.Fact("partner: verification of the client certificate", call.Arrived().Verify, Equal("FAILED:certificate has expired"))
			call.Fact("gateway: response flags", trial.Flags(call.Through()), BeEmpty())
			return nil
		},
		Cause: func(_ context.Context, t *trial.T) error {
			call.Status(Equal(200))
			call.Fact("partner: verification of the client certificate", call.Arrived().Verify, Equal("SUCCESS"))
			call.Fact("partner: serial of the client certificate", call.Arrived().Serial, Equal(valid.Serial()))
			return nil
		},
		Control: []lab.Variation{lab.Add("renew the certificate in the Secret", t.CredentialSecret(name, valid)).Holding(lab.SDSName(name), valid.Serial())},
	}
})

func must[V any](v V, err error) V {
	if err != nil {
		panic(err) // no random numbers
	}
	return v
}

var _ = Claim("F-h2", func(t *trial.T) trial.Experiment {
	var call *trial.Call
	policy := func(change string, p networking.ConnectionPoolSettings_HTTPSettings_H2UpgradePolicy) lab.Variation {
		return t.DestinationRule(change, t.Subject.Hop2Rule, func(dr *networking.DestinationRule) {
			dr.TrafficPolicy.PortLevelSettings[0].ConnectionPool.Http = &networking.ConnectionPoolSettings_HTTPSettings{H2UpgradePolicy: p}
		})
	}
	return trial.Experiment{
		Arrange: []lab.Variation{policy("hop 2's h2UpgradePolicy is UPGRADE", networking.ConnectionPoolSettings_HTTPSettings_UPGRADE)},
		Check: func(ctx context.Context, t *trial.T) (err error) {
			hop2, err := t.Cluster(ctx, t.Gateway, t.Subject.Hop2Cluster())
			if err != nil {
				return err
			}
			hop2.Fact("HTTP version", string(hop2.Pool.Protocol), Equal("http2"))
			if call, err = t.Call(ctx); err != nil {
				return err
			}
			call.Fact("curl: the call succeeds", call.HTTPCode == 200, BeFalse())
			call.Fact("partner: requests of this token", len(call.Partner), Equal(0))
			call.Fact("gateway: says why", trial.Logged(call.Through()), ContainSubstring("NO_APPLICATION_PROTOCOL"))
			return nil
		},
		Cause: func(_ context.Context, t *trial.T) error {
			call.Status(Equal(200))
			call.Fact("gateway: HTTP version of hop 2", call.Through().UpstreamProtocol, Equal("HTTP/1.1"))
			call.Fact("partner: HTTP version", call.Arrived().Protocol, Equal("HTTP/1.1"))
			return nil
		},
		Control: []lab.Variation{policy("hop 2's h2UpgradePolicy is DO_NOT_UPGRADE", networking.ConnectionPoolSettings_HTTPSettings_DO_NOT_UPGRADE)},
	}
})

// retries gives routes of the VirtualService, by name, a retry policy.
func retries(t *trial.T, change string, policy *networking.HTTPRetry, routes ...string) lab.Variation {
	return t.VirtualService(change, func(vs *networking.VirtualService) {
		for _, route := range vs.Http {
			for _, prefix := range routes {
				if strings.HasPrefix(route.Name, prefix) {
					route.Retries = policy
				}
			}
		}
	})
}

// twice retries on whatever can happen, without a pause worth the name.
var twice = &networking.HTTPRetry{Attempts: 2, RetryOn: "5xx,reset", Backoff: durationpb.New(time.Millisecond)}

func hangsUp(t *trial.T) lab.Variation {
	return t.Hop2Port("the partner hangs up without an answer", lab.Port{Number: 444, Target: hangsUpPort})
}

var _ = Claim("F-retry-count", func(t *trial.T) trial.Experiment {
	var call *trial.Call
	return trial.Experiment{
		Arrange: []lab.Variation{hangsUp(t)},
		Check: func(ctx context.Context, t *trial.T) (err error) {
			if call, err = t.Call(ctx); err != nil {
				return err
			}
			call.Status(Equal(503))
			call.Fact("partner: requests of this token", len(call.Partner), Equal(1))
			call.Fact("gateway: response flags", trial.Flags(call.Through()), Equal("UC"))
			return nil
		},
		Cause: func(_ context.Context, t *trial.T) error {
			call.Status(Equal(503))
			call.Fact("gateway: attempts at the partner", call.Through().UpstreamRequestAttemptCount, HaveValue(BeNumerically("==", 3)))
			call.Fact("gateway: response flags", call.Through().ResponseFlags, ContainElement("URX"))
			return nil
		},
		Control: []lab.Variation{retries(t, "ask for two retries at the gateway, on resets too", twice, "hop2")},
	}
})

var _ = Claim("F-retry-count-2", func(t *trial.T) trial.Experiment {
	var call *trial.Call
	return trial.Experiment{
		Arrange: []lab.Variation{hangsUp(t), retries(t, "ask for two retries on each route", twice, "hop1", "hop2")},
		Check: func(ctx context.Context, t *trial.T) (err error) {
			if call, err = t.Call(ctx); err != nil {
				return err
			}
			call.Fact("partner: requests of this token", len(call.Partner), BeNumerically("<=", 3))
			return nil
		},
		Cause: func(_ context.Context, t *trial.T) error {
			call.Status(Equal(503))
			call.Fact("gateway: requests of this token", len(call.Gateway), Equal(3))
			call.Fact("partner: requests of this token, all in all", len(call.Partner), Equal(9))
			return nil
		},
		Control: []lab.Variation{retries(t, "attempts: 0 on hop 1's route", &networking.HTTPRetry{}, "hop1")},
	}
})

var _ = Claim("F-idle-race", func(t *trial.T) trial.Experiment {
	const idle, pause = 200 * time.Millisecond, time.Second
	var calls []*trial.Call
	return trial.Experiment{
		Arrange: []lab.Variation{
			t.Hop2Port("the partner gives connections up after half a second", lab.Port{Number: 444, Target: givesUpPort}),
			retries(t, "no retries, which would hide it", &networking.HTTPRetry{}, "hop1", "hop2"),
		},
		Check: func(ctx context.Context, t *trial.T) (err error) {
			if calls, err = t.Keep(ctx, 2, pause).Calls(ctx); err != nil {
				return err
			}
			second, same := calls[1], BeNil()
			if id := calls[0].Through().UpstreamConnectionID; id != nil {
				same = Equal(*id)
			}
			calls[0].Fact("first call: HTTP status", calls[0].HTTPCode, Equal(200))
			second.Fact("second call: HTTP status", second.HTTPCode, Equal(503))
			second.Fact("second call: gateway's response flags", trial.Flags(second.Through()), Equal("UC"))
			second.Fact("second call: on the first one's connection", second.Through().UpstreamConnectionID, same)
			return nil
		},
		Cause: func(_ context.Context, t *trial.T) error {
			second := calls[1]
			second.Status(Equal(200))
			second.Fact("partner: the connection is a new one", second.Arrived().Connection, Not(Equal(calls[0].Arrived().Connection)))
			second.Fact("partner: requests so far on it", second.Arrived().ConnectionRequests, BeNumerically("==", 1))
			return nil
		},
		Control: []lab.Variation{t.DestinationRule(fmt.Sprintf("the gateway gives idle connections up after %v", idle), t.Subject.Hop2Rule, func(dr *networking.DestinationRule) {
			dr.TrafficPolicy.PortLevelSettings[1].ConnectionPool.Http = &networking.ConnectionPoolSettings_HTTPSettings{IdleTimeout: durationpb.New(idle)}
		})},
	}
})

var _ = Claim("F-one-identity", func(t *trial.T) trial.Experiment {
	const subset, route = "second", "hop2-second"
	name := "second-" + trial.Unique()
	pair := must(t.PKI.ClientCA.Issue("second-egress-client"))
	var first, second *trial.Call
	return trial.Experiment{
		Arrange: []lab.Variation{
			t.SecondClient("run a second application, under a service account of its own"),
			lab.Add("a client certificate for the second application", t.CredentialSecret(name, pair)),
			t.DestinationRule("hop 2's rule has a subset that presents it", t.Subject.Hop2Rule, func(dr *networking.DestinationRule) {
				settings := dr.TrafficPolicy.PortLevelSettings[0].DeepCopy()
				settings.Tls.CredentialName = name
				dr.Subsets = []*networking.Subset{{Name: subset, TrafficPolicy: &networking.TrafficPolicy{
					PortLevelSettings: []*networking.TrafficPolicy_PortTrafficPolicy{settings}}}}
			}).Holding(lab.SDSName(name), pair.Serial()),
			t.VirtualService("the gateway's route chooses the subset by the caller's SPIFFE id", func(vs *networking.VirtualService) {
				mine := vs.Http[1].DeepCopy()
				mine.Name = route
				mine.Route[0].Destination.Subset = subset
				caller := regexp.QuoteMeta(t.Subject.SPIFFE(t.Subject.SecondClient()))
				mine.Match[0].Headers = map[string]*networking.StringMatch{
					"x-forwarded-client-cert": {MatchType: &networking.StringMatch_Regex{Regex: ".*URI=" + caller + "($|[;,].*)"}},
				}
				vs.Http = slices.Insert(vs.Http, 1, mine)
			}),
		},
		Check: func(ctx context.Context, t *trial.T) (err error) {
			if first, err = t.Call(ctx); err != nil {
				return err
			}
			if second, err = t.CallFrom(ctx, t.Second.Sidecar); err != nil {
				return err
			}
			first.Fact("the first application's call: HTTP status", first.HTTPCode, Equal(200))
			first.Fact("the first application's call: subject at the partner", first.Arrived().DN, Equal("CN=egress-client"))
			second.Fact("the second application's call: HTTP status", second.HTTPCode, Equal(200))
			second.Fact("the second application's call: subject at the partner", second.Arrived().DN, Equal("CN=second-egress-client"))
			second.Fact("the second application's call: serial at the partner", second.Arrived().Serial, Equal(pair.Serial()))
			return nil
		},
		Cause: func(_ context.Context, t *trial.T) error {
			second.Fact("the second application's call: route", second.Through().RouteName, Equal("hop2"))
			second.Fact("the second application's call: subject at the partner", second.Arrived().DN, Equal("CN=egress-client"))
			return nil
		},
		Control: []lab.Variation{t.VirtualService("take the second application's route away", func(vs *networking.VirtualService) {
			vs.Http = slices.DeleteFunc(vs.Http, func(r *networking.HTTPRoute) bool { return r.Name == route })
		})},
	}
})

var _ = Claim("F-two-gateways", func(t *trial.T) trial.Experiment {
	const n = 8
	var last *trial.Call
	var inFirst, inSecond int
	return trial.Experiment{
		Arrange: []lab.Variation{
			t.DestinationRule("hop 1 takes gateways in turn", t.Subject.Hop1Rule, func(dr *networking.DestinationRule) {
				dr.Subsets[0].TrafficPolicy.PortLevelSettings[0].LoadBalancer = &networking.LoadBalancerSettings{
					LbPolicy: &networking.LoadBalancerSettings_Simple{Simple: networking.LoadBalancerSettings_ROUND_ROBIN}}
			}),
			t.SecondGateway("run a second gateway pod"),
		},
		Check: func(ctx context.Context, t *trial.T) error {
			limits := 0
			for _, p := range []*observe.Proxy{t.Gateway, t.Second.Gateway} {
				if p == nil {
					continue
				}
				hop2, err := t.Cluster(ctx, p, t.Subject.Hop2Cluster())
				if err != nil {
					return err
				}
				if hop2.Fact("maxConnections, at "+p.Workload.Deployment, hop2.Pool.MaxConnections, Equal(t.Subject.Hop2Pool.MaxConnections)) {
					limits++
				}
			}
			if t.Second.Gateway != nil {
				// A new host reaches Envoy's workers later than its admin API.
				if err := usesBothGateways(ctx, t); err != nil {
					return err
				}
			}
			calls, err := t.Keep(ctx, n, 0).Calls(ctx)
			if err != nil {
				return err
			}
			inFirst, inSecond = 0, 0
			callers := map[string]bool{}
			for _, c := range calls {
				inFirst += len(c.Gateway)
				inSecond += len(c.SecondGateway)
				callers[c.Arrived().Peer] = true
			}
			last = calls[n-1]
			last.Fact("gateways that each hold the whole limit", limits, Equal(2))
			last.Fact("calls in the first gateway's log", inFirst, And(BeNumerically(">", 0), BeNumerically("<", n)))
			last.Fact("calls in the second gateway's log", inSecond, BeNumerically(">", 0))
			last.Fact("calls in both logs", inFirst+inSecond, Equal(n))
			last.Fact("partner: gateways that it was called from", len(callers), Equal(2))
			return nil
		},
		Cause: func(_ context.Context, t *trial.T) error {
			last.Fact("calls in the one gateway's log", inFirst, Equal(n))
			return nil
		},
		Control: []lab.Variation{t.OneGateway("take the second gateway pod away")},
	}
})

// usesBothGateways calls until a call has gone through the second gateway.
func usesBothGateways(ctx context.Context, t *trial.T) error {
	ctx, cancel := context.WithTimeoutCause(ctx, lab.Timeouts.Push, fmt.Errorf("%v went by", lab.Timeouts.Push))
	defer cancel()
	return lab.Poll(ctx, func() (bool, string, error) {
		call, err := t.Call(ctx)
		if err != nil {
			return false, "", err
		}
		return len(call.SecondGateway) > 0, "the sidecar's calls go to the first gateway only", nil
	})
}

var _ = Claim("F-se-collision", func(t *trial.T) trial.Experiment {
	const foreign = "somebody-elses"
	// Of several Services of one hostname istiod takes the oldest; of those made
	// in one second the first by namespace (pilot/pkg/model,
	// SortServicesByCreationTime). The application's namespace sorts before the
	// gateway's.
	ns := t.Subject.Client.Namespace
	entry := func(change string, exportTo ...string) lab.Variation {
		return lab.Add(change, &istio.ServiceEntry{
			ObjectMeta: metav1.ObjectMeta{Name: foreign, Namespace: ns},
			Spec: networking.ServiceEntry{
				Hosts: []string{t.Subject.ExternalHost}, Location: networking.ServiceEntry_MESH_EXTERNAL, Resolution: networking.ServiceEntry_STATIC,
				Ports: []*networking.ServicePort{
					{Number: uint32(t.Subject.ExternalPort), Name: "tls", Protocol: "TLS", TargetPort: laxPort},
					// What the application calls; without it the sidecar, which sees
					// this entry first, may have no listener on that port.
					{Number: uint32(t.Subject.AppPort), Name: "http", Protocol: "HTTP", TargetPort: laxPort},
				},
				Endpoints: []*networking.WorkloadEntry{{Address: t.PartnerIP}},
				ExportTo:  exportTo,
			},
		})
	}
	ours := t.BaselineServiceEntry()
	var call *trial.Call
	return trial.Experiment{
		Arrange: []lab.Variation{
			entry("another namespace has a ServiceEntry for the host, to another port of the partner"),
			lab.Remove("take ours away", ours),
			lab.Add("and make it again: it is the younger one now", ours),
		},
		Check: func(ctx context.Context, t *trial.T) error {
			hop2, err := t.Cluster(ctx, t.Gateway, t.Subject.Hop2Cluster())
			if err != nil {
				return err
			}
			hop2.Fact("kind of discovery", hop2.Envoy.Type(), Equal("STRICT_DNS"))
			if call, err = t.Call(ctx); err != nil {
				return err
			}
			call.Fact("partner: its port", call.Arrived().Port, BeNumerically("==", 8443))
			call.Fact("partner: verification of the client certificate", call.Arrived().Verify, Equal("SUCCESS"))
			return nil
		},
		Cause: func(ctx context.Context, t *trial.T) error {
			hop2, err := t.Cluster(ctx, t.Gateway, t.Subject.Hop2Cluster())
			if err != nil {
				return err
			}
			hop2.Fact("kind of discovery, as the other ServiceEntry wants it", hop2.Envoy.Type(), Equal("EDS"))
			call.Status(Equal(200))
			call.Fact("partner: its port", call.Arrived().Port, BeNumerically("==", laxPort))
			call.Fact("partner: verification of the client certificate", call.Arrived().Verify, Equal("NONE"))
			return nil
		},
		Control: []lab.Variation{entry("that ServiceEntry is exported to its own namespace only", ".")},
	}
})

// moving is a partner whose address is another one from now on, by its name in
// DNS: its pod's, or that of its Service, with the same port on both.
type moving struct {
	name     lab.PartnerName
	canary   string
	old, new string // addresses
	stays    bool   // the old address stays in DNS beside the new one
	kept     []*trial.Call
	first    *trial.Call
	after    []*trial.Call // from when the canary had the new address
	// Of hop 2, before the move and at the end.
	before, now *trial.Counters
}

func newMoving(t *trial.T) *moving {
	return &moving{name: t.NewPartnerName("moving"), canary: "canary." + t.Subject.ExternalHost, old: t.PartnerPod.Status.PodIP, new: t.PartnerIP}
}

func (m *moving) arrange(t *trial.T) []lab.Variation {
	canary := t.OtherServiceEntry(m.canary)
	canary.Spec.Ports[0].TargetPort = laxPort
	canary.Spec.Endpoints = []*networking.WorkloadEntry{{Address: m.name.FQDN()}}
	return []lab.Variation{
		m.name.Has("a DNS name has the address of the partner's pod", m.old),
		m.registered(t, "hop 2 goes to that name, with resolution DNS", networking.ServiceEntry_DNS, m.name.FQDN()),
		lab.Add("a canary of the same name, with resolution DNS", canary),
	}
}

// registered leads hop 2 to an address, and to a port that keeps connections for an
// hour: what ends one is not the partner.
func (m *moving) registered(t *trial.T, change string, resolution networking.ServiceEntry_Resolution, address string) lab.Variation {
	return lab.Together(change,
		t.ServiceEntry(change, func(se *networking.ServiceEntry) {
			se.Resolution, se.Endpoints[0].Address = resolution, address
		}),
		t.PartnerPort(change, laxPort))
}

// move gives the name its other address while a client is at work, and goes on
// until hop 2 has it, or until it ought to: the canary has it, and another time
// to live is over.
func (m *moving) move(ctx context.Context, t *trial.T) (err error) {
	const (
		pace = 250 * time.Millisecond
		most = 120
		more = 4
		// Istio spreads what it asks DNS by a tenth of a second; a look at the hosts takes a while too.
		another = int((cluster.DNSTTL + time.Second) / pace)
	)
	from, to := m.old, m.new
	if m.first != nil { // the second time it moves back
		from, to = to, from
	}
	m.old, m.new = from, to
	client := t.KeepOn(ctx, most, pace)
	if err := client.Await(ctx, 2); err != nil {
		return err
	}
	if m.before, err = t.Counters(ctx, t.Gateway, t.Subject.Hop2Cluster()); err != nil {
		return err
	}
	has := []string{to}
	if m.stays {
		has = append(has, from)
	}
	if err := t.Change(ctx, m.name.Has("the partner moves: the name has its other address", has...)); err != nil {
		return err
	}
	canary := subject.ClusterName(t.Subject.ExternalPort, "", m.canary)
	for i := range has {
		has[i] = m.at(has[i])
	}
	if _, err := client.AwaitHosts(ctx, t.Gateway, canary, 2*another, has...); err != nil {
		return err
	}
	hosts, err := t.Hosts(ctx, t.Gateway, canary)
	if err != nil {
		return err
	}
	hosts.Fact("the canary's addresses", hosts.Addresses, ConsistOf(has))
	if _, err := client.AwaitHosts(ctx, t.Gateway, t.Subject.Hop2Cluster(), another, has...); err != nil {
		return err
	}
	if err := client.Await(ctx, 1+more); err != nil {
		return err
	}
	if m.now, err = t.Counters(ctx, t.Gateway, t.Subject.Hop2Cluster()); err != nil {
		return err
	}
	if m.kept, err = client.Stop(ctx); err != nil {
		return err
	}
	m.first, m.after = m.kept[0], m.kept[len(m.kept)-more:]
	return nil
}

// at is an address with the partner's port.
func (m *moving) at(address string) string { return fmt.Sprintf("%s:%d", address, laxPort) }
func (m *moving) last() *trial.Call        { return m.after[len(m.after)-1] }

// followed is the time from the first request to the first one at the new
// address, none if there was none.
func (m *moving) followed() any {
	for _, c := range m.kept {
		if c.Through().UpstreamHost == m.at(m.new) {
			return m.took(c)
		}
	}
	return nil
}

// took is the time in seconds from the first request to another one, by the gateway's log.
func (m *moving) took(c *trial.Call) float64 {
	return c.Through().StartTime.Sub(m.first.Through().StartTime).Seconds()
}

// stayed is how many of the requests after the move were on the first one's connection.
func (m *moving) stayed() (n int) {
	first := m.first.Through().UpstreamConnectionID
	for _, c := range m.after {
		if id := c.Through().UpstreamConnectionID; id != nil && first != nil && *id == *first {
			n++
		}
	}
	return n
}

var _ = Claim("F-dns-stale", func(t *trial.T) trial.Experiment {
	m := newMoving(t)
	return trial.Experiment{
		Arrange: m.arrange(t),
		Check: func(ctx context.Context, t *trial.T) error {
			if err := m.move(ctx, t); err != nil {
				return err
			}
			m.first.Fact("before: upstream host", m.first.Through().UpstreamHost, Equal(m.at(m.old)))
			m.last().Fact("after: upstream host", m.last().Through().UpstreamHost, Equal(m.at(m.new)))
			// It asks again when the record's time is over: not more often, and
			// follows what the answer is.
			ttl := cluster.DNSTTL.Seconds()
			m.now.Grew(m.before, "update_attempt", HaveValue(And(BeNumerically(">=", 1), BeNumerically("<=", 1+int(m.took(m.last())/ttl)))))
			m.last().Fact("seconds from the first request to the first one at the new address", m.followed(), BeNumerically("<", 3*ttl))
			m.last().Fact("requests that failed", len(m.kept)-trial.Answered(m.kept, 200), Equal(0))
			return nil
		},
		Cause: func(ctx context.Context, t *trial.T) error {
			hop2, err := t.Cluster(ctx, t.Gateway, t.Subject.Hop2Cluster())
			if err != nil {
				return err
			}
			hop2.Fact("kind of discovery", hop2.Envoy.Type(), Equal("EDS"))
			hosts, err := t.Hosts(ctx, t.Gateway, t.Subject.Hop2Cluster())
			if err != nil {
				return err
			}
			hosts.Fact("addresses", hosts.Addresses, ConsistOf(m.at(m.old)))
			m.last().Fact("after: upstream host, as written in the ServiceEntry", m.last().Through().UpstreamHost, Equal(m.at(m.old)))
			m.last().Fact("requests that failed", len(m.kept)-trial.Answered(m.kept, 200), Equal(0))
			return nil
		},
		Control: []lab.Variation{m.registered(t, "resolution STATIC, with the address that the name has now", networking.ServiceEntry_STATIC, m.new)},
	}
})

var _ = Claim("F-dns-stale-2", func(t *trial.T) trial.Experiment {
	m := newMoving(t)
	return trial.Experiment{
		Arrange: append(m.arrange(t), t.DestinationRule("hop 2 takes its addresses in turn", t.Subject.Hop2Rule, func(dr *networking.DestinationRule) {
			dr.TrafficPolicy.PortLevelSettings[0].LoadBalancer = &networking.LoadBalancerSettings{
				LbPolicy: &networking.LoadBalancerSettings_Simple{Simple: networking.LoadBalancerSettings_ROUND_ROBIN}}
		})),
		Check: func(ctx context.Context, t *trial.T) error {
			if err := m.move(ctx, t); err != nil {
				return err
			}
			m.first.Fact("before: upstream host", m.first.Through().UpstreamHost, Equal(m.at(m.old)))
			m.last().Fact("after: requests on the connection from before", m.stayed(), BeNumerically(">", 0))
			return nil
		},
		Cause: func(ctx context.Context, t *trial.T) error {
			m.last().Fact("after: upstream host", m.last().Through().UpstreamHost, Equal(m.at(m.new)))
			m.last().Fact("requests that failed", len(m.kept)-trial.Answered(m.kept, 200), Equal(0))
			// A host that leaves a cluster takes its HTTP pools along (Envoy's
			// ClusterManagerImpl, DrainAndDelete): what is idle is closed then.
			m.now.Grew(m.before, "upstream_cx_destroy_local", HaveValue(BeNumerically("==", 1)))
			m.now.Grew(m.before, "upstream_cx_destroy_remote", HaveValue(BeNumerically("==", 0)))
			return nil
		},
		Control: []lab.Variation{lab.Input("the old address stays in DNS beside the new one", func() { m.stays = true })},
	}
})
