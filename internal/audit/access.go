package audit

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"

	"twohop/internal/channel"
	"twohop/internal/objects"
)

// access judges whether istiod may serve Secrets to the gateway.
func (e *egress) access(router *channel.Workload) {
	f := Finding{ID: "05", Severity: Critical, Hop: 2, Proxy: name(router), Wanted: fmt.Sprintf("a Role with list on secrets in namespace %s, bound to service account %s", router.Namespace, router.Account)}
	if e.Access != nil {
		allowed, unknown := e.Access(router.Namespace, router.Account)
		switch {
		case unknown != "":
			f.Status, f.Severity, f.Seen = Unknown, High, unknown
			e.find(f, of(router.Object, ""))
		case allowed:
			e.made("05")
		default:
			f.Seen = "service account " + router.Namespace + "/" + router.Account + " may not list secrets"
			e.find(f, e.blameAccess(router))
		}
		return
	}
	if router.Assumed != "" {
		f.Status, f.Severity, f.Seen = Unknown, Low, "the gateway is not in the input, so its service account is not known"
		e.find(f, missing("ServiceAccount", router.Namespace, router.Account))
		return
	}
	if e.mayListSecrets(router) {
		e.made("05")
		return
	}
	meant := slices.ContainsFunc(e.Mesh.Set.Kind(rbacv1.GroupName, "RoleBinding"), func(o *objects.Object) bool {
		return bytes.Contains(o.JSON, []byte(`"name":"`+router.Account+`"`))
	})
	if !meant && len(e.rbac("Role", router.Namespace))+len(e.rbac("RoleBinding", router.Namespace)) == 0 {
		f.Status, f.Severity = Unknown, Medium
		f.Seen = "the input has no Role or RoleBinding in namespace " + router.Namespace + ", so the permissions of service account " + router.Account + " are not known"
		e.find(f, of(router.Object, strings.TrimPrefix(router.Template+".spec.serviceAccountName", ".")))
		return
	}
	f.Seen = "service account " + router.Account + " may not list secrets in namespace " + router.Namespace
	e.find(f, e.blameAccess(router))
}

func (e *egress) rbac(kind, namespace string) (found []*objects.Object) {
	for _, o := range e.Mesh.Set.Kind("rbac.authorization.k8s.io", kind) {
		if o.Namespace == namespace || strings.HasPrefix(kind, "Cluster") {
			found = append(found, o)
		}
	}
	return found
}

func (e *egress) mayListSecrets(router *channel.Workload) bool {
	for _, kind := range []string{"RoleBinding", "ClusterRoleBinding"} {
		for _, o := range e.rbac(kind, router.Namespace) {
			var b rbacv1.RoleBinding
			if o.Decode(&b) != nil || !binds(b.Subjects, router) || !ofRBAC(b.RoleRef) {
				continue
			}
			role := e.Mesh.Set.Find(objects.Ref{Kind: b.RoleRef.Kind, Namespace: roleNamespace(b.RoleRef.Kind, router.Namespace), Name: b.RoleRef.Name})
			if role == nil && b.RoleRef.Kind == "ClusterRole" && (b.RoleRef.Name == "cluster-admin" || b.RoleRef.Name == "admin" || b.RoleRef.Name == "edit") {
				return true
			}
			if role != nil && listsSecrets(role) {
				return true
			}
		}
	}
	return false
}

// ofRBAC reports whether a reference is to a role; the API server fills in an empty group.
func ofRBAC(r rbacv1.RoleRef) bool { return r.APIGroup == "" || r.APIGroup == rbacv1.GroupName }

func roleNamespace(kind, namespace string) string {
	if kind == "ClusterRole" {
		return ""
	}
	return namespace
}

func binds(subjects []rbacv1.Subject, w *channel.Workload) bool {
	return slices.ContainsFunc(subjects, func(s rbacv1.Subject) bool {
		switch s.Kind {
		case "ServiceAccount":
			// Without a namespace it is one of the binding's own
			// (k8s.io/kubernetes/pkg/registry/rbac/validation/rule.go, appliesToUser).
			return s.Name == w.Account && (s.Namespace == w.Namespace || s.Namespace == "")
		case "Group":
			return s.Name == "system:serviceaccounts" || s.Name == "system:serviceaccounts:"+w.Namespace || s.Name == "system:authenticated"
		}
		return s.Kind == "User" && s.Name == "system:serviceaccount:"+w.Namespace+":"+w.Account
	})
}

