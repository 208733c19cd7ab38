package mutant

import (
	"slices"

	networking "istio.io/api/networking/v1alpha3"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"twohop/internal/claim"
	"twohop/internal/experiment"
	"twohop/internal/manifest"
)

// All returns the mutants of a lab. Certificates are issued by its PKI. The
// harmless ones come first: a fault may outlast its removal by a minute, for as
// long as istiod keeps the decision that a service account may not read Secrets
// (pilot/pkg/credentials/kube, cacheTTL), and under a harmless change nothing may
// turn.
func All(e *manifest.Editor) ([]Mutant, error) {
	var all []Mutant
	for _, group := range []func(*manifest.Editor) ([]Mutant, error){harmless, hop1, hop2, routes, partner, certificates, policies, experiments} {
		mutants, err := group(e)
		if err != nil {
			return nil, err
		}
		all = append(all, mutants...)
	}
	return all, nil
}

// experiments are the faults that no claim can be above: a change that was not
// made cannot have turned its check, and a state that was not brought about
// cannot be what it speaks of. They say nothing of a claim's own facts.
func experiments(e *manifest.Editor) ([]Mutant, error) {
	undone := func(variations []manifest.Variation) []manifest.Variation {
		var none []manifest.Variation
		for _, v := range variations {
			none = append(none, v.Undone())
		}
		return none
	}
	const any = "."
	return []Mutant{
		{Name: "the control's change is not made", Where: Experiments, Kills: everyClaim(any), Spoil: func(p experiment.Plan) experiment.Plan {
			p.Control = undone(p.Control)
			return p
		}},
		{Name: "the state that the claim speaks of is not brought about", Where: Experiments, Spoil: func(p experiment.Plan) experiment.Plan {
			p.Arrange = undone(p.Arrange)
			return p
		}, Kills: everyClaim(any,
			// These speak of the baseline, or make their changes in the check itself.
			"G1", "G2", "G3", "G3-yaml", "H2-xfcc", "H2-export", "P-wrong-proxy", "P-wrong-proxy-2", "P-keepalive-socket", "P-not-retroactive",
			"V-reject", "V-reject-2", "F-analyze-noise",
			// The second application is there already, if another claim wanted it, and
			// a connection that has to be new may be so by chance.
			"H1-identity-2", "H2-rotation",
		)},
		// A control that holds because nothing works any more proves nothing.
		{Name: "the control takes the gateway away as well", Where: Experiments, Spoil: func(p experiment.Plan) experiment.Plan {
			p.Control = append(slices.Clone(p.Control), manifest.Edit("scale the gateway to zero", e.Subject.Gateway.Namespace, e.Subject.Gateway.Deployment, func(d *appsv1.Deployment) {
				none := int32(0)
				d.Spec.Replicas = &none
			}))
			return p
			// A control that edits the gateway's Service waits for its endpoints first.
		}, Kills: kills(`found 0|the sidecar has clusters for the ports map\[\]`, "A-align-target", "F-partner-lax", "H1-unpaired", "G1")},
		{Name: "the first of the control's changes is left out", Where: Experiments, Spoil: func(p experiment.Plan) experiment.Plan {
			p.Control = slices.Clone(p.Control)
			p.Control[0] = p.Control[0].Undone()
			return p
		}, Kills: kills(any, "A-align-target", "G3", "T2-typo-hop1", "H2-sidecar-plaintext")},
	}, nil
}

// everyClaim is every claim of the registry but some.
func everyClaim(because string, but ...claim.ID) (list []Kill) {
	for _, c := range claim.All() {
		if !slices.Contains(but, c.ID) {
			list = append(list, Kill{c.ID, because})
		}
	}
	return list
}

func harmless(e *manifest.Editor) ([]Mutant, error) {
	s := e.Subject
	goals := kills("", "G1", "G2", "G2-control", "G3", "G4")
	return []Mutant{
		{Name: "nothing is changed", Where: Harmless, Kills: everyClaim("")},
		fault(Harmless, manifest.Edit("the partner's Service has another label", s.Partner.Namespace, s.PartnerService, func(o *corev1.Service) {
			o.Labels = map[string]string{"twohop/mutant": "harmless"}
		}), goals),
		fault(Harmless, manifest.Add("a ServiceEntry of another host is there", e.OtherServiceEntry("unrelated.example.com")), goals),
		{Name: "nginx.conf has a comment and the partner restarted", Where: Harmless, Kills: goals,
			Plant: reconfigured(e, "a comment in nginx.conf", "nginx.conf", func(conf string) string { return conf + "\n# nothing\n" })},
		fault(Harmless, e.VirtualService("hop 2 has a route for a header that nobody sends", func(vs *networking.VirtualService) {
			extra := manifest.GatewayRoute(vs).DeepCopy()
			extra.Name = "never"
			manifest.OnlyMatch(extra).Headers = map[string]*networking.StringMatch{"x-nobody": {MatchType: &networking.StringMatch_Exact{Exact: "sends"}}}
			manifest.InsertRouteBefore(vs, manifest.GatewayRouteName, extra)
		}), goals),
	}, nil
}
