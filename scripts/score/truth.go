package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"twohop/internal/audit/corpus"
	"twohop/internal/audit/offline"
	"twohop/internal/channel"
	"twohop/internal/rehearse"
	"twohop/internal/walk"
)

// stage is what a correct setup's rehearsal showed: the partner and the calls that its
// faults are tried with, and how each call came out.
type stage struct {
	scenes map[string]rehearse.Scene // by host and caller
	holds  map[string]bool           // by host, caller, port and variation
	secret map[string]bool           // credentials that the setup has
}

func sceneKey(host string, s rehearse.Scene) string {
	return host + " " + s.Sidecar.Namespace + "/" + s.Sidecar.Name
}

// rehearse tries a setup. With another stage the partner and the calls are that one's.
func (j *judge) rehearse(g *offline.Gathered, like *stage) (*stage, error) {
	st := &stage{scenes: map[string]rehearse.Scene{}, holds: map[string]bool{}, secret: map[string]bool{}}
	for _, c := range g.Channels {
		for _, scene := range rehearse.Scenes(g.Mesh, c, g.Answer.Dumps, g.Answer.Pods) {
			scene.Envoy = j.envoy
			scene.Partner.Lax = !strings.Contains(rulesOf(c), `"MUTUAL"`)
			key := sceneKey(c.Host, scene)
			asked := credentials(scene)
			if like == nil {
				for _, s := range asked {
					st.secret[s] = true
				}
			} else {
				right, known := like.scenes[key]
				if !known {
					continue
				}
				scene.Partner, scene.Calls = right.Partner, right.Calls
				for _, s := range asked {
					if !like.secret[s] {
						scene.Missing = append(scene.Missing, s)
					}
				}
			}
			st.scenes[key] = scene
			o, err := rehearse.Run(context.Background(), scene)
			if err != nil {
				return nil, err
			}
			for _, r := range scene.Judge(o) {
				st.holds[fmt.Sprintf("%s port %d %s", key, r.Call.Port, r.Variation)] = r.Holds
			}
		}
	}
	return st, nil
}

func rulesOf(c *channel.Channel) string {
	var b strings.Builder
	for _, r := range c.Hop2 {
		b.Write(r.JSON)
	}
	return b.String()
}

// credentials are the Secrets that a scene's gateways ask for.
func credentials(s rehearse.Scene) (found []string) {
	for _, g := range s.Gateways {
		c, err := walk.Parse(g.Dump)
		if err != nil {
			continue
		}
		for _, k := range c.Clusters {
			if t, err := k.TLS(); err == nil && t != nil {
				for _, n := range append(slices.Clone(t.CertificateSDS), t.ValidationSDS) {
					if rest, ok := strings.CutPrefix(n, "kubernetes://"); ok && !slices.Contains(found, rest) {
						found = append(found, rest)
					}
				}
			}
		}
	}
	return found
}

// unseen are kinds and fields that a rehearsal does not act on: what Kubernetes does with
// them needs a cluster.
func unseen(f corpus.Fault) bool {
	switch f.Object.Kind {
	case "Secret", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding", "ServiceAccount", "NetworkPolicy", "ExternalSecret", "Namespace", "AuthorizationPolicy", "PeerAuthentication":
		return true
	}
	return strings.Contains(f.Field, "annotations") || strings.Contains(f.Field, "hostNetwork") || strings.Contains(f.Field, "inject") || strings.Contains(f.Field, "serviceAccount")
}

// truth says what a fault does.
func (j *judge) truth(l *line, f corpus.Fault, g *offline.Gathered, right *stage) {
	if harm, claim, ok := corpus.Known(f); ok {
		l.Truth, l.Why = fmt.Sprint(harm), "claim "+claim
		return
	}
	for _, r := range g.Refused {
		if !r.Warning {
			l.Truth, l.Why = "refused", r.Reason
			return
		}
	}
	if f.Object.Kind == "Service" && strings.HasPrefix(f.Operator, "typo") && (strings.HasSuffix(f.Field, ".protocol") || f.Field == "spec.type") || f.Object.Kind == "Service" && f.Operator == "delete-field" && strings.HasSuffix(f.Field, ".port") {
		l.Truth, l.Why = "refused", "Kubernetes' validation of Services"
		return
	}
	if right == nil || unseen(f) {
		return
	}
	tried, err := j.rehearse(g, right)
	if err != nil {
		l.Error = "rehearse: " + err.Error()
		return
	}
	l.Truth = "harmless"
	if slices.Contains([]string{"add-bypass-route", "add-bypass-weight", "add-mirror", "add-retries", "add-abort"}, f.Operator) {
		l.Truth = "" // what one call to "/" does not show
	}
	for key, held := range right.holds {
		now, tried := tried.holds[key]
		if held && tried && !now {
			l.Truth, l.Why = "harmful", key
			return
		}
		if held && !tried {
			l.Truth, l.Why = "", "not tried: "+key // such as a caller that is gone
		}
	}
}
