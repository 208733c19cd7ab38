package images

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// plan is the source lane's artifacts, each named by the hash of its inputs.
type plan struct {
	combination
	// What is compiled, in this order: the programs that more images wait for first.
	kubernetes, machinery, istio *goModule

	workload   string // image: the base of all in-cluster images
	nodeRootfs string // image
	inCluster  []built
	nodeBare   string // image: the node without other images in it
	node       string // image: the result
	istioTag   string
}

// built is one in-cluster image of the source lane.
type built struct {
	name  string   // folder in images/
	ref   string   // on the host
	files []string // from the folder of programs, into the build context
	of    []*goModule
}

// istioHub is where the cluster finds pilot and proxyv2 in the source lane.
const istioHub = "localhost/twohop/istio"

// plan names every artifact of the source lane without building anything.
func (s *session) plan(ctx context.Context) (*plan, error) {
	v := s.versions
	c, err := combine(s.root, v, s.o.IstioVersion, s.o.K8sVersion, s.o.EnvoyVersion)
	if err != nil {
		return nil, err
	}
	goVersion, err := s.goVersion(ctx)
	if err != nil {
		return nil, err
	}
	p := &plan{combination: c}
	commit := c.line.Revision[strings.LastIndex(c.line.Revision, "-")+1:]
	p.istioTag = c.line.Version + "-" + commit
	p.kubernetes = &goModule{name: "Kubernetes", dir: c.kubernetesModule(), targets: []string{"tool"}, ldflags: kubernetesStamps(c.k8s), host: []string{"kubeadm", "kubectl"}}
	p.machinery = &goModule{name: "etcd, containerd, CoreDNS", targets: []string{"tool", "./coredns"}, ldflags: "-s -w"}
	p.istio = &goModule{name: "Istio", dir: c.istioModule(), targets: []string{"tool"}, ldflags: istioStamps(p.istioTag, commit), host: []string{"istioctl"}}

	dir := filepath.Join(s.root, "images")
	platform := runtime.GOOS + "/" + runtime.GOARCH
	var firstErr error
	tag := func(in *inputs) string {
		tag, err := in.tag()
		if err != nil && firstErr == nil {
			firstErr = err
		}
		return tag
	}
	ref := func(name string, in *inputs) string { return prefix + name + ":" + tag(in) }
	rootfs := func(name string, scripts ...string) *inputs {
		return inputsOf("rootfs").text("platform", platform).text("suite", v["DEBIAN_SUITE"]).text("epoch", rootfsEpoch).
			text("mirror", os.Getenv("DEBIAN_MIRROR")).files(dir, "rootfs/"+name+".txt").files(dir, scripts...)
	}
	for _, m := range []*goModule{p.kubernetes, p.machinery, p.istio} {
		m.tag = tag(inputsOf("tools").text("platform", platform).text("go", goVersion).text("flags", strings.Join(m.flags(), " ")).
			files(dir, filepath.Join(m.dir, "go.mod"), filepath.Join(m.dir, "go.sum"), "coredns/main.go"))
	}
	p.workload = ref("workload", rootfs("workload", "rootfs/customize.sh"))
	p.nodeRootfs = ref("node-rootfs", rootfs("node", "rootfs/customize.sh", "rootfs/customize-node.sh"))
	for _, b := range []built{
		{name: "pause"},
		{name: "coredns", files: []string{"coredns"}, of: []*goModule{p.machinery}},
		{name: "control-plane", files: []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler"}, of: []*goModule{p.kubernetes, p.machinery}},
		{name: "pilot", files: []string{"pilot-discovery"}, of: []*goModule{p.istio}},
		{name: "proxyv2", files: []string{"envoy_bootstrap.json", "envoy", "pilot-agent"}, of: []*goModule{p.istio}},
	} {
		in := inputsOf("image").text("base", p.workload).text("files", strings.Join(b.files, " ")).
			files(dir, b.name+"/Containerfile")
		for _, m := range b.of {
			in.text("tools", m.tag)
		}
		if b.name == "proxyv2" {
			in.text("envoy", p.wheel)
		}
		b.ref = ref(b.name, in)
		p.inCluster = append(p.inCluster, b)
	}
	p.nodeBare = ref("node-bare", inputsOf("node-bare").text("rootfs", p.nodeRootfs).text("kubernetes", p.kubernetes.tag).text("machinery", p.machinery.tag).
		text("kind", v["KIND_VERSION"]).files(dir, "node"))
	node := inputsOf("node").text("bare", p.nodeBare).text("istio", p.istioTag).text("workload", p.workload)
	for _, b := range p.inCluster {
		node.text(b.name, b.ref)
	}
	p.node = ref("node", node)
	return p, firstErr
}
