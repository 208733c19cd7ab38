package rehearse

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"twohop/internal/channel"
)

// Session is a scene that runs: two or more Envoys and the partner. It takes one call at
// a time.
type Session struct {
	scene    Scene
	dir      string
	ports    ports
	pki      *pki
	partner  *server
	entrance int // of the sidecar, for connections that iptables would redirect
	sidecar  *process
	gateways []*process
	places   map[int]string
	tokens   int

	Changes  []Change
	Rejected []Rejected
	Unknown  []string
	Assumed  []string
	Ready    time.Duration
}

// Start makes certificates and files for a scene, starts its partner and its proxies,
// and waits until they are ready. The session must be closed.
func Start(ctx context.Context, scene Scene) (_ *Session, err error) {
	began := time.Now()
	scene.fill()
	if len(scene.Partner.Hosts) == 0 {
		return nil, fmt.Errorf("a scene needs a host: give it a call, or the partner's hosts")
	}
	s := &Session{scene: scene, places: map[int]string{}}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	if s.dir, err = os.MkdirTemp("", "twohop-rehearsal-"); err != nil {
		return nil, err
	}
	if s.pki, err = newPKI(scene.Partner.SANs); err != nil {
		return nil, err
	}
	if s.partner, err = serve(append(slices.Clone(scene.Partner.Hosts), scene.Partner.SANs...), scene.Partner.Lax, s.pki); err != nil {
		return nil, fmt.Errorf("start the partner: %w", err)
	}
	for place, port := range s.partner.ports {
		s.places[port] = "the partner, " + string(place)
	}
	closed, err := s.ports.take()
	if err != nil {
		return nil, err
	}
	s.places[closed] = "nobody"
	books, err := s.bind()
	if err != nil {
		return nil, err
	}
	if err := s.launch(books, closed); err != nil {
		return nil, err
	}
	for _, p := range s.processes() {
		if err := p.ready(ctx); err != nil {
			return nil, err
		}
		rejected, err := p.rejected(ctx)
		if err != nil {
			return nil, err
		}
		s.Rejected = append(s.Rejected, rejected...)
	}
	s.Ready = time.Since(began)
	return s, nil
}

func (s *Scene) fill() {
	s.TrustDomain = cmp.Or(s.TrustDomain, "cluster.local")
	s.Timeout = cmp.Or(s.Timeout, 3*time.Second)
	if s.Variations == nil {
		s.Variations = Variations()
	}
	if len(s.Partner.Hosts) == 0 {
		for _, c := range s.Calls {
			if !slices.Contains(s.Partner.Hosts, c.Host) {
				s.Partner.Hosts = append(s.Partner.Hosts, c.Host)
			}
		}
	}
	if len(s.Partner.SANs) == 0 {
		s.Partner.SANs = s.Partner.Hosts
	}
	if s.Partner.PlainPorts == nil {
		s.Partner.PlainPorts = []int{80}
	}
}

// book has the loopback ports of one proxy's listeners.
type book map[Binding]int

// port is the loopback port for a port of the proxy; false if it has no listener there.
func (b book) port(port int) (int, bool) {
	for binding, at := range b {
		if binding.Port == port {
			return at, true
		}
	}
	return 0, false
}

// bind reserves a port for each address that a listener binds. The sidecar comes first.
func (s *Session) bind() (books []book, err error) {
	for _, p := range s.proxies() {
		resources, err := read(p.Dump)
		if err != nil {
			return nil, fmt.Errorf("%s/%s: %w", p.Namespace, p.Name, err)
		}
		b := book{}
		for _, binding := range bindings(resources) {
			if b[binding], err = s.ports.take(); err != nil {
				return nil, err
			}
			s.places[b[binding]] = fmt.Sprintf("%s/%s, port %d", p.Namespace, p.Name, binding.Port)
			if len(books) == 0 && binding.Listener == virtualOutbound && binding.Index == 0 {
				s.entrance = b[binding]
			}
		}
		books = append(books, b)
	}
	if s.entrance == 0 {
		return nil, fmt.Errorf("the configuration of %s/%s has no listener %s: it is not a sidecar's", s.scene.Sidecar.Namespace, s.scene.Sidecar.Name, virtualOutbound)
	}
	return books, nil
}

func (s *Session) proxies() []Proxy { return append([]Proxy{s.scene.Sidecar}, s.scene.Gateways...) }

func (s *Session) processes() []*process {
	if s.sidecar == nil {
		return nil
	}
	return append([]*process{s.sidecar}, s.gateways...)
}

