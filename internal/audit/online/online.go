// Package online makes an audit's input of what was read of a cluster, or of a snapshot
// that somebody handed over: what could not be read becomes unknown. It judges nothing
// itself, and must not import what changes a cluster.
package online

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"twohop/internal/audit"
	"twohop/internal/audit/livesource"
	"twohop/internal/channel"
	"twohop/internal/objects"
	"twohop/internal/walk"
)

// Input makes one. A dump that cannot be read is unknown, with the reason.
func Input(s *livesource.Snapshot) (audit.Input, error) {
	if err := addSecrets(s); err != nil {
		return audit.Input{}, err
	}
	m := channel.Read(s.Objects, s.Settings)
	channels := m.Find()
	in := audit.Input{
		Run:  audit.Run{Source: "live", Istio: istio(s), Inputs: []string{strings.TrimSpace(s.Cluster.Server + " " + s.Cluster.Context)}, FailOn: audit.High},
		Mesh: m, Channels: channels, Views: map[*channel.Workload]audit.View{}, Pods: map[string]*channel.Workload{}, Now: s.At,
		SecretsKnown: s.Secrets != nil,
		Access:       func(namespace, account string) (bool, string) { return access(s, namespace, account) },
	}
	_, same := m.Proxies()
	views := map[*channel.Workload]audit.View{}
	for _, w := range m.Workloads {
		if w.Running != nil && w.Running.PodIP != "" {
			in.Pods[w.Running.PodIP] = w
		}
		if w.Proxy != channel.None {
			views[w] = view(s, w)
		}
	}
	asked := map[*channel.Workload]audit.View{} // of pods that are configured alike, one that was
	for _, w := range m.Workloads {
		if like := same[w]; asked[like].Config == nil {
			asked[like] = views[w]
		}
	}
	for w, like := range same {
		in.Views[w] = views[w]
		if views[w].Config == nil && asked[like].Config != nil {
			in.Views[w] = asked[like]
		}
	}
	for _, p := range s.Proxies {
		in.Also = append(in.Also, inSync(p)...)
		if p.Sync.Compared {
			in.Compared++
		}
	}
	for _, missing := range s.Missing {
		// Namespaces that were left out are said once, below: what the proxies see of them
		// is in their configuration.
		if missing.Group != "" {
			in.Unread = append(in.Unread, audit.Unread{Group: missing.Group, Resource: missing.Resource, Namespaces: missing.Namespaces, Why: missing.What + ": " + missing.Why})
		}
		m.Unknown = append(m.Unknown, channel.Unknown{
			Ref:  objects.Ref{Kind: kindOf(missing), Name: "(could not be read)"},
			What: missing.What + ": " + missing.Why,
		})
	}
	return in, nil
}

func kindOf(m livesource.Missing) string {
	if m.Resource != "" {
		return m.Resource
	}
	return "Cluster"
}

func istio(s *livesource.Snapshot) string {
	var versions []string
	for _, i := range s.Istiods {
		if i.Version != "" && !slices.Contains(versions, i.Version) {
			versions = append(versions, i.Version)
		}
	}
	if len(versions) == 0 {
		return "unknown"
	}
	return strings.Join(versions, ", ")
}

// view is what the proxy has, by its own word; else what istiod would send it.
func view(s *livesource.Snapshot, w *channel.Workload) audit.View {
	p := s.Proxy(w)
	if p == nil {
		return audit.View{Unknown: w.Ref.String() + " was not asked"}
	}
	dump := p.Envoy
	if dump == nil {
		for _, replica := range slices.Sorted(maps.Keys(p.Istiod)) {
			dump = p.Istiod[replica]
		}
	}
	if dump == nil {
		return audit.View{Unknown: "the configuration of " + w.Ref.String() + " could not be read"}
	}
	raw, err := dump.JSON()
	if err != nil {
		return audit.View{Unknown: err.Error()}
	}
	c, err := walk.Parse(raw)
	if err != nil {
		return audit.View{Unknown: fmt.Sprintf("the configuration of %s: %v", w.Ref, err)}
	}
	return audit.View{Config: c}
}

