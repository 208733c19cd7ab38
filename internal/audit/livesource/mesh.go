package livesource

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	"sigs.k8s.io/yaml"

	"twohop/internal/channel"
	"twohop/internal/objects"
)

const istiodLabel = "app=istiod"

// istiod finds its replicas, the mesh configuration that they read, and what is known of
// the mesh by them.
func (g *gathering) istiod(ctx context.Context) error {
	var pods []podItem
	g.visit(ctx, podResource, istiodLabel, []string{g.istioNamespace()}, func(namespace string) error {
		pods = nil
		return g.listAll(ctx, podResource.path(namespace), istiodLabel, func(item decode) error {
			var p podItem
			if err := item(&p); err != nil {
				return err
			}
			if p.Metadata.DeletionTimestamp == "" && p.ready() {
				pods = append(pods, p)
			}
			return nil
		}, func() { pods = nil })
	})
	for _, p := range pods {
		i := slices.IndexFunc(p.Spec.Containers, func(c container) bool { return c.Name == "discovery" })
		if i < 0 {
			continue
		}
		c := p.Spec.Containers[i]
		one := Istiod{Namespace: p.Metadata.Namespace, Name: p.Metadata.Name, Args: c.Args, Revision: cmp.Or(p.Metadata.Labels["istio.io/rev"], "default")}
		for _, e := range c.Env {
			if setting(e.Name) && e.Value != "" {
				if one.Env == nil {
					one.Env = map[string]string{}
				}
				one.Env[e.Name] = e.Value
			}
		}
		g.snapshot.Istiods = append(g.snapshot.Istiods, one)
	}
	slices.SortFunc(g.snapshot.Istiods, func(a, b Istiod) int { return cmp.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name) })
	g.meshConfigs(ctx)
	g.settle()
	return ctx.Err()
}

