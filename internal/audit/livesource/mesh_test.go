package livesource

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// egress is a double-mTLS egress, as its cluster has it.
const egress = `
- {kind: namespaces, metadata: {name: app, labels: {istio-injection: enabled}}}
- {kind: namespaces, metadata: {name: egress}}
- {kind: namespaces, metadata: {name: istio-system}}
- {kind: namespaces, metadata: {name: other}}
- kind: services
  metadata: {name: gw, namespace: egress, managedFields: [{manager: helm}], annotations: {kubectl.kubernetes.io/last-applied-configuration: "{}"}}
  spec: {clusterIP: 10.0.0.9, clusterIPs: [10.0.0.9], selector: {istio: gw}, ports: [{name: tls, port: 8443, targetPort: 8443}]}
  status: {loadBalancer: {}}
- kind: endpointslices.discovery.k8s.io
  metadata: {name: gw-1, namespace: egress, labels: {kubernetes.io/service-name: gw}}
  addressType: IPv4
  endpoints: [{addresses: [10.1.0.2], conditions: {ready: true}}]
- kind: networkpolicies.networking.k8s.io
  metadata: {name: only-gateway, namespace: egress}
  spec: {podSelector: {}, policyTypes: [Egress]}
- kind: gateways.networking.istio.io
  metadata: {name: g, namespace: egress}
  spec: {selector: {istio: gw}, servers: [{port: {number: 8443, name: tls, protocol: HTTPS}, hosts: [api.partner.example.com], tls: {mode: ISTIO_MUTUAL}}]}
- kind: virtualservices.networking.istio.io
  metadata: {name: v, namespace: egress}
  spec:
    hosts: [api.partner.example.com]
    gateways: [mesh, egress/g]
    http:
    - {match: [{gateways: [mesh], port: 80}], route: [{destination: {host: gw.egress.svc.cluster.local, port: {number: 8443}}}]}
    - {match: [{gateways: [egress/g], port: 8443}], route: [{destination: {host: api.partner.example.com, port: {number: 443}}}]}
- kind: destinationrules.networking.istio.io
  metadata: {name: hop1, namespace: egress, creationTimestamp: "2026-01-01T00:00:00Z", resourceVersion: "7"}
  spec: {host: gw.egress.svc.cluster.local, trafficPolicy: {portLevelSettings: [{port: {number: 8443}, tls: {mode: ISTIO_MUTUAL, sni: api.partner.example.com}}]}}
- kind: destinationrules.networking.istio.io
  metadata: {name: hop2, namespace: egress}
  spec: {host: api.partner.example.com, trafficPolicy: {portLevelSettings: [{port: {number: 443}, tls: {mode: MUTUAL, credentialName: partner-client, sni: api.partner.example.com}}]}}
- kind: serviceentries.networking.istio.io
  metadata: {name: partner, namespace: egress}
  spec: {hosts: [api.partner.example.com], location: MESH_EXTERNAL, resolution: DNS, ports: [{number: 80, name: http, protocol: HTTP}, {number: 443, name: https, protocol: HTTPS}]}
- kind: pods
  metadata: {name: gw-6d5f-aaaaa, namespace: egress, labels: {istio: gw, pod-template-hash: 6d5f}, annotations: {istio.io/rev: default}, ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: gw-6d5f, uid: u, controller: true}]}
  spec: {serviceAccountName: gw, containers: [{name: istio-proxy, image: proxyv2, args: [proxy, router], env: [{name: PASSWORD, value: hunter2}, {name: ISTIO_META_DNS_CAPTURE, value: "true"}]}]}
  status: {phase: Running, podIP: 10.1.0.2, conditions: [{type: Ready, status: "True"}]}
- kind: pods
  metadata: {name: client-77-aaaaa, namespace: app, labels: {app: client, pod-template-hash: "77", security.istio.io/tlsMode: istio}, ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: client-77, uid: u, controller: true}]}
  spec: {serviceAccountName: client, initContainers: [{name: istio-proxy, image: proxyv2, args: [proxy, sidecar]}], containers: [{name: app, image: app, env: [{name: PASSWORD, value: hunter2}], ports: [{name: http, containerPort: 8080}]}]}
  status: {phase: Running, podIP: 10.1.0.3, conditions: [{type: Ready, status: "False"}]}
- kind: pods
  metadata: {name: client-77-bbbbb, namespace: app, labels: {app: client, pod-template-hash: "77", security.istio.io/tlsMode: istio}, ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: client-77, uid: u, controller: true}]}
  spec: {serviceAccountName: client, initContainers: [{name: istio-proxy, image: proxyv2, args: [proxy, sidecar]}], containers: [{name: app, image: app, env: [{name: PASSWORD, value: hunter2}], ports: [{name: http, containerPort: 8080}]}]}
  status: {phase: Running, podIP: 10.1.0.4, conditions: [{type: Ready, status: "True"}]}
- kind: pods
  metadata: {name: stranger, namespace: other}
  spec: {containers: [{name: app, image: app}]}
  status: {phase: Running}
- kind: pods
  metadata: {name: istiod-1, namespace: istio-system, labels: {app: istiod, istio.io/rev: default}}
  spec: {containers: [{name: discovery, image: pilot, args: [discovery, --domain, corp.local], env: [{name: PILOT_TRACE_SAMPLING, value: "1"}, {name: SECRET_THING, value: hunter2}]}]}
  status: {phase: Running, conditions: [{type: Ready, status: "True"}]}
- kind: pods
  metadata: {name: istiod-2, namespace: istio-system, labels: {app: istiod, istio.io/rev: default}}
  spec: {containers: [{name: discovery, image: pilot, args: [discovery, --domain, corp.local]}]}
  status: {phase: Running, conditions: [{type: Ready, status: "True"}]}
- kind: configmaps
  metadata: {name: istio, namespace: istio-system}
  data: {mesh: "trustDomain: corp.local\noutboundTrafficPolicy: {mode: REGISTRY_ONLY}\nextensionProviders:\n- name: l\n  lightstep: {accessToken: hunter2, service: s}\n"}
`

