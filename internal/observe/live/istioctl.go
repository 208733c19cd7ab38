package live

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"

	"twohop/internal/state"
)

// runIstioctl runs istioctl against the cluster and returns what it printed.
func runIstioctl(ctx context.Context, istioctl, kubeconfig string, args ...string) ([]byte, error) {
	if istioctl == "" {
		return nil, fmt.Errorf("istioctl %s: this run was given no path of istioctl", strings.Join(args, " "))
	}
	environment, err := state.ToolEnv()
	if err != nil {
		return nil, err
	}
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, istioctl, append([]string{"--kubeconfig", kubeconfig}, args...)...)
	cmd.Env = environment
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("istioctl %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(errs.String()))
	}
	return out.Bytes(), nil
}
