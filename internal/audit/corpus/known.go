package corpus

import (
	"slices"
	"strings"
)

// Harm is what a fault does.
type Harm string

// What faults do. A fault may leave a plain 200 and be harmful all the same.
const (
	Harmful  Harm = "harmful"
	Harmless Harm = "harmless"
	// Refused faults are never stored: traffic goes on as it did.
	Refused Harm = "refused"
)

// The setups that claims were measured on: the baseline, with the credential's Secret
// in view or not, and the state in which A-align broke one string after the other.
var (
	baseline   = []string{"fixtures", "fixtures-secret"}
	guidePorts = []string{"fixtures-guide-ports"}
	eitherOne  = append(slices.Clone(baseline), guidePorts...)
)

// The fixtures' objects.
const (
	hop1Rule = "DestinationRule twohop-egress/egressgateway-partner"
	hop2Rule = "DestinationRule twohop-egress/partner-originate-mtls"
	routes   = "VirtualService twohop-egress/partner-via-egress"
	server   = "Gateway twohop-egress/egress-partner"
	entry    = "ServiceEntry twohop-egress/partner-api"
	service  = "Service twohop-egress/partner-egressgateway"
	role     = "Role twohop-egress/partner-egressgateway-sds"
	binding  = "RoleBinding twohop-egress/partner-egressgateway-sds"
	secret   = "Secret twohop-egress/partner-client-credential"

	hop1Port = "spec.subsets[0].trafficPolicy.portLevelSettings[0]."
	hop2Port = "spec.trafficPolicy.portLevelSettings[0]."
	toHop1   = "spec.http[0].route[0].destination."
	toHop2   = "spec.http[1].route[0].destination."
)

// measured is a state that a claim measured.
type measured struct {
	setups    []string
	operators []string
	object    string
	field     string
	detail    string // any, if empty
	harm      Harm
	claim     string
}

// typo are the operators that make another string of one, as the claims did by a
// letter too many.
var typo = []string{TypoSwap, TypoDrop}

func only(operator string) []string { return []string{operator} }

var states = slices.Concat([]measured{
	// The call fails.
	{baseline, only(DeleteField), hop1Rule, hop1Port + "tls", "", Harmful, "H1-unpaired"},
	{baseline, typo, hop1Rule, hop1Port + "tls.sni", "", Harmful, "H1-sni-align"},
	{baseline, only(DeleteField), hop1Rule, hop1Port + "tls.sni", "", Harmful, "H1-sni-omitted"},
	{baseline, typo, hop1Rule, "spec.host", "", Harmful, "T2-typo-hop1"},
	{baseline, typo, hop2Rule, "spec.host", "", Harmful, "T2-typo-hop2"},
	{baseline, only(OtherEnum), hop2Rule, hop2Port + "tls.mode", "SIMPLE", Harmful, "G2-control"},
	{baseline, only(AddHTTP2), hop2Rule, hop2Port + "connectionPool.http.h2UpgradePolicy", "", Harmful, "F-h2"},
	{eitherOne, only(DeleteObject), role, "", "", Harmful, "G2-rbac"},
	{eitherOne, only(DeleteObject), binding, "", "", Harmful, "G2-rbac"},
	{eitherOne, append(only(DeleteItem), typo...), role, "rules[0].verbs[2]", "", Harmful, "H2-rbac-verbs"},
	{[]string{"fixtures-secret"}, only(Move), secret, "metadata.namespace", "", Harmful, "H2-secret-ns"},
	{[]string{"fixtures-secret"}, typo, secret, "metadata.name", "", Harmful, "A-align-secret"},
	// The call goes around the gateway; where the partner listens on that port, with a 200.
	{baseline, only(DeleteItem), routes, "spec.http[0]", "", Harmful, "G4"},
	{baseline, only(DeleteItem), entry, "spec.ports[0]", "", Harmful, "T3-80-hack"},
	// The call is a plain 200, or is one until something else happens.
	{baseline, only(DeleteField), hop2Rule, hop2Port + "tls.subjectAltNames", "", Harmful, "H2-no-san"},
	{baseline, only(DeleteItem), hop2Rule, hop2Port + "tls.subjectAltNames[0]", "", Harmful, "H2-no-san"},
	{baseline, only(AddRetries), routes, "spec.http", "", Harmful, "F-retry-count-2"},
	{baseline, only(NewerExport), hop2Rule, "", "none", Harmful, "T1-export"},
	{baseline, only(AddOlderEntry), "ServiceEntry twohop-app/somebody-elses", "", "", Harmful, "F-se-collision"},
	// Nothing happens.
	{baseline, only(Newer), hop2Rule, "", "", Harmless, "T1-merge"},
	{baseline, only(DeleteField), hop2Rule, hop2Port + "tls.sni", "", Harmless, "H2-sni-omitted"},
	{baseline, only(OtherEnum), service, "spec.ports[0].name", "http2", Harmless, "H1-protocol"},
	{eitherOne, append(only(DeleteItem), typo...), role, "rules[0].verbs[0]", "", Harmless, "H2-rbac-verbs"},
	{eitherOne, append(only(DeleteItem), typo...), role, "rules[0].verbs[1]", "", Harmless, "H2-rbac-verbs"},
}, aligned("A-align", typo,
	[2]string{entry, "spec.hosts[0]"}, [2]string{server, "spec.servers[0].hosts[0]"}, [2]string{routes, "spec.hosts[0]"},
	[2]string{hop1Rule, hop1Port + "tls.sni"}, [2]string{hop2Rule, "spec.host"}, [2]string{hop2Rule, hop2Port + "tls.sni"},
	[2]string{hop2Rule, hop2Port + "tls.subjectAltNames[0]"}, [2]string{hop1Rule, "spec.host"}, [2]string{routes, toHop1 + "host"},
	[2]string{hop1Rule, "spec.subsets[0].name"}, [2]string{routes, toHop1 + "subset"},
), aligned("A-align", only(OtherPort),
	[2]string{service, "spec.ports[0].port"}, [2]string{service, "spec.ports[0].targetPort"}, [2]string{server, "spec.servers[0].port.number"},
	[2]string{routes, "spec.http[1].match[0].port"}, [2]string{hop1Rule, hop1Port + "port.number"}, [2]string{routes, toHop1 + "port.number"},
), aligned("A-align-secret", typo,
	[2]string{hop2Rule, hop2Port + "tls.credentialName"},
), aligned("A-align-rest", typo,
	[2]string{routes, "spec.gateways[1]"}, [2]string{routes, "spec.http[1].match[0].gateways[0]"}, [2]string{routes, toHop2 + "host"},
	[2]string{server, "spec.selector.istio"},
), aligned("A-align-rest", only(OtherPort),
	[2]string{routes, "spec.http[0].match[0].port"}, [2]string{routes, toHop2 + "port.number"}, [2]string{hop2Rule, hop2Port + "port.number"},
	[2]string{entry, "spec.ports[1].number"},
))

