package lab

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/metadata"
	"sigs.k8s.io/e2e-framework/klient/k8s"

	"twohop/internal/manifest"
)

// put makes the cluster's object what the given one says. Nearly always there is
// one, and a Create in vain costs a call of Istio's webhook.
func (l *Lab) put(ctx context.Context, want k8s.Object) error {
	o := want.DeepCopyObject().(k8s.Object)
	current := want.DeepCopyObject().(k8s.Object)
	err := l.kube.Objects().Get(ctx, want.GetName(), want.GetNamespace(), current)
	if apierrors.IsNotFound(err) {
		if err := l.kube.Objects().Create(ctx, o); err != nil {
			return wrap("create", want, err)
		}
		l.pending.note(o, o.GetResourceVersion())
		return nil
	}
	if err != nil {
		return wrap("get", want, err)
	}
	if _, ok := want.(*corev1.Namespace); ok {
		return nil
	}
	o.SetResourceVersion(current.GetResourceVersion())
	if service, ok := o.(*corev1.Service); ok { // the address is the API server's choice
		service.Spec.ClusterIP = current.(*corev1.Service).Spec.ClusterIP
		service.Spec.ClusterIPs = current.(*corev1.Service).Spec.ClusterIPs
	}
	if err := l.kube.Objects().Update(ctx, o); err != nil {
		return wrap("update", want, err)
	}
	l.pending.note(o, o.GetResourceVersion())
	return nil
}

// remove deletes an object; that it is gone already is well.
func (l *Lab) remove(ctx context.Context, k manifest.Key) error {
	o, err := named(k)
	if err != nil {
		return err
	}
	err = l.kube.Objects().Delete(ctx, o)
	if err != nil && !apierrors.IsNotFound(err) {
		return wrap("delete", o, err)
	}
	l.pending.note(o, "")
	return nil
}

// named is an empty object of a key.
func named(k manifest.Key) (k8s.Object, error) {
	for gvk := range scheme.Scheme.AllKnownTypes() {
		if gvk.Kind != k.Kind || gvk.Version == runtimeInternal || (strings.HasSuffix(gvk.Group, ".istio.io") || gvk.Group != "") && gvk.Version != "v1" {
			continue
		}
		made, err := scheme.Scheme.New(gvk)
		if err != nil {
			return nil, err
		}
		if o, ok := made.(k8s.Object); ok {
			o.SetNamespace(k.Namespace)
			o.SetName(k.Name)
			return o, nil
		}
	}
	return nil, fmt.Errorf("the kind of %s is not known", k)
}

const runtimeInternal = "__internal"

func wrap(verb string, o k8s.Object, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %s: %w", verb, manifest.KeyOf(o), err)
}

// foreign are the kinds that change what a proxy does. Whatever a killed run has left of
// them in the lab's namespaces is removed: the baseline could return 200 in spite of it.
var foreign = []struct {
	kind string
	gvr  schema.GroupVersionResource
}{
	{"DestinationRule", schema.GroupVersionResource{Group: "networking.istio.io", Version: "v1", Resource: "destinationrules"}},
	{"Gateway", schema.GroupVersionResource{Group: "networking.istio.io", Version: "v1", Resource: "gateways"}},
	{"ServiceEntry", schema.GroupVersionResource{Group: "networking.istio.io", Version: "v1", Resource: "serviceentries"}},
	{"Sidecar", schema.GroupVersionResource{Group: "networking.istio.io", Version: "v1", Resource: "sidecars"}},
	{"VirtualService", schema.GroupVersionResource{Group: "networking.istio.io", Version: "v1", Resource: "virtualservices"}},
	{"WorkloadEntry", schema.GroupVersionResource{Group: "networking.istio.io", Version: "v1", Resource: "workloadentries"}},
	{"WorkloadGroup", schema.GroupVersionResource{Group: "networking.istio.io", Version: "v1", Resource: "workloadgroups"}},
	{"ProxyConfig", schema.GroupVersionResource{Group: "networking.istio.io", Version: "v1", Resource: "proxyconfigs"}},
	{"EnvoyFilter", schema.GroupVersionResource{Group: "networking.istio.io", Version: "v1alpha3", Resource: "envoyfilters"}},
	{"AuthorizationPolicy", schema.GroupVersionResource{Group: "security.istio.io", Version: "v1", Resource: "authorizationpolicies"}},
	{"PeerAuthentication", schema.GroupVersionResource{Group: "security.istio.io", Version: "v1", Resource: "peerauthentications"}},
	{"RequestAuthentication", schema.GroupVersionResource{Group: "security.istio.io", Version: "v1", Resource: "requestauthentications"}},
	{"Telemetry", schema.GroupVersionResource{Group: "telemetry.istio.io", Version: "v1", Resource: "telemetries"}},
	{"WasmPlugin", schema.GroupVersionResource{Group: "extensions.istio.io", Version: "v1alpha1", Resource: "wasmplugins"}},
	{"Service", schema.GroupVersionResource{Version: "v1", Resource: "services"}},
	{"Secret", schema.GroupVersionResource{Version: "v1", Resource: "secrets"}},
	{"Deployment", schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}},
	{"Role", schema.GroupVersionResource{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "roles"}},
	{"RoleBinding", schema.GroupVersionResource{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "rolebindings"}},
	{"NetworkPolicy", schema.GroupVersionResource{Group: "networking.k8s.io", Version: "v1", Resource: "networkpolicies"}},
}

// removeForeign deletes what lies in the lab's namespaces and is not part of the
// baseline. A kind that the cluster does not have is passed over.
func (l *Lab) removeForeign(ctx context.Context) error {
	client, err := metadata.NewForConfig(l.kube.Config)
	if err != nil {
		return err
	}
	known := map[manifest.Key]bool{}
	for _, o := range l.home.Objects() {
		known[manifest.KeyOf(o)] = true
	}
	own := l.fixtures.Subject.Namespaces()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	for _, resource := range foreign {
		group.Go(func() error {
			return removeUnknown(ctx, client.Resource(resource.gvr), resource.kind, func(o metav1.PartialObjectMetadata) bool {
				return !slices.Contains(own, o.Namespace) || known[manifest.Key{Kind: resource.kind, Namespace: o.Namespace, Name: o.Name}]
			})
		})
	}
	return group.Wait()
}

// removeUnknown deletes the objects of one kind, except those to be kept and those that
// Istio, Kubernetes or the lab itself maintains. It lists all namespaces in one call,
// which is faster than one call for each.
func removeUnknown(ctx context.Context, objects metadata.Getter, kind string, kept func(metav1.PartialObjectMetadata) bool) error {
	list, err := objects.List(ctx, metav1.ListOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for what an earlier run has left: %w", err)
	}
	for _, o := range list.Items {
		if kept(o) || o.Name == sentinelName || ofIstio(o) {
			continue
		}
		if err := objects.Namespace(o.Namespace).Delete(ctx, o.Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("delete %s %s/%s, which an earlier run has left: %w", kind, o.Namespace, o.Name, err)
		}
	}
	return nil
}

// ofIstio reports whether Istio or Kubernetes itself puts the object into every namespace.
func ofIstio(o metav1.PartialObjectMetadata) bool {
	return o.Name == "istio-ca-root-cert" || strings.HasPrefix(o.Name, "default-token-")
}
