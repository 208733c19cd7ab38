package corpus

import (
	"fmt"
	"strings"

	"twohop/internal/objects"
)

// Fault is a setup with one thing changed. Not every change hurts: an audit that calls
// each of them a fault is as wrong as one that calls none.
type Fault struct {
	// ID is stable: it is made of what the fault is, not of its place in the list.
	ID       string
	Setup    string
	Operator string
	// Object is the one that was changed, taken away or added; the first one where there
	// are several.
	Object objects.Ref
	// Field is the path in the object, empty for the whole object.
	Field string
	// Detail says what the field has become.
	Detail string
	// Docs is the whole setup with the fault, as YAML of many documents.
	Docs []byte
}

// Faults are all faults of a setup, in a fixed order: for each object those of its
// fields, then those of the object, then what was added to the setup.
func Faults(setup Setup) []Fault {
	var found []Fault
	for c := range changes(&setup) {
		docs, err := setup.with(c)
		if err != nil {
			panic(err) // trees of JSON can be written
		}
		if string(docs) == string(setup.Docs) {
			continue // such as an exportTo that says what it said
		}
		found = append(found, Fault{
			ID: setup.id(c), Setup: setup.Name, Operator: c.operator, Object: c.object, Field: c.field, Detail: c.detail, Docs: docs,
		})
	}
	return found
}

func (s *Setup) id(c change) string {
	kind := strings.ReplaceAll(c.object.String(), " ", "/")
	id := fmt.Sprintf("%s:%s:%s", s.Name, c.operator, kind)
	if c.field != "" {
		id += ":" + c.field
	}
	if c.detail != "" {
		id += "=" + c.detail
	}
	return strings.Join(strings.Fields(id), "_")
}

// changes makes every change of every operator.
func changes(s *Setup) func(yield func(change) bool) {
	return func(yield func(change) bool) {
		done := false
		emit := func(c change) {
			if !done && !yield(c) {
				done = true
			}
		}
		for i, o := range s.Objects {
			if !relevant(o) {
				continue
			}
			fields(s, i, emit)
			whole(s, i, emit)
		}
		swaps(s, emit)
		additions(s, emit)
	}
}

// relevant are the kinds that an egress is made of.
func relevant(o *Object) bool {
	group, _, _ := strings.Cut(o.APIVersion, "/")
	switch o.Kind {
	case "VirtualService", "DestinationRule", "ServiceEntry", "Sidecar", "AuthorizationPolicy", "PeerAuthentication":
		return true
	case "Gateway":
		return group == "networking.istio.io"
	case "Service", "Namespace", "ServiceAccount", "Role", "RoleBinding", "ClusterRole", "Secret", "NetworkPolicy":
		return true
	}
	return template(o.Kind) != nil
}

// template is where a workload has its pods' template; nil for what is no workload.
func template(kind string) []any {
	switch kind {
	case "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job":
		return []any{"spec", "template"}
	case "CronJob":
		return []any{"spec", "jobTemplate", "spec", "template"}
	}
	return nil
}

// isGateway says whether a workload's pods are gateways rather than callers.
func isGateway(o *Object) bool {
	pod := append(template(o.Kind), "spec", "containers")
	for i := range list(at(o.Tree, pod...)) {
		if at(o.Tree, append(pod, i, "name")...) == "istio-proxy" {
			return true
		}
	}
	return false
}
