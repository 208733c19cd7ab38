package check

import (
	"bytes"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"al.essio.dev/pkg/shellescape"
	"github.com/onsi/gomega/types"

	"twohop/internal/envoy"
	"twohop/internal/observe"
	"twohop/internal/subject"
	"twohop/internal/verdict"
)

// Cluster is one of a proxy's upstream clusters, or its absence.
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

// anchor is a cluster that istiod gives every proxy (pilot/pkg/networking/core,
// buildBlackHoleCluster): an answer without it is no list of clusters.
const anchor = "BlackHoleCluster"

// clusterPath asks for one cluster, and for the anchor.
func clusterPath(name string) string {
	return observe.AllClustersPath + "&name_regex=" + url.QueryEscape("^("+anchor+"|"+regexp.QuoteMeta(name)+")$")
}

// Cluster reads one cluster of a proxy. An absent cluster is a finding; a dump
// that does not parse, or is of nothing, is an error.
func (t *T) Cluster(p *Proxy, name string) *Cluster {
	all, path := t.clusters(p, clusterPath(name), "cluster.json")
	c := &Cluster{Name: name, who: t.Who(p), t: t, path: path}
	if _, err := envoy.FindCluster(all, anchor); err != nil {
		t.Abort("%s shows no %s, which istiod gives every proxy: %w", c.who, anchor, err)
	}
	var err error
	var absent *envoy.AbsentError
	if c.Envoy, err = envoy.FindCluster(all, name); errors.As(err, &absent) {
		return c
	}
	t.must(err)
	c.Present = true
	c.Pool, err = c.Envoy.Pool()
	t.must(err)
	c.TLS, err = c.Envoy.TLS()
	t.must(err)
	return c
}

// clusters reads a proxy's clusters, and says where they were kept.
func (t *T) clusters(p *Proxy, adminPath, name string) ([]*envoy.Cluster, string) {
	a := t.admin(p, name, verdict.KindClusters, adminPath)
	dump, err := envoy.ParseConfigDump(a.Raw)
	if err != nil {
		t.Abort("%s: %w", t.Who(p), err)
	}
	return dump.Clusters(), a.Path
}

// Fact states a fact about the cluster.
func (c *Cluster) Fact(name string, seen any, want types.GomegaMatcher) bool {
	return c.t.Fact(fmt.Sprintf("%s, %s: %s", c.who, c.Name, name), seen, want, c.path)
}

// Is states whether the proxy has the cluster. What is said of the settings of a
// cluster that is absent is said of nothing.
func (c *Cluster) Is(present types.GomegaMatcher) bool { return c.Fact("present", c.Present, present) }

// TLSOrZero spares checks a test for nil: a cluster without a transport socket
// has no SNI, no certificates and no SANs.
func (c *Cluster) TLSOrZero() envoy.TLS {
	if c.TLS == nil {
		return envoy.TLS{}
	}
	return *c.TLS
}

// Evidence is the cluster's file, for facts about several things.
func (c *Cluster) Evidence() string { return c.path }

// Discovery is how the cluster finds its addresses, in Envoy's words
// (STRICT_DNS, EDS); empty where there is no cluster.
func (c *Cluster) Discovery() string {
	if c.Envoy == nil {
		return ""
	}
	return c.Envoy.Type()
}

// DestinationRule is the rule that shaped the cluster, as the path of its
// resource; empty where none did.
func (c *Cluster) DestinationRule() string {
	if c.Envoy == nil {
		return ""
	}
	rule, _ := c.Envoy.DestinationRule()
	return rule
}

// FilterChain is a proxy's filter chain for a server name.
type FilterChain struct {
	envoy.FilterChain
	Present bool
	who     string
	t       *T
	path    string
}

// FilterChain reads the filter chain of a proxy's listener on a port that a
// server name leads to.
func (t *T) FilterChain(p *Proxy, port int, serverName string) *FilterChain {
	a := t.admin(p, "listeners.json", verdict.KindJSON, observe.ListenersPath)
	all, err := envoy.ParseListeners(a.Raw)
	if err != nil {
		t.Abort("%s: %w", t.Who(p), err)
	}
	if len(all) == 0 { // some port is always served, even if not the one asked for
		t.Abort("%s shows no listener at all: the list is not complete", t.Who(p))
	}
	c := &FilterChain{who: fmt.Sprintf("%s, listener on %d, filter chain of %s", t.Who(p), port, serverName), t: t, path: a.Path}
	for _, l := range all {
		if !strings.HasSuffix(l.Address, fmt.Sprintf(":%d", port)) {
			continue
		}
		for _, chain := range l.Chains {
			if slices.Contains(chain.ServerNames, serverName) {
				c.FilterChain, c.Present = chain, true
			}
		}
	}
	return c
}

