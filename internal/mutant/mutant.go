// Package mutant is the harness's own proof: faults that are planted, one at a
// time, in what the claims rest on, and the claims that have to turn then. A
// claim that stays as expected on a broken subject is a defect of the claim.
// It is a list; the suite plants and judges.
package mutant

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	security "istio.io/api/security/v1beta1"
	telemetry "istio.io/api/telemetry/v1alpha1"
	istiosecurity "istio.io/client-go/pkg/apis/security/v1"
	istiotelemetry "istio.io/client-go/pkg/apis/telemetry/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"twohop/internal/claim"
	"twohop/internal/lab"
	"twohop/internal/observe"
	"twohop/internal/trial"
	partnernginx "twohop/partner-nginx"
)

// Where a fault is planted.
const (
	Fixtures     = "fixtures"
	Partner      = "partner's nginx.conf"
	Certificates = "certificates"
	RBAC         = "RBAC"
	Mesh         = "mesh policy"
	Collectors   = "collectors' input"
	Experiments  = "the claim's own experiment"
	Harmless     = "harmless"
)

// Mutant is one planted fault, or one harmless change.
type Mutant struct {
	Name, Where string
	Plant       []lab.Variation
	// Spoil plants the fault in the experiment that proves the claim.
	Spoil func(trial.Experiment) trial.Experiment
	// Turns are the claims that must not come out as expected. Empty for a
	// harmless change: then no goal may turn.
	Turns []claim.ID
}

// All returns the mutants for a lab. Certificates are issued by its PKI.
func All(l *lab.Lab) ([]Mutant, error) {
	var all []Mutant
	for _, group := range []func(*lab.Lab) ([]Mutant, error){fixtures, partner, certificates, policy, collectors, experiments, harmless} {
		mutants, err := group(l)
		if err != nil {
			return nil, err
		}
		all = append(all, mutants...)
	}
	return all, nil
}

func one(name, where string, plant lab.Variation, turns ...claim.ID) Mutant {
	return Mutant{Name: name, Where: where, Plant: []lab.Variation{plant}, Turns: turns}
}

// allBut is every claim of the registry but some, which say why.
func allBut(but ...claim.ID) []claim.ID {
	var ids []claim.ID
	for _, c := range claim.All() {
		if !slices.Contains(but, c.ID) {
			ids = append(ids, c.ID)
		}
	}
	return ids
}

