package livesource

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"

	"sigs.k8s.io/yaml"

	"twohop/internal/objects"
)

// ExportEnv writes in YAML what the audit of a repository needs of the cluster and a
// repository often lacks: namespaces, the gateways' Services, pods as their templates
// make them, service accounts, and the mesh configuration. No Secrets, no addresses.
func ExportEnv(s *Snapshot) ([]byte, error) {
	var out bytes.Buffer
	fmt.Fprintf(&out, "# What an offline audit needs of the cluster %s, at %s.\n# Written by twohop audit --export-env; give it back with --env.\n", s.Cluster.Context, s.At.Format("2006-01-02T15:04:05Z07:00"))
	for _, m := range s.Missing {
		fmt.Fprintf(&out, "# Missing: %s: %s\n", oneLine(m.What), oneLine(m.Why))
	}
	add := func(o any) error {
		raw, err := yaml.Marshal(o)
		if err == nil {
			out.WriteString("---\n")
			out.Write(raw)
		}
		return err
	}
	type meta struct {
		Name        string            `json:"name"`
		Namespace   string            `json:"namespace,omitempty"`
		Labels      map[string]string `json:"labels,omitempty"`
		Annotations map[string]string `json:"annotations,omitempty"`
		Owners      []owner           `json:"ownerReferences,omitempty"`
	}
	type document struct {
		APIVersion string            `json:"apiVersion"`
		Kind       string            `json:"kind"`
		Metadata   meta              `json:"metadata"`
		Spec       any               `json:"spec,omitempty"`
		Data       map[string]string `json:"data,omitempty"`
	}
	for _, o := range s.Objects.Kind("", "Namespace") {
		if err := add(document{"v1", "Namespace", meta{Name: o.Name, Labels: o.Labels, Annotations: o.Annotations}, nil, nil}); err != nil {
			return nil, err
		}
	}
	for i := range s.Mesh {
		m := &s.Mesh[i]
		for _, c := range []struct{ name, mesh string }{{m.ConfigMap, m.Config}, {s.sharedName(m), m.Shared}} {
			if c.mesh == "" {
				continue
			}
			labels := map[string]string{"istio.io/rev": m.Revision}
			if err := add(document{"v1", "ConfigMap", meta{Name: c.name, Namespace: m.Namespace, Labels: labels}, nil, map[string]string{"mesh": c.mesh}}); err != nil {
				return nil, err
			}
		}
	}
	for _, o := range gatewayServices(s.Objects) {
		spec, err := serviceSpec(o)
		if err != nil {
			return nil, err
		}
		if err := add(document{"v1", "Service", meta{Name: o.Name, Namespace: o.Namespace, Labels: o.Labels, Annotations: o.Annotations}, spec, nil}); err != nil {
			return nil, err
		}
	}
	type account struct{ namespace, name string }
	var accounts []account
	var templates []document
	same, names := map[string]bool{}, map[string]int{}
	for _, o := range s.Objects.Kind("", "Pod") {
		var p podItem
		if err := o.Decode(&p); err != nil {
			return nil, err
		}
		a := account{o.Namespace, cmp.Or(p.Spec.ServiceAccountName, "default")}
		if !slices.Contains(accounts, a) {
			accounts = append(accounts, a)
		}
		owned := objects.Ref{Kind: "Pod", Namespace: o.Namespace, Name: o.Name}
		if pod, ok := s.PodOf(o.Ref); ok {
			owned = pod.Owner
		}
		for _, l := range ofOnePod {
			delete(p.Metadata.Labels, l)
		}
		p.Spec.NodeName = ""
		doc := document{"v1", "Pod", meta{Name: owned.Name, Namespace: o.Namespace, Labels: p.Metadata.Labels, Annotations: p.Metadata.Annotations}, p.Spec, nil}
		if owned.Kind != "Pod" {
			// A repository that has the owner has the pod: then this one does not count.
			doc.Metadata.Owners = []owner{{APIVersion: apiVersionOf(owned.Kind), Kind: owned.Kind, Name: owned.Name, Controller: true}}
		}
		raw, err := json.Marshal(doc)
		if err != nil {
			return nil, err
		}
		if same[string(raw)] {
			continue // a gateway's replicas are one
		}
		same[string(raw)] = true
		name := o.Namespace + "/" + owned.Name
		if names[name]++; names[name] > 1 { // a roll-out is under way
			doc.Metadata.Name += fmt.Sprintf("-%d", names[name])
		}
		templates = append(templates, doc)
	}
	for _, a := range accounts {
		if err := add(document{"v1", "ServiceAccount", meta{Name: a.name, Namespace: a.namespace}, nil, nil}); err != nil {
			return nil, err
		}
	}
	for _, t := range templates {
		if err := add(t); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), nil
}

func apiVersionOf(kind string) string {
	switch kind {
	case "Job", "CronJob":
		return "batch/v1"
	case "Rollout":
		return "argoproj.io/v1alpha1"
	}
	return "apps/v1"
}

func (s *Snapshot) sharedName(m *Mesh) string {
	for _, i := range s.Istiods {
		if i.Namespace == m.Namespace && i.Revision == m.Revision {
			return i.Env["SHARED_MESH_CONFIG"]
		}
	}
	return ""
}

// serviceSpec is a Service's without what the cluster has given to it.
func serviceSpec(o *objects.Object) (map[string]any, error) {
	var s struct {
		Spec map[string]any `json:"spec"`
	}
	if err := o.Decode(&s); err != nil {
		return nil, err
	}
	if s.Spec["clusterIP"] != "None" { // headless is a choice, an address is not
		delete(s.Spec, "clusterIP")
		delete(s.Spec, "clusterIPs")
	}
	for _, field := range []string{"healthCheckNodePort", "externalIPs", "loadBalancerIP"} {
		delete(s.Spec, field)
	}
	return s.Spec, nil
}

func oneLine(s string) string {
	return string(bytes.ReplaceAll([]byte(s), []byte("\n"), []byte(" ")))
}
