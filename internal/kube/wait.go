package kube

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"
)

// WaitDeployment waits until a Deployment's newest generation is all there is:
// every replica updated and available, none of the old ones left. If that does
// not come within the timeout, or cannot come because a pod is stuck, the error
// says what its pods suffer from.
func (c *Client) WaitDeployment(ctx context.Context, namespace, name string, timeout time.Duration) error {
	bounded, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	bounded, unwatch := c.UnlessStuck(bounded, namespace, name)
	defer unwatch()
	deployments := cache.NewListWatchFromClient(c.Typed.AppsV1().RESTClient(), "deployments", namespace, fields.OneTermEqualSelector("metadata.name", name))
	var last *appsv1.Deployment
	_, err := watchtools.UntilWithSync(bounded, deployments, &appsv1.Deployment{}, nil, func(e watch.Event) (bool, error) {
		d, ok := e.Object.(*appsv1.Deployment)
		if !ok || e.Type == watch.Deleted {
			return false, fmt.Errorf("deployment %s/%s is gone", namespace, name)
		}
		last = d
		want := int32(1)
		if d.Spec.Replicas != nil {
			want = *d.Spec.Replicas
		}
		s := d.Status
		return s.ObservedGeneration >= d.Generation && s.UpdatedReplicas == want && s.AvailableReplicas == want && s.Replicas == want, nil
	})
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var stuck *StuckError
	if errors.As(context.Cause(bounded), &stuck) {
		return fmt.Errorf("deployment %s/%s cannot become available: %w", namespace, name, stuck)
	}
	why := "it does not exist"
	if last != nil {
		why = fmt.Sprintf("%d of %d replicas are available", last.Status.AvailableReplicas, last.Status.Replicas)
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		if pods, err := c.Pods(ctx, namespace, labels.Set(last.Spec.Selector.MatchLabels).String()); err == nil {
			for _, pod := range pods {
				if !podReady(&pod) {
					why = c.PodProblem(ctx, &pod)
				}
			}
		}
	}
	return fmt.Errorf("deployment %s/%s was not available after %v: %s", namespace, name, timeout, why)
}

// StuckError is a pod that no waiting helps, and what it suffers from.
type StuckError struct{ Problem string }

func (e *StuckError) Error() string { return e.Problem }

// UnlessStuck is a context that ends with a *StuckError as its cause as soon as
// a pod of a Deployment is stuck: its node has not got the image and the kubelet
// failed to fetch it. Every image of a run is in the node beforehand, so another
// try would not be different. Call the function to stop watching.
func (c *Client) UnlessStuck(ctx context.Context, namespace, deployment string) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	pods := cache.NewListWatchFromClient(c.Typed.CoreV1().RESTClient(), "pods", namespace, fields.Everything())
	go func() {
		// Its error is the end of ctx, or a watch that the API server refuses: then
		// the wait lasts as long as it may.
		_, _ = watchtools.UntilWithSync(ctx, pods, &corev1.Pod{}, nil, func(e watch.Event) (bool, error) {
			pod, ok := e.Object.(*corev1.Pod)
			if !ok || e.Type == watch.Deleted || !stuck(pod, deployment) {
				return false, nil
			}
			cancel(&StuckError{c.PodProblem(ctx, pod)})
			return true, nil
		})
	}()
	return ctx, func() { cancel(nil) }
}

func stuck(pod *corev1.Pod, deployment string) bool {
	return pod.DeletionTimestamp == nil && strings.HasPrefix(pod.Name, deployment+"-") &&
		slices.ContainsFunc(slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses), func(s corev1.ContainerStatus) bool {
			return s.State.Waiting != nil && slices.Contains([]string{"ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName"}, s.State.Waiting.Reason)
		})
}

// WaitGone waits until a namespace's deletion has come to its end.
func (c *Client) WaitGone(ctx context.Context, namespace string, timeout time.Duration) error {
	bounded, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	namespaces := cache.NewListWatchFromClient(c.Typed.CoreV1().RESTClient(), "namespaces", "", fields.OneTermEqualSelector("metadata.name", namespace))
	gone := func(store cache.Store) (bool, error) { return len(store.List()) == 0, nil }
	_, err := watchtools.UntilWithSync(bounded, namespaces, &corev1.Namespace{}, gone, func(e watch.Event) (bool, error) {
		return e.Type == watch.Deleted, nil
	})
	if err != nil {
		return fmt.Errorf("namespace %s was not gone after %v: %w", namespace, timeout, err)
	}
	return nil
}

// PodSelector is the label selector of a Deployment's pods.
func (c *Client) PodSelector(ctx context.Context, namespace, deployment string) (string, error) {
	d, err := c.Typed.AppsV1().Deployments(namespace).Get(ctx, deployment, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("get deployment %s/%s: %w", namespace, deployment, err)
	}
	return labels.Set(d.Spec.Selector.MatchLabels).String(), nil
}

func podReady(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}