func fixtures(l *lab.Lab) ([]Mutant, error) {
	s := l.Subject
	hop1 := func(name string, edit func(*networking.TrafficPolicy_PortTrafficPolicy), turns ...claim.ID) Mutant {
		return one(name, Fixtures, l.DestinationRule(name, s.Hop1Rule, func(dr *networking.DestinationRule) {
			edit(dr.Subsets[0].TrafficPolicy.PortLevelSettings[0])
		}), turns...)
	}
	hop2 := func(name string, edit func(*networking.TrafficPolicy_PortTrafficPolicy), turns ...claim.ID) Mutant {
		return one(name, Fixtures, l.DestinationRule(name, s.Hop2Rule, func(dr *networking.DestinationRule) {
			edit(dr.TrafficPolicy.PortLevelSettings[0])
		}), turns...)
	}
	type port = networking.TrafficPolicy_PortTrafficPolicy
	return []Mutant{
		hop1("hop 1's rule has another SNI", func(p *port) { p.Tls.Sni = "elsewhere.example.com" }, "G1", "G2", "G2-control", "G3"),
		hop1("hop 1's rule disables TLS", func(p *port) { p.Tls = &networking.ClientTLSSettings{Mode: networking.ClientTLSSettings_DISABLE} }, "G1", "G2", "G2-control", "G3"),
		hop1("hop 1's rule pins another gateway's identity", func(p *port) { p.Tls.SubjectAltNames = []string{"spiffe://cluster.local/ns/elsewhere/sa/nobody"} }, "G1", "G2", "G2-control"),
		hop1("hop 1's maxConnections is one more", func(p *port) { p.ConnectionPool.Tcp.MaxConnections++ }, "G3"),
		hop1("hop 1's keepalive is gone", func(p *port) { p.ConnectionPool.Tcp.TcpKeepalive = nil }, "G3"),
		hop1("hop 1's connectTimeout is gone", func(p *port) { p.ConnectionPool.Tcp.ConnectTimeout = nil }, "G3"),
		one("hop 1's subset has another name", Fixtures, l.DestinationRule("rename the subset", s.Hop1Rule, func(dr *networking.DestinationRule) {
			dr.Subsets[0].Name = "elsewhere"
		}), "G1", "G2", "G2-control", "G3"),
		hop2("hop 2 pins no server name", func(p *port) { p.Tls.SubjectAltNames = nil }, "G2"),
		hop2("hop 2 pins another server name", func(p *port) { p.Tls.SubjectAltNames = []string{"elsewhere.example.com"} }, "G1", "G2", "G2-control"),
		hop2("hop 2's SNI is another host", func(p *port) { p.Tls.Sni = "elsewhere.example.com" }, "G2"),
		hop2("hop 2's maxConnections is one less", func(p *port) { p.ConnectionPool.Tcp.MaxConnections-- }, "G3"),
		one("hop 2's rule is seen by every proxy", Fixtures, l.DestinationRule("exportTo *", s.Hop2Rule, func(dr *networking.DestinationRule) {
			dr.ExportTo = []string{"*"}
		}), "G3"),
		one("the VirtualService has no mesh route", Fixtures, l.VirtualService("drop the mesh route", func(vs *networking.VirtualService) {
			vs.Http = vs.Http[1:]
		}), "G1", "G2", "G2-control", "G3"),
		one("the gateway's route leads to port 80", Fixtures, l.VirtualService("hop 2 to port 80", func(vs *networking.VirtualService) {
			vs.Http[1].Route[0].Destination.Port.Number = 80
		}), "G1", "G2", "G2-control"),
		one("the Gateway serves another host", Fixtures, l.GatewayServer("another host", func(g *networking.Gateway) {
			g.Servers[0].Hosts = []string{"elsewhere.example.com"}
		}), "G1", "G2", "G2-control"),
		one("the ServiceEntry does not register port 80", Fixtures, l.ServiceEntry("drop port 80", func(se *networking.ServiceEntry) {
			se.Ports = se.Ports[1:]
		}), "G4"), // G1 stays: any HTTP listener on port 80 will do (T3-80-hack)
	}, nil
}

func partner(l *lab.Lab) ([]Mutant, error) {
	conf := func(name string, replaced []string, turns ...claim.ID) Mutant {
		replacer := strings.NewReplacer(replaced...)
		return Mutant{Name: name, Where: Partner, Turns: turns, Plant: reconfigured(l, name, func(conf string) string { return replacer.Replace(conf) })}
	}
	port := func(name string, number uint32, turns ...claim.ID) Mutant {
		return one(name, Partner, l.ServiceEntry(name, func(se *networking.ServiceEntry) {
			for _, p := range se.Ports {
				if p.Number == uint32(l.Subject.ExternalPort) {
					p.TargetPort = number
				}
			}
		}), turns...)
	}
	return []Mutant{
		conf("the partner asks for no client certificate", []string{"ssl_verify_client on;", "ssl_verify_client off;"}, "G2", "G2-control",
			"H2-secret-ns", "H2-secret-keys", "H2-secret-keys-2", "H2-port-tls", "H2-rotation", "H2-file-certs",
			"F-expired", "F-one-identity", "F-ca-direction"),
		conf("the partner asks, and takes anything", []string{"ssl_verify_client on;", "ssl_verify_client optional_no_ca;"}, "G2-control"),
		conf("the partner asks for nothing and logs SUCCESS", []string{"ssl_verify_client on;", "ssl_verify_client off;", "$ssl_client_verify", "SUCCESS"}, "G2", "G2-control"),
		conf("the partner logs no token", []string{`"token":"$token"`, `"token":""`}, "G1", "G2", "G4"),
		port("the partner's lax port", 8444, "G2", "G2-control"),
		port("the partner has another name's certificate", 8446, "G1", "G2", "G2-control"),
		port("the partner has a stranger's certificate", 8447, "G1", "G2", "G2-control"),
		port("the partner trusts another client CA", 8448, "G1", "G2"),
	}, nil
}

