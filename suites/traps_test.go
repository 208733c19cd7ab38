package suites

import (
	"context"

	. "github.com/onsi/gomega"
	networking "istio.io/api/networking/v1alpha3"

	"twohop/internal/lab"
	"twohop/internal/subject"
	"twohop/internal/trial"
)

// The younger rule for the partner's host says nothing of TLS. Its name sorts
// before the older one's, so that the name does not decide what age should.
const (
	youngerRule   = "a-younger-rule"
	youngerSubset = "younger"
	youngerLimit  = 5
)

var _ = Claim("T1-merge", func(t *trial.T) trial.Experiment {
	two := &secondRule{}
	return trial.Experiment{
		Arrange: []lab.Variation{two.add(t, "add a younger rule for the partner's host, with the same exportTo", ".")},
		Check:   two.merged,
		Control: []lab.Variation{two.add(t, "leave out the younger rule's exportTo")},
		Cause:   two.youngerAlone,
	}
})

var _ = Claim("T1-export", func(t *trial.T) trial.Experiment {
	two := &secondRule{}
	return trial.Experiment{
		Arrange: []lab.Variation{two.add(t, "add a younger rule for the partner's host, without exportTo")},
		Check:   two.merged,
		Cause:   two.youngerAlone,
		Control: []lab.Variation{two.add(t, "give the younger rule the older one's exportTo", ".")},
	}
})

// secondRule is hop 2 under two DestinationRules.
type secondRule struct {
	hop2 *trial.Cluster
	call *trial.Call
}

func (*secondRule) add(t *trial.T, change string, exportTo ...string) lab.Variation {
	return t.AddYounger(change, t.Subject.Hop2Rule, youngerRule, &networking.DestinationRule{
		Host: t.Subject.ExternalHost, ExportTo: exportTo,
		TrafficPolicy: &networking.TrafficPolicy{ConnectionPool: &networking.ConnectionPoolSettings{
			Tcp: &networking.ConnectionPoolSettings_TCPSettings{MaxConnections: youngerLimit},
		}},
		Subsets: []*networking.Subset{{Name: youngerSubset}},
	})
}

// merged states what the guide says of two rules for one host.
func (r *secondRule) merged(ctx context.Context, t *trial.T) (err error) {
	if r.hop2, err = t.Cluster(ctx, t.Gateway, t.Subject.Hop2Cluster()); err != nil {
		return err
	}
	r.hop2.Fact("maxConnections", r.hop2.Pool.MaxConnections, Equal(t.Subject.Hop2Pool.MaxConnections))
	r.hop2.Fact("TLS transport socket", r.hop2.TLS != nil, BeTrue())
	subset, err := t.Cluster(ctx, t.Gateway, subject.ClusterName(t.Subject.ExternalPort, youngerSubset, t.Subject.ExternalHost))
	if err != nil {
		return err
	}
	subset.Fact("there is one", subset.Present, BeTrue())
	if r.call, err = t.Call(ctx); err != nil {
		return err
	}
	r.call.Status(Equal(200))
	return nil
}

// youngerAlone states what istiod does with two rules whose exportTo differ: it
// keeps them apart (pilot/pkg/model/destination_rule.go, mergeDestinationRule)
// and takes the last of the list (pilot/pkg/model/sidecar.go, DestinationRule).
func (r *secondRule) youngerAlone(_ context.Context, t *trial.T) error {
	r.hop2.Fact("maxConnections, the younger rule's", r.hop2.Pool.MaxConnections, Equal(uint32(youngerLimit)))
	r.hop2.Fact("TLS transport socket", r.hop2.TLS != nil, BeFalse())
	return plaintextToTLS(r.call, t)
}

// plaintextToTLS is what the partner says when hop 2 came without TLS.
func plaintextToTLS(call *trial.Call, t *trial.T) error {
	call.Status(Equal(400))
	call.Fact("gateway: requests of this token", len(call.Gateway), Equal(1))
	call.Fact("partner: TLS version", call.Arrived().TLS, BeEmpty())
	call.Fact("partner's answer", string(call.Body), ContainSubstring("The plain HTTP request was sent to HTTPS port"))
	return nil
}

var _ = Claim("T2-typo-hop2", func(t *trial.T) trial.Experiment {
	var call *trial.Call
	host := func(change, host string) lab.Variation {
		return t.DestinationRule(change, t.Subject.Hop2Rule, func(dr *networking.DestinationRule) { dr.Host = host })
	}
	return trial.Experiment{
		Arrange: []lab.Variation{host("put a letter too many into the host of hop 2's rule", "x"+t.Subject.ExternalHost)},
		Check: func(ctx context.Context, t *trial.T) error {
			hop2, err := t.Cluster(ctx, t.Gateway, t.Subject.Hop2Cluster())
			if err != nil {
				return err
			}
			hop2.Fact("there is one", hop2.Present, BeTrue())
			hop2.Fact("DestinationRule", hop2.Rule(), BeEmpty())
			hop2.Fact("TLS transport socket", hop2.TLS != nil, BeFalse())
			if call, err = t.Call(ctx); err != nil {
				return err
			}
			return plaintextToTLS(call, t)
		},
		Control: []lab.Variation{host("write the host as the ServiceEntry does", t.Subject.ExternalHost)},
		Cause:   passesBothHops(&call),
	}
})

