package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"twohop/internal/envoy"
	"twohop/internal/kube"
	"twohop/internal/state"
	"twohop/internal/subject"
)

// Istio is a control plane: what istioctl installs, with which settings.
type Istio struct {
	Istioctl string `json:"-"` // path of the binary
	Hub, Tag string
	// Domain is istiod's --domain, the suffix of Service names in its registry.
	Domain string
	// UpstreamEnvoy says that the proxy image holds upstream Envoy, which lacks
	// Istio's own filters; istiod is told not to send them.
	UpstreamEnvoy bool
	// FlushesFast says that this Istio knows proxyConfig.fileFlushInterval: access logs are written after 20 ms instead of a second.
	FlushesFast bool
}

// ReadyTimeout bounds the wait for istiod; it needs 5 to 10 s on two cores.
const ReadyTimeout = 3 * time.Minute

// Operator is the IstioOperator of the mesh that a lab lives in.
//
// Each lab has a control plane of its own, which sees its lab's namespaces only
// (Istio's documentation, "Install Multiple Istio Control Planes in a Single
// Cluster"). The first lab's is the default one; besides its lab it sees what belongs
// to none, as an istiod without selectors would.
func (i Istio) Operator(s subject.Subject) ([]byte, error) {
	type m = map[string]any
	lab := strconv.Itoa(s.Lab)
	selectors := []m{{"matchLabels": m{subject.LabLabel: lab}}}
	env := m{
		// istiod collects changes before it pushes, for 100 ms by default. The
		// harness changes one thing at a time and waits for each.
		"PILOT_DEBOUNCE_AFTER": "20ms",
		"PILOT_DEBOUNCE_MAX":   "200ms",
	}
	values := m{
		"global": m{
			"imagePullPolicy": "IfNotPresent",
			"proxy": m{
				"clusterDomain": i.Domain,
				// Readiness is asked for every 15 s by default; pods of the lab
				// come and go with claims.
				"readinessPeriodSeconds": 1,
				"resources":              m{"requests": m{"cpu": "10m", "memory": "64Mi"}},
			},
		},
		"pilot": m{
			"autoscaleEnabled": false,
			"env":              env,
			"resources":        m{"requests": m{"cpu": "50m", "memory": "128Mi"}},
		},
	}
	mesh := m{
		"accessLogFile":         "/dev/stdout",
		"accessLogEncoding":     "JSON",
		"accessLogFormat":       envoy.AccessLogFormat,
		"outboundTrafficPolicy": m{"mode": "ALLOW_ANY"},
		"discoverySelectors":    selectors,
	}
	if i.FlushesFast {
		mesh["defaultConfig"] = m{"fileFlushInterval": "0.02s"}
	}
	if i.UpstreamEnvoy {
		env["PILOT_ENABLE_ALPN_FILTER"] = "false"
		env["PILOT_ENABLE_METADATA_EXCHANGE"] = "false"
		values["telemetry"] = m{"enabled": false}
	}
	components := m{
		// istiod is asked whether it is ready every 3 s by default.
		"pilot": m{"k8s": m{"readinessProbe": m{"periodSeconds": 1}}},
	}
	spec := m{
		"profile":    "minimal",
		"hub":        i.Hub,
		"tag":        i.Tag,
		"meshConfig": mesh,
		"values":     values,
		"components": components,
	}
	if s.ControlPlane.Revision == "" {
		mesh["discoverySelectors"] = append(selectors, m{"matchExpressions": []m{{"key": subject.LabLabel, "operator": "DoesNotExist"}}})
	} else {
		spec["namespace"], spec["revision"] = s.ControlPlane.Namespace, s.ControlPlane.Revision
		values["global"].(m)["istioNamespace"] = s.ControlPlane.Namespace
		// The definitions of Istio's kinds, and what validates objects, are there once
		// in a cluster.
		components["base"] = m{"enabled": false}
	}
	return yaml.Marshal(m{"apiVersion": "install.istio.io/v1alpha1", "kind": "IstioOperator", "spec": spec})
}

func (i Istio) install(ctx context.Context, client *kube.Client, s subject.Subject, log io.Writer) error {
	operator, err := i.Operator(s)
	if err != nil {
		return err
	}
	ctx, unwatch := client.UnlessStuck(ctx, s.ControlPlane.Namespace, "istiod")
	defer unwatch()
	cmd, err := i.installCommand(ctx, client.Kubeconfig)
	if err != nil {
		return err
	}
	cmd.Stdin = bytes.NewReader(operator)
	var stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = log, io.MultiWriter(log, &stderr)
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fmt.Errorf("istioctl install: %w: %s", err, lastLine(stderr.String()))
	}
	return nil
}

// installCommand reads an IstioOperator from its standard input.
func (i Istio) installCommand(ctx context.Context, kubeconfig string) (*exec.Cmd, error) {
	environment, err := state.ToolEnv()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, i.Istioctl, "install", "--skip-confirmation", "--kubeconfig", kubeconfig,
		"--readiness-timeout", ReadyTimeout.String(), "--filename", "-")
	cmd.Env = environment
	// Give istioctl the chance to end by itself before it is killed.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	return cmd, nil
}

// explainIstio adds what istiod's pod says of itself.
func (c *Cluster) explainIstio(err error, of subject.ControlPlane) error {
	var stuck *kube.StuckError
	if errors.As(err, &stuck) {
		return fmt.Errorf("Istio cannot become ready: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	pods := &corev1.PodList{}
	if c.Kube.Objects().List(ctx, pods) != nil {
		return err
	}
	for _, pod := range pods.Items {
		if pod.Namespace == of.Namespace && !ready(&pod) {
			return fmt.Errorf("Istio did not become ready: %w; %s", err, c.Kube.PodProblem(ctx, &pod))
		}
	}
	return fmt.Errorf("Istio did not become ready: %w", err)
}

func ready(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// IstiodPod finds a control plane's pod.
func IstiodPod(ctx context.Context, client *kube.Client, of subject.ControlPlane) (*corev1.Pod, error) {
	return client.Pod(ctx, of.Namespace, "app=istiod")
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return lines[len(lines)-1]
}