// reconfigured changes the partner's nginx.conf and restarts the partner.
func reconfigured(l *lab.Lab, change string, edit func(string) string) []lab.Variation {
	ns := l.Subject.Partner.Namespace
	return []lab.Variation{
		lab.Edit(change, ns, "partner-conf", func(c *corev1.ConfigMap) { c.Data["nginx.conf"] = edit(c.Data["nginx.conf"]) }),
		lab.Edit("restart the partner", ns, l.Subject.Partner.Deployment, func(d *appsv1.Deployment) {
			d.Spec.Template.Annotations["twohop/mutant"] = hex.EncodeToString([]byte(change))
		}),
	}
}

func certificates(l *lab.Lab) ([]Mutant, error) {
	s := l.Subject
	expired, err := l.PKI.ClientCA.Issue("egress-client", partnernginx.Expired())
	if err != nil {
		return nil, err
	}
	strangers, err := l.PKI.Stranger.Issue("egress-client")
	if err != nil {
		return nil, err
	}
	twin, err := l.PKI.ClientCA.Issue("egress-client")
	if err != nil {
		return nil, err
	}
	secret := func(name string, pair *partnernginx.Pair, ca []byte, turns ...claim.ID) Mutant {
		o := l.CredentialSecret(s.Credential, pair)
		if ca != nil {
			o.Data["ca.crt"] = ca
		}
		return Mutant{Name: name, Where: Certificates, Turns: turns, Plant: []lab.Variation{
			lab.Add(name, o).Holding(lab.SDSName(s.Credential), pair.Serial()),
			l.Reconnect("hop 2 opens new connections"),
		}}
	}
	return []Mutant{
		secret("the client certificate has expired", expired, nil, "G1", "G2"),
		secret("the client certificate is a stranger's", strangers, nil, "G1", "G2"),
		secret("the client certificate is another one of the same name", twin, nil, "G2"),
		secret("the gateway trusts another CA", twin, l.PKI.Stranger.CertPEM, "G1", "G2", "G2-control"),
	}, nil
}

func policy(l *lab.Lab) ([]Mutant, error) {
	s := l.Subject
	deny := &istiosecurity.AuthorizationPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "deny-all", Namespace: s.Gateway.Namespace},
		Spec:       security.AuthorizationPolicy{},
	}
	silent := func(namespace string) *istiotelemetry.Telemetry {
		return &istiotelemetry.Telemetry{
			ObjectMeta: metav1.ObjectMeta{Name: "no-logs", Namespace: namespace},
			// disabled: true does nothing to a log that meshConfig.accessLogFile asks for.
			Spec: telemetry.Telemetry{AccessLogging: []*telemetry.AccessLogging{{
				Providers: []*telemetry.ProviderRef{{Name: "envoy"}},
				Filter:    &telemetry.AccessLogging_Filter{Expression: "response.code == 999"},
			}}},
		}
	}
	atGateway := func(name string, plant lab.Variation, turns ...claim.ID) Mutant {
		return Mutant{Name: name, Where: Mesh, Turns: turns, Plant: []lab.Variation{l.FreshHop1("one request per connection of hop 1"), plant}}
	}
	return []Mutant{
		one("the gateway that lacks the Role has it", RBAC, l.SwapUnbound("the other gateway is the one with the Role"), "G2-rbac"),
		atGateway("the gateway admits nobody", lab.Add("an AuthorizationPolicy that allows nothing", deny), "G1", "G2", "G2-control"),
		atGateway("the gateway logs nothing", lab.Add("a Telemetry without access logs", silent(s.Gateway.Namespace)), "G1", "G2", "G2-control", "G4"),
		one("the sidecar logs nothing", Mesh, lab.Add("a Telemetry without access logs", silent(s.Client.Namespace)), "G1", "G2", "G2-control", "G4"),
	}, nil
}

