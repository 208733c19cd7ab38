package main

import (
	"encoding/json"
	"fmt"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	kubeschema "k8s.io/apimachinery/pkg/runtime/schema"

	"istio.io/istio/pilot/pkg/config/kube/crd"
	"istio.io/istio/pilot/pkg/model"
	"istio.io/istio/pilot/pkg/networking/core"
	"istio.io/istio/pilot/pkg/serviceregistry"
	kube "istio.io/istio/pilot/pkg/serviceregistry/kube/controller"
	"istio.io/istio/pilot/pkg/xds/endpoints"
	"istio.io/istio/pkg/config"
	"istio.io/istio/pkg/config/constants"
	"istio.io/istio/pkg/config/mesh"
	"istio.io/istio/pkg/config/mesh/meshwatcher"
	"istio.io/istio/pkg/config/schema/collections"
	"istio.io/istio/pkg/config/schema/gvr"
	"istio.io/istio/pkg/config/schema/resource"
	kubelib "istio.io/istio/pkg/kube"
	"istio.io/istio/pkg/test"
	"istio.io/istio/pkg/version"
)

type question struct {
	Domain  string            `json:"domain"` // istiod's --domain
	Mesh    string            `json:"mesh"`   // MeshConfig in YAML, over istiod's defaults
	Objects []json.RawMessage `json:"objects"`
	Proxies []proxy           `json:"proxies"`
}

type proxy struct {
	ID             string            `json:"id"`
	Type           string            `json:"type"` // "sidecar" or "router", as istiod names them
	Namespace      string            `json:"namespace"`
	Name           string            `json:"name"`
	ServiceAccount string            `json:"serviceAccount"`
	Labels         map[string]string `json:"labels"`
	IP             string            `json:"ip"`
	Config         string            `json:"config"` // ProxyConfig in YAML, over the mesh's
	// Version is the proxy's; empty is the line's own.
	Version string `json:"version"`
}

type answer struct {
	Istio string `json:"istio"`
	// Refused are objects that the API server would not store; they were left out.
	Refused []refusal `json:"refused"`
	// Dumps are config dumps, by the proxies' IDs.
	Dumps map[string]json.RawMessage `json:"dumps"`
}

type refusal struct {
	Index  int    `json:"index"` // in the question's objects
	Reason string `json:"reason"`
	// Warning says that the object is stored all the same.
	Warning bool `json:"warning,omitempty"`
}

// updater hands on to one that does not exist yet when it is asked for.
type updater struct{ model.XDSUpdater }

func compute(t test.Failer, crds schemas, q question) (answer, error) {
	a := answer{Istio: version.Info.Version, Refused: []refusal{}, Dumps: map[string]json.RawMessage{}}
	m, err := mesh.ApplyMeshConfig(q.Mesh, mesh.DefaultMeshConfig())
	if err != nil {
		return a, fmt.Errorf("the mesh's configuration: %w", err)
	}
	configs, objects, refused, err := sortOut(crds, q)
	if err != nil {
		return a, err
	}
	a.Refused = append(a.Refused, refused...)

	client := kubelib.NewFakeClient(objects...)
	forward := &updater{XDSUpdater: noUpdates{}}
	watcher := meshwatcher.NewTestWatcher(m)
	stop := test.NewStop(t)
	registry, _ := kube.NewFakeControllerWithOptions(t, kube.FakeControllerOptions{
		Client: client, ClusterID: constants.DefaultClusterName, DomainSuffix: q.Domain,
		XDSUpdater: forward, SkipRun: true, ConfigCluster: true, MeshWatcher: watcher, Stop: stop,
		CRDs: []kubeschema.GroupVersionResource{gvr.ServiceEntry, gvr.WorkloadEntry},
	})
	s := core.NewConfigGenTest(t, core.TestOptions{
		Configs: configs, MeshConfig: m, XDSUpdater: forward, SkipRun: true,
		ServiceRegistries: []serviceregistry.Instance{registry}, ClusterID: constants.DefaultClusterName,
	})
	forward.XDSUpdater = model.NewEndpointIndexUpdater(s.Env().EndpointIndex)
	s.ServiceEntryRegistry.AppendWorkloadHandler(registry.WorkloadInstanceHandler)
	registry.AppendWorkloadHandler(s.ServiceEntryRegistry.WorkloadInstanceHandler)
	client.RunAndWait(stop)
	s.Run()
	if err := s.Env().InitNetworksManager(forward); err != nil {
		return a, err
	}
	s.Env().PushContext().InitContext(s.Env(), nil, nil)
	for _, p := range q.Proxies {
		raw, err := dump(s, q.Domain, p)
		if err != nil {
			return a, fmt.Errorf("proxy %s: %w", p.ID, err)
		}
		a.Dumps[p.ID] = raw
	}
	return a, nil
}

