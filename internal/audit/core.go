package audit

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// enumerations finds values of Kubernetes' own objects that its API server refuses, among
// those that matter to a channel
// (k8s.io/kubernetes/pkg/apis/core/validation and pkg/apis/networking/validation).
func (a *auditor) enumerations() {
	protocols := []string{"", "TCP", "UDP", "SCTP"}
	refuse := func(field, seen string, wanted []string) Finding {
		return Finding{ID: "31", Severity: Critical, Hop: 1, Field: field, Seen: seen, Wanted: "one of " + strings.Join(slices.DeleteFunc(slices.Clone(wanted), func(s string) bool { return s == "" }), ", ")}
	}
	for _, s := range a.Mesh.Services {
		if s.Assumed {
			continue
		}
		for i, p := range s.Spec.Ports {
			if !slices.Contains(protocols, string(p.Protocol)) {
				a.add(refuse(fmt.Sprintf("spec.ports[%d].protocol", i), "protocol "+string(p.Protocol), protocols), s.Object)
			}
			if p.Port < 1 || p.Port > 65535 {
				a.add(Finding{ID: "31", Severity: Critical, Hop: 1, Field: fmt.Sprintf("spec.ports[%d].port", i), Seen: fmt.Sprintf("port %d", p.Port), Wanted: "a port from 1 to 65535"}, s.Object)
			}
		}
		types := []string{"", string(corev1.ServiceTypeClusterIP), string(corev1.ServiceTypeNodePort), string(corev1.ServiceTypeLoadBalancer), string(corev1.ServiceTypeExternalName)}
		if !slices.Contains(types, string(s.Spec.Type)) {
			a.add(refuse("spec.type", "type "+string(s.Spec.Type), types), s.Object)
		}
	}
	for _, p := range a.Mesh.Network {
		for i, r := range p.Spec.Egress {
			for j, port := range r.Ports {
				if port.Protocol != nil && !slices.Contains(protocols, string(*port.Protocol)) {
					a.add(refuse(fmt.Sprintf("spec.egress[%d].ports[%d].protocol", i, j), "protocol "+string(*port.Protocol), protocols), p.Object)
				}
			}
		}
	}
}