// RequiresClientCertificate is whether the chain demands one; nil where it says
// nothing or is plaintext, and then it does not.
func (c *FilterChain) RequiresClientCertificate() *bool {
	if c.FilterChain.TLS == nil {
		return nil
	}
	return c.FilterChain.TLS.RequireClientCertificate
}

// Fact states a fact about the filter chain.
func (c *FilterChain) Fact(name string, seen any, want types.GomegaMatcher) bool {
	return c.t.Fact(c.who+": "+name, seen, want, c.path)
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

// Because states that the secret's state is the reason for a failure.
func (s *Secret) Because(name string, seen any, want types.GomegaMatcher) bool {
	return s.t.Because(fmt.Sprintf("%s, secret %s: %s", s.who, s.Name, name), seen, want, s.path)
}

// secretAnchor is the mesh's CA, which every proxy gets from its agent: an answer
// without it is no list of secrets.
const secretAnchor = "ROOTCA"

// Secret reads one SDS secret of a proxy.
func (t *T) Secret(p *Proxy, name string) *Secret {
	return t.secretIn(p, name, t.admin(p, "secrets.json", verdict.KindSecrets, observe.SecretsDumpPath))
}

func (t *T) secretIn(p *Proxy, name string, a observe.Answer) *Secret {
	all, err := envoy.ParseSecrets(a.Raw)
	if err != nil {
		t.Abort("%s: %w", t.Who(p), err)
	}
	if !slices.ContainsFunc(all, func(s envoy.Secret) bool { return s.Name == secretAnchor }) {
		t.Abort("%s shows no secret %s, which every proxy has: the list is not complete", t.Who(p), secretAnchor)
	}
	s := &Secret{Secret: envoy.Secret{Name: name}, who: t.Who(p), t: t, path: a.Path}
	for _, found := range all {
		if found.Name == name {
			s.Secret, s.Present = found, true
		}
	}
	return s
}

// AwaitSerial waits until a proxy holds a certificate as an ACTIVE secret.
func (t *T) AwaitSerial(p *Proxy, secret, serial string) *Secret {
	return t.awaitSecret(p, secret, fmt.Sprintf("%s has an ACTIVE secret %s with serial %s", t.Who(p), secret, serial), nil,
		func(s envoy.Secret) bool { return s.HoldsSerial(serial) })
}

// AwaitDecision waits until a proxy holds a secret, or istiod's log says that
// the proxy's service account may not have it.
func (t *T) AwaitDecision(p *Proxy, secret string) *Secret {
	denial := &observe.Line{Role: subject.Istiod, Since: t.since(subject.Istiod),
		Holds: []string{p.Workload.ServiceAccount + "/" + p.Workload.Namespace, "is not authorized to read secrets"}}
	return t.awaitSecret(p, secret, fmt.Sprintf("%s has the secret %s, or istiod's log refuses it", t.Who(p), secret), denial,
		func(s envoy.Secret) bool { return s.State == envoy.SecretActive })
}

func (t *T) awaitSecret(p *Proxy, name, what string, or *observe.Line, is func(envoy.Secret) bool) *Secret {
	t.pause(fmt.Sprintf("the %s has the secret %s, or is refused it", t.Who(p), name), 5*time.Second)
	t.Step("what the "+t.Who(p)+" holds", t.adminMeta(p, "", "", observe.SecretsDumpPath).Command)
	a := t.ask(observe.Until{Ask: observe.Admin{Role: p.Role, Path: observe.SecretsDumpPath}, What: what, Limit: t.Limits.Secret, Or: or,
		Done: func(raw []byte) (bool, string, error) {
			all, err := envoy.ParseSecrets(raw)
			if err != nil {
				return false, "", err
			}
			var seen []string
			done := false
			for _, s := range all {
				seen = append(seen, fmt.Sprintf("%s %s", s.Name, s.State))
				done = done || s.Name == name && is(s)
			}
			return done, strings.Join(seen, ", "), nil
		}}, t.adminMeta(p, "secrets.json", verdict.KindSecrets, observe.SecretsDumpPath))
	return t.secretIn(p, name, a)
}

// AwaitWarm waits until no cluster of a proxy is on its way any more. Envoy
// holds one back for 15 s whose secret does not come, and serves meanwhile with
// the one that it replaces.
func (t *T) AwaitWarm(p *Proxy) {
	t.pause("the "+t.Who(p)+" has warmed its clusters: Envoy waits 15 s for a secret", 16*time.Second)
	t.ask(observe.Until{Ask: observe.Admin{Role: p.Role, Path: observe.WarmingClusters}, What: "the " + string(p.Role) + " has warmed its clusters", Limit: t.Limits.Secret,
		Done: func(raw []byte) (bool, string, error) {
			dump, err := envoy.ParseConfigDump(raw)
			if err != nil {
				return false, "", err
			}
			var names []string
			for _, c := range dump.Clusters() { // those of the list that was asked for
				names = append(names, c.Name())
			}
			return len(names) == 0, "warming: " + strings.Join(names, ", "), nil
		}}, t.adminMeta(p, "warming.json", verdict.KindClusters, observe.WarmingClusters))
}

// Extra is the gateway pod of that name, once its Envoy answers.
func (t *T) Extra(pod string) *Proxy {
	role := subject.ExtraGateway(pod)
	t.Meet()
	p, ok := t.cast.Find(role)
	if !ok {
		t.Abort("no pod plays the %s", role)
	}
	w := subject.Workload{Namespace: p.Namespace, Deployment: pod, ServiceAccount: pod, Proxy: t.Subject.Gateway.Proxy}
	return &Proxy{Pod: p, Workload: w}
}

// admin asks a proxy's admin API and keeps the answer.
func (t *T) admin(p *Proxy, name, kind, path string) observe.Answer {
	meta := t.adminMeta(p, name, kind, path)
	t.Step("what the "+t.Who(p)+" holds", meta.Command)
	return t.ask(observe.Admin{Role: p.Role, Path: path}, meta)
}

func (t *T) adminMeta(p *Proxy, name, kind, path string) observe.Meta {
	return observe.Meta{Name: fileOf(p.Role) + "-" + name, Kind: kind, Witness: witness(p.Role),
		Command: fmt.Sprintf("kubectl exec -n %s %s -c %s -- pilot-agent request GET '%s'", p.Namespace, p.Name, p.Workload.Proxy, path)}
}

// IstiodLog makes istiod push, and returns what its log says since the claim
// began, in a line that holds all the texts: the first one, or an empty line.
// Then the log was read up to a line that istiod wrote later, about that push.
func (t *T) IstiodLog(texts ...string) (line, path string) {
	at := t.session.Next()
	pod, ok := t.cast.Find(subject.Istiod)
	if !ok {
		t.Abort("nobody plays istiod")
	}
	command := logCommand(pod, "discovery")
	byHand := command + ` --since-time "$begun"`
	for _, text := range texts {
		byHand += " | grep -F -e " + shellescape.Quote(text)
	}
	t.Step("what istiod's log says, of all of: "+strings.Join(texts, "; "), byHand)
	a, err := t.session.Source.Begin(t.ctx, at, observe.Flush{Role: subject.Istiod, Token: t.session.Key.Token(at, 0), Since: t.since(subject.Istiod)},
		observe.Meta{Name: "istiod-flush.json", Kind: verdict.KindText, Witness: verdict.WitnessIstiod, Command: command}).Answer(t.ctx)
	t.must(err)
	w, err := a.Window(subject.Istiod)
	t.must(err)
	found := t.lines(w, func(line []byte) bool {
		return !slices.ContainsFunc(texts, func(text string) bool { return !bytes.Contains(line, []byte(text)) })
	})
	path = t.derive(at, observe.Meta{Name: "istiod.log", Kind: verdict.KindText, Witness: verdict.WitnessIstiod, Command: command}, join(found))
	return string(first(found)), path
}

// AgreesWithIstioctl states that the clusters read from each proxy's admin API are
// those that `istioctl proxy-config cluster -o json` prints for it, message by
// message. istioctl prints the bootstrap's static clusters too; they are left out.
func (t *T) AgreesWithIstioctl(want types.GomegaMatcher, proxies ...*Proxy) bool {
	var printed []observe.Pending // beside each other: istioctl takes a while to start
	for _, p := range proxies {
		args := []string{"proxy-config", "cluster", p.Name, "--namespace", p.Namespace, "--output", "json"}
		command := "istioctl " + strings.Join(args, " ")
		t.Step("the same by istioctl", command)
		printed = append(printed, t.session.Source.Begin(t.ctx, t.session.Next(), observe.Istioctl{Args: args},
			observe.Meta{Name: fileOf(p.Role) + "-istioctl.json", Kind: verdict.KindClusters, Witness: witness(p.Role), Command: command}))
	}
	agree := true
	for i, p := range proxies {
		theirs, err := printed[i].Answer(t.ctx)
		t.must(err)
		agree = t.agrees(p, theirs, want) && agree
	}
	return agree
}

func (t *T) agrees(p *Proxy, theirs observe.Answer, want types.GomegaMatcher) bool {
	printed, err := envoy.ParseIstioctlClusters(theirs.Raw)
	t.must(err)
	read, ours := t.clusters(p, observe.AllClustersPath, "clusters.json")
	known := map[string]bool{}
	for _, c := range read {
		known[c.Name()] = true
	}
	printed = slices.DeleteFunc(printed, func(c *envoy.Cluster) bool {
		return !known[c.Name()] && !strings.Contains(c.Name(), "|") // Istio's own names have bars
	})
	return t.Fact(t.Who(p)+": clusters that istioctl prints otherwise", envoy.DiffClusters(read, printed), want, ours, theirs.Path)
}
