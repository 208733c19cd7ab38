package manifest

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	"sigs.k8s.io/e2e-framework/klient/k8s"

	"twohop/internal/subject"
)

// Variation is one deliberate change of the subject.
type Variation struct {
	// Change says what is done, as a person would ("drop the DestinationRule's tls").
	Change string
	// Before and After are what a cluster has to show before the change is made
	// and before the next one is; without a cluster they mean nothing.
	Before, After []Condition
	// Stays is for objects that disturb nobody and are dear to make: they are
	// left in the lab for the claims that follow.
	Stays bool
	edit  func(*Set) error
}

// Condition is something that a lab waits for or brings about. It is one of the
// types below.
type Condition interface{ condition() }

type (
	// Live: the proxies have all that was written so far.
	Live struct{}
	// Holds: a proxy holds a certificate of this serial as an ACTIVE SDS secret.
	Holds struct {
		Role           subject.Role
		Secret, Serial string
	}
	// Aged: an object is a second old. Creation times are whole seconds.
	Aged struct{ Key Key }
	// FilesShow: the kubelet has written a certificate into the gateway's folder.
	FilesShow struct{ Dir, Serial string }
	// Resolves: DNS gives a name these addresses.
	Resolves struct {
		Name      string
		Addresses []string
	}
	// Reconnected: hop 2's connections are new ones. Those that live present the
	// certificate that they were opened with.
	Reconnected struct{}
)

func (Live) condition()        {}
func (Holds) condition()       {}
func (Aged) condition()        {}
func (FilesShow) condition()   {}
func (Resolves) condition()    {}
func (Reconnected) condition() {}

// Apply returns the set after the change, and leaves the given one as it is. A
// lookup that finds nothing ("no route hop3") is the error.
func (v Variation) Apply(s *Set) (next *Set, err error) {
	defer func() {
		if r := recover(); r != nil {
			m, ok := r.(missing)
			if !ok {
				panic(r)
			}
			err = fmt.Errorf("%s: %w", v.Change, m)
		}
	}()
	next = s.Clone()
	if v.edit == nil {
		return next, nil
	}
	if err := v.edit(next); err != nil {
		return nil, fmt.Errorf("%s: %w", v.Change, err)
	}
	return next, nil
}

// Waiting makes a variation wait for something before the next one is made.
func (v Variation) Waiting(for_ ...Condition) Variation {
	v.After = slices.Concat(v.After, for_)
	return v
}

// Holding makes a variation wait until the gateway holds a certificate of this
// serial as the SDS secret of this name.
func (v Variation) Holding(secret, serial string) Variation {
	return v.Waiting(Holds{subject.Gateway, secret, serial})
}

// Live makes a variation wait until the proxies have it.
func (v Variation) Live() Variation { return v.Waiting(Live{}) }

// Undone says what it changes, and changes nothing: with it a mutant shows what
// a claim is worth whose change was not made.
func (v Variation) Undone() Variation { return Variation{Change: v.Change} }

// Edit changes an object of the subject. T is its type, so its kind.
func Edit[T k8s.Object](change, namespace, name string, edit func(T)) Variation {
	return Variation{Change: change, edit: func(s *Set) error {
		o, err := get[T](s, namespace, name)
		if err != nil {
			return err
		}
		edit(o)
		s.Put(o)
		return nil
	}}
}

// Add puts objects beside the subject's, or replaces them.
func Add(change string, objects ...k8s.Object) Variation {
	return Variation{Change: change, edit: func(s *Set) error {
		for _, o := range objects {
			s.Put(o)
		}
		return nil
	}}
}

// Remove deletes an object.
func Remove(change string, o k8s.Object) Variation {
	return Variation{Change: change, edit: func(s *Set) error { return s.Remove(KeyOf(o)) }}
}

// Input changes nothing in the cluster: what differs is what the check sends,
// which it asks for by name.
func Input(change, name string, value any) Variation {
	return Variation{Change: change, edit: func(s *Set) error {
		s.Inputs[name] = value
		return nil
	}}
}

// Together makes one change of several.
func Together(change string, variations ...Variation) Variation {
	all := Variation{Change: change, edit: func(s *Set) error {
		for _, v := range variations {
			if v.edit == nil {
				continue
			}
			if err := v.edit(s); err != nil {
				return err
			}
		}
		return nil
	}}
	for _, v := range variations {
		all.Before, all.After = append(all.Before, v.Before...), append(all.After, v.After...)
		all.Stays = all.Stays || v.Stays
	}
	return all
}

// Changes are the words of several variations.
func Changes(variations []Variation) string {
	words := make([]string, len(variations))
	for i, v := range variations {
		words[i] = v.Change
	}
	return strings.Join(words, "; ")
}

// get returns a copy of an object by its type.
func get[T k8s.Object](s *Set, namespace, name string) (T, error) {
	like := reflect.New(reflect.TypeFor[T]().Elem()).Interface().(T)
	like.SetNamespace(namespace)
	like.SetName(name)
	k := KeyOf(like)
	o, ok := s.Find(k).(T)
	if !ok {
		return like, fmt.Errorf("there is no %s", k)
	}
	return o, nil
}

