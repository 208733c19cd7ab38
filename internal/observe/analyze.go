package observe

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
)

// Istioctl runs istioctl against the cluster and returns what it printed.
func Istioctl(ctx context.Context, istioctl, kubeconfig string, args ...string) ([]byte, error) {
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

// Analyze runs `istioctl analyze` over the whole cluster and returns its JSON:
// a finding about one namespace may have its reason in another.
func Analyze(ctx context.Context, istioctl, kubeconfig string) ([]byte, error) {
	return Istioctl(ctx, istioctl, kubeconfig, analyzeArgs...)
}

// With JSON output the exit status says only whether istioctl worked.
var analyzeArgs = []string{"analyze", "--all-namespaces", "--output", "json"}

// AnalyzeCommand is what a person would run to see the same.
var AnalyzeCommand = "istioctl " + strings.Join(analyzeArgs, " ")