func served(t *testing.T) *apiserver {
	t.Helper()
	a := &apiserver{
		groups: map[string][]string{
			"networking.istio.io": {
				"v1 virtualservices VirtualService", "v1 gateways Gateway", "v1 destinationrules DestinationRule", "v1 serviceentries ServiceEntry",
				"v1 sidecars Sidecar", "v1alpha3 virtualservices VirtualService", "v1alpha3 envoyfilters EnvoyFilter",
			},
			"security.istio.io": {"v1 authorizationpolicies AuthorizationPolicy"},
			"networking.k8s.io": {"v1 networkpolicies NetworkPolicy"},
		},
		objects:  map[string][]map[string]any{},
		accounts: map[string]bool{"system:serviceaccount:egress:gw": true},
		ports:    map[string]http.Handler{},
	}
	var all []map[string]any
	// One cluster's domain in the objects, too.
	if err := yaml.Unmarshal([]byte(strings.ReplaceAll(egress, "svc.cluster.local", "svc.corp.local")), &all); err != nil {
		t.Fatal(err)
	}
	for _, o := range all {
		kind := o["kind"].(string)
		delete(o, "kind")
		a.objects[kind] = append(a.objects[kind], o)
	}
	return a
}

// dump is a config dump of Envoy's, from a test cluster.
func dump(t *testing.T, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile("../../envoy/testdata/" + name + "-config-dump.json")
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// withProxies lets the pods' Envoys and both istiods answer.
func withProxies(t *testing.T, a *apiserver) {
	t.Helper()
	envoy := func(name string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodGet {
				t.Errorf("Envoy was asked %s %s", r.Method, r.URL)
			}
			switch r.URL.Path {
			case "/config_dump":
				_, _ = w.Write(dump(t, name))
			case "/server_info":
				fmt.Fprintf(w, `{"version":"abc/1.39.3/Clean/RELEASE/BoringSSL","state":"LIVE","node":{"id":"n","metadata":{"ISTIO_VERSION":"1.29.4"}}}`)
			case "/stats":
				fmt.Fprint(w, "cluster_manager.cds.update_rejected: 2\n")
			default:
				t.Errorf("Envoy was asked for %s", r.URL)
			}
		})
	}
	a.ports["egress/gw-6d5f-aaaaa:15000"] = envoy("gateway")
	a.ports["app/client-77-bbbbb:15000"] = envoy("client")
	istiod := func(knows map[string]string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/version":
				fmt.Fprint(w, "1.31.0-alpha.1-abcdef-Clean")
			case "/debug/syncz":
				var all []map[string]any
				for id := range knows {
					all = append(all, map[string]any{"proxy": id, "istio_version": "1.29.4", "cluster_sent": "n2", "cluster_acked": "n1", "listener_sent": "n3", "listener_acked": "n3",
						"resources": map[string]any{"type.googleapis.com/envoy.config.cluster.v3.Cluster": map[string]any{"lastError": "no healthy"}}})
				}
				reply(w, all)
			case "/debug/config_dump":
				name, ok := knows[r.URL.Query().Get("proxyID")]
				if !ok {
					w.WriteHeader(http.StatusNotFound)
					fmt.Fprint(w, "Proxy not connected to this Pilot instance.")
					return
				}
				_, _ = w.Write(dump(t, name))
			default:
				t.Errorf("istiod was asked for %s", r.URL)
			}
		})
	}
	a.ports["istio-system/istiod-1:15014"] = istiod(map[string]string{"gw-6d5f-aaaaa.egress": "gateway"})
	a.ports["istio-system/istiod-2:15014"] = istiod(map[string]string{"client-77-bbbbb.app": "client"})
}

// withKey puts a private key where Envoy and istiod redact it.
func withKey(t *testing.T, raw []byte) []byte {
	t.Helper()
	key := base64.StdEncoding.EncodeToString([]byte("not in PEM, but a key"))
	out := strings.ReplaceAll(string(raw), redactedBytes, key)
	if out == string(raw) {
		t.Fatal("the dump has no redacted key")
	}
	return []byte(out)
}