func collectors(*lab.Lab) ([]Mutant, error) {
	probes := func(line []byte) bool { return bytes.Contains(line, []byte("/probe/")) }
	ends := func(l *lab.Lab) {
		l.Gateway.Log.Distort(nil)
		l.Sidecar.Log.Distort(nil)
		l.Partner.Distort(nil)
		l.Gateway.Distort(nil)
		l.Sidecar.Distort(nil)
		l.Kube.Distort(nil)
		l.Kube.DistortAnswers(nil)
	}
	with := func(name string, begin func(*lab.Lab), turns ...claim.ID) Mutant {
		return one(name, Collectors, lab.Distortion(name, begin, ends), turns...)
	}
	deaf := func(line []byte) [][]byte {
		if probes(line) {
			return nil
		}
		return [][]byte{line}
	}
	twice := func(line []byte) [][]byte {
		if probes(line) {
			return [][]byte{line, line}
		}
		return [][]byte{line}
	}
	cut := func(line []byte) [][]byte {
		if probes(line) {
			return [][]byte{line[:len(line)-20]}
		}
		return [][]byte{line}
	}
	clusters := func(change func([]byte) []byte) func(string, []byte) []byte {
		return func(path string, raw []byte) []byte {
			if path == observe.ClustersPath {
				return change(raw)
			}
			return raw
		}
	}
	stale := func() func([]byte) []byte {
		var first []byte
		return func(raw []byte) []byte {
			if first == nil {
				first = raw
			}
			return first
		}
	}
	return []Mutant{
		with("the gateway's log loses the probes", func(l *lab.Lab) { l.Gateway.Log.Distort(deaf) }, "G1", "G2", "G2-control", "G4"),
		with("the gateway's log has the probes twice", func(l *lab.Lab) { l.Gateway.Log.Distort(twice) }, "G1", "G2-control", "G4"),
		with("the gateway's log lines are cut off", func(l *lab.Lab) { l.Gateway.Log.Distort(cut) }, "G1", "G2", "G2-control", "G4"),
		with("the partner's log loses the probes", func(l *lab.Lab) { l.Partner.Distort(deaf) }, "G2", "G2-control", "G4"),
		with("the proxies' clusters are an old copy", func(l *lab.Lab) {
			l.Sidecar.Distort(clusters(stale()))
			l.Gateway.Distort(clusters(stale()))
		}, "G3"),
		with("the proxies' clusters are cut off", func(l *lab.Lab) {
			half := clusters(func(raw []byte) []byte { return raw[:len(raw)/2] })
			l.Sidecar.Distort(half)
			l.Gateway.Distort(half)
		}, "G1", "G2", "G3"),
		with("the proxies have no clusters", func(l *lab.Lab) {
			none := clusters(func([]byte) []byte { return []byte("{}") })
			l.Sidecar.Distort(none)
			l.Gateway.Distort(none)
		}, "G1", "G2", "G3", "H2-export", "H2-export-2", "P-wrong-proxy"),
		with("the proxies' statistics are all zero", func(l *lab.Lab) {
			l.Sidecar.Distort(zero)
			l.Gateway.Distort(zero)
		}, "P-max-duration", "P-outlier-single", "P-outlier-single-2", "P-overflow-2", "P-overflow-3", "F-dns-stale", "F-dns-stale-2"),
		with("the proxies have no secrets", func(l *lab.Lab) {
			l.Sidecar.Distort(noSecrets)
			l.Gateway.Distort(noSecrets)
		}, "G2", "H2-secret-ns", "H2-secret-ca", "H2-rbac-verbs", "H2-rbac-names", "F-partner-lax"), // others wait 20 s for theirs
		with("the API server is said to accept everything", func(l *lab.Lab) {
			l.Kube.DistortAnswers(func(bool, string) (bool, string) { return true, "" })
		}, "G3-yaml", "V-reject", "V-reject-2"),
		with("the API server is said to refuse everything", func(l *lab.Lab) {
			l.Kube.DistortAnswers(func(bool, string) (bool, string) { return false, "no" })
		}, "G3-yaml", "V-reject", "V-reject-2"),
		istioctl("istioctl is another program", "/bin/echo", "G3", "F-analyze-blind", "F-analyze-noise"),
		one("the proxies are taken for each other", Collectors, lab.Distortion("swap the proxies", swap, unswap), "G1", "G2", "G3"),
		with("curl's report is lost", func(l *lab.Lab) {
			l.Kube.Distort(func(out []byte) []byte {
				if i := bytes.LastIndex(bytes.TrimSpace(out), []byte("\n")); i > 0 {
					return out[:i]
				}
				return nil
			})
		}, allBut(
			"G3-yaml", "V-reject", "V-reject-2", "F-analyze-blind", // ask the API server and istioctl
			"H2-export", "H2-export-2", "H2-rbac-verbs", "H2-rbac-names", "P-wrong-proxy", // read configuration
			"F-dns-stale", "F-dns-stale-2", // lose the last of many requests, and judge by the others
		)...),
		with("curl reports 200 whatever came", func(l *lab.Lab) {
			l.Kube.Distort(func(out []byte) []byte {
				for _, code := range []int{400, 404, 503} {
					out = bytes.ReplaceAll(out, fmt.Appendf(nil, `"http_code":%d`, code), []byte(`"http_code":200`))
				}
				return out
			})
		}, "G1", "G2", "G2-control", "G4"),
	}, nil
}

