package kube

import (
	"context"
	"fmt"
	"io"
	"strconv"

	corev1 "k8s.io/api/core/v1"
)

// Logs follows a container's log, each line with the runtime's time before it,
// until ctx or the container ends.
func (c *Client) Logs(ctx context.Context, namespace, pod, container string) (io.ReadCloser, error) {
	// What a pod logged long before is nobody's business here. The kubelet's
	// clock decides, so it need not agree with ours.
	since := int64(1)
	stream, err := c.Typed.CoreV1().Pods(namespace).GetLogs(pod, &corev1.PodLogOptions{
		Container: container, Follow: true, Timestamps: true, SinceSeconds: &since}).Stream(ctx)
	if err != nil {
		return nil, fmt.Errorf("follow the log of %s/%s (%s): %w", namespace, pod, container, err)
	}
	return stream, nil
}

// PodGet asks a port of a pod over HTTP, through the API server.
func (c *Client) PodGet(ctx context.Context, namespace, pod string, port int, path string) ([]byte, error) {
	return c.Typed.CoreV1().Pods(namespace).ProxyGet("http", pod, strconv.Itoa(port), path, nil).DoRaw(ctx)
}

// Get reads a path of the API server's.
func (c *Client) Get(ctx context.Context, path string) ([]byte, error) {
	return c.Typed.CoreV1().RESTClient().Get().RequestURI(path).DoRaw(ctx)
}

// KubeconfigPath is the file by which other programs find the cluster.
func (c *Client) KubeconfigPath() string { return c.Kubeconfig }