// setting reports whether a variable of istiod's is one of its settings.
func setting(name string) bool {
	for _, word := range []string{"TOKEN", "PASSWORD", "SECRET_KEY", "CREDENTIAL"} {
		if strings.Contains(name, word) {
			return false
		}
	}
	for _, prefix := range []string{"PILOT_", "ENABLE_", "ISTIO", "AUTO_", "VALIDATION_", "REVISION", "CLUSTER_ID", "SHARED_MESH_CONFIG", "TRUST_DOMAIN", "DEBUG_", "UNSAFE_", "ROOT_", "EXTERNAL_ISTIOD"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// meshConfigs reads the ConfigMap of each revision, by its name
// (pilot/pkg/bootstrap/mesh.go, getMeshConfigMapName).
func (g *gathering) meshConfigs(ctx context.Context) {
	type place struct{ namespace, revision, shared string }
	var places []place
	for _, i := range g.snapshot.Istiods {
		p := place{i.Namespace, i.Revision, i.Env["SHARED_MESH_CONFIG"]}
		if !slices.Contains(places, p) {
			places = append(places, p)
		}
	}
	if len(places) == 0 {
		g.miss(missingKey{what: "istiod's pods", why: "none that is ready has the label " + istiodLabel + " where this account may look: name istiod's namespace", resource: "pods"}, "")
		places = []place{{g.istioNamespace(), cmp.Or(g.Revision, "default"), ""}}
	}
	for _, p := range places {
		m := Mesh{Revision: p.revision, Namespace: p.namespace, ConfigMap: "istio"}
		if p.revision != "default" {
			m.ConfigMap += "-" + p.revision
		}
		var err error
		if m.Config, err = g.meshConfig(ctx, p.namespace, m.ConfigMap); err == nil && p.shared != "" {
			m.Shared, err = g.meshConfig(ctx, p.namespace, p.shared)
		}
		if err != nil {
			g.miss(missingKey{what: "the mesh configuration of revision " + p.revision + " (ConfigMap " + m.ConfigMap + ")", why: err.Error(), resource: "configmaps"}, p.namespace)
			continue
		}
		g.snapshot.Mesh = append(g.snapshot.Mesh, m)
	}
	// The one that counts comes first.
	want := g.revision()
	slices.SortStableFunc(g.snapshot.Mesh, func(a, b Mesh) int {
		return cmp.Compare(btoi(b.Revision == want), btoi(a.Revision == want))
	})
	if len(g.snapshot.Mesh) > 0 && g.snapshot.Mesh[0].Revision != want {
		g.miss(missingKey{what: "the mesh configuration of revision " + want, why: "no istiod of that revision was found: that of " + g.snapshot.Mesh[0].Revision + " is used", resource: "configmaps"}, "")
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// revision is the one that was asked for, else that of the gateways' pods.
func (g *gathering) revision() string {
	if g.Revision != "" {
		return g.Revision
	}
	for _, o := range gatewayPods(g.snapshot.Objects) {
		if p, ok := g.snapshot.PodOf(o.Ref); ok && p.Revision != "" {
			return p.Revision
		}
	}
	if n := len(g.snapshot.Istiods); n > 0 && !slices.ContainsFunc(g.snapshot.Istiods, func(i Istiod) bool { return i.Revision == "default" }) {
		return g.snapshot.Istiods[0].Revision
	}
	return "default"
}

func (g *gathering) meshConfig(ctx context.Context, namespace, name string) (string, error) {
	// By name: a right may be for these two ConfigMaps only.
	if !g.rights.may(ctx, authorizationv1.ResourceAttributes{Verb: "get", Resource: "configmaps", Namespace: namespace, Name: name}) {
		return "", fmt.Errorf("this account may not get ConfigMap %s: grant it, or ask somebody who may", name)
	}
	raw, err := g.typed.Discovery().RESTClient().Get().AbsPath("/api/v1/namespaces", namespace, "configmaps", name).SetHeader("Accept", "application/json").DoRaw(ctx)
	if err != nil {
		return "", fmt.Errorf("%s", plain(err, "get", "ConfigMap "+name))
	}
	var m struct {
		Data map[string]string `json:"data"`
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return "", fmt.Errorf("the ConfigMap cannot be read: %w", err)
	}
	config, ok := m.Data["mesh"]
	if !ok {
		return "", fmt.Errorf("it has no key mesh")
	}
	return redactMesh(config)
}

// settle reads the settings of the mesh; what is not known stays Istio's default, and
// OutboundKnown tells.
func (g *gathering) settle() {
	s := channel.DefaultSettings()
	s.RootNamespace = g.istioNamespace()
	if len(g.snapshot.Istiods) > 0 {
		i := slices.IndexFunc(g.snapshot.Istiods, func(i Istiod) bool { return i.Revision == g.revision() })
		one := g.snapshot.Istiods[max(i, 0)]
		s.RootNamespace = one.Namespace
		s.Domain = domain(one.Args)
	} else {
		g.miss(missingKey{what: "istiod's --domain", why: "istiod's pods were not found: " + s.Domain + " is assumed"}, "")
	}
	if len(g.snapshot.Mesh) > 0 {
		for _, text := range []string{g.snapshot.Mesh[0].Shared, g.snapshot.Mesh[0].Config} {
			var m struct {
				RootNamespace string `json:"rootNamespace"`
				TrustDomain   string `json:"trustDomain"`
				Outbound      struct {
					Mode string `json:"mode"`
				} `json:"outboundTrafficPolicy"`
			}
			if err := yaml.Unmarshal([]byte(text), &m); err != nil {
				g.miss(missingKey{what: "the mesh configuration", why: "it cannot be read: " + err.Error(), resource: "configmaps"}, "")
				continue
			}
			s.OutboundKnown = true
			s.RootNamespace = cmp.Or(m.RootNamespace, s.RootNamespace)
			s.TrustDomain = cmp.Or(m.TrustDomain, s.TrustDomain)
			if m.Outbound.Mode != "" {
				s.AllowAny = m.Outbound.Mode == "ALLOW_ANY"
			}
		}
	}
	g.snapshot.Settings = s
}

// domain is istiod's --domain.
func domain(args []string) string {
	for i, a := range args {
		if v, ok := strings.CutPrefix(a, "--domain="); ok {
			return v
		}
		if a == "--domain" && i+1 < len(args) {
			return args[i+1]
		}
	}
	return channel.DefaultSettings().Domain
}

// mesh reads the objects as the audit does.
func (s *Snapshot) mesh() *channel.Mesh {
	return channel.Read(&objects.Set{All: s.Objects.All}, s.Settings)
}
