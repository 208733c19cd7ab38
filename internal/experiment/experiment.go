// Package experiment is what makes a fact a proof: a check that is made in the
// state that a claim speaks of and once more after one deliberate change, with
// the cause of whichever comes out negative. It runs against a world and a source
// of observations, a lab and a cluster or a recording, and knows neither: it must not import them.
package experiment

import (
	"context"
	"crypto/x509"
	"fmt"

	"twohop/internal/check"
	"twohop/internal/claim"
	"twohop/internal/manifest"
	partnernginx "twohop/partner-nginx"
)

// Experiment is how a claim is proven. The same Check is made twice; one time
// it has to hold and the other not, and Cause then shows why it does not. O is
// what the check saw, which its cause gets.
type Experiment[O any] struct {
	// Arrange brings about the state that the claim speaks of; empty means the
	// baseline.
	Arrange []manifest.Variation
	// Check states facts. A fact that is not so makes the check negative.
	Check func(t *T) O
	// Cause states facts about why the check came out negative. It is called
	// for that trial only, after its Check, in the same state.
	Cause func(t *T, saw O)
	// Control is the one deliberate change, on top of Arrange, after which the
	// check has to come out the other way.
	Control []manifest.Variation
	// Flips names the facts that have to come out the other way; all others have
	// to hold in both trials. A * stands for any text.
	Flips []string
}

// Definition is a claim with the experiment that proves it.
type Definition struct {
	ID     claim.ID
	design func(*Setup) Plan
}

// Plan is an experiment whatever its check sees.
type Plan struct {
	Arrange, Control []manifest.Variation
	Flips            []string
	check            func(*T) any
	cause            func(*T, any) // nil: there is none
}

// Define names a claim's experiment. The setup gives it the subject's names and
// what is made at random.
func Define[O any](id claim.ID, design func(*Setup) Experiment[O]) Definition {
	return Definition{ID: id, design: func(s *Setup) Plan {
		e := design(s)
		p := Plan{Arrange: e.Arrange, Control: e.Control, Flips: e.Flips, check: func(t *T) any { return e.Check(t) }}
		if e.Cause != nil {
			p.cause = func(t *T, saw any) { e.Cause(t, saw.(O)) }
		}
		return p
	}}
}

// Setup is what an experiment is designed with.
type Setup struct {
	*manifest.Editor
	ctx     context.Context
	session *check.Session
	cast    *check.T // who played the roles when the claim began
	// material is what the script calls the certificates that are made here.
	material *material
}

// Unique is a name that no earlier object had, the same in a replay.
func (s *Setup) Unique(prefix string) string { return s.session.Unique(prefix) }

// Issue makes a certificate that a CA signs. A replay has the certificate, and no key.
func (s *Setup) Issue(ca *partnernginx.CA, commonName string, options ...partnernginx.Option) *partnernginx.Pair {
	var made *partnernginx.Pair
	name := s.material.nextPair()
	raw, err := s.session.Input(s.ctx, "certificate of "+commonName, "certificate.pem", func() (raw []byte, err error) {
		if made, err = ca.Issue(commonName, options...); err != nil {
			return nil, err
		}
		return made.CertPEM, nil
	})
	if err == nil && made == nil {
		if made, err = partnernginx.ParsePair(raw); err == nil {
			made.KeyPEM = []byte(manifest.KeyPlaceholder + name)
		}
	}
	if err != nil {
		panic(check.Abort{Err: fmt.Errorf("issue a certificate of %s: %w", commonName, err)})
	}
	s.material.issued(name, ca, made)
	return made
}

// NewPair issues another client certificate that the partner trusts.
func (s *Setup) NewPair() *partnernginx.Pair {
	return s.Issue(s.Certificates.ClientCA, manifest.ClientName)
}

// CRL is the partner's CA's list of revoked certificates.
func (s *Setup) CRL(revoked ...*x509.Certificate) []byte {
	raw, err := s.session.Input(s.ctx, "revocation list", "crl.pem", func() ([]byte, error) { return s.Certificates.ServerCA.Revoke(revoked...) })
	if err != nil {
		panic(check.Abort{Err: fmt.Errorf("sign a revocation list: %w", err)})
	}
	s.material.revoked(s.Certificates.ServerCA, raw, revoked)
	return raw
}

// PartnerAddresses are those of the partner's pod and of its Service, which the
// cluster gave them.
func (s *Setup) PartnerAddresses() (pod, service string) {
	return s.cast.Partner.IP, s.cast.PartnerService
}

// PartnerCertificate is what the partner presents to who asks for it by name.
func (s *Setup) PartnerCertificate() *x509.Certificate {
	pair, err := s.Certificates.Partner()
	if err != nil {
		panic(check.Abort{Err: err})
	}
	return pair.Cert
}

// T is a stage of the experiment: what a check can ask and state, and the
// changes that it declares.
type T struct {
	*check.T
	run *run
}

// During makes changes that belong to the check itself, such as a rotation while
// a client is at work. A replay only computes them.
func (t *T) During(variations ...manifest.Variation) {
	if err := t.run.vary(variations); err != nil {
		panic(check.Abort{Err: err})
	}
	t.Subject = t.run.set.Subject
	t.Meet()
}

// Past is for the script, which waits here until a certificate has expired: one
// that it makes lives longer than the run's, and the run's calls go by its own.
func (t *T) Past(pair *partnernginx.Pair) {
	script := t.run.script
	file := script.material.serials[pair.Serial()]
	script.add("until the certificate has expired", fmt.Sprintf("await %q expired %s", file+" has expired", file), nil)
}

// Checkpoint is the subject as it has been varied so far.
func (t *T) Checkpoint() *manifest.Set { return t.run.set.Clone() }

// Instead takes back what was changed since the checkpoint and makes other
// changes: for a check that goes through many states.
func (t *T) Instead(from *manifest.Set, variations ...manifest.Variation) {
	if err := t.run.goBack(from.Clone()); err != nil {
		panic(check.Abort{Err: err})
	}
	if len(variations) == 0 { // then nothing else waits until the proxies have it
		variations = []manifest.Variation{{Change: "nothing else"}}
	}
	t.During(variations...)
}

// Given is what the check sends where a variation says so (manifest.Input), and
// otherwise what is given here.
func Given[V any](t *T, name string, otherwise V) V {
	if v, ok := t.run.set.Inputs[name]; ok {
		return v.(V)
	}
	return otherwise
}
