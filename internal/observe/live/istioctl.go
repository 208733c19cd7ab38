package live

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
)

// runIstioctl runs istioctl against the cluster and returns what it printed.
func runIstioctl(ctx context.Context, istioctl, kubeconfig string, args ...string) ([]byte, error) {
	if istioctl == "" {
		return nil, fmt.Errorf("istioctl %s: this run was given no path of istioctl", strings.Join(args, " "))
	}
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, istioctl, append([]string{"--kubeconfig", kubeconfig}, args...)...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("istioctl %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(errs.String()))
	}
	return out.Bytes(), nil
}
