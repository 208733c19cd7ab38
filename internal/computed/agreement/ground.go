package agreement

import "twohop/internal/subject"

// ground is what a cluster and Istio's chart have beside the subject's objects, as far as
// proxies are told of it: an audit has it from a live cluster, or from a file of --env.
// Each Service has the pods behind it, since their accounts are in the clusters.
func ground(s subject.Subject) string {
	if s.Lab > 1 {
		// A further mesh sees its own namespaces only.
		return namespace(s.ControlPlane.Namespace, "{"+subject.LabLabel+": \"2\"}") +
			istiodService(s, s.ControlPlane.Deployment()) + istiodPods(s)
	}
	return namespace("default", "{}") + namespace("kube-system", "{}") + namespace("istio-system", "{}") + `
apiVersion: v1
kind: Service
metadata: {name: kubernetes, namespace: default}
spec:
  ports: [{name: https, port: 443, targetPort: 6443, protocol: TCP}]
---
apiVersion: v1
kind: Service
metadata: {name: kube-dns, namespace: kube-system}
spec:
  clusterIP: 10.96.0.10
  selector: {k8s-app: kube-dns}
  ports:
    - {name: dns, port: 53, protocol: UDP}
    - {name: dns-tcp, port: 53, protocol: TCP}
    - {name: metrics, port: 9153, protocol: TCP}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: coredns, namespace: kube-system}
spec:
  template:
    metadata: {labels: {k8s-app: kube-dns}}
    spec: {serviceAccountName: coredns, containers: [{name: coredns}]}
` + istiodService(s, "istiod") + istiodService(s, "istiod-revision-tag-default") + istiodPods(s)
}

func namespace(name, labels string) string {
	return `
apiVersion: v1
kind: Namespace
metadata: {name: ` + name + `, labels: ` + labels + `}
---`
}

// istiodService is as the chart has it (manifests/charts/istio-control/istio-discovery).
func istiodService(s subject.Subject, name string) string {
	return `
---
apiVersion: v1
kind: Service
metadata: {name: ` + name + `, namespace: ` + s.ControlPlane.Namespace + `}
spec:
  selector: {app: istiod}
  ports:
    - {name: grpc-xds, port: 15010, protocol: TCP}
    - {name: https-dns, port: 15012, protocol: TCP}
    - {name: https-webhook, port: 443, targetPort: 15017, protocol: TCP}
    - {name: http-monitoring, port: 15014, protocol: TCP}
`
}

func istiodPods(s subject.Subject) string {
	return `---
apiVersion: apps/v1
kind: Deployment
metadata: {name: ` + s.ControlPlane.Deployment() + `, namespace: ` + s.ControlPlane.Namespace + `}
spec:
  template:
    metadata: {labels: {app: istiod, sidecar.istio.io/inject: "false"}}
    spec: {serviceAccountName: ` + s.ControlPlane.Deployment() + `, containers: [{name: discovery}]}
`
}