// launch makes what each proxy runs with and starts it.
func (s *Session) launch(books []book, closed int) error {
	for i, p := range s.proxies() {
		dir := filepath.Join(s.dir, fmt.Sprint(i))
		if err := os.Mkdir(dir, 0o700); err != nil {
			return err
		}
		boot, err := Bootstrap(p, Layout{
			Sidecar: i == 0, Dir: dir, Direct: s.partner.ports[AtDirect],
			Bind: func(b Binding) int { return books[i][b] },
			Lead: func(e Endpoint) int { return s.lead(e, books, closed) },
		})
		if err != nil {
			return err
		}
		for _, secret := range boot.Secrets {
			// One that is missing is answered with nothing: Envoy has it as never sent.
			if !withheld(secret.Name, s.scene.Missing) {
				tree, err := s.pki.secret(s.scene.TrustDomain, p, secret)
				if err != nil {
					return err
				}
				boot.Resources.add(secretKind, secret.Name, tree)
			}
			if secret.CA && strings.HasSuffix(secret.Name, "system") {
				s.Assumed = append(s.Assumed, fmt.Sprintf("%s/%s trusts the system's CAs (%s), and the partner's is one of them", p.Namespace, p.Name, secret.Name))
			}
		}
		s.Changes = append(s.Changes, boot.Changes...)
		for _, u := range boot.Unknown {
			s.Unknown = append(s.Unknown, p.Namespace+"/"+p.Name+": "+u)
		}
		started, err := start(s.scene.Envoy, p.Namespace+"/"+p.Name, dir, boot)
		if err != nil {
			return err
		}
		if i == 0 {
			s.sidecar = started
		} else {
			s.gateways = append(s.gateways, started)
		}
	}
	return nil
}

// lead says where an endpoint lies in the rehearsal.
func (s *Session) lead(e Endpoint, books []book, closed int) int {
	workload := strings.SplitN(e.Workload, ";", 3)
	for i, g := range s.scene.Gateways {
		port, is := e.Port, g.IP != "" && e.Address == g.IP ||
			len(workload) > 1 && workload[0] == g.Name && workload[1] == g.Namespace
		for _, service := range g.Services {
			if to, ok := service.Ports[e.Port]; ok && slices.Contains(service.Hosts, e.Address) {
				port, is = to, true
			}
		}
		if !is {
			continue
		}
		if at, ok := books[i+1].port(port); ok {
			return at
		}
		return closed // the pod is there and refuses
	}
	place := s.place(e)
	if place == "" {
		return closed
	}
	return s.partner.ports[place]
}

// place is where an endpoint is that lies outside of the mesh; empty for nowhere.
func (s *Session) place(e Endpoint) Place {
	p := s.scene.Partner
	named := func(host string) bool {
		return slices.ContainsFunc(p.Hosts, func(h string) bool { return channel.Covers(h, host) })
	}
	switch {
	case slices.Contains(p.Addresses, e.Address), named(e.Address):
	case named(e.Host):
		if len(p.Addresses) > 0 {
			return "" // an address that is not the partner's: nobody is there
		}
	case e.External:
		return AtElsewhere
	default:
		return ""
	}
	return p.at(e.Port)
}

// at is what the partner has on a port.
func (p Partner) at(port int) Place {
	switch {
	case slices.Contains(p.PlainPorts, port):
		return AtPlain
	case len(p.TLSPorts) == 0 || slices.Contains(p.TLSPorts, port):
		return AtTLS
	}
	return ""
}

// Admin asks the admin interface of a proxy, "NAMESPACE/NAME".
func (s *Session) Admin(ctx context.Context, proxy, path string) ([]byte, error) {
	for _, p := range s.processes() {
		if p.name == proxy {
			return p.admin(ctx, path)
		}
	}
	return nil, fmt.Errorf("no proxy %s takes part in the rehearsal", proxy)
}

// GatewaysAway ends the gateways: nobody listens on their ports from then on.
func (s *Session) GatewaysAway() {
	for _, g := range s.gateways {
		g.kill()
	}
}

// Close ends all that the session has started and removes its files.
func (s *Session) Close() {
	var all sync.WaitGroup
	for _, p := range s.processes() {
		all.Go(p.kill)
	}
	all.Wait()
	if s.partner != nil {
		s.partner.close()
	}
	s.ports.release()
	if s.dir != "" {
		_ = os.RemoveAll(s.dir)
	}
}