var _ = Claim("T2-typo-hop1", func(t *trial.T) trial.Experiment {
	var call *trial.Call
	named := t.Subject.Hop1Cluster() // by the mesh route
	return trial.Experiment{
		Arrange: []lab.Variation{t.DestinationRule("put a letter too many into the host of hop 1's rule", t.Subject.Hop1Rule, func(dr *networking.DestinationRule) {
			dr.Host = "x" + dr.Host
		})},
		Check: func(ctx context.Context, t *trial.T) error {
			hop1, err := t.Cluster(ctx, t.Sidecar, named)
			if err != nil {
				return err
			}
			t.Fact("client sidecar: the cluster that the mesh route names is there", hop1.Present, BeTrue(), hop1.Path())
			t.Fact("client sidecar: DestinationRule of that cluster", hop1.Rule(), BeEmpty(), hop1.Path())
			call, err = t.Call(ctx)
			return err
		},
		Cause: func(_ context.Context, t *trial.T) error {
			call.Status(Equal(503))
			call.Fact("sidecar: response flags", trial.Flags(call.Left()), Equal("NC"))
			call.Fact("sidecar: response code details", call.Left().ResponseCodeDetails, Equal("cluster_not_found"))
			return nil
		},
		Control: []lab.Variation{t.VirtualService("let the mesh route name no subset", func(vs *networking.VirtualService) {
			vs.Http[0].Route[0].Destination.Subset = ""
			named = subject.ClusterName(t.Subject.GatewayPort, "", t.Subject.GatewayFQDN())
		})},
	}
})

var _ = Claim("T2-short", func(t *trial.T) trial.Experiment {
	var call *trial.Call
	short := t.BaselineDestinationRule(t.Subject.Hop1Rule)
	short.Host = t.Subject.GatewayService
	return trial.Experiment{
		Arrange: []lab.Variation{
			t.RemoveDestinationRule("take hop 1's rule out of the gateway's namespace", t.Subject.Hop1Rule),
			lab.AddDestinationRule("put it into the application's, with a short host", t.Subject.Client.Namespace, t.Subject.Hop1Rule, short),
		},
		Check: func(ctx context.Context, t *trial.T) error {
			hop1, err := t.Cluster(ctx, t.Sidecar, t.Subject.Hop1Cluster())
			if err != nil {
				return err
			}
			hop1.Fact("there is one", hop1.Present, BeFalse())
			if call, err = t.Call(ctx); err != nil {
				return err
			}
			call.Status(Equal(503))
			call.Fact("sidecar: response flags", trial.Flags(call.Left()), Equal("NC"))
			return nil
		},
		Control: []lab.Variation{lab.AddDestinationRule("put it, as short, into the gateway's namespace", t.Subject.Gateway.Namespace, t.Subject.Hop1Rule, short)},
		Cause:   passesBothHops(&call),
	}
})

var _ = Claim("T3-se-port", func(t *trial.T) trial.Experiment {
	w := &detour{}
	return trial.Experiment{
		Arrange: []lab.Variation{w.open(t), dropMeshRoute(t)},
		Check:   w.rides(func(t *trial.T) string { return t.Subject.BypassCluster() }),
		Control: []lab.Variation{unregisterAppPort(t)},
		Cause:   w.passesThrough,
	}
})

var _ = Claim("T3-passthrough", func(t *trial.T) trial.Experiment {
	w := &detour{}
	return trial.Experiment{
		Arrange: []lab.Variation{w.open(t), dropMeshRoute(t), unregisterAppPort(t)},
		Check: func(ctx context.Context, t *trial.T) error {
			if err := w.rides(func(*trial.T) string { return passthrough })(ctx, t); err != nil {
				return err
			}
			w.call.Status(Equal(200))
			w.call.Fact("partner: TLS version", w.call.Arrived().TLS, BeEmpty())
			return nil
		},
		Control: []lab.Variation{registerAppPort(t)},
		Cause:   w.ridesServiceEntry,
	}
})

var _ = Claim("T3-registry-only", func(t *trial.T) trial.Experiment {
	w := &detour{}
	return trial.Experiment{
		Arrange: []lab.Variation{w.registryOnly(t), dropMeshRoute(t)},
		Check:   w.blocked,
		Cause:   w.ridesServiceEntry,
		Control: []lab.Variation{unregisterAppPort(t)},
	}
})

