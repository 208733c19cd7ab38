package images

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"twohop/internal/engine"
)

// digestsLabel is the label of a node image that holds the digests of what is
// in it: base64 of a JSON object, since labels do not take quotes well.
const digestsLabel = "twohop.digests"

// nodeEntrypoint is kind's; committing a container would keep the build's own.
const nodeEntrypoint = `ENTRYPOINT ["/usr/local/bin/entrypoint", "/sbin/init"]`

// nodeBare builds the node without any image in it.
func (s *session) nodeBare(ctx context.Context, p *plan, bin string) error {
	if s.exists(ctx, p.nodeBare) {
		return nil
	}
	return s.journal.step("node image", func(st *step) error {
		dir := filepath.Join(s.work, "context-node")
		if err := s.stageNode(ctx, p, bin, filepath.Join(dir, "tree")); err != nil {
			return err
		}
		return s.build(ctx, st, "node", p.nodeBare, dir, "NODE_ROOTFS="+p.nodeRootfs)
	})
}

// stageNode lays out all that the node image has besides Debian's packages.
func (s *session) stageNode(ctx context.Context, p *plan, bin, tree string) error {
	kind, err := s.moduleDir(ctx, "sigs.k8s.io/kind", s.versions["KIND_VERSION"])
	if err != nil {
		return err
	}
	if err := copyTree(filepath.Join(kind, "images/base/files"), tree, func(path string) bool {
		return !slices.Contains([]string{
			"etc/containerd/config.toml", // ours is for containerd 2
			"etc/systemd/system/containerd-fuse-overlayfs.service",
			"usr/local/bin/clean-install",
		}, path) && !strings.HasPrefix(path, "LICENSES/")
	}); err != nil {
		return err
	}
	for path, names := range map[string][]string{
		"usr/bin":       {"kubelet", "kubeadm", "kubectl"},
		"usr/local/bin": {"containerd", "containerd-shim-runc-v2", "ctr"},
		"opt/cni/bin":   {"host-local", "loopback", "portmap", "ptp"},
	} {
		for _, name := range names {
			to := filepath.Join(tree, path, name)
			if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
				return err
			}
			if err := os.Link(filepath.Join(bin, name), to); err != nil {
				return err
			}
		}
	}
	node := filepath.Join(s.root, "images", "node")
	pause, err := s.kubeadmImage(ctx, p, "pause")
	if err != nil {
		return err
	}
	config, err := os.ReadFile(filepath.Join(node, "containerd.toml"))
	if err != nil {
		return err
	}
	spec, err := criBase(ctx, filepath.Join(bin, "ctr"))
	if err != nil {
		return err
	}
	storage, err := os.ReadFile(filepath.Join(node, "default-storage.yaml"))
	if err != nil {
		return err
	}
	cni, err := os.ReadFile(filepath.Join(node, "10-ptp.conflist"))
	if err != nil {
		return err
	}
	for path, text := range map[string][]byte{
		"kind/version":                        []byte(p.k8s),
		"kind/manifests/default-storage.yaml": storage,
		"etc/cni/net.d/10-ptp.conflist":       cni,
		"etc/containerd/config.toml":          bytes.ReplaceAll(config, []byte("@PAUSE@"), []byte(pause)),
		"etc/containerd/cri-base.json":        spec,
	} {
		to := filepath.Join(tree, path)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		if err := writeTo(to, 0o644, bytes.NewReader(text)); err != nil {
			return err
		}
	}
	return nil
}

// criBase is containerd's own default for containers without its limit on
// open files, which is too low for a proxy; kind does the same.
func criBase(ctx context.Context, ctr string) ([]byte, error) {
	out, err := engine.Process(ctx, ctr, "oci", "spec").Output()
	if err != nil {
		return nil, fmt.Errorf("ctr oci spec: %w", err)
	}
	var spec map[string]any
	if err := json.Unmarshal(out, &spec); err != nil {
		return nil, fmt.Errorf("parsing what `ctr oci spec` printed: %w", err)
	}
	process, ok := spec["process"].(map[string]any)
	if !ok {
		return nil, fmt.Errorf("what `ctr oci spec` printed has no process")
	}
	delete(process, "rlimits")
	return json.MarshalIndent(spec, "", " ")
}