// sortOut makes what istiod holds of objects, and says what the API server would
// refuse of Istio's own.
func sortOut(crds schemas, q question) (configs []config.Config, objects []runtime.Object, refused []refusal, err error) {
	decode := kubelib.IstioCodec.UniversalDeserializer().Decode
	for i, raw := range q.Objects {
		var kind crd.IstioKind
		var meta metav1.TypeMeta
		if err := json.Unmarshal(raw, &meta); err != nil {
			return nil, nil, nil, fmt.Errorf("object %d: %w", i, err)
		}
		gvk := meta.GroupVersionKind()
		schema, istios := collections.PilotGatewayAPI().FindByGroupVersionAliasesKind(resource.FromKubernetesGVK(&gvk))
		if !istios || !strings.HasSuffix(gvk.Group, "istio.io") {
			o, _, err := decode(raw, nil, nil)
			if err != nil {
				refused = append(refused, refusal{Index: i, Reason: err.Error()})
				continue
			}
			objects = append(objects, o)
			continue
		}
		if err := crds.check(gvk, raw); err != nil {
			refused = append(refused, refusal{Index: i, Reason: err.Error()})
			continue
		}
		if err := json.Unmarshal(raw, &kind); err != nil {
			refused = append(refused, refusal{Index: i, Reason: err.Error()})
			continue
		}
		c, err := crd.ConvertObject(schema, &kind, q.Domain)
		if err == nil {
			var warning error
			if warning, err = schema.ValidateConfig(*c); warning != nil && err == nil {
				refused = append(refused, refusal{Index: i, Reason: warning.Error(), Warning: true})
			}
		}
		if err != nil {
			refused = append(refused, refusal{Index: i, Reason: err.Error()})
			continue
		}
		configs = append(configs, *c)
	}
	return configs, objects, refused, nil
}

func dump(s *core.ConfigGenTest, domain string, p proxy) (json.RawMessage, error) {
	if p.Version == "" {
		p.Version = line(version.Info.Version)
	}
	m := s.PushContext().Mesh
	if p.Config != "" {
		var err error
		if m, err = mesh.ApplyProxyConfig(p.Config, m); err != nil {
			return nil, fmt.Errorf("annotation proxy.istio.io/config: %w", err)
		}
	}
	node := s.SetupProxy(&model.Proxy{
		ID: p.Name + "." + p.Namespace, Type: model.NodeType(p.Type), ConfigNamespace: p.Namespace, IPAddresses: []string{p.IP},
		DNSDomain: p.Namespace + ".svc." + domain, Labels: p.Labels,
		Metadata: &model.NodeMetadata{
			Namespace: p.Namespace, ClusterID: constants.DefaultClusterName, ServiceAccount: p.ServiceAccount,
			Labels: p.Labels, IstioVersion: p.Version, MeshID: m.GetTrustDomain(), WorkloadName: p.Name,
			ProxyConfig: (*model.NodeMetaProxyConfig)(m.GetDefaultConfig()),
		},
	})
	var clusters, listeners, routes, loads []any
	eds := map[string]bool{}
	for _, c := range s.Clusters(node) {
		if c.GetType() == clusterv3.Cluster_EDS {
			eds[c.GetName()] = true
		}
		clusters = append(clusters, entry("cluster", c))
	}
	for _, l := range s.Listeners(node) {
		listeners = append(listeners, map[string]any{"name": l.GetName(), "active_state": entry("listener", l)})
	}
	for _, r := range s.Routes(node) {
		routes = append(routes, entry("route_config", r))
	}
	for name := range eds {
		b := endpoints.NewEndpointBuilder(name, node, s.PushContext())
		loads = append(loads, entry("endpoint_config", b.BuildClusterLoadAssignment(s.Env().EndpointIndex)))
	}
	return json.Marshal(map[string]any{"configs": []any{
		section("ClustersConfigDump", "dynamic_active_clusters", clusters),
		section("ListenersConfigDump", "dynamic_listeners", listeners),
		section("RoutesConfigDump", "dynamic_route_configs", routes),
		section("EndpointsConfigDump", "dynamic_endpoint_configs", loads),
	}})
}

func section(kind, list string, entries []any) any {
	return map[string]any{"@type": "type.googleapis.com/envoy.admin.v3." + kind, list: entries}
}

// entry is one resource as Envoy's admin API prints it.
func entry(key string, m proto.Message) any {
	raw, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	if err != nil {
		panic(err)
	}
	return map[string]any{key: json.RawMessage(raw)}
}

// line is the release that a proxy of this build calls itself.
func line(version string) string {
	version, _, _ = strings.Cut(strings.TrimPrefix(version, "v"), "-")
	if strings.Count(version, ".") == 1 {
		version += ".0"
	}
	return version
}

// noUpdates takes the place of istiod's endpoint index until that exists.
type noUpdates struct{ model.XDSUpdater }
