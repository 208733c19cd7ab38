package rehearse

import (
	"fmt"
	"strings"
)

// Judged is whether a call under a variation came out as double mTLS has it, and why not.
type Judged struct {
	Result
	Holds bool
	// Void says that the plain call fails: then this one proves nothing.
	Void bool
	// Why says in a sentence what was seen.
	Why string
}

// Judge says of each result whether it is as it has to be: the plain call arrives through
// the gateway and with a client certificate, and no call arrives at a partner that is not
// the one, that does not trust the certificate, or past a gateway that is away. A partner
// that asks for no certificate gets none, and trusts whoever calls.
func (s Scene) Judge(o *Outcome) (all []Judged) {
	plain := map[string]bool{}
	for _, r := range o.Results {
		j := Judged{Result: r, Why: r.seen()}
		ok := r.Status >= 200 && r.Status < 400
		switch r.Variation {
		case Plain, Again:
			j.Holds = ok && r.ThroughGateway() && (s.Partner.Lax || r.certificate() != "")
		case OtherClients:
			j.Holds = !ok || s.Partner.Lax
		case GatewayAway:
			j.Holds = !r.arrived() && !ok
		default:
			j.Holds = !ok
		}
		call := fmt.Sprint(r.Call.Host, r.Call.Port, r.Call.Path)
		if r.Variation == Plain {
			plain[call] = j.Holds
		}
		works, tried := plain[call]
		j.Void = tried && !works && r.Variation != Plain
		all = append(all, j)
	}
	return all
}

// arrived reports whether the partner saw a request, whatever it answered.
func (r Result) arrived() bool {
	for _, s := range r.Partner {
		if s.At != AtElsewhere {
			return true
		}
	}
	return false
}

// certificate is the client certificate that the partner got with the request.
func (r Result) certificate() string {
	for _, s := range r.Partner {
		if s.DN != "" && s.DN != "-" {
			return s.DN
		}
	}
	return ""
}

// seen says what the witnesses saw.
func (r Result) seen() string {
	var parts []string
	switch {
	case r.Error != "":
		parts = append(parts, "no answer: "+r.Error)
	default:
		parts = append(parts, fmt.Sprintf("status %d", r.Status))
	}
	if flags := Flags(r.Sidecar); len(flags) > 0 {
		parts = append(parts, "sidecar "+strings.Join(flags, ","))
	}
	if flags := Flags(r.Gateway); len(flags) > 0 {
		parts = append(parts, "gateway "+strings.Join(flags, ","))
	}
	switch {
	case !r.arrived():
		parts = append(parts, "not at the partner")
	case !r.Reached() && r.ThroughGateway():
		parts = append(parts, "at the partner through the gateway, and refused there")
	case !r.Reached():
		parts = append(parts, "at the partner past the gateway, and refused there")
	case r.ThroughGateway() && r.certificate() != "":
		parts = append(parts, "at the partner through the gateway, with "+r.certificate())
	case r.ThroughGateway():
		parts = append(parts, "at the partner through the gateway, without a client certificate")
	default:
		parts = append(parts, "at the partner past the gateway")
	}
	return strings.Join(parts, "; ")
}
