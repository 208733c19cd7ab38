package rehearse

import (
	"net/http"
	"strings"
	"testing"

	"twohop/internal/envoy"
)

func TestJudge(t *testing.T) {
	at := func(place Place, status uint64, dn string) []Seen {
		return []Seen{{At: place, Peer: "127.0.0.1:4", PartnerLog: envoy.PartnerLog{Status: status, DN: dn}}}
	}
	gateway := []Logged{{AccessLog: envoy.AccessLog{UpstreamLocalAddress: "127.0.0.1:4"}}}
	plain := Result{Variation: Plain, Status: 200, Partner: at(AtTLS, 200, "CN=c"), Gateway: gateway}
	for name, x := range map[string]struct {
		r     Result
		lax   bool
		holds bool
		says  string
	}{
		"through both hops":            {plain, false, true, "through the gateway, with CN=c"},
		"without a certificate":        {Result{Variation: Plain, Status: 200, Partner: at(AtTLS, 200, ""), Gateway: gateway}, false, false, "without a client certificate"},
		"a partner that asks for none": {Result{Variation: Plain, Status: 200, Partner: at(AtTLS, 200, ""), Gateway: gateway}, true, true, "without a client certificate"},
		"past the gateway":             {Result{Variation: Plain, Status: 200, Partner: at(AtDirect, 200, "")}, false, false, "past the gateway"},
		"plaintext to the partner":     {Result{Variation: Plain, Status: 400, Partner: at(AtTLS, http.StatusBadRequest, "")}, false, false, "past the gateway, and refused there"},
		"any name will do":             {Result{Variation: WrongName, Status: 200, Partner: at(AtTLS, 200, "CN=c"), Gateway: gateway}, false, false, "through the gateway"},
		"the wrong name is refused":    {Result{Variation: WrongName, Status: 503}, false, true, "not at the partner"},
		"the gateway is away":          {Result{Variation: GatewayAway, Status: 503}, false, true, "not at the partner"},
		"and the partner sees it":      {Result{Variation: GatewayAway, Status: 400, Partner: at(AtTLS, 400, "")}, false, false, "past the gateway"},
	} {
		o := &Outcome{Results: []Result{x.r}}
		j := Scene{Partner: Partner{Lax: x.lax}}.Judge(o)[0]
		if j.Holds != x.holds || !strings.Contains(j.Why, x.says) {
			t.Errorf("%s: %v, %q", name, j.Holds, j.Why)
		}
	}
	broken := plain
	broken.Status = 503
	all := Scene{}.Judge(&Outcome{Results: []Result{broken, {Variation: WrongName, Status: 503}}})
	if !all[1].Void || all[0].Void {
		t.Errorf("where the plain call fails, the others prove nothing: %+v", all)
	}
}