// listsSecrets reports whether a role grants what istiod asks for: list on all secrets.
// One that names Secrets does not (claim H2-rbac-names).
func listsSecrets(o *objects.Object) bool {
	var r rbacv1.Role
	if o.Decode(&r) != nil {
		return false
	}
	has := func(list []string, one string) bool { return slices.Contains(list, one) || slices.Contains(list, "*") }
	return slices.ContainsFunc(r.Rules, func(p rbacv1.PolicyRule) bool {
		return has(p.APIGroups, "") && has(p.Resources, "secrets") && has(p.Verbs, "list") && len(p.ResourceNames) == 0
	})
}

// blameAccess says which object keeps the gateway's account from listing secrets.
func (e *egress) blameAccess(router *channel.Workload) blame {
	account := objects.Ref{Kind: "ServiceAccount", Namespace: router.Namespace, Name: router.Account}
	if router.Object != nil && e.Mesh.Set.Find(account) == nil && slices.ContainsFunc(e.Mesh.Set.Kind("", "ServiceAccount"), func(o *objects.Object) bool { return o.Namespace == router.Namespace }) {
		return blame{object: router.Object, field: strings.TrimPrefix(router.Template+".spec.serviceAccountName", "."), seen: "service account " + router.Account + ", which is not in the input and may not list secrets"}
	}
	roles := e.rbac("Role", router.Namespace)
	for _, o := range e.rbac("RoleBinding", router.Namespace) {
		var b rbacv1.RoleBinding
		if o.Decode(&b) != nil {
			return of(o, "")
		}
		role := e.Mesh.Set.Find(objects.Ref{Kind: b.RoleRef.Kind, Namespace: roleNamespace(b.RoleRef.Kind, router.Namespace), Name: b.RoleRef.Name})
		switch {
		case !ofRBAC(b.RoleRef):
			return blame{object: o, field: "roleRef.apiGroup", seen: "apiGroup " + b.RoleRef.APIGroup, wanted: "apiGroup " + rbacv1.GroupName}
		case !binds(b.Subjects, router) && role != nil && listsSecrets(role):
			return blame{object: o, field: "subjects[0]", seen: fmt.Sprintf("the binding is not for service account %s/%s", router.Namespace, router.Account)}
		case binds(b.Subjects, router) && role == nil:
			return blame{object: o, field: "roleRef.name", seen: fmt.Sprintf("%s %s does not exist", b.RoleRef.Kind, b.RoleRef.Name)}
		case binds(b.Subjects, router):
			return blame{object: role, field: "rules", seen: "its rules do not grant list on all secrets"}
		}
	}
	for _, o := range roles {
		if !listsSecrets(o) {
			continue
		}
		for _, b := range e.Mesh.Set.Kind("rbac.authorization.k8s.io", "RoleBinding") {
			if b.Namespace != router.Namespace && bytes.Contains(b.JSON, []byte(`"name":"`+o.Name+`"`)) {
				return blame{object: b, field: "metadata.namespace", seen: "a RoleBinding in namespace " + b.Namespace + ", where it grants nothing in " + router.Namespace, wanted: "namespace " + router.Namespace}
			}
		}
		b := missing("RoleBinding", router.Namespace, "")
		b.seen = "no RoleBinding binds " + o.Ref.String() + " to service account " + router.Account
		return b
	}
	for _, b := range e.Mesh.Set.Kind(rbacv1.GroupName, "RoleBinding") {
		if b.Namespace != router.Namespace && bytes.Contains(b.JSON, []byte(`"name":"`+router.Account+`"`)) {
			return blame{object: b, field: "metadata.namespace", seen: "a RoleBinding in namespace " + b.Namespace + ", where it grants nothing in " + router.Namespace, wanted: "namespace " + router.Namespace}
		}
	}
	for _, o := range roles {
		return of(o, "rules")
	}
	return of(router.Object, strings.TrimPrefix(router.Template+".spec.serviceAccountName", "."))
}
