package experiment

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"twohop/internal/check"
	"twohop/internal/claim"
	"twohop/internal/envoy"
	"twohop/internal/manifest"
	"twohop/internal/observe"
	"twohop/internal/subject"
	"twohop/internal/verdict"
	partnernginx "twohop/partner-nginx"
)

// RunID is the claim under which the observations of a run as a whole are kept.
const RunID claim.ID = "run"

// StageOf is the stage of what a run observes about a lab.
func StageOf(lab int) string { return fmt.Sprintf("lab-%d", lab) }

// Ground is what every experiment in a lab stands on: which lab it is, and the
// public half of its certificates.
type Ground struct {
	Lab                          int
	Domain                       string
	Images                       manifest.Images
	ServerCA, ClientCA, Stranger string            // PEM
	Credential                   string            // PEM
	Server                       map[string]string // PEM, by nginx' file name
}

// NewGround describes a lab.
func NewGround(n int, domain string, images manifest.Images, c *manifest.Certificates) Ground {
	g := Ground{Lab: n, Domain: domain, Images: images, ServerCA: string(c.ServerCA.CertPEM), ClientCA: string(c.ClientCA.CertPEM),
		Stranger: string(c.Stranger.CertPEM), Credential: string(c.Credential.CertPEM), Server: map[string]string{}}
	for name, raw := range c.Server {
		g.Server[name] = string(raw)
		if manifest.IsPrivateKey(raw) {
			g.Server[name] = manifest.KeyPlaceholder + name
		}
	}
	return g
}

// Editor writes variations on this ground, without a key.
func (g Ground) Editor() (*manifest.Editor, error) {
	c := &manifest.Certificates{Server: map[string][]byte{}}
	var errs []error
	for _, ca := range []struct {
		into      **partnernginx.CA
		name, pem string
	}{{&c.ServerCA, "server-ca", g.ServerCA}, {&c.ClientCA, "client-ca", g.ClientCA}, {&c.Stranger, "stranger-ca", g.Stranger}} {
		read, err := partnernginx.ParseCA([]byte(ca.pem))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		read.KeyPEM = []byte(manifest.KeyPlaceholder + ca.name)
		*ca.into = read
	}
	credential, err := partnernginx.ParsePair([]byte(g.Credential))
	errs = append(errs, err)
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("the certificates of the lab: %w", err)
	}
	c.Credential = credential
	c.Credential.KeyPEM = []byte(manifest.KeyPlaceholder + manifest.ClientName)
	for name, pem := range g.Server {
		c.Server[name] = []byte(pem)
	}
	if err := g.consistent(); err != nil {
		return nil, fmt.Errorf("the certificates of the lab: %w", err)
	}
	baseline, err := manifest.Baseline(g.Lab, g.Domain, g.Images, c)
	if err != nil {
		return nil, err
	}
	return manifest.NewEditor(baseline, c), nil
}

// consistent says what does not belong together: each CA has signed a certificate
// that is in use, the stranger's and the clients' are where nginx reads them.
func (g Ground) consistent() error {
	for _, signed := range []struct{ what, by, pem string }{
		{"the client certificate", g.ClientCA, g.Credential},
		{"the partner's certificate", g.ServerCA, g.Server["server.crt"]},
		{"the stranger's certificate", g.Stranger, g.Server["stranger.crt"]},
		{"nginx' client CA", g.ClientCA, g.Server["client-ca.crt"]},
		{"nginx' other client CA", g.Stranger, g.Server["stranger-ca.crt"]},
	} {
		ca, err := partnernginx.ParsePair([]byte(signed.by))
		if err != nil {
			return fmt.Errorf("%s: its CA: %w", signed.what, err)
		}
		leaf, err := partnernginx.ParsePair([]byte(signed.pem))
		if err != nil {
			return fmt.Errorf("%s: %w", signed.what, err)
		}
		if err := leaf.Cert.CheckSignatureFrom(ca.Cert); err != nil {
			return fmt.Errorf("%s: %w", signed.what, err)
		}
	}
	return nil
}

// Identity is what a lab is made of, as the parts say themselves.
type Identity struct {
	Ground Ground
	// Istio is istiod's own word on its version, IstioRevision the module version
	// in the build information of the binary that runs; empty where it was not
	// built from the module.
	Istio, IstioRevision, Kubernetes, Envoy string
	// ImageIDs are those of the pods' status, by container.
	ImageIDs map[string]string
}