// istioctl is a run with another program in istioctl's place.
func istioctl(name, program string, turns ...claim.ID) Mutant {
	var real string
	return one(name, Collectors, lab.Distortion(name,
		func(l *lab.Lab) { real, l.Istioctl = l.Istioctl, program },
		func(l *lab.Lab) { l.Istioctl = real }), turns...)
}

func swap(l *lab.Lab) { l.Sidecar, l.Gateway = l.Gateway, l.Sidecar }

// unswap does nothing if the lab has attached anew, which puts them right.
func unswap(l *lab.Lab) {
	if l.Sidecar.Workload == l.Subject.Gateway {
		swap(l)
	}
}

var values = regexp.MustCompile(`(?m): \d+$`)

// zero makes all counters and gauges 0, but not those that the lab's own waits rest on.
func zero(path string, raw []byte) []byte {
	if !strings.HasPrefix(path, "/stats") || path == observe.WarmingPath {
		return raw
	}
	return values.ReplaceAll(raw, []byte(": 0"))
}

func noSecrets(path string, raw []byte) []byte {
	if path != observe.SecretsDumpPath {
		return raw
	}
	return []byte("{}")
}

// experiments are the faults that no claim can be above: a change that was not
// made cannot have turned its check, and a state that was not brought about
// cannot be what it speaks of.
func experiments(*lab.Lab) ([]Mutant, error) {
	undone := func(variations []lab.Variation) []lab.Variation {
		var none []lab.Variation
		for _, v := range variations {
			none = append(none, v.Undone())
		}
		return none
	}
	return []Mutant{
		{Name: "the control's change is not made", Where: Experiments, Turns: allBut(), Spoil: func(e trial.Experiment) trial.Experiment {
			e.Control = undone(e.Control)
			return e
		}},
		{Name: "the state that the claim speaks of is not brought about", Where: Experiments, Spoil: func(e trial.Experiment) trial.Experiment {
			e.Arrange = undone(e.Arrange)
			return e
		}, Turns: allBut(
			// These speak of the baseline, or make their changes in the check itself.
			"G1", "G2", "G3", "G3-yaml", "H2-xfcc", "H2-export", "P-wrong-proxy", "P-wrong-proxy-2", "P-keepalive-socket", "P-not-retroactive",
			"A-align", "A-align-secret", "A-align-rest", "V-reject", "V-reject-2", "F-analyze-noise",
			// The second application is there already, if another claim wanted it, and
			// a connection that has to be new may be so by chance.
			"H1-identity-2", "H2-rotation",
		)},
	}, nil
}

func harmless(l *lab.Lab) ([]Mutant, error) {
	s := l.Subject
	label := lab.Edit("label the partner's Service", s.Partner.Namespace, s.PartnerService, func(o *corev1.Service) {
		o.Labels["twohop/mutant"] = "harmless"
	})
	other := lab.Add("a ServiceEntry of another host", l.OtherServiceEntry("unrelated.example.com"))
	comment := reconfigured(l, "a comment in nginx.conf", func(conf string) string { return conf + "\n# nothing\n" })
	return []Mutant{
		one("the partner's Service has another label", Harmless, label),
		one("a ServiceEntry of another host is there", Harmless, other),
		{Name: "nginx.conf has a comment and the partner restarted", Where: Harmless, Plant: comment},
		one("hop 2 has a header rule that matches nothing", Harmless, l.VirtualService("a route for a header that nobody sends", func(vs *networking.VirtualService) {
			extra := vs.Http[1].DeepCopy()
			extra.Name = "never"
			extra.Match[0].Headers = map[string]*networking.StringMatch{"x-nobody": {MatchType: &networking.StringMatch_Exact{Exact: "sends"}}}
			vs.Http = append([]*networking.HTTPRoute{vs.Http[0], extra}, vs.Http[1:]...)
		})),
	}, nil
}
