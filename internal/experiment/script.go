package experiment

import (
	_ "embed"
	"encoding/base64"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"al.essio.dev/pkg/shellescape"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/e2e-framework/klient/k8s"

	"twohop/internal/check"
	"twohop/internal/claim"
	"twohop/internal/manifest"
	"twohop/internal/subject"
)

// script does by hand what the experiment did, on a lab of the reader's own. Its
// steps are in the words of reproduce.sh.
type script struct {
	material  *material
	has       map[string]bool // recipes of files that it has made already
	addresses []address
	steps     []step
}

type step struct{ what, body string }

// address is one of the run's cluster; another cluster has another.
type address struct {
	of      *regexp.Regexp
	instead string
}

//go:embed reproduce.sh
var library string

func newScript(m *material) *script {
	return &script{material: m, has: map[string]bool{}}
}

// meet notes the partner's addresses, which the script asks its own cluster for.
func (s *script) meet(cast *check.T) {
	for ip, instead := range map[string]string{cast.PartnerService: "$address", cast.Partner.IP: "$(partner_pod)"} {
		if ip != "" {
			s.addresses = append(s.addresses, address{regexp.MustCompile(`\b` + regexp.QuoteMeta(ip) + `\b`), instead})
		}
	}
}

// add notes a command, and what it reads from standard input.
func (s *script) add(what, command string, stdin []byte) {
	body := command + "\n"
	if len(stdin) > 0 {
		body = command + " <<'YAML' || status\n" + ended(stdin) + "YAML\n"
	}
	s.steps = append(s.steps, step{what, body})
}

// change notes what makes one set the other, and what is waited for before and
// after. It reports whether there is anything to do.
func (s *script) change(v manifest.Variation, from, to *manifest.Set) (bool, error) {
	diff, err := manifest.Diff(from, to)
	if err != nil {
		return false, err
	}
	var b strings.Builder
	for _, c := range v.Before {
		b.WriteString(s.condition(c, to.Subject))
	}
	for _, o := range diff.Put {
		text, err := s.put(o)
		if err != nil {
			return false, err
		}
		b.WriteString(text)
	}
	for _, k := range diff.Remove {
		fmt.Fprintf(&b, "drop %s\n", name(from.Find(k)))
	}
	for _, c := range v.After {
		b.WriteString(s.condition(c, to.Subject))
	}
	if b.Len() > 0 {
		s.steps = append(s.steps, step{v.Change, b.String()})
	}
	return b.Len() > 0, nil
}

// settle waits until the proxies have what was changed.
func (s *script) settle() {
	s.steps = append(s.steps, step{"wait until the proxies have it", "settle\n"})
}

// put renders an object. What a file of the script stands for is put in by the
// shell, so all else is protected from it.
func (s *script) put(o k8s.Object) (string, error) {
	var lines, files []string
	o = o.DeepCopyObject().(k8s.Object)
	if secret, ok := o.(*corev1.Secret); ok {
		for key, value := range secret.Data {
			if file, ok := s.material.content(value); ok {
				secret.Data[key] = marker(file)
				files = append(files, file)
			}
		}
	}
	slices.Sort(files)
	raw, err := manifest.YAML(o)
	if err != nil {
		return "", err
	}
	text := inHeredoc.Replace(ended(raw))
	for _, file := range files {
		lines = append(lines, s.material.needed(file, s.has)...)
		text = strings.ReplaceAll(text, base64.StdEncoding.EncodeToString(marker(file)), "$(b64 "+file+")")
	}
	for _, a := range s.addresses {
		text = a.of.ReplaceAllLiteralString(text, a.instead)
	}
	lines = append(lines, fmt.Sprintf("put %s <<YAML\n%sYAML\n", name(o), text))
	return strings.Join(lines, "\n"), nil
}

func marker(file string) []byte { return []byte("the content of " + file) }

