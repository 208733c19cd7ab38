// Package offline makes an audit's input of YAML: it reads the objects, finds the
// channels and has the proxies' configuration computed. It asks no cluster, and must not
// import what does.
package offline

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	meshconfig "istio.io/api/mesh/v1alpha1"

	"twohop/internal/audit"
	"twohop/internal/channel"
	"twohop/internal/computed"
	"twohop/internal/objects"
	"twohop/internal/walk"
)

// Options say what is audited.
type Options struct {
	// Paths are files, folders, or "-" for Stdin.
	Paths []string
	Stdin io.Reader
	// Env are files of what the repository lacks, as `twohop audit --export-env` writes
	// them; their objects are no subject of findings' lines, but they count.
	Env       []string
	Namespace string // of objects that name none
	Domain    string // istiod's --domain; empty for cluster.local
	// Program is the helper with istiod's code.
	Program string
}

// Gathered is an input that an audit can judge, and what computed it.
type Gathered struct {
	audit.Input
	Answer *computed.Answer
}

// Read reads the objects and finds the channels. The text is the mesh's configuration.
func Read(o Options) (*channel.Mesh, []*channel.Channel, string, error) {
	set := &objects.Set{Namespace: o.Namespace}
	if err := set.Read(o.Stdin, append(o.Paths, o.Env...)...); err != nil {
		return nil, nil, "", err
	}
	return Find(set, o.Domain)
}

// Find finds the channels in objects.
func Find(set *objects.Set, domain string) (*channel.Mesh, []*channel.Channel, string, error) {
	settings, mesh, err := settings(set, domain)
	if err != nil {
		return nil, nil, "", err
	}
	m := channel.Read(set, settings)
	if strings.Contains(mesh, "discoverySelectors") {
		m.Unknown = append(m.Unknown, channel.Unknown{
			Ref:  objects.Ref{Kind: "MeshConfig", Name: "discoverySelectors"},
			What: "istiod sees only some namespaces: a Service of a namespace whose labels are not in the input is taken for absent",
		})
	}
	channels := m.Find()
	return m, channels, mesh, nil
}

// Gather makes the input of an audit. Objects that cannot be read, and a helper that
// fails, are errors.
func Gather(ctx context.Context, o Options) (*Gathered, error) {
	m, channels, mesh, err := Read(o)
	if err != nil {
		return nil, err
	}
	istiod, err := computed.Start(ctx, o.Program)
	if err != nil {
		return nil, err
	}
	defer istiod.Close()
	g, err := Ask(istiod, m, channels, mesh)
	if err != nil {
		return nil, err
	}
	g.Run.Inputs = o.Paths
	return g, nil
}

// Ask has istiod's code compute the proxies of a mesh.
func Ask(istiod *computed.Istiod, m *channel.Mesh, channels []*channel.Channel, mesh string) (*Gathered, error) {
	chosen, same := m.Proxies()
	answer, err := istiod.Ask(m, mesh, chosen)
	if err != nil {
		return nil, err
	}
	views := map[*channel.Workload]audit.View{}
	for w, dump := range answer.Dumps {
		c, err := walk.Parse(dump)
		if err != nil {
			return nil, fmt.Errorf("what was computed for %s: %w", w.Ref, err)
		}
		views[w] = audit.View{Config: c}
	}
	in := audit.Input{
		Run:  audit.Run{Source: "computed", Istio: answer.Istio, Inputs: []string{}, FailOn: audit.High},
		Mesh: m, Channels: channels, Views: map[*channel.Workload]audit.View{}, Pods: answer.Pods, Now: time.Now(),
	}
	for w, like := range same {
		in.Views[w] = views[like]
	}
	for _, r := range answer.Refused {
		if r.Object == nil {
			return nil, fmt.Errorf("istiod's code refuses an object of twohop's own: %s", r.Reason)
		}
		in.Refused = append(in.Refused, audit.Refusal{Object: r.Object, Reason: r.Reason, Warning: r.Warning})
	}
	return &Gathered{Input: in, Answer: answer}, nil
}

// settings reads the mesh's configuration, if the input has it: the ConfigMap that
// istiod reads, or an IstioOperator.
func settings(set *objects.Set, domain string) (channel.Settings, string, error) {
	s := channel.DefaultSettings()
	if domain != "" {
		s.Domain, s.TrustDomain = domain, domain
	}
	text := ""
	for _, o := range set.Kind("", "ConfigMap") {
		if o.Name != "istio" {
			continue
		}
		var c struct{ Data map[string]string }
		if err := o.Decode(&c); err != nil {
			return s, "", err
		}
		text = c.Data["mesh"]
	}
	for _, o := range set.Kind("istio.io", "IstioOperator") {
		var c struct {
			Spec struct {
				MeshConfig map[string]any
				Values     struct {
					Global struct{ IstioNamespace string }
				}
			}
		}
		if err := o.Decode(&c); err != nil {
			return s, "", err
		}
		if n := c.Spec.Values.Global.IstioNamespace; n != "" {
			s.RootNamespace = n
		}
		if c.Spec.MeshConfig != nil {
			raw, err := yaml.Marshal(c.Spec.MeshConfig)
			if err != nil {
				return s, "", err
			}
			text = string(raw)
		}
	}
	if text == "" {
		return s, "", nil
	}
	var mesh struct {
		OutboundTrafficPolicy *struct{ Mode string }
		RootNamespace         string
		TrustDomain           string
	}
	if err := yaml.Unmarshal([]byte(text), &mesh); err != nil {
		return s, "", fmt.Errorf("the mesh's configuration: %w", err)
	}
	s.OutboundKnown = true
	s.AllowAny = mesh.OutboundTrafficPolicy == nil || mesh.OutboundTrafficPolicy.Mode != meshconfig.MeshConfig_OutboundTrafficPolicy_REGISTRY_ONLY.String()
	if mesh.RootNamespace != "" {
		s.RootNamespace = mesh.RootNamespace
	}
	if mesh.TrustDomain != "" {
		s.TrustDomain = mesh.TrustDomain
	}
	return s, text, nil
}
