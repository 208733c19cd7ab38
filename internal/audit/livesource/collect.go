package livesource

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	authorizationv1 "k8s.io/api/authorization/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"twohop/internal/objects"
)

// wanted are the resources that are read, by group. Gateway API's are read so that an
// egress by one of them is named, not skipped.
var wanted = []struct {
	group   string
	plurals []string
}{
	{"networking.istio.io", []string{"virtualservices", "gateways", "destinationrules", "serviceentries", "sidecars", "envoyfilters", "proxyconfigs", "workloadentries", "workloadgroups"}},
	{"security.istio.io", []string{"authorizationpolicies", "peerauthentications", "requestauthentications"}},
	{"telemetry.istio.io", []string{"telemetries"}},
	{"extensions.istio.io", []string{"wasmplugins"}},
	{"gateway.networking.k8s.io", []string{"gateways", "httproutes", "tlsroutes", "tcproutes", "grpcroutes"}},
	{"networking.k8s.io", []string{"networkpolicies"}},
	{"", []string{"services"}},
}

func plurals() []string {
	names := []string{"namespaces", "pods"}
	for _, w := range wanted {
		for _, p := range w.plurals {
			names = append(names, schema.GroupResource{Group: w.group, Resource: p}.String())
		}
	}
	return names
}

// resource is one that the server has, in the version that is read.
type resource struct{ group, version, plural, kind string }

func (r resource) name() string {
	return schema.GroupResource{Group: r.group, Resource: r.plural}.String()
}

func (r resource) path(namespace string) string {
	path := "/api/v1"
	if r.group != "" {
		path = "/apis/" + r.group + "/" + r.version
	}
	if namespace != "" {
		path += "/namespaces/" + namespace
	}
	return path + "/" + r.plural
}

func (r resource) apiVersion() string {
	return schema.GroupVersion{Group: r.group, Version: r.version}.String()
}

var (
	podResource   = resource{"", "v1", "pods", "Pod"}
	spaceResource = resource{"", "v1", "namespaces", "Namespace"}
	sliceResource = resource{"discovery.k8s.io", "v1", "endpointslices", "EndpointSlice"}
)

// discover chooses of each resource the version that the server likes best. One that
// the server does not have has no objects, either.
func (g *gathering) discover(ctx context.Context) (found []resource, err error) {
	groups, err := g.typed.Discovery().ServerGroups()
	if err != nil {
		return nil, fmt.Errorf("ask the API server for its groups: %w", err)
	}
	for _, w := range wanted {
		if w.group == "" {
			found = append(found, resource{"", "v1", "services", "Service"})
			continue
		}
		i := slices.IndexFunc(groups.Groups, func(have metav1.APIGroup) bool { return have.Name == w.group })
		if i < 0 {
			if w.group == "networking.istio.io" {
				return nil, errNoIstio
			}
			continue
		}
		missing := slices.Clone(w.plurals)
		for _, v := range groups.Groups[i].Versions {
			if len(missing) == 0 || ctx.Err() != nil {
				break
			}
			served, err := g.typed.Discovery().ServerResourcesForGroupVersion(v.GroupVersion)
			if err != nil {
				g.miss(missingKey{what: "what there is of " + v.GroupVersion, why: plain(err, "get", "/apis/"+v.GroupVersion), group: w.group}, "")
				continue
			}
			for _, r := range served.APIResources {
				if i := slices.Index(missing, r.Name); i >= 0 {
					missing = slices.Delete(missing, i, i+1)
					found = append(found, resource{w.group, v.Version, r.Name, r.Kind})
				}
			}
		}
		if w.group == "networking.istio.io" && slices.Contains(missing, "virtualservices") {
			return nil, errNoIstio
		}
	}
	return found, ctx.Err()
}