// aligned are strings and ports of the map of what has to agree.
func aligned(claim string, operators []string, places ...[2]string) (found []measured) {
	for _, p := range places {
		found = append(found, measured{guidePorts, operators, p[0], p[1], "", Harmful, claim})
	}
	return found
}

// refusals are values that the API server does not take, in any setup: schemas, and
// Istio's validation, look at one object at a time.
var refusals = []struct {
	operators []string
	kind      string
	field     string // how it ends
	detail    string
	claim     string
}{
	{only(Untyped), "DestinationRule", "tcpKeepalive.time", "", "G3-yaml"},
	{only(Untyped), "DestinationRule", "maxConnections", "", "V-reject"},
	{typo, "DestinationRule", "tls.mode", "", "V-reject"},
	{only(OtherEnum), "DestinationRule", "tls.mode", "MUTUAL", "V-reject"}, // without a certificate
	{only(DeleteField), "DestinationRule", "tls.credentialName", "", "V-reject"},
	{only(DeleteField), "DestinationRule", "spec.host", "", "V-reject"},
	{only(DeleteField), "DestinationRule", "].port", "", "V-reject"},
	{only(DeleteField), "Gateway", "].tls", "", "V-reject"},
	{only(DeleteField), "VirtualService", "spec.http", "", "V-reject"},
}

// Known is what the catalogue measured of a fault, and the claim that did. It says
// nothing of a fault in a setup that no claim had.
func Known(f Fault) (harm Harm, claim string, ok bool) {
	for _, r := range refusals {
		if slices.Contains(r.operators, f.Operator) && r.kind == f.Object.Kind && strings.HasSuffix(f.Field, r.field) &&
			(r.detail == "" || r.detail == f.Detail) {
			return Refused, r.claim, true
		}
	}
	for _, m := range states {
		if slices.Contains(m.setups, f.Setup) && slices.Contains(m.operators, f.Operator) && m.object == f.Object.String() &&
			m.field == f.Field && (m.detail == "" || m.detail == f.Detail) {
			return m.harm, m.claim, true
		}
	}
	return "", "", false
}
