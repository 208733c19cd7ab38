// Package kube is the one connection to a cluster: typed and dynamic clients, exec and
// port-forwards. It knows nothing of the subject, and must not import anything of the
// project.
package kube

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	"sigs.k8s.io/e2e-framework/klient/k8s/resources"
)

// Client talks to one cluster.
type Client struct {
	Config     *rest.Config
	Typed      kubernetes.Interface
	Kubeconfig string
	resources  *resources.Resources
	mapping    sync.Once
	mapped     *restmapper.DeferredDiscoveryRESTMapper
	shells     shells
}

// New connects with a kubeconfig file.
func New(kubeconfig string) (*Client, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig %s: %w", kubeconfig, err)
	}
	// The harness makes many small calls one after another; client-go's
	// default of 5 a second would be the slowest part of a run.
	config.QPS, config.Burst = 200, 400
	config.WarningHandler = rest.NoWarnings{}
	typed, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make a client for %s: %w", config.Host, err)
	}
	res, err := resources.New(config)
	if err != nil {
		return nil, fmt.Errorf("make a client for %s: %w", config.Host, err)
	}
	return &Client{Config: config, Typed: typed, Kubeconfig: kubeconfig, resources: res}, nil
}

// Objects reads and writes objects of any registered type. Do not call
// WithNamespace on it: that changes the shared receiver.
func (c *Client) Objects() *resources.Resources { return c.resources }

// Exec runs a command in a container and returns what it printed. A command
// that exits with a status is an error that carries its stderr.
func (c *Client) Exec(ctx context.Context, namespace, pod, container string, command ...string) (stdout, stderr []byte, err error) {
	var out, errs bytes.Buffer
	err = c.resources.ExecInPod(ctx, namespace, pod, container, command, &out, &errs)
	if err != nil {
		err = fmt.Errorf("exec %q in %s/%s (%s): %w: %s", strings.Join(command, " "), namespace, pod, container, err, strings.TrimSpace(errs.String()))
	}
	return out.Bytes(), errs.Bytes(), err
}

// Forward opens a loopback port to a pod's port until ctx ends, and returns it.
func (c *Client) Forward(ctx context.Context, namespace, pod string, port int) (int, error) {
	transport, upgrader, err := spdy.RoundTripperFor(c.Config)
	if err != nil {
		return 0, fmt.Errorf("prepare a port-forward: %w", err)
	}
	url := c.Typed.CoreV1().RESTClient().Post().Resource("pods").Namespace(namespace).Name(pod).SubResource("portforward").URL()
	dialer := spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, url)
	ready := make(chan struct{})
	var errs bytes.Buffer
	forwarder, err := portforward.NewOnAddresses(dialer, []string{"127.0.0.1"}, []string{fmt.Sprintf("0:%d", port)}, ctx.Done(), ready, nil, &errs)
	if err != nil {
		return 0, fmt.Errorf("port-forward to %s/%s:%d: %w", namespace, pod, port, err)
	}
	failed := make(chan error, 1)
	go func() { failed <- forwarder.ForwardPorts() }()
	select {
	case <-ready:
	case err := <-failed:
		return 0, fmt.Errorf("port-forward to %s/%s:%d: %w %s", namespace, pod, port, err, errs.String())
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	ports, err := forwarder.GetPorts()
	if err != nil {
		return 0, err
	}
	return int(ports[0].Local), nil
}

// PodProblem says why a pod does not run, from its conditions, its events and
// the last lines of its containers: what a person would look up next.
func (c *Client) PodProblem(ctx context.Context, pod *corev1.Pod) string {
	var b strings.Builder
	fmt.Fprintf(&b, "pod %s/%s is %s", pod.Namespace, pod.Name, pod.Status.Phase)
	for _, cond := range pod.Status.Conditions {
		if cond.Status != corev1.ConditionTrue && cond.Message != "" {
			fmt.Fprintf(&b, "; %s: %s", cond.Type, cond.Message)
		}
	}
	for _, s := range append(append([]corev1.ContainerStatus{}, pod.Status.InitContainerStatuses...), pod.Status.ContainerStatuses...) {
		if s.Ready {
			continue
		}
		if w := s.State.Waiting; w != nil {
			fmt.Fprintf(&b, "; container %s waits: %s %s", s.Name, w.Reason, w.Message)
		}
		if t := s.State.Terminated; t != nil && t.ExitCode != 0 {
			fmt.Fprintf(&b, "; container %s ended with %d %s", s.Name, t.ExitCode, t.Reason)
		}
		if s.RestartCount > 0 || s.State.Running != nil {
			lines := int64(3)
			if raw, err := c.Typed.CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, &corev1.PodLogOptions{Container: s.Name, TailLines: &lines, Previous: s.State.Running == nil}).DoRaw(ctx); err == nil && len(raw) > 0 {
				fmt.Fprintf(&b, "; %s's last lines: %s", s.Name, strings.ReplaceAll(strings.TrimSpace(string(raw)), "\n", " | "))
			}
		}
	}
	events := &corev1.EventList{}
	if err := c.resources.List(ctx, events, resources.WithFieldSelector("involvedObject.name="+pod.Name)); err == nil {
		for i, e := range events.Items {
			if e.Type == corev1.EventTypeWarning && i >= len(events.Items)-5 {
				fmt.Fprintf(&b, "; event %s: %s", e.Reason, e.Message)
			}
		}
	}
	return b.String()
}

// Pods lists the pods of a label selector that are not being deleted.
func (c *Client) Pods(ctx context.Context, namespace, selector string) ([]corev1.Pod, error) {
	list, err := c.Typed.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return nil, fmt.Errorf("list the pods %q in %s: %w", selector, namespace, err)
	}
	return slices.DeleteFunc(list.Items, func(p corev1.Pod) bool { return p.DeletionTimestamp != nil }), nil
}

// Pod is Pods where there is exactly one.
func (c *Client) Pod(ctx context.Context, namespace, selector string) (*corev1.Pod, error) {
	pods, err := c.Pods(ctx, namespace, selector)
	if err != nil {
		return nil, err
	}
	if len(pods) != 1 {
		return nil, fmt.Errorf("looked for one pod %q in %s and found %d", selector, namespace, len(pods))
	}
	return &pods[0], nil
}