// kubeadmImages are the names under which kubeadm will look for its images.
func (s *session) kubeadmImages(ctx context.Context, p *plan) ([]string, error) {
	kubeadm := filepath.Join(s.programs(p.kubernetes), "kubeadm")
	out, err := engine.Process(ctx, kubeadm, "config", "images", "list", "--kubernetes-version", p.k8s).Output()
	if err != nil {
		return nil, fmt.Errorf("kubeadm config images list: %w", err)
	}
	return strings.Fields(string(out)), nil
}

func (s *session) kubeadmImage(ctx context.Context, p *plan, name string) (string, error) {
	all, err := s.kubeadmImages(ctx, p)
	if err != nil {
		return "", err
	}
	for _, ref := range all {
		if baseName(ref) == name {
			return ref, nil
		}
	}
	return "", fmt.Errorf("kubeadm's list of images has no %s: %s", name, strings.Join(all, " "))
}

// baseName is the last part of an image's name: "etcd" of "registry.k8s.io/etcd:3.6".
func baseName(ref string) string {
	name := ref[strings.LastIndex(ref, "/")+1:]
	name, _, _ = strings.Cut(name, ":")
	return name
}

// rename says under which name the cluster is to know an image of the host.
type rename struct{ host, cluster string }

// clusterNames is what the source lane preloads.
func (s *session) clusterNames(ctx context.Context, p *plan) ([]rename, error) {
	host := map[string]string{}
	for _, b := range p.inCluster {
		host[b.name] = b.ref
	}
	names := []rename{
		{host["pilot"], istioHub + "/pilot:" + p.istioTag},
		{host["proxyv2"], istioHub + "/proxyv2:" + p.istioTag},
		{p.workload, p.workload},
	}
	wanted, err := s.kubeadmImages(ctx, p)
	if err != nil {
		return nil, err
	}
	for _, ref := range wanted {
		from := host["control-plane"]
		switch name := baseName(ref); name {
		case "pause", "coredns":
			from = host[name]
		case "etcd", "kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler":
		default:
			return nil, fmt.Errorf("kubeadm wants an image that this lane does not build: %s", ref)
		}
		names = append(names, rename{from, ref})
	}
	return names, nil
}

// preload derives a node image from another by importing images of the host
// into its containerd. The result gets its name last of all.
// script runs in the node, and is relative to images/. What digests already
// says of an image stands.
func (s *session) preload(ctx context.Context, script, from, to string, names []rename, digests map[string]string) error {
	archive := filepath.Join(s.work, "preload.tar")
	var list strings.Builder
	var refs []string
	for _, n := range names {
		fmt.Fprintf(&list, "%s %s\n", n.host, n.cluster)
		if !slices.Contains(refs, n.host) {
			refs = append(refs, n.host)
		}
	}
	namesFile := filepath.Join(s.work, "preload.names")
	if err := os.WriteFile(namesFile, []byte(list.String()), 0o644); err != nil {
		return err
	}
	return s.journal.step("preload", func(st *step) error {
		st.set("saving %d images", len(refs))
		args := []string{"save", "-o", archive}
		if s.eng.Name == engine.Podman {
			args = append(args, "--multi-image-archive")
		}
		if err := st.run(s.engineCommand(ctx, append(args, refs...)...), nil); err != nil {
			return err
		}
		st.set("importing into the node")
		name := containerPrefix + to[strings.LastIndex(to, ":")+1:]
		defer s.ownContainer(ctx, name)()
		var stdout bytes.Buffer
		// A volume at /stage, for a script that unpacks what it imports.
		run := s.engineCommand(ctx, "run", "--privileged", "--name", name, "--network", "none", "--tmpfs", "/tmp", "--tmpfs", "/run", "-v", "/stage",
			"-v", archive+":/tmp/archive.tar:ro", "-v", namesFile+":/tmp/names:ro",
			"-v", filepath.Join(s.root, "images", script)+":/tmp/preload.sh:ro",
			"--entrypoint", "/bin/bash", from, "/tmp/preload.sh", "/tmp/archive.tar", "/tmp/names")
		run.Stdout = &stdout
		if err := st.run(run, nil); err != nil {
			return err
		}
		there, err := parsePreloaded(stdout.Bytes())
		if err != nil {
			return err
		}
		for _, n := range names {
			if there[n.cluster] == "" {
				return fmt.Errorf("the node does not have %s after the import; it has: %s", n.cluster, stdout.String())
			}
		}
		for ref, digest := range there {
			if digests[ref] == "" {
				digests[ref] = digest
			}
		}
		label, err := json.Marshal(digests)
		if err != nil {
			return err
		}
		st.set("committing the node image")
		return st.run(s.engineCommand(ctx, "commit", "--change", nodeEntrypoint, "--change", "CMD []",
			"--change", "LABEL "+digestsLabel+"="+base64.StdEncoding.EncodeToString(label), name, to), nil)
	})
}