// must is get for objects that the fixtures have; a unit test reads them.
func must[T k8s.Object](s *Set, namespace, name string) T {
	o, err := get[T](s, namespace, name)
	if err != nil {
		panic(missing{err.Error()})
	}
	return o
}

// missing is a lookup by name that found nothing.
type missing struct{ text string }

func (m missing) Error() string { return m.text }

func lookUp[E any](what string, all []E, is func(E) bool, name func(E) string) E {
	if i := slices.IndexFunc(all, is); i >= 0 {
		return all[i]
	}
	names := make([]string, len(all))
	for i, e := range all {
		names[i] = name(e)
	}
	panic(missing{fmt.Sprintf("no %s; there are [%s]", what, strings.Join(names, ", "))})
}

// Names of the routes in the subject's VirtualService.
const (
	MeshRouteName    = "hop1"
	GatewayRouteName = "hop2"
)

// Route is a VirtualService's HTTP route, by its name.
func Route(vs *networking.VirtualService, name string) *networking.HTTPRoute {
	return lookUp("route "+name, vs.Http,
		func(r *networking.HTTPRoute) bool { return r.Name == name }, (*networking.HTTPRoute).GetName)
}

// MeshRoute is the route of hop 1, from the sidecar to the gateway.
func MeshRoute(vs *networking.VirtualService) *networking.HTTPRoute { return Route(vs, MeshRouteName) }

// GatewayRoute is the route of hop 2, from the gateway to the partner.
func GatewayRoute(vs *networking.VirtualService) *networking.HTTPRoute {
	return Route(vs, GatewayRouteName)
}

// Destination is the only destination of a route.
func Destination(r *networking.HTTPRoute) *networking.Destination {
	if len(r.Route) != 1 {
		panic(missing{fmt.Sprintf("route %s has %d destinations, not one", r.Name, len(r.Route))})
	}
	return r.Route[0].Destination
}

// OnlyMatch is the only match of a route.
func OnlyMatch(r *networking.HTTPRoute) *networking.HTTPMatchRequest {
	if len(r.Match) != 1 {
		panic(missing{fmt.Sprintf("route %s has %d matches, not one", r.Name, len(r.Match))})
	}
	return r.Match[0]
}

// DropRoute takes a route out, by its name.
func DropRoute(vs *networking.VirtualService, name string) {
	Route(vs, name)
	vs.Http = slices.DeleteFunc(vs.Http, func(r *networking.HTTPRoute) bool { return r.Name == name })
}

// InsertRouteBefore puts a route before another one, which it takes precedence over.
func InsertRouteBefore(vs *networking.VirtualService, name string, route *networking.HTTPRoute) {
	before := Route(vs, name)
	vs.Http = slices.Insert(vs.Http, slices.Index(vs.Http, before), route)
}

// PortSettings is the entry of portLevelSettings for a port.
func PortSettings(p *networking.TrafficPolicy, port uint32) *networking.TrafficPolicy_PortTrafficPolicy {
	return lookUp(fmt.Sprintf("portLevelSettings of port %d", port), p.GetPortLevelSettings(),
		func(e *networking.TrafficPolicy_PortTrafficPolicy) bool { return e.GetPort().GetNumber() == port },
		func(e *networking.TrafficPolicy_PortTrafficPolicy) string { return fmt.Sprint(e.GetPort().GetNumber()) })
}

// DropPortSettings takes the entry of a port out.
func DropPortSettings(p *networking.TrafficPolicy, port uint32) {
	gone := PortSettings(p, port)
	p.PortLevelSettings = slices.DeleteFunc(p.PortLevelSettings, func(e *networking.TrafficPolicy_PortTrafficPolicy) bool { return e == gone })
}

// Subset is a DestinationRule's subset, by its name.
func Subset(dr *networking.DestinationRule, name string) *networking.Subset {
	return lookUp("subset "+name, dr.Subsets,
		func(s *networking.Subset) bool { return s.Name == name }, (*networking.Subset).GetName)
}

// EntryPort is a ServiceEntry's port, by its number.
func EntryPort(se *networking.ServiceEntry, number uint32) *networking.ServicePort {
	return lookUp(fmt.Sprintf("port %d", number), se.Ports,
		func(p *networking.ServicePort) bool { return p.Number == number },
		func(p *networking.ServicePort) string { return fmt.Sprint(p.Number) })
}

// DropEntryPort takes a port out of a ServiceEntry.
func DropEntryPort(se *networking.ServiceEntry, number uint32) {
	gone := EntryPort(se, number)
	se.Ports = slices.DeleteFunc(se.Ports, func(p *networking.ServicePort) bool { return p == gone })
}

// Server is a Gateway's server, by its port's name.
func Server(gw *networking.Gateway, portName string) *networking.Server {
	return lookUp("server of port "+portName, gw.Servers,
		func(s *networking.Server) bool { return s.GetPort().GetName() == portName },
		func(s *networking.Server) string { return s.GetPort().GetName() })
}

// Replace writes another text in the place of one that a list holds.
func Replace(list []string, old, text string) {
	i := slices.Index(list, old)
	if i < 0 {
		panic(missing{fmt.Sprintf("no %q; there are [%s]", old, strings.Join(list, ", "))})
	}
	list[i] = text
}
