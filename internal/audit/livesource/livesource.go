// Package livesource reads a cluster for the audit: Istio's and Kubernetes' objects,
// what both proxies are configured with, and what istiod would send them. It changes
// nothing: every request passes a guard that knows the few that are allowed, and none of
// them is about Secrets unless the caller asks for it. What may not be read, or fails, is
// Missing, never an empty list. It judges nothing, and must not import a room that writes.
package livesource

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Source is a cluster.
type Source struct {
	typed  kubernetes.Interface
	config *rest.Config
	guard  *guard
	// namespaces limit what is read; none is the whole cluster.
	namespaces []string
	// own is the namespace of the kubeconfig's context.
	own     string
	context string
	// forward reaches a port of a pod; tests have their own.
	forward func(ctx context.Context, namespace, pod string, port int) (*http.Client, func(), error)
}

// Options say what to read beyond the objects.
type Options struct {
	// Hosts limit whose proxies are asked: those of channels that one of them covers.
	Hosts []string
	// IstioNamespace is where to look for istiod if pods may not be listed in all
	// namespaces; istio-system if it is empty.
	IstioNamespace string
	// Revision chooses the mesh configuration; without it, that of the gateways.
	Revision string
	// NoProxies leaves the proxies and istiod alone: nothing is forwarded.
	NoProxies bool
	// MaxSidecars is how many sidecars are asked; 0 is DefaultSidecars. Gateways are
	// always asked.
	MaxSidecars int
	// ReadSecrets reads the Secrets that the channels name. The names of their keys and
	// the public half are kept.
	ReadSecrets bool
	// TokenFile is a token with audience istio-ca, as a pod's projected volume has it;
	// istiod gets it if it wants to know who asks.
	TokenFile string
	// RequestToken asks the API server for such a token where istiod wants one and there
	// is no file: for the account "default" of the proxy's namespace.
	RequestToken bool
}

// DefaultSidecars is enough for one of each kind in most meshes, and takes seconds.
const DefaultSidecars = 64

// Open makes a source of a kubeconfig's context; without a file, what kubectl would use,
// which in a pod is the pod's own account. It asks nothing yet.
func Open(kubeconfig, contextName string, namespaces []string) (*Source, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = kubeconfig
	loaded := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: contextName})
	config, err := loaded.ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("find the cluster: %w; name a file with --kubeconfig or a context with --context", err)
	}
	own, _, err := loaded.Namespace()
	if err != nil {
		return nil, fmt.Errorf("find the context's namespace: %w", err)
	}
	if raw, err := loaded.RawConfig(); err == nil && contextName == "" {
		contextName = raw.CurrentContext
	}
	s := &Source{namespaces: slices.Compact(slices.Sorted(slices.Values(namespaces))), own: own, context: contextName}
	// What runs at once is limited here (atOnce); the server's own flow control does the rest.
	config.QPS = -1
	config.UserAgent = "twohop-audit"
	config.WarningHandler = rest.NoWarnings{}
	config.ContentType = "application/json" // lists are read as they arrive
	s.guard = &guard{asked: map[string]int{}}
	if at, err := url.Parse(config.Host); err == nil {
		s.guard.prefix = at.Path
	}
	config.Wrap(s.guard.wrap)
	s.config = config
	if s.typed, err = kubernetes.NewForConfig(config); err != nil {
		return nil, fmt.Errorf("make a client for %s: %w", config.Host, err)
	}
	s.forward = s.portForward
	return s, nil
}

// Plan says in sentences what Gather is going to ask, and of whom.
func (s *Source) Plan(o Options) []string {
	where := "in all namespaces; where that is forbidden, in each namespace"
	if len(s.namespaces) > 0 {
		where = "in " + list(s.namespaces) + " and in " + o.istioNamespace()
	}
	plan := []string{
		fmt.Sprintf("API server %s, context %q. Nothing is created but access reviews%s, which store nothing.", s.config.Host, s.context, o.creates()),
		"get /version and the lists of API groups and resources",
		"create selfsubjectreviews, selfsubjectaccessreviews, selfsubjectrulesreviews: who asks, and what that account may read",
		"list " + where + ": " + list(plurals()),
		"list endpointslices of the gateways' Services; pods of istiod (label app=istiod)",
		"get the ConfigMaps with the mesh configuration in istiod's namespace",
		"create subjectaccessreviews: whether a gateway's account may list secrets in its namespace, as istiod asks it",
	}
	if !o.NoProxies {
		plan = append(plan, fmt.Sprintf("create pods/portforward to the gateways' pods and at most %d sidecars, port %d, for GET %s", o.maxSidecars(), envoyPort, list(envoyPaths)),
			fmt.Sprintf("create pods/portforward to each pod of istiod, port %d, for GET /version, /debug/syncz, /debug/config_dump of these proxies", istiodPort))
	}
	if o.TokenFile != "" {
		plan = append(plan, "istiod gets the token in "+o.TokenFile+" if it wants to know who asks")
	}
	if o.RequestToken {
		plan = append(plan, `create serviceaccounts/token (audience istio-ca, ten minutes) for the account "default" of a proxy's namespace, if istiod wants to know who asks`)
	}
	if o.ReadSecrets {
		return append(plan, "get the Secrets that the channels name, and their -cacert, in the gateways' namespaces; the names of their keys and the certificates are kept")
	}
	return append(plan, "No request is about Secrets. Nothing is executed in a container.")
}

