package images

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/mod/semver"

	"twohop/internal/engine"
)

// What the official lane needs, rounded up: the pulled images and the node
// derived from them in the engine, an archive of what the node gets beside them.
const (
	needOfficialEngine = 6 << 30
	needOfficialNode   = 2 << 30
	needOfficialWork   = 1 << 30
)

// upstreamEnvoyLabel is on a proxy image that holds upstream Envoy in the
// place of Istio's build: "true". Istio's own images do not have it.
const upstreamEnvoyLabel = "twohop.upstream-envoy"

// officialImage is an image that the official lane pulls.
type officialImage struct {
	name     string // as the cluster knows it: docker.io/istio/pilot:1.30.0
	host     string // as the host pulls it; another than name if a registry stands in
	variable string // what chose its tag
	pin      string // the digest that it must have; empty: any

	id     string // the engine's, once it is there
	digest string // the registry's, once it is there
	labels map[string]string
}

// officialImages are the official lane's images, small ones first: if the
// registry is out of reach, the first one shows it soonest.
type officialImages struct {
	client, partner, istioctl, proxy, pilot, node *officialImage
}

func (o officialImages) all() []*officialImage {
	return []*officialImage{o.client, o.istioctl, o.partner, o.proxy, o.pilot, o.node}
}

// inNode are those that the node does not have by itself.
func (o officialImages) inNode() []*officialImage {
	return []*officialImage{o.client, o.partner, o.proxy, o.pilot}
}

// officialNames says what the lane pulls for an Istio and a Kubernetes. pins are
// digests by image name: a registry that stands in has to serve the same.
func officialNames(v Versions, pins map[string]string, istio, k8s, registry string) officialImages {
	image := func(repository, tag, variable string) *officialImage {
		name := repository + ":" + tag
		return &officialImage{name: name, host: standIn(name, registry), variable: variable + "=" + tag, pin: pins[name]}
	}
	hub := v["OFFICIAL_ISTIO_HUB"]
	return officialImages{
		client:   image("docker.io/curlimages/curl", v["OFFICIAL_CURL_VERSION"], "OFFICIAL_CURL_VERSION"),
		partner:  image("docker.io/library/nginx", v["OFFICIAL_NGINX_VERSION"], "OFFICIAL_NGINX_VERSION"),
		istioctl: image(hub+"/istioctl", istio, "ISTIO_VERSION"),
		proxy:    image(hub+"/proxyv2", istio, "ISTIO_VERSION"),
		pilot:    image(hub+"/pilot", istio, "ISTIO_VERSION"),
		node:     image("docker.io/kindest/node", k8s, "K8S_VERSION"),
	}
}

// repository is the image's name on the host without its tag.
func (i *officialImage) repository() string { return i.host[:strings.LastIndex(i.host, ":")] }

// byTag are the names of images that are not pinned by digest.
func (o officialImages) byTag() []string {
	var names []string
	for _, image := range o.all() {
		if image.pin == "" {
			names = append(names, image.name)
		}
	}
	return names
}

// standIn puts a registry in the place of the one that a name begins with.
func standIn(name, registry string) string {
	if registry == "" {
		return name
	}
	_, path, _ := strings.Cut(name, "/")
	return strings.TrimSuffix(registry, "/") + "/" + path
}

// standInName is a registry's host and port, and folders in it.
var standInName = regexp.MustCompile(`^[0-9A-Za-z.-]+(:\d+)?(/[0-9a-z._-]+)*/?$`)

// registryOf is the registry that an image's name begins with.
func registryOf(name string) string {
	host, _, _ := strings.Cut(name, "/")
	return host
}

