// Package manifest is the subject as objects, and what a claim changes of it. A
// variation is a pure function of a set of manifests: the lab applies the
// difference to a cluster, `claims render` prints it, and verify-run computes it
// again. The package opens no connection and must not import Kubernetes clients.
package manifest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	istionetworking "istio.io/client-go/pkg/apis/networking/v1"
	istiosecurity "istio.io/client-go/pkg/apis/security/v1"
	istiotelemetry "istio.io/client-go/pkg/apis/telemetry/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/e2e-framework/klient/k8s"
	"sigs.k8s.io/yaml"

	"twohop/internal/subject"
)

func init() {
	// e2e-framework decodes and sends with client-go's global scheme.
	for _, add := range []func(*runtime.Scheme) error{istionetworking.AddToScheme, istiosecurity.AddToScheme, istiotelemetry.AddToScheme} {
		if err := add(scheme.Scheme); err != nil {
			panic(err) // a programming error: two types under one kind
		}
	}
}

// Key names an object.
type Key struct{ Kind, Namespace, Name string }

func (k Key) String() string { return fmt.Sprintf("%s %s/%s", k.Kind, k.Namespace, k.Name) }

// KeyOf is an object's key; its kind is its type's where it does not say it.
func KeyOf(o k8s.Object) Key {
	kind := o.GetObjectKind().GroupVersionKind().Kind
	if kinds, _, err := scheme.Scheme.ObjectKinds(o); kind == "" && err == nil {
		kind = kinds[0].Kind
	}
	return Key{kind, o.GetNamespace(), o.GetName()}
}

// Set is the subject as it should be: its names, its objects, and what a check
// is to send.
type Set struct {
	Subject subject.Subject
	// Inputs are what a check sends where that is what a claim varies, by name.
	Inputs  map[string]any
	objects map[Key]k8s.Object
	order   []Key // in which they are applied
}

// NewSet holds objects in the order in which they are applied.
func NewSet(s subject.Subject, objects ...k8s.Object) *Set {
	set := &Set{Subject: s, Inputs: map[string]any{}, objects: map[Key]k8s.Object{}}
	for _, o := range objects {
		set.Put(o)
	}
	return set
}

// Clone is a set of its own. The objects are shared until one is edited, which
// puts a copy in its place.
func (s *Set) Clone() *Set {
	c := &Set{Subject: s.Subject, Inputs: map[string]any{}, objects: map[Key]k8s.Object{}, order: slices.Clone(s.order)}
	for name, v := range s.Inputs {
		c.Inputs[name] = v
	}
	for k, o := range s.objects {
		c.objects[k] = o
	}
	return c
}

// Put adds an object, or replaces the one of its name. It is then the last in the
// order: what was edited first is applied first.
func (s *Set) Put(o k8s.Object) {
	k := KeyOf(o)
	s.order = append(slices.DeleteFunc(s.order, func(other Key) bool { return other == k }), k)
	s.objects[k] = o.DeepCopyObject().(k8s.Object)
}

// Remove takes an object out; that it is not there is an error.
func (s *Set) Remove(k Key) error {
	if _, ok := s.objects[k]; !ok {
		return fmt.Errorf("there is no %s to remove", k)
	}
	delete(s.objects, k)
	s.order = slices.DeleteFunc(s.order, func(other Key) bool { return other == k })
	return nil
}

// Find returns a copy of an object, or nil.
func (s *Set) Find(k Key) k8s.Object {
	if o, ok := s.objects[k]; ok {
		return o.DeepCopyObject().(k8s.Object)
	}
	return nil
}

// Objects returns copies, in the order in which they are applied.
func (s *Set) Objects() []k8s.Object {
	all := make([]k8s.Object, 0, len(s.order))
	for _, k := range s.order {
		all = append(all, s.Find(k))
	}
	return all
}

// Difference is what leads from one set to another.
type Difference struct {
	Put    []k8s.Object // in the order in which they are applied
	Remove []Key
}

// Empty says that the sets hold the same objects.
func (d Difference) Empty() bool { return len(d.Put) == 0 && len(d.Remove) == 0 }

