package cluster

import (
	"context"
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"twohop/internal/subject"
)

const corefileKey = "Corefile"

// shortenDNS makes CoreDNS serve its records with subject.DNSTTL.
func (c *Cluster) shortenDNS(ctx context.Context) error {
	core := c.Kube.Typed.CoreV1().ConfigMaps(metav1.NamespaceSystem)
	conf, err := core.Get(ctx, "coredns", metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("read CoreDNS' configuration: %w", err)
	}
	if conf.Data[corefileKey], err = withTTL(conf.Data[corefileKey], subject.DNSTTL); err != nil {
		return err
	}
	if _, err := core.Update(ctx, conf, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("write CoreDNS' configuration: %w", err)
	}
	// It would reload the file by itself, a minute or so later.
	restart := fmt.Appendf(nil, `{"spec":{"template":{"metadata":{"annotations":{"twohop/ttl":%q}}}}}`, subject.DNSTTL)
	if _, err := c.Kube.Typed.AppsV1().Deployments(metav1.NamespaceSystem).Patch(ctx, "coredns", types.StrategicMergePatchType, restart, metav1.PatchOptions{}); err != nil {
		return fmt.Errorf("restart CoreDNS: %w", err)
	}
	return c.Kube.WaitDeployment(ctx, metav1.NamespaceSystem, "coredns", ReadyTimeout)
}

// withTTL is a Corefile whose records of the cluster live for ttl.
func withTTL(corefile string, ttl time.Duration) (string, error) {
	const kubeadms = "ttl 30\n"
	if strings.Count(corefile, kubeadms) != 1 {
		return "", fmt.Errorf("CoreDNS' Corefile does not have the one %q that kubeadm writes:\n%s", strings.TrimSpace(kubeadms), corefile)
	}
	return strings.Replace(corefile, kubeadms, fmt.Sprintf("ttl %d\n", int(ttl.Seconds())), 1), nil
}
