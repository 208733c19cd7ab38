package agreement

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"twohop/internal/audit/offline"
	"twohop/internal/channel"
	"twohop/internal/cluster"
	"twohop/internal/computed"
	"twohop/internal/given"
	"twohop/internal/manifest"
	"twohop/internal/objects"
	"twohop/internal/subject"
)

// most is how many questions one helper answers: its fakes keep what they were given.
const most = 100

// Computer asks istiod's code of a line, by one helper after the other.
type Computer struct {
	ctx     context.Context
	program string
	istiod  *computed.Istiod
	asked   int
	// known are answers to questions that come again: many states are the baseline.
	known map[string]*Given
}

// NewComputer asks the program, which Close ends.
func NewComputer(ctx context.Context, program string) *Computer {
	return &Computer{ctx: ctx, program: program, known: map[string]*Given{}}
}

// Close ends the helper.
func (c *Computer) Close() error {
	if c.istiod == nil {
		return nil
	}
	err := c.istiod.Close()
	c.istiod, c.asked = nil, 0
	return err
}

func (c *Computer) ask(m *channel.Mesh, mesh string, proxies []*channel.Workload) (*computed.Answer, error) {
	if c.asked >= most {
		if err := c.Close(); err != nil {
			return nil, err
		}
	}
	if c.istiod == nil {
		var err error
		if c.istiod, err = computed.Start(c.ctx, c.program); err != nil {
			return nil, err
		}
	}
	c.asked++
	a, err := c.istiod.Ask(m, mesh, proxies)
	if err != nil {
		c.istiod, c.asked = nil, 0
	}
	return a, err
}

// Given is what istiod's code gives the proxies of a state.
type Given struct {
	// Dumps by the roles that were asked for; nil where the state has no such workload.
	Dumps map[subject.Role][]byte
	// Pods are the workloads by the addresses that were made for them.
	Pods map[string]*channel.Workload

	normal map[subject.Role]given.Config // what was read of Dumps
}

// normalised is the dump of a role as compare takes it. It is only read.
func (g *Given) normalised(role subject.Role) (given.Config, error) {
	c, ok := g.normal[role]
	if !ok {
		var err error
		if c, err = normalised(g.Dumps[role]); err != nil {
			return nil, err
		}
		g.normal[role] = c
	}
	return c, nil
}

// Compute computes the configuration of the proxies that play these roles.
func (c *Computer) Compute(set *manifest.Set, roles ...subject.Role) (*Given, error) {
	text, err := manifests(set)
	if err != nil {
		return nil, err
	}
	key := fmt.Sprintln(roles) + text
	if g, ok := c.known[key]; ok {
		return g, nil
	}
	parsed := &objects.Set{}
	if err := parsed.Parse("state", []byte(text)); err != nil {
		return nil, err
	}
	m, _, mesh, err := offline.Find(parsed, set.Subject.Domain)
	if err != nil {
		return nil, err
	}
	g := &Given{Dumps: map[subject.Role][]byte{}, normal: map[subject.Role]given.Config{}}
	var proxies []*channel.Workload
	of := map[subject.Role]*channel.Workload{}
	for _, r := range roles {
		namespace, name := workload(set.Subject, r)
		for _, w := range m.Workloads {
			if w.Namespace == namespace && w.Name == name && of[r] == nil {
				of[r] = w
				proxies = append(proxies, w)
			}
		}
	}
	a, err := c.ask(m, mesh, proxies)
	if err != nil {
		return nil, err
	}
	for _, r := range a.Refused {
		if !r.Warning {
			return nil, fmt.Errorf("istiod's code refuses %v, which the cluster has stored: %s", r.Object, r.Reason)
		}
	}
	for r, w := range of {
		g.Dumps[r] = a.Dumps[w]
	}
	g.Pods = a.Pods
	c.known[key] = g
	return g, nil
}

// manifests are the objects that istiod has in a state, as an audit reads them.
func manifests(set *manifest.Set) (string, error) {
	operator, err := settings(set.Subject)
	if err != nil {
		return "", err
	}
	all := []string{operator, ground(set.Subject)}
	for _, o := range set.Objects() {
		if !istiodReads(manifest.KeyOf(o).Kind) {
			continue
		}
		raw, err := manifest.YAML(o)
		if err != nil {
			return "", err
		}
		all = append(all, string(raw))
	}
	return strings.Join(all, "\n---\n"), nil
}

// services are the Services of a state.
func services(set *manifest.Set) (found []*corev1.Service) {
	for _, o := range set.Objects() {
		if s, ok := o.(*corev1.Service); ok {
			found = append(found, s)
		}
	}
	return found
}

// istiodReads reports whether what proxies are given can depend on a kind.
func istiodReads(kind string) bool {
	switch kind {
	case "ConfigMap", "Secret", "Role", "RoleBinding", "ServiceAccount":
		return false
	}
	return true
}

// settings is the IstioOperator that the lab's control plane was installed by, as a user
// has it in a repository, with what the chart makes of its other fields.
func settings(s subject.Subject) (string, error) {
	raw, err := cluster.Istio{Domain: s.Domain, UpstreamEnvoy: true, FlushesFast: true}.Operator(s)
	if err != nil {
		return "", err
	}
	var operator map[string]any
	if err := yaml.Unmarshal(raw, &operator); err != nil {
		return "", err
	}
	spec, _ := operator["spec"].(map[string]any)
	mesh, ok := spec["meshConfig"].(map[string]any)
	if !ok {
		return "", fmt.Errorf("the IstioOperator has no meshConfig: %s", raw)
	}
	// values.global.istioNamespace (manifests/charts/istio-control/istio-discovery,
	// templates/configmap.yaml).
	mesh["rootNamespace"] = s.ControlPlane.Namespace
	operator["metadata"] = map[string]any{"name": "lab"}
	raw, err = json.Marshal(operator)
	return string(raw), err
}

// workload is the Deployment or pod that plays a role.
func workload(s subject.Subject, r subject.Role) (namespace, name string) {
	if pod, ok := r.ExtraGatewayPod(); ok {
		return s.Gateway.Namespace, pod
	}
	w := map[subject.Role]subject.Workload{
		subject.Sidecar: s.Client, subject.Gateway: s.Gateway, subject.SecondSidecar: s.SecondClient(), subject.SecondGateway: s.SecondGateway(),
		subject.Partner: s.Partner, subject.Istiod: {Namespace: s.ControlPlane.Namespace, Deployment: s.ControlPlane.Deployment()},
	}[r]
	return w.Namespace, w.Deployment
}