func (o Options) creates() string {
	more := ""
	if !o.NoProxies {
		more += ", port-forwards"
	}
	if o.RequestToken {
		more += ", tokens"
	}
	return more
}

func (o Options) istioNamespace() string { return cmp.Or(o.IstioNamespace, "istio-system") }

func (o Options) maxSidecars() int { return cmp.Or(o.MaxSidecars, DefaultSidecars) }

// atOnce is how many requests run at the same time.
const atOnce = 8

// gathering is one run of Gather.
type gathering struct {
	*Source
	Options
	snapshot *Snapshot
	// rights answers what may be read in a namespace.
	rights *rights

	mu      sync.Mutex
	missing map[missingKey][]string // namespaces
}

// Gather reads the cluster. It fails where the cluster cannot be reached or has no
// Istio; what cannot be read is in the snapshot's Missing.
func (s *Source) Gather(ctx context.Context, o Options) (*Snapshot, error) {
	g := s.begin(o)
	if err := g.read(ctx); err != nil {
		return nil, err
	}
	if err := g.proxies(ctx); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	g.snapshot.Missing = g.gathered()
	g.snapshot.Asked = s.guard.list()
	return g.snapshot, nil
}

func (s *Source) begin(o Options) *gathering {
	s.guard.reset(o)
	return &gathering{Source: s, Options: o, missing: map[missingKey][]string{}, rights: newRights(s.typed), snapshot: &Snapshot{
		At: time.Now().UTC().Truncate(time.Second), Scope: s.namespaces, Cluster: Cluster{Server: s.config.Host, Context: s.context},
	}}
}

// read reads what the API server has.
func (g *gathering) read(ctx context.Context) error {
	version, err := g.typed.Discovery().ServerVersion()
	if err != nil {
		return fmt.Errorf("the API server %s does not answer: %w; look at the kubeconfig, the context and the network", g.config.Host, err)
	}
	g.snapshot.Cluster.Version = version.GitVersion
	g.whoAsks(ctx)
	resources, err := g.discover(ctx)
	if err != nil {
		return err
	}
	if err := g.objects(ctx, resources); err != nil {
		return err
	}
	return g.istiod(ctx)
}

func (g *gathering) whoAsks(ctx context.Context) {
	r, err := g.typed.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		g.snapshot.User = "unknown"
		return
	}
	g.snapshot.User = r.Status.UserInfo.Username
}

// missingKey is what is missing for one reason; namespaces are added up.
type missingKey struct{ what, why, group, resource string }

// miss notes what could not be learnt.
func (g *gathering) miss(key missingKey, namespace string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	in := g.missing[key]
	if namespace != "" && !slices.Contains(in, namespace) {
		in = append(in, namespace)
	}
	g.missing[key] = in
}

func (g *gathering) gathered() (found []Missing) {
	for key, namespaces := range g.missing {
		slices.Sort(namespaces)
		m := Missing{What: key.what, Why: key.why, Group: key.group, Resource: key.resource, Namespaces: namespaces}
		if len(namespaces) > 0 {
			m.What += " in " + list(namespaces)
		}
		found = append(found, m)
	}
	slices.SortFunc(found, func(a, b Missing) int { return cmp.Or(cmp.Compare(a.What, b.What), cmp.Compare(a.Why, b.Why)) })
	return found
}

// each runs a function for each of a list, a few at a time, and waits for all.
func each[T any](ctx context.Context, of []T, do func(context.Context, T)) {
	slots := make(chan struct{}, atOnce)
	var all sync.WaitGroup
	for _, one := range of {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			all.Wait()
			return
		}
		all.Go(func() {
			defer func() { <-slots }()
			do(ctx, one)
		})
	}
	all.Wait()
}

// list writes names for people, the first few of many.
func list(names []string) string {
	const most = 12
	s := ""
	for i, n := range names {
		if i == most && len(names) > most+1 {
			return fmt.Sprintf("%s and %d more", s, len(names)-most)
		}
		if i > 0 {
			s += ", "
		}
		s += n
	}
	return s
}

var errNoIstio = errors.New("this cluster has no Istio: it serves no VirtualServices (networking.istio.io); is it the right context?")