// objects reads the objects, then the pods that they are about.
func (g *gathering) objects(ctx context.Context, resources []resource) error {
	namespaces, known, err := g.listNamespaces(ctx)
	if err != nil {
		return err
	}
	found := make(map[resource][]*objects.Object, len(resources))
	var mu sync.Mutex
	each(ctx, resources, func(ctx context.Context, r resource) {
		got := g.collect(ctx, r, "", known)
		mu.Lock()
		defer mu.Unlock()
		found[r] = got
	})
	set := &objects.Set{}
	for _, r := range resources {
		set.All = append(set.All, found[r]...)
	}
	pods, err := g.pods(ctx, set, namespaces, known)
	if err != nil {
		return err
	}
	set.All = append(set.All, pods...)
	set.All = append(set.All, g.endpoints(ctx, set)...)
	// Last, since they are looked up most often, and from the end.
	set.All = append(set.All, namespaces...)
	g.snapshot.Objects = set
	return ctx.Err()
}

// listNamespaces reads the namespaces and says in which of them to look.
func (g *gathering) listNamespaces(ctx context.Context) (found []*objects.Object, names []string, err error) {
	if len(g.Source.namespaces) == 0 && g.rights.everywhere(ctx, "", "namespaces") {
		found, err = g.readAll(ctx, spaceResource, "", "")
		if err == nil {
			for _, o := range found {
				names = append(names, o.Name)
			}
			return found, names, nil
		}
	}
	if ctx.Err() != nil {
		return nil, nil, ctx.Err()
	}
	names = g.Source.namespaces
	if len(names) == 0 {
		// Without their names, others cannot be looked into.
		names = []string{g.own}
		why := "this account may not list namespaces: name those of the callers, the gateway and the root namespace with -n"
		if err != nil {
			why = plain(err, "list", "namespaces")
		}
		g.miss(missingKey{what: "all namespaces but " + g.own + " and " + g.istioNamespace(), why: why, resource: "namespaces"}, "")
	}
	names = slices.Compact(slices.Sorted(slices.Values(append(slices.Clone(names), g.istioNamespace()))))
	if len(g.Source.namespaces) > 0 {
		g.miss(missingKey{what: "objects of namespaces that were not asked for", why: "only " + list(names) + " were: name more with -n, or leave it out", resource: "namespaces"}, "")
	}
	for _, n := range names {
		key := missingKey{what: "the labels of namespaces", resource: "namespaces"}
		if !g.rights.in(ctx, n, "get", "", "namespaces") {
			key.why = "this account may not get namespaces: grant it, or ask somebody who may"
			g.miss(key, n)
			continue
		}
		raw, err := g.typed.Discovery().RESTClient().Get().AbsPath(spaceResource.path("")+"/"+n).SetHeader("Accept", "application/json").DoRaw(ctx)
		if err == nil {
			var o *objects.Object
			if o, err = object(func(into any) error { return json.Unmarshal(raw, into) }, spaceResource); err == nil {
				found = append(found, o)
				continue
			}
		}
		key.why = plain(err, "get", "namespaces")
		g.miss(key, n)
	}
	return found, names, ctx.Err()
}

// object keeps an item of a list.
func object(item decode, r resource) (*objects.Object, error) {
	kept, err := strip(item, r.apiVersion(), r.kind)
	if err != nil {
		return nil, err
	}
	return objects.FromJSON(kept)
}

