package suites

import (
	"context"

	. "github.com/onsi/gomega"
	networking "istio.io/api/networking/v1alpha3"

	"twohop/internal/envoy"
	"twohop/internal/lab"
	"twohop/internal/trial"
)

// otherPort is a port of the external host that the baseline does not have.
const otherPort = 9443

// strictPort, laxPort and otherNamePort are the partner's kinds
// (partner-nginx/manifest.yaml).
const (
	strictPort    = 443
	laxPort       = 8444
	otherNamePort = 8446
)

// withCredential leads hop 2 to a port whose settings name another Secret.
func withCredential(t *trial.T, change, secret string) lab.Variation {
	return t.Hop2Port(change, lab.Port{Number: otherPort, Target: strictPort, Settings: func(p *networking.TrafficPolicy_PortTrafficPolicy) {
		p.Tls.CredentialName = secret
	}})
}

// credentialKeys is a Secret's content under the usual names.
func credentialKeys(t *trial.T) map[string][]byte {
	return t.CredentialSecret("", t.Credential).Data
}

// secretIs states the state of one of the gateway's SDS secrets.
func secretIs(ctx context.Context, t *trial.T, name string, state envoy.SecretState) error {
	s, err := t.Secret(ctx, t.Gateway, name)
	if err != nil {
		return err
	}
	s.Fact("state", s.State, Equal(state))
	return nil
}

// istiodSays states that istiod's log has a line with all the texts.
func istiodSays(ctx context.Context, t *trial.T, about string, texts ...string) error {
	line, path, err := t.IstiodSaid(ctx, texts...)
	if err != nil {
		return err
	}
	t.Fact("istiod's log about "+about, line, ContainSubstring(texts[len(texts)-1]), path)
	return nil
}

// presented states that a call arrived with the certificate of this serial.
func presented(c *trial.Call, serial string) {
	c.Status(Equal(200))
	c.Fact("partner: verification of the client certificate", c.Arrived().Verify, Equal("SUCCESS"))
	c.Fact("partner: serial of the client certificate", c.Arrived().Serial, Equal(serial))
}

var _ = Claim("H2-secret-ns", func(t *trial.T) trial.Experiment {
	var call *trial.Call
	name := "elsewhere-" + trial.Unique()
	return trial.Experiment{
		Arrange: []lab.Variation{
			lab.Secret("put a Secret into the application's namespace only", t.Subject.Client.Namespace, name, credentialKeys(t)),
			withCredential(t, "hop 2 names that Secret", name),
		},
		Check: func(ctx context.Context, t *trial.T) (err error) {
			if call, err = t.Call(ctx); err != nil {
				return err
			}
			call.Status(Equal(503))
			// The port's cluster warms until its secrets come, or for 15 s.
			call.Fact("gateway: response flags", trial.Flags(call.Through()), Or(Equal("NC"), ContainSubstring("UF")))
			call.Fact("partner: requests of this token", len(call.Partner), Equal(0))
			for _, secret := range []string{lab.SDSName(name), lab.SDSCAName(name)} {
				if err := secretIs(ctx, t, secret, envoy.SecretWarming); err != nil {
					return err
				}
			}
			return istiodSays(ctx, t, "the Secret", name, t.Subject.Gateway.Namespace+"/"+name+" not found")
		},
		Control: []lab.Variation{
			lab.Secret("put the same Secret into the gateway's namespace", t.Subject.Gateway.Namespace, name, credentialKeys(t)).
				Holding(lab.SDSName(name), t.Credential.Serial()),
		},
		Cause: func(ctx context.Context, t *trial.T) error {
			presented(call, t.Credential.Serial())
			return secretIs(ctx, t, lab.SDSName(name), envoy.SecretActive)
		},
	}
})