func access(s *livesource.Snapshot, namespace, account string) (allowed bool, unknown string) {
	for _, a := range s.Accounts {
		if a.Namespace != namespace || a.Account != account {
			continue
		}
		switch a.Answer {
		case livesource.AccessAllowed:
			return true, ""
		case livesource.AccessDenied:
			return false, ""
		}
		return false, "whether service account " + namespace + "/" + account + " may list secrets: " + a.Why
	}
	return false, "whether service account " + namespace + "/" + account + " may list secrets: it was not asked"
}

// inSync says what a proxy has not got, or has refused.
func inSync(p *livesource.Proxy) (found []audit.Finding) {
	ref := objects.Ref{Kind: "Pod", Namespace: p.Namespace, Name: p.Pod}
	add := func(s audit.Severity, seen, wanted string) {
		found = append(found, audit.Finding{ID: "29", Severity: s, Status: audit.Fail, Hop: hopOf(p), Object: ref, Proxy: kindName(p) + " " + p.Namespace + "/" + p.Pod, Seen: seen, Wanted: wanted})
	}
	for _, r := range p.Sync.Rejected {
		add(audit.Critical, fmt.Sprintf("the proxy refused %s: %s", r.Name, r.Details), "an update that the proxy accepts")
	}
	for _, kind := range slices.Sorted(maps.Keys(p.Sync.Errors)) {
		add(audit.Critical, fmt.Sprintf("the proxy refused an update of %s: %s", kind, p.Sync.Errors[kind]), "an update that the proxy accepts")
	}
	if p.Sync.Compared {
		for i, d := range p.Sync.Differences {
			if i == 5 {
				add(audit.High, fmt.Sprintf("%d more resources differ", len(p.Sync.Differences)-i), "the same in the proxy and in istiod")
				break
			}
			add(audit.High, fmt.Sprintf("%s %s: %s", d.Kind, d.Name, differs(d)), "the same in the proxy and in istiod")
		}
	}
	for _, w := range p.Sync.Warming {
		add(audit.High, w+" is warming: it carries no traffic yet, as while its secret does not come", "an active cluster")
	}
	if p.Sync.MinorsApart > 1 {
		add(audit.Medium, fmt.Sprintf("the proxy is of Istio %s, istiod of %s", p.Sync.ProxyIstio, p.Sync.IstiodIstio), "at most one minor version apart")
	}
	return found
}

func kindName(p *livesource.Proxy) string {
	if p.Kind == "router" {
		return "gateway"
	}
	return p.Kind
}

func hopOf(p *livesource.Proxy) int {
	if p.Kind == "router" {
		return 2
	}
	return 1
}

func differs(d livesource.Difference) string {
	switch d.Where {
	case "envoy":
		return "only the proxy has it"
	case "istiod":
		return "istiod would send it, and the proxy does not have it"
	}
	return "the proxy has it otherwise: " + d.What
}

// redacted stands for a private key that was not kept.
const redacted = "[redacted]"

// addSecrets adds the Secrets that were read to the objects: their keys' names and the
// public half.
func addSecrets(s *livesource.Snapshot) error {
	for _, secret := range s.Secrets {
		ref := objects.Ref{Kind: "Secret", Namespace: secret.Namespace, Name: secret.Name}
		if !secret.Exists || s.Objects.Find(ref) != nil {
			continue
		}
		data := map[string]string{}
		for _, k := range secret.Keys {
			data[k] = redacted
			if pem := secret.PEM[k]; pem != "" {
				data[k] = pem
			}
		}
		raw, err := json.Marshal(map[string]any{
			"apiVersion": "v1", "kind": "Secret", "type": secret.Type,
			"metadata": map[string]string{"name": secret.Name, "namespace": secret.Namespace}, "stringData": data,
		})
		if err != nil {
			return err
		}
		o, err := objects.FromJSON(raw)
		if err != nil {
			return err
		}
		s.Objects.All = append(s.Objects.All, o)
	}
	return nil
}