// collect reads a resource in all namespaces, or in each that may be read; what cannot
// be read is missing.
func (g *gathering) collect(ctx context.Context, r resource, selector string, namespaces []string) (found []*objects.Object) {
	var mu sync.Mutex
	g.visit(ctx, r, selector, namespaces, func(namespace string) error {
		got, err := g.readAll(ctx, r, namespace, selector)
		if err == nil {
			mu.Lock()
			defer mu.Unlock()
			found = append(found, got...)
		}
		return err
	})
	slices.SortFunc(found, func(a, b *objects.Object) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return found
}

// visit lists a resource where it may be listed: at once in all namespaces (""), or in
// each. An error of read is noted as missing.
func (g *gathering) visit(ctx context.Context, r resource, selector string, namespaces []string, read func(namespace string) error) {
	key := missingKey{what: r.name(), group: r.group, resource: r.plural}
	if selector != "" {
		key.what += " (" + selector + ")"
	}
	if len(g.Source.namespaces) == 0 && g.rights.everywhere(ctx, r.group, r.plural) {
		err := read("")
		if err == nil {
			return
		}
		if !apierrors.IsForbidden(err) {
			key.why = plain(err, "list", r.name())
			g.miss(key, "")
			return
		}
	}
	each(ctx, namespaces, func(ctx context.Context, n string) {
		key := key
		if !g.rights.in(ctx, n, "list", r.group, r.plural) {
			key.why = "this account may not list " + r.name() + ": grant it, or ask somebody who may"
			g.miss(key, n)
			return
		}
		if err := read(n); err != nil {
			key.why = plain(err, "list", r.name())
			g.miss(key, n)
		}
	})
}

// readAll reads a resource in one namespace, or in all ("").
func (g *gathering) readAll(ctx context.Context, r resource, namespace, selector string) (found []*objects.Object, err error) {
	err = g.listAll(ctx, r.path(namespace), selector, func(item decode) error {
		o, err := object(item, r)
		if err == nil {
			found = append(found, o)
		}
		return err
	}, func() { found = nil })
	if err != nil {
		return nil, err // half of it is none of it
	}
	return found, nil
}

// endpoints reads the EndpointSlices of Services in front of gateways.
func (g *gathering) endpoints(ctx context.Context, set *objects.Set) (found []*objects.Object) {
	services := map[string][]string{}
	for _, s := range gatewayServices(set) {
		services[s.Namespace] = append(services[s.Namespace], s.Name)
	}
	for _, namespace := range slices.Sorted(maps.Keys(services)) {
		key := missingKey{what: sliceResource.name() + " of the gateways", group: sliceResource.group, resource: sliceResource.plural}
		if !g.rights.may(ctx, authorizationv1.ResourceAttributes{Verb: "list", Group: sliceResource.group, Resource: sliceResource.plural, Namespace: namespace}) {
			key.why = "this account may not list " + sliceResource.name() + ": grant it, or ask somebody who may"
			g.miss(key, namespace)
			continue
		}
		for names := range slices.Chunk(services[namespace], 50) { // the selector is part of the URL
			got, err := g.readAll(ctx, sliceResource, namespace, fmt.Sprintf("%s in (%s)", discoveryv1.LabelServiceName, strings.Join(names, ",")))
			if err != nil && !errors.Is(err, context.Canceled) {
				key.why = plain(err, "list", sliceResource.name())
				g.miss(key, namespace)
			}
			found = append(found, got...)
		}
	}
	return found
}

// gatewayServices are those that select the pods of a gateway.
func gatewayServices(set *objects.Set) (found []*objects.Object) {
	pods := map[string][]*objects.Object{}
	for _, p := range gatewayPods(set) {
		pods[p.Namespace] = append(pods[p.Namespace], p)
	}
	for _, o := range set.Kind("", "Service") {
		if len(pods[o.Namespace]) == 0 {
			continue
		}
		var s struct {
			Spec struct {
				Selector map[string]string `json:"selector"`
			} `json:"spec"`
		}
		if o.Decode(&s) == nil && slices.ContainsFunc(pods[o.Namespace], func(p *objects.Object) bool { return selects(s.Spec.Selector, p.Labels) }) {
			found = append(found, o)
		}
	}
	return found
}

// gatewayPods are those with a router, and those that a Gateway selects.
func gatewayPods(set *objects.Set) (found []*objects.Object) {
	chosen := gatewaySelectors(set)
	for _, o := range set.Kind("", "Pod") {
		var p podItem
		if slices.ContainsFunc(chosen, func(s map[string]string) bool { return selects(s, o.Labels) }) || o.Decode(&p) == nil && p.router() {
			found = append(found, o)
		}
	}
	return found
}

// gatewaySelectors are the labels that Gateways select, each once.
func gatewaySelectors(set *objects.Set) (found []map[string]string) {
	for _, o := range set.Kind("networking.istio.io", "Gateway") {
		var g struct {
			Spec struct {
				Selector map[string]string `json:"selector"`
			} `json:"spec"`
		}
		if o.Decode(&g) == nil && len(g.Spec.Selector) > 0 && !slices.ContainsFunc(found, func(s map[string]string) bool { return maps.Equal(s, g.Spec.Selector) }) {
			found = append(found, g.Spec.Selector)
		}
	}
	return found
}

func selects(selector, labels map[string]string) bool {
	for k, v := range selector {
		if labels[k] != v {
			return false
		}
	}
	return len(selector) > 0
}