// Identify asks the parts what they are. ground is made by a run, and recorded
// for its replay.
func Identify(ctx context.Context, source observe.Source, key observe.Key, limits observe.Limits, s subject.Subject, asked verdict.Asked, ground func() Ground) (id Identity, err error) {
	defer check.Recover(&err)
	session := &check.Session{Source: source, Key: key, Limits: limits, Claim: string(RunID), Stage: StageOf(s.Lab), Script: func(string, string, []byte) {}}
	raw, err := session.Input(ctx, "ground", "ground.json", func() ([]byte, error) { return json.MarshalIndent(ground(), "", "  ") })
	if err != nil {
		return id, err
	}
	if err := json.Unmarshal(raw, &id.Ground); err != nil {
		return id, fmt.Errorf("the ground of the run: %w", err)
	}
	t, err := check.New(ctx, session, s)
	if err != nil {
		return id, err
	}
	proxy := t.Asking(observe.Admin{Role: subject.Gateway, Path: observe.ServerPath}, "envoy.json", verdict.KindJSON)
	istiod := t.Asking(observe.PodGet{Role: subject.Istiod, Port: 15014, Path: "/version"}, "istiod-version.txt", verdict.KindText)
	built := func() []byte { return nil }
	if asked.IstioRevision != "" {
		built = t.Asking(observe.Exec{Role: subject.Istiod, Container: "discovery", Command: buildInfo}, "istiod-buildinfo.txt", verdict.KindText)
	}
	nodes := t.Asking(observe.Get{Path: "/api/v1/nodes"}, "nodes.json", verdict.KindJSON)
	var pods []func() []byte
	for _, ns := range []string{s.ControlPlane.Namespace, s.Client.Namespace, s.Gateway.Namespace, s.Partner.Namespace} {
		pods = append(pods, t.Asking(observe.Get{Path: "/api/v1/namespaces/" + ns + "/pods"}, ns+"-pods.json", verdict.KindJSON))
	}
	if id.Envoy, err = envoy.ParseVersion(proxy()); err != nil {
		return id, err
	}
	if id.Istio, err = line(istiod()); err != nil {
		return id, err
	}
	id.IstioRevision = revision(built())
	if id.Kubernetes, err = kubelet(nodes()); err != nil {
		return id, err
	}
	id.ImageIDs = map[string]string{}
	for _, of := range pods {
		if err := imageIDs(of(), id.ImageIDs); err != nil {
			return id, err
		}
	}
	return id, id.differs(asked)
}

// buildInfo prints the line that Go's linker has put into the running binary
// about the module of Istio (runtime/debug, BuildInfo).
var buildInfo = []string{"grep", "-a", "-o", "-m1", "istio.io/istio\tv[0-9][^\t]*", "/proc/1/exe"}

func revision(raw []byte) string {
	fields := strings.Fields(string(raw))
	if len(fields) < 2 {
		return ""
	}
	return fields[1]
}

// releaseLine is a release line such as 1.31 at the front of a version.
var releaseLine = regexp.MustCompile(`^"?v?(\d+\.\d+(\.\d+)?)`)

// line is istiod's version as far as it is a number.
func line(raw []byte) (string, error) {
	m := releaseLine.FindSubmatch(raw)
	if m == nil {
		return "", fmt.Errorf("istiod's /version names no release: %.200q", raw)
	}
	return string(m[1]), nil
}

func kubelet(raw []byte) (string, error) {
	var nodes corev1.NodeList
	if err := json.Unmarshal(raw, &nodes); err != nil {
		return "", fmt.Errorf("the list of nodes: %w", err)
	}
	var versions []string
	for _, n := range nodes.Items {
		versions = append(versions, n.Status.NodeInfo.KubeletVersion)
	}
	slices.Sort(versions)
	versions = slices.Compact(versions)
	if len(versions) == 0 {
		return "", errors.New("the cluster lists no node")
	}
	return strings.Join(versions, ", "), nil
}

// imageIDs reads the pods' status. Pods of one container's name share an image.
func imageIDs(raw []byte, into map[string]string) error {
	var pods corev1.PodList
	if err := json.Unmarshal(raw, &pods); err != nil {
		return fmt.Errorf("the list of pods: %w", err)
	}
	for _, p := range pods.Items {
		for _, c := range p.Status.ContainerStatuses {
			if c.ImageID != "" {
				into[c.Name] = c.ImageID
			}
		}
	}
	return nil
}

// differs says what is not as it was asked for.
func (id Identity) differs(asked verdict.Asked) error {
	if asked.IstioRevision != "" && id.IstioRevision != asked.IstioRevision {
		return fmt.Errorf("istiod was built from revision %q of istio.io/istio, and the run asks for %s", id.IstioRevision, asked.IstioRevision)
	}
	if asked.Istio != "" && id.Istio != asked.Istio && !strings.HasPrefix(id.Istio, asked.Istio+".") && !strings.HasPrefix(asked.Istio, id.Istio+".") {
		return fmt.Errorf("istiod says that it is %s, and the run asks for Istio %s", id.Istio, asked.Istio)
	}
	if asked.Kubernetes != "" && id.Kubernetes != asked.Kubernetes {
		return fmt.Errorf("the kubelets are %s, and the run asks for Kubernetes %s", id.Kubernetes, asked.Kubernetes)
	}
	if asked.Envoy != "" && id.Envoy != asked.Envoy {
		return fmt.Errorf("the gateway's Envoy says that it is %s, and the run asks for %s", id.Envoy, asked.Envoy)
	}
	return nil
}

// Alike is an error where two labs of a run are not made of the same.
func (id Identity) Alike(first Identity) error {
	here, there := id, first
	here.Ground, there.Ground = Ground{}, Ground{}
	if !reflect.DeepEqual(here, there) {
		return fmt.Errorf("lab %d is made of %+v, and lab %d of %+v", id.Ground.Lab, here, first.Ground.Lab, there)
	}
	return nil
}

// SetRun writes the identity into a run.
func (id Identity) SetRun(r *verdict.Run) {
	r.Istio, r.IstioRevision, r.Kubernetes, r.Envoy, r.ImageIDs = id.Istio, id.IstioRevision, id.Kubernetes, id.Envoy, id.ImageIDs
}