// official pulls what is missing and derives one node from it.
func (s *session) official(ctx context.Context) (*Set, error) {
	istio, k8s, err := s.versions.wantedOfficial(s.o.IstioVersion, s.o.K8sVersion)
	if err != nil {
		return nil, err
	}
	if v := s.o.EnvoyVersion; v != "" {
		return nil, &engine.UsageError{What: fmt.Sprintf("ENVOY_VERSION=%s: an official proxy has the Envoy of its Istio; leave the variable out, or use IMAGES=source", v)}
	}
	if r := s.o.Registry; r != "" && !standInName.MatchString(r) {
		return nil, &engine.UsageError{What: fmt.Sprintf("REGISTRY=%q is not a registry such as 127.0.0.1:5000 or mirror.example/proxy", r)}
	}
	pins, err := s.versions.digests()
	if err != nil {
		return nil, err
	}
	images := officialNames(s.versions, pins, istio, k8s, s.o.Registry)
	missing, err := s.look(ctx, images.all())
	if err != nil {
		return nil, err
	}
	if len(missing) > 0 {
		if err := s.pullAll(ctx, images.all(), missing); err != nil {
			return nil, err
		}
	}
	node, programs, err := s.officialPlan(images)
	if err != nil {
		return nil, err
	}
	set := &Set{
		Lane: Official, Node: node, KubernetesVersion: k8s,
		ClientImage: images.client.name, PartnerImage: images.partner.name,
		Istioctl: filepath.Join(programs, "istioctl"), Kubectl: filepath.Join(programs, "kubectl"),
		UpstreamEnvoy: images.proxy.labels[upstreamEnvoyLabel] == "true", ByTag: images.byTag(),
	}
	set.Istio.Hub, set.Istio.Tag, set.Istio.Version = s.versions["OFFICIAL_ISTIO_HUB"], istio, istio
	if set.FlushesFast, set.Notes, err = s.officialLine(istio, k8s); err != nil {
		return nil, err
	}

	if set.Digests, err = s.digests(ctx, node); err == nil && fileExists(set.Istioctl) && fileExists(set.Kubectl) {
		s.say("images: all there (%s)", node)
		return set, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := s.buildOfficial(ctx, images, node, programs); err != nil {
		return nil, err
	}
	set.Digests, err = s.digests(ctx, node)
	return set, err
}

// officialPlan names the derived node and the folder of host programs by what
// they are made of.
func (s *session) officialPlan(images officialImages) (node, programs string, err error) {
	in := inputsOf("official-node").text("base", images.node.id).files(filepath.Join(s.root, "images"), preloadScript)
	for _, image := range images.inNode() {
		in.text(image.name, image.id)
	}
	tag, err := in.tag()
	if err != nil {
		return "", "", err
	}
	tools, err := inputsOf("official-tools").text("istioctl", images.istioctl.id).text("kubectl", images.node.id).tag()
	return prefix + "node-official:" + tag, filepath.Join(s.cache, "official-"+tools), err
}

// preloadScript runs in the node; relative to images/.
const preloadScript = "official/preload.sh"

// look fills in what the engine knows of the images, and returns those that it
// does not have, or has with another digest than the pinned one.
func (s *session) look(ctx context.Context, images []*officialImage) ([]*officialImage, error) {
	var missing []*officialImage
	for _, image := range images {
		out, err := s.eng.Output(ctx, "image", "inspect", image.host)
		if err == nil {
			if err := image.parse(out); err != nil {
				return nil, err
			}
			if image.pin != "" && image.digest != image.pin {
				missing = append(missing, image)
			}
			continue
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		missing = append(missing, image)
	}
	return missing, nil
}

// parse reads what an engine's `image inspect` prints of one image.
func (i *officialImage) parse(inspect []byte) error {
	var all []struct {
		ID          string `json:"Id"`
		RepoDigests []string
		Config      struct{ Labels map[string]string }
	}
	if err := json.Unmarshal(inspect, &all); err != nil {
		return fmt.Errorf("parsing what `image inspect %s` printed: %w", i.host, err)
	}
	if len(all) != 1 || all[0].ID == "" {
		return fmt.Errorf("`image inspect %s` describes %d images, or one without an Id", i.host, len(all))
	}
	i.id, i.labels = all[0].ID, all[0].Config.Labels
	// An image that was built here and not pulled has no digest of a registry.
	i.digest = i.id
	slices.Sort(all[0].RepoDigests)
	for _, ref := range slices.Backward(all[0].RepoDigests) {
		name, digest, ok := strings.Cut(ref, "@")
		// docker shortens names: docker.io/library/nginx is nginx. There can be two,
		// that of the list of platforms and that of this platform's image.
		if ok && strings.HasSuffix(i.repository(), name) && i.digest != i.pin {
			i.digest = digest
		}
	}
	return nil
}

// buildOfficial takes the host programs out of the images and derives the node.
func (s *session) buildOfficial(ctx context.Context, images officialImages, node, programs string) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	if err := s.checkSpace(ctx, needOfficialWork, needOfficialNode); err != nil {
		return err
	}
	s.journal.watch()
	if !cgroup2() {
		s.say("images: this machine runs cgroup v1: a kindest/node on systemd 256 or later (Debian trixie) does not boot on it; IMAGES=source does")
	}
	for _, program := range []struct {
		image *officialImage
		path  string
		check []string
	}{
		{images.istioctl, "/usr/local/bin/istioctl", []string{"version", "--remote=false"}},
		{images.node, "/usr/bin/kubectl", []string{"version", "--client"}},
	} {
		if err := s.takeOut(ctx, program.image, program.path, programs, program.check); err != nil {
			return err
		}
	}
	if _, err := s.digests(ctx, node); err == nil {
		return nil
	}
	digests := map[string]string{images.node.name: images.node.digest, images.istioctl.name: images.istioctl.digest}
	var names []rename
	for _, image := range images.inNode() {
		names = append(names, rename{image.host, image.name})
		digests[image.name] = image.digest
	}
	return s.preload(ctx, preloadScript, images.node.host, node, names, digests)
}

// takeOut copies a program out of an image, and starts it once: an image of
// another architecture should not surprise anybody later.
func (s *session) takeOut(ctx context.Context, image *officialImage, path, programs string, check []string) error {
	to := filepath.Join(programs, filepath.Base(path))
	if fileExists(to) {
		return nil
	}
	return s.journal.step(filepath.Base(path), func(st *step) error {
		name := containerPrefix + filepath.Base(path)
		defer s.ownContainer(ctx, name)()
		if err := st.run(s.engineCommand(ctx, "create", "--name", name, image.host), nil); err != nil {
			return err
		}
		dir := filepath.Join(s.work, "out")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		from := filepath.Join(dir, filepath.Base(path))
		if err := st.run(s.engineCommand(ctx, "cp", name+":"+path, from), nil); err != nil {
			return fmt.Errorf("%s has no %s: %w", image.host, path, err)
		}
		if err := st.run(engine.Process(ctx, from, check...), nil); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return &engine.EnvironmentError{What: path + " of " + image.host + " does not run on this machine", Do: "use Linux on the architecture of the image", Err: err}
		}
		return install(from, to)
	})
}