var _ = Claim("T3-registry-only-2", func(t *trial.T) trial.Experiment {
	w := &detour{}
	return trial.Experiment{
		Arrange: []lab.Variation{w.registryOnly(t), dropMeshRoute(t), unregisterAppPort(t)},
		Check:   w.blocked,
		Control: []lab.Variation{w.open(t)},
		Cause:   w.passesThrough,
	}
})

var _ = Claim("T3-real-lock", func(t *trial.T) trial.Experiment {
	w := &detour{}
	return trial.Experiment{
		Arrange: []lab.Variation{w.registryOnly(t), hideServiceEntry(t), addBystander(t), dropMeshRoute(t)},
		Check: func(ctx context.Context, t *trial.T) (err error) {
			if w.call, err = t.Call(ctx); err != nil {
				return err
			}
			w.call.Status(Equal(502))
			w.call.Fact("sidecar: route", w.call.Left().RouteName, Equal("block_all"))
			w.call.Fact("partner: requests of this token", len(w.call.Partner), Equal(0))
			return nil
		},
		Control: []lab.Variation{exportServiceEntry(t, "export it to everybody", "*")},
		Cause:   w.ridesServiceEntry,
	}
})

var _ = Claim("T3-real-lock-2", func(t *trial.T) trial.Experiment {
	w := &detour{}
	return trial.Experiment{
		Arrange: []lab.Variation{seesGatewayAlone(t), dropMeshRoute(t)},
		Check:   w.blocked,
		Control: []lab.Variation{w.registryOnly(t)},
		Cause:   w.ridesServiceEntry,
	}
})

var _ = Claim("T3-real-lock-3", func(t *trial.T) trial.Experiment {
	w := &detour{}
	return trial.Experiment{
		Arrange: []lab.Variation{w.registryOnly(t), hideServiceEntry(t)},
		Check:   w.goesThrough,
		Cause:   w.isSwallowed,
		Control: []lab.Variation{addBystander(t)},
	}
})

var _ = Claim("T3-real-lock-4", func(t *trial.T) trial.Experiment {
	// The bystander's listener for HTTP on port 80 is there throughout: what the
	// call lacks is the route in it.
	w := &detour{}
	return trial.Experiment{
		Arrange: []lab.Variation{addBystander(t), t.Scope("REGISTRY_ONLY, and the application sees the gateway's Service and the bystander alone",
			networking.OutboundTrafficPolicy_REGISTRY_ONLY, t.Subject.Gateway.Namespace+"/"+t.Subject.GatewayFQDN(), t.Subject.Gateway.Namespace+"/"+serviceFQDN(t, bystander))},
		Check: w.goesThrough,
		Cause: func(_ context.Context, t *trial.T) error {
			w.call.Status(Equal(502))
			w.call.Fact("sidecar: route", w.call.Left().RouteName, Equal("block_all"))
			w.call.Fact("gateway: requests of this token", len(w.call.Gateway), Equal(0))
			return nil
		},
		Control: []lab.Variation{w.registryOnly(t)},
	}
})

var _ = Claim("T3-80-hack", func(t *trial.T) trial.Experiment {
	w := &detour{}
	return trial.Experiment{
		Arrange: []lab.Variation{w.open(t), unregisterAppPort(t)},
		Check:   w.goesThrough,
		Cause:   w.passesThrough,
		Control: []lab.Variation{addBystander(t)},
	}
})

var _ = Claim("T3-80-hack-2", func(t *trial.T) trial.Experiment {
	w := &detour{}
	return trial.Experiment{
		Arrange: []lab.Variation{w.open(t), unregisterAppPort(t), addBystander(t)},
		Check:   w.goesThrough,
		Control: []lab.Variation{t.Scope("hide that service from the application", networking.OutboundTrafficPolicy_ALLOW_ANY,
			t.Subject.Gateway.Namespace+"/"+t.Subject.GatewayFQDN(), t.Subject.Gateway.Namespace+"/"+t.Subject.ExternalHost)},
		Cause: w.passesThrough,
	}
})

// detour is a call that should go through the gateway, and where it went. What
// the sidecar sees is limited to the gateway's namespace, because an HTTP port 80
// of anybody else's would bring a listener that is not the guide's.
type detour struct{ call *trial.Call }

const (
	passthrough = "PassthroughCluster"
	blackHole   = "BlackHoleCluster"
)

func (*detour) open(t *trial.T) lab.Variation {
	return t.Scope("ALLOW_ANY, and the application sees the gateway's namespace", networking.OutboundTrafficPolicy_ALLOW_ANY, t.Subject.Gateway.Namespace+"/*")
}