var inHeredoc = strings.NewReplacer(`\`, `\\`, `$`, `\$`, "`", "\\`")

func ended(raw []byte) string { return strings.TrimSuffix(string(raw), "\n") + "\n" }

// name is an object's kind, namespace and name, as reproduce.sh's functions and
// kubectl take them. The group tells Istio's Gateway from Kubernetes' own.
func name(o k8s.Object) string {
	k := manifest.KeyOf(o)
	kind := strings.ToLower(k.Kind)
	if kinds, _, err := scheme.Scheme.ObjectKinds(o); err == nil && kinds[0].Group != "" {
		kind += "." + kinds[0].Group
	}
	return shellescape.QuoteCommand([]string{kind, k.Namespace, k.Name})
}

// condition waits for what the lab waits for.
func (s *script) condition(c manifest.Condition, of subject.Subject) string {
	switch c := c.(type) {
	case manifest.Live:
		return "settle\n"
	case manifest.Aged:
		return "sleep 1\n"
	case manifest.Holds:
		return s.holds(pod(c.Role, of), c.Secret, s.material.serials[c.Serial])
	case manifest.FilesShow:
		file := s.material.serials[c.Serial]
		return fmt.Sprintf("await %s mounted %s %s %s %s\n", shellescape.Quote("the gateway's "+c.Dir+" has "+file), of.Gateway.Namespace, of.Gateway.Deployment, c.Dir, file)
	case manifest.Resolves:
		line := fmt.Sprintf("await %s resolves %s", shellescape.Quote("DNS has the addresses of "+c.Name), c.Name)
		for _, ip := range c.Addresses {
			for _, a := range s.addresses {
				ip = a.of.ReplaceAllLiteralString(ip, `"`+a.instead+`"`)
			}
			line += " " + ip
		}
		return line + "\n"
	}
	return fmt.Sprintf("# The run waited for %T here, too.\n", c)
}

// holds waits until a proxy has a certificate as an SDS secret of its own.
func (s *script) holds(pod, secret, file string) string {
	path := "/config_dump?resource=dynamic_active_secrets&name_regex=" + url.QueryEscape("^"+regexp.QuoteMeta(secret)+"$")
	lines := append(s.material.needed(file, s.has),
		fmt.Sprintf("await %s holds %s %s %s", shellescape.Quote("the proxy has "+file+" as "+secret), pod, shellescape.Quote(path), file))
	return strings.Join(lines, "\n") + "\n"
}

// pod is the namespace and the pod that plays a role, as kubectl exec takes them.
func pod(role subject.Role, of subject.Subject) string {
	if name, ok := role.ExtraGatewayPod(); ok {
		return of.Gateway.Namespace + " " + name
	}
	w := of.Gateway
	switch role {
	case subject.Sidecar:
		w = of.Client
	case subject.SecondSidecar:
		w = of.SecondClient()
	case subject.SecondGateway:
		w = of.SecondGateway()
	}
	return w.Namespace + " deploy/" + w.Deployment
}

const head = `#!/bin/sh
# Does claim %s by hand, on a lab of your own, and prints what there is to see:
#   KEEP=1 make e2e CLAIMS=G1%-5s # a cluster with the lab, which stays up
#   KUBECONFIG=$(bin/twohop kubeconfig) sh %s.sh
# It needs kubectl, openssl and, for a few claims, istioctl. It makes the run's
# changes in the run's order and makes keys and certificates itself, waits where
# the run waited, and puts back what it changed, however it ends. No run and no
# other script may use the lab meanwhile.
app=%s partner=%s

%s
address=$(kubectl get service %s -n "$partner" -o 'jsonpath={.spec.clusterIP}') || die "is the lab there? See the head of this script"
`

// render writes a POSIX shell script.
func (s *script) render(id claim.ID, of subject.Subject) []byte {
	var b strings.Builder
	labs := "" // the first one is always there
	if of.Lab > 1 {
		labs = fmt.Sprintf(" LABS=%d", of.Lab)
	}
	fmt.Fprintf(&b, head, id, labs, id, of.Client.Namespace, of.Partner.Namespace, library, of.PartnerService)
	for _, st := range s.steps {
		fmt.Fprintf(&b, "\nstep %s\n%s", shellescape.Quote(strings.ReplaceAll(st.what, "\n", " ")), st.body)
	}
	return []byte(b.String())
}