// cgroup2 reports whether the unified hierarchy is mounted.
func cgroup2() bool { return fileExists("/sys/fs/cgroup/cgroup.controllers") }

// parsePreloaded reads preload.sh's "name digest" lines. Names that containerd
// made up for itself are left out.
func parsePreloaded(out []byte) (map[string]string, error) {
	digests := map[string]string{}
	lines := bufio.NewScanner(bytes.NewReader(out))
	for lines.Scan() {
		ref, digest, ok := strings.Cut(lines.Text(), " ")
		if !ok || !strings.HasPrefix(digest, "sha256:") {
			return nil, fmt.Errorf("preload.sh printed %q, not a name and a digest", lines.Text())
		}
		if !strings.Contains(ref, "@") && !strings.HasPrefix(ref, "sha256:") {
			digests[ref] = digest
		}
	}
	if len(digests) == 0 {
		return nil, errors.New("preload.sh printed no name of an image")
	}
	return digests, lines.Err()
}

// officialLine says what the pins of its line say of a release, if there are any.
func (s *session) officialLine(istio, k8s string) (flushesFast bool, notes []string, err error) {
	lines, err := Lines(s.root)
	version := strings.TrimPrefix(semver.MajorMinor("v"+istio), "v")
	if err != nil || !slices.Contains(lines, version) {
		return false, nil, err
	}
	line, err := ReadLine(s.root, version)
	if err != nil {
		return false, nil, err
	}
	return line.FlushesFast(istio), line.Unsupported(k8s, ""), nil
}