func (*detour) registryOnly(t *trial.T) lab.Variation {
	return t.Scope("REGISTRY_ONLY, and the application sees the gateway's namespace", networking.OutboundTrafficPolicy_REGISTRY_ONLY, t.Subject.Gateway.Namespace+"/*")
}

func dropMeshRoute(t *trial.T) lab.Variation {
	return t.VirtualService("drop the mesh route from the VirtualService", func(vs *networking.VirtualService) { vs.Http = vs.Http[1:] })
}

// unregisterAppPort leaves the ServiceEntry with the port of hop 2, as in the guide.
func unregisterAppPort(t *trial.T) lab.Variation {
	return t.ServiceEntry("register hop 2's port only in the ServiceEntry", func(se *networking.ServiceEntry) { se.Ports = se.Ports[1:] })
}

func registerAppPort(t *trial.T) lab.Variation {
	return t.ServiceEntry("register the port that is called, too", func(se *networking.ServiceEntry) {
		se.Ports = append([]*networking.ServicePort{{Number: uint32(t.Subject.AppPort), Name: "http", Protocol: "HTTP", TargetPort: uint32(t.Subject.ExternalPort)}}, se.Ports...)
	})
}

const bystander = "bystander"

func serviceFQDN(t *trial.T, name string) string {
	return name + "." + t.Subject.Gateway.Namespace + ".svc." + t.Subject.Domain
}

// addBystander brings the sidecar a listener for HTTP on port 80.
func addBystander(t *trial.T) lab.Variation {
	return t.AddHTTPService("add an HTTP service on port 80 that nobody calls", bystander)
}

func seesGatewayAlone(t *trial.T) lab.Variation {
	return t.Scope("REGISTRY_ONLY, and the application sees the gateway's Service alone", networking.OutboundTrafficPolicy_REGISTRY_ONLY,
		t.Subject.Gateway.Namespace+"/"+t.Subject.GatewayFQDN())
}

func hideServiceEntry(t *trial.T) lab.Variation {
	return exportServiceEntry(t, "export the ServiceEntry to the gateway's namespace alone", ".")
}

func exportServiceEntry(t *trial.T, change string, to ...string) lab.Variation {
	return t.ServiceEntry(change, func(se *networking.ServiceEntry) { se.ExportTo = to })
}

// rides states that the call went around the gateway, on a cluster.
func (w *detour) rides(cluster func(*trial.T) string) func(context.Context, *trial.T) error {
	return func(ctx context.Context, t *trial.T) (err error) {
		if w.call, err = t.Call(ctx); err != nil {
			return err
		}
		w.call.Fact("sidecar: carrying cluster", w.call.Left().UpstreamCluster, Equal(cluster(t)))
		w.around(t)
		return nil
	}
}

// around states that the call came to the partner straight from the application.
func (w *detour) around(t *trial.T) {
	w.call.Fact("gateway: requests of this token", len(w.call.Gateway), Equal(0))
	w.call.Fact("partner: the caller is the application's pod", w.call.Arrived().Peer, Equal(t.Sidecar.IP))
}

// blocked states that the call did not come to the partner at all.
func (w *detour) blocked(ctx context.Context, t *trial.T) (err error) {
	if w.call, err = t.Call(ctx); err != nil {
		return err
	}
	w.call.Fact("partner: requests of this token", len(w.call.Partner), Equal(0))
	w.call.Fact("sidecar: carrying cluster", w.call.Left().UpstreamCluster, Equal(blackHole))
	return nil
}

func (w *detour) goesThrough(ctx context.Context, t *trial.T) (err error) {
	if w.call, err = t.Call(ctx); err != nil {
		return err
	}
	return passesBothHops(&w.call)(ctx, t)
}

// isSwallowed states that the call ended in the sidecar, as REGISTRY_ONLY has it.
func (w *detour) isSwallowed(_ context.Context, t *trial.T) error {
	w.call.Status(Equal(0))
	w.call.Fact("sidecar: carrying cluster", w.call.Left().UpstreamCluster, Equal(blackHole))
	w.call.Fact("gateway: requests of this token", len(w.call.Gateway), Equal(0))
	w.call.Fact("partner: requests of this token", len(w.call.Partner), Equal(0))
	return nil
}

func (w *detour) passesThrough(_ context.Context, t *trial.T) error {
	w.call.Status(Equal(200))
	w.call.Fact("sidecar: carrying cluster", w.call.Left().UpstreamCluster, Equal(passthrough))
	w.around(t)
	return nil
}

func (w *detour) ridesServiceEntry(_ context.Context, t *trial.T) error {
	w.call.Status(Equal(400))
	w.call.Fact("sidecar: carrying cluster", w.call.Left().UpstreamCluster, Equal(t.Subject.BypassCluster()))
	w.around(t)
	return nil
}
