package livesource

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"

	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// rights says what this account may read. It is asked so that the server's audit log is
// not full of refusals; what the server then answers decides.
type rights struct {
	client kubernetes.Interface

	mu    sync.Mutex
	rules map[string]*namespaceRules
	asked map[authorizationv1.ResourceAttributes]func() bool
}

type namespaceRules struct {
	once sync.Once
	// rules are nil where they are not known: then a request is worth trying.
	rules []authorizationv1.ResourceRule
	all   bool // the list is complete
}

func newRights(client kubernetes.Interface) *rights {
	return &rights{client: client, rules: map[string]*namespaceRules{}, asked: map[authorizationv1.ResourceAttributes]func() bool{}}
}

// everywhere reports whether a resource may be listed in all namespaces; true where
// that cannot be learnt.
func (r *rights) everywhere(ctx context.Context, group, plural string) bool {
	return r.may(ctx, authorizationv1.ResourceAttributes{Verb: "list", Group: group, Resource: plural})
}

// may reports whether a request is worth trying. It asks the server once.
func (r *rights) may(ctx context.Context, what authorizationv1.ResourceAttributes) bool {
	r.mu.Lock()
	ask := r.asked[what]
	if ask == nil {
		ask = sync.OnceValue(func() bool {
			answer, err := r.client.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{
				Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &what},
			}, metav1.CreateOptions{})
			return err != nil || answer.Status.Allowed
		})
		r.asked[what] = ask
	}
	r.mu.Unlock()
	return ask()
}

// in reports whether a verb on a resource is worth trying in a namespace. It asks the
// server once for each namespace.
func (r *rights) in(ctx context.Context, namespace, verb, group, resource string) bool {
	r.mu.Lock()
	n := r.rules[namespace]
	if n == nil {
		n = &namespaceRules{}
		r.rules[namespace] = n
	}
	r.mu.Unlock()
	n.once.Do(func() {
		answer, err := r.client.AuthorizationV1().SelfSubjectRulesReviews().Create(ctx, &authorizationv1.SelfSubjectRulesReview{
			Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: namespace},
		}, metav1.CreateOptions{})
		if err == nil {
			n.rules, n.all = answer.Status.ResourceRules, !answer.Status.Incomplete && answer.Status.EvaluationError == ""
		}
	})
	has := func(list []string, one string) bool { return slices.Contains(list, one) || slices.Contains(list, "*") }
	return !n.all || slices.ContainsFunc(n.rules, func(rule authorizationv1.ResourceRule) bool {
		return has(rule.Verbs, verb) && has(rule.APIGroups, group) && has(rule.Resources, resource) && (verb == "get" || len(rule.ResourceNames) == 0)
	})
}

// account asks whether a gateway's account may list the Secrets of its namespace.
func (g *gathering) account(ctx context.Context, namespace, account string) Access {
	a := Access{Namespace: namespace, Account: account, Answer: AccessUnknown}
	// The question is istiod's own, which names no groups: a right that an account has as
	// a member of system:serviceaccounts does not count there
	// (pilot/pkg/credentials/kube/secrets.go, Authorize).
	answer, err := g.typed.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{
		Spec: authorizationv1.SubjectAccessReviewSpec{
			User:               "system:serviceaccount:" + namespace + ":" + account,
			ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: namespace, Verb: "list", Resource: "secrets"},
		},
	}, metav1.CreateOptions{})
	switch {
	case err != nil:
		a.Why = plain(err, "create", "subjectaccessreviews.authorization.k8s.io")
	case answer.Status.Allowed:
		a.Answer, a.Why = AccessAllowed, answer.Status.Reason
	default:
		// istiod takes anything but a yes for a no.
		a.Answer, a.Why = AccessDenied, cmp.Or(answer.Status.Reason, answer.Status.EvaluationError)
	}
	return a
}

// plain says of an error what the reader can do about it.
func plain(err error, verb, resource string) string {
	switch {
	case apierrors.IsForbidden(err):
		return "this account may not " + verb + " " + resource + ": grant it, or ask somebody who may"
	case apierrors.IsUnauthorized(err):
		return "the API server does not accept the kubeconfig's credentials: log in again"
	case apierrors.IsNotFound(err):
		return "it does not exist"
	}
	return fmt.Sprintf("could not %s %s: %v", verb, resource, err)
}
