package observe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

// Analyze runs `istioctl analyze` over the whole cluster and returns its JSON:
// a finding about one namespace may have its reason in another.
func Analyze(ctx context.Context, istioctl, kubeconfig string) (raw []byte, err error) {
	if istioctl == "" {
		return nil, errors.New("istioctl analyze: this run was given no path of istioctl")
	}
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, istioctl, append([]string{"--kubeconfig", kubeconfig}, analyzeArgs...)...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("istioctl %s: %w: %s", strings.Join(analyzeArgs, " "), err, strings.TrimSpace(errs.String()))
	}
	return out.Bytes(), nil
}

// With JSON output the exit status says only whether istioctl worked.
var analyzeArgs = []string{"analyze", "--all-namespaces", "--output", "json"}

// AnalyzeCommand is what a person would run to see the same.
var AnalyzeCommand = "istioctl " + strings.Join(analyzeArgs, " ")