// privileged starts a privileged container of an image, as soon as there is
// one: kind's nodes are privileged, and a machine that does not allow it should
// say so before an hour of work, not after it.
func (s *session) privileged(ctx context.Context, ref string) error {
	return s.journal.step("privileged container", func(st *step) error {
		name := containerPrefix + "privileged"
		defer s.ownContainer(ctx, name)()
		err := st.run(s.engineCommand(ctx, "run", "--rm", "--privileged", "--name", name, "--network", "none", "--entrypoint", "/bin/true", ref), nil)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		other := map[string]string{engine.Docker: engine.Podman, engine.Podman: engine.Docker}[s.eng.Name]
		return &engine.EnvironmentError{
			What: s.eng.Name + " starts no privileged container here, and kind's nodes are privileged",
			Do:   "use another engine (ENGINE=" + other + "), or a machine that allows it", Err: err,
		}
	})
}

// digests reads the digests that preload put into a node image; an image that
// is not there, or has none, is an error.
func (s *session) digests(ctx context.Context, ref string) (map[string]string, error) {
	out, err := s.eng.Output(ctx, "image", "inspect", "--format", "{{json .Config.Labels}}", ref)
	if err != nil {
		return nil, err
	}
	return parseDigests(out)
}

func parseDigests(labels []byte) (map[string]string, error) {
	var all map[string]string
	if err := json.Unmarshal(labels, &all); err != nil {
		return nil, fmt.Errorf("parsing the node image's labels: %w", err)
	}
	text, err := base64.StdEncoding.DecodeString(all[digestsLabel])
	if err != nil {
		return nil, fmt.Errorf("the node image's label %s is not base64: %w", digestsLabel, err)
	}
	var digests map[string]string
	if err := json.Unmarshal(text, &digests); err != nil {
		return nil, fmt.Errorf("the node image's label %s does not hold digests: %w", digestsLabel, err)
	}
	return digests, nil
}

// jsonField reads one text of a JSON object.
func jsonField(object []byte, name string) (string, error) {
	var fields map[string]any
	if err := json.Unmarshal(object, &fields); err != nil {
		return "", err
	}
	text, ok := fields[name].(string)
	if !ok || text == "" {
		return "", fmt.Errorf("no %s in %s", name, object)
	}
	return text, nil
}

// copyTree copies files, not the modes of a read-only module cache: programs
// are what lies in a bin folder.
func copyTree(from, to string, want func(path string) bool) error {
	return filepath.WalkDir(from, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil || !want(rel) {
			return err
		}
		mode := os.FileMode(0o644)
		if filepath.Base(filepath.Dir(rel)) == "bin" {
			mode = 0o755
		}
		target := filepath.Join(to, rel)
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		return copyFile(path, target, mode)
	})
}
