package trial

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/onsi/gomega"

	"twohop/internal/envoy"
	"twohop/internal/observe"
	"twohop/internal/verdict"
)

// AgreesWithIstioctl states that the clusters read from a proxy's admin API are
// those that `istioctl proxy-config cluster -o json` prints for it, message by
// message. istioctl prints the bootstrap's static clusters too; they are left out.
func (t *T) AgreesWithIstioctl(ctx context.Context, p *observe.Proxy) error {
	args := []string{"proxy-config", "cluster", p.Pod, "--namespace", p.Workload.Namespace, "--output", "json"}
	raw, err := observe.Istioctl(ctx, t.Istioctl, t.Kube.Kubeconfig, args...)
	if err != nil {
		return err
	}
	command := "istioctl " + strings.Join(args, " ")
	t.Step("the same by istioctl", command)
	theirs, err := t.Save(t.witness(p.Workload)+"-istioctl.json", verdict.KindClusters, t.witness(p.Workload), command, raw)
	if err != nil {
		return err
	}
	printed, err := envoy.ParseIstioctlClusters(raw)
	if err != nil {
		return err
	}
	read, ours, err := t.Clusters(ctx, p)
	if err != nil {
		return err
	}
	known := map[string]bool{}
	for _, c := range read {
		known[c.Name()] = true
	}
	printed = slices.DeleteFunc(printed, func(c *envoy.Cluster) bool {
		return !known[c.Name()] && !strings.Contains(c.Name(), "|") // Istio's own names have bars
	})
	t.Fact(fmt.Sprintf("%s: clusters that istioctl prints otherwise", t.who(p)), envoy.DiffClusters(read, printed), gomega.BeEmpty(), ours, theirs)
	return nil
}