// Diff is what has to be put and removed to make the one set the other.
func Diff(from, to *Set) (Difference, error) {
	var d Difference
	for _, k := range to.order {
		before, now := from.objects[k], to.objects[k]
		if before == now {
			continue
		}
		same, err := equal(before, now)
		if err != nil {
			return d, err
		}
		if !same {
			d.Put = append(d.Put, to.Find(k))
		}
	}
	for _, k := range from.order {
		if _, ok := to.objects[k]; !ok {
			d.Remove = append(d.Remove, k)
		}
	}
	return d, nil
}

func equal(a, b k8s.Object) (bool, error) {
	if a == nil || b == nil {
		return false, nil
	}
	rawA, err := json.Marshal(a)
	if err != nil {
		return false, fmt.Errorf("render %s: %w", KeyOf(a), err)
	}
	rawB, err := json.Marshal(b)
	if err != nil {
		return false, fmt.Errorf("render %s: %w", KeyOf(b), err)
	}
	return bytes.Equal(rawA, rawB), nil
}

// Applied is a difference as a person would apply it.
type Applied struct {
	Command string
	YAML    []byte // for `kubectl apply -f -`; nil for a deletion
}

// Applied renders a difference: what is put, and then what is deleted.
func (d Difference) Applied() ([]Applied, error) {
	var all []Applied
	if len(d.Put) > 0 {
		raw, err := YAML(d.Put...)
		if err != nil {
			return nil, err
		}
		all = append(all, Applied{Command: "kubectl apply -f -", YAML: raw})
	}
	for _, k := range d.Remove {
		all = append(all, Applied{Command: fmt.Sprintf("kubectl delete -n %s %s %s", k.Namespace, strings.ToLower(k.Kind), k.Name)})
	}
	return all, nil
}

// leftOut stands for a private key wherever a manifest is kept or printed.
const leftOut = "left out: a key of the lab's own, throw-away PKI\n"

// YAML renders objects as documents, without what an API server adds and without
// private keys.
func YAML(objects ...k8s.Object) ([]byte, error) {
	var b strings.Builder
	for i, o := range objects {
		o = o.DeepCopyObject().(k8s.Object)
		k := KeyOf(o)
		o.SetManagedFields(nil)
		o.SetResourceVersion("")
		o.SetUID("")
		o.SetCreationTimestamp(metav1.Time{})
		o.SetGeneration(0)
		if secret, ok := o.(*corev1.Secret); ok {
			redact(secret)
		}
		raw, err := yaml.Marshal(o)
		if err != nil {
			return nil, fmt.Errorf("render %s: %w", k, err)
		}
		text := string(raw)
		if o.GetObjectKind().GroupVersionKind().Empty() {
			kinds, _, err := scheme.Scheme.ObjectKinds(o)
			if err != nil {
				return nil, fmt.Errorf("render %s: %w", k, err)
			}
			text = fmt.Sprintf("apiVersion: %s\nkind: %s\n%s", kinds[0].GroupVersion(), k.Kind, text)
		}
		if i > 0 {
			b.WriteString("---\n")
		}
		b.WriteString(text)
	}
	return []byte(b.String()), nil
}

// redact goes by what a value is, not by what its key is called.
func redact(secret *corev1.Secret) {
	for name, value := range secret.Data {
		if IsPrivateKey(value) {
			secret.Data[name] = []byte(leftOut)
		}
	}
	for name, value := range secret.StringData {
		if IsPrivateKey([]byte(value)) {
			secret.StringData[name] = leftOut
		}
	}
}

// IsPrivateKey reports whether bytes hold a private key in PEM, or the
// placeholder that stands for one where no key is at hand.
func IsPrivateKey(raw []byte) bool {
	return bytes.Contains(raw, []byte("PRIVATE KEY-----")) || bytes.HasPrefix(raw, []byte(KeyPlaceholder))
}

// KeyPlaceholder stands for the private key of a certificate that was recorded:
// the key itself never leaves the lab.
const KeyPlaceholder = "private key of "
