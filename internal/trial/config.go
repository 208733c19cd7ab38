package trial

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/onsi/gomega/types"

	"twohop/internal/envoy"
	"twohop/internal/observe"
	"twohop/internal/subject"
	"twohop/internal/verdict"
)

// Cluster is one of a proxy's clusters, or its absence.
type Cluster struct {
	Name string
	// Present is false where the proxy has no cluster of that name; Pool and
	// TLS are then empty.
	Present bool
	Pool    envoy.Pool
	TLS     *envoy.TLS
	Envoy   *envoy.Cluster
	who     string
	t       *T
	path    string
}

// Cluster reads one cluster of a proxy. An absent cluster is a finding; a dump
// that does not parse is an error.
func (t *T) Cluster(ctx context.Context, p *observe.Proxy, name string) (*Cluster, error) {
	all, path, err := t.Clusters(ctx, p)
	if err != nil {
		return nil, err
	}
	c := &Cluster{Name: name, who: t.who(p), t: t, path: path}
	var absent *envoy.AbsentError
	if c.Envoy, err = envoy.FindCluster(all, name); errors.As(err, &absent) {
		return c, nil
	} else if err != nil {
		return nil, err
	}
	c.Present = true
	if c.Pool, err = c.Envoy.Pool(); err != nil {
		return nil, err
	}
	c.TLS, err = c.Envoy.TLS()
	return c, err
}

// Clusters reads all of a proxy's clusters, and says where they were kept.
func (t *T) Clusters(ctx context.Context, p *observe.Proxy) ([]*envoy.Cluster, string, error) {
	raw, path, err := t.admin(ctx, p, "clusters.json", verdict.KindClusters, observe.ClustersPath)
	if err != nil {
		return nil, "", err
	}
	dump, err := envoy.ParseConfigDump(raw)
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", t.who(p), err)
	}
	return dump.Clusters(), path, nil
}

// Path is where the proxy's clusters were kept.
func (c *Cluster) Path() string { return c.path }

// Fact states a fact about the cluster.
func (c *Cluster) Fact(name string, seen any, want types.GomegaMatcher) bool {
	return c.t.Fact(fmt.Sprintf("%s, %s: %s", c.who, c.Name, name), seen, want, c.path)
}

// TLSOrZero spares checks a test for nil: a cluster without a transport socket
// has no SNI, no certificates and no SANs.
func (c *Cluster) TLSOrZero() envoy.TLS {
	if c.TLS == nil {
		return envoy.TLS{}
	}
	return *c.TLS
}

// Rule is the DestinationRule that shaped the cluster, as the path of its
// resource; empty where none did.
func (c *Cluster) Rule() string {
	if c.Envoy == nil {
		return ""
	}
	rule, _ := c.Envoy.DestinationRule()
	return rule
}

// Secret is one of a proxy's SDS secrets, or its absence.
type Secret struct {
	envoy.Secret
	Present bool
	who     string
	t       *T
	path    string
}

// Fact states a fact about the secret.
func (s *Secret) Fact(name string, seen any, want types.GomegaMatcher) bool {
	return s.t.Fact(fmt.Sprintf("%s, secret %s: %s", s.who, s.Name, name), seen, want, s.path)
}

// Secret reads one SDS secret of a proxy.
func (t *T) Secret(ctx context.Context, p *observe.Proxy, name string) (*Secret, error) {
	raw, path, err := t.admin(ctx, p, "secrets.json", verdict.KindSecrets, observe.SecretsDumpPath)
	if err != nil {
		return nil, err
	}
	all, err := envoy.ParseSecrets(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t.who(p), err)
	}
	s := &Secret{Secret: envoy.Secret{Name: name}, who: t.who(p), t: t, path: path}
	for _, found := range all {
		if found.Name == name {
			s.Secret, s.Present = found, true
		}
	}
	return s, nil
}

// admin asks a proxy's admin API and keeps the answer.
func (t *T) admin(ctx context.Context, p *observe.Proxy, name, kind, path string) (raw []byte, kept string, err error) {
	if raw, err = p.Admin(ctx, path); err != nil {
		return nil, "", err
	}
	command := p.Command(path)
	t.Step("what "+t.who(p)+" holds", command)
	of := t.witness(p.Workload)
	if p == t.Second.Sidecar || p == t.Second.Gateway {
		of = "second-" + of
	}
	kept, err = t.Save(of+"-"+name, kind, t.witness(p.Workload), command, raw)
	return raw, kept, err
}

// who names a proxy in facts.
func (t *T) who(p *observe.Proxy) string {
	switch p {
	case t.Sidecar:
		return "client sidecar"
	case t.Second.Sidecar:
		return "second client's sidecar"
	case t.Second.Gateway:
		return "second gateway"
	}
	return "gateway"
}

func (t *T) witness(w subject.Workload) string {
	if w.Namespace == t.Subject.Client.Namespace {
		return verdict.WitnessSidecar
	}
	return verdict.WitnessGateway
}

// IstiodSaid waits for a line of istiod's log that holds all the texts, past or
// to come, and keeps it. Without one it returns an empty line: then the log was
// read up to a line that istiod wrote later, about the sentinel's push.
func (t *T) IstiodSaid(ctx context.Context, texts ...string) (line, path string, err error) {
	match := func(line []byte) bool {
		for _, text := range texts {
			if !bytes.Contains(line, []byte(text)) {
				return false
			}
		}
		return true
	}
	if err := t.FlushIstiod(ctx); err != nil {
		return "", "", err
	}
	found := t.Istiod.Matching(match)
	path, err = t.Save("istiod.log", verdict.KindText, verdict.WitnessIstiod, t.Istiod.Command, join(found))
	return string(first(found)), path, err
}

// Connections states how many connections a proxy has opened with a cluster
// since the cluster came, to any of its hosts.
func (t *T) Connections(ctx context.Context, p *observe.Proxy, cluster string, want types.GomegaMatcher) error {
	all, path, err := t.statuses(ctx, p)
	if err != nil {
		return err
	}
	total, found := uint64(0), false
	for _, status := range all {
		if status.Name != cluster {
			continue
		}
		found = true
		for _, host := range status.Hosts {
			total += host.Stats["cx_total"]
		}
	}
	if !found {
		return fmt.Errorf("%s has no cluster %s", t.who(p), cluster)
	}
	t.Fact(fmt.Sprintf("%s, %s: connections opened", t.who(p), cluster), total, want, path)
	return nil
}
