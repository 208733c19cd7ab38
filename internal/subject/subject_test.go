package subject

import (
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestNames(t *testing.T) {
	s := Default()
	for name, tt := range map[string]struct{ got, want string }{
		"gateway":        {s.GatewayFQDN(), "partner-egressgateway.twohop-egress.svc.cluster.local"},
		"hop 1":          {s.Hop1Cluster(), "outbound|8443|partner|partner-egressgateway.twohop-egress.svc.cluster.local"},
		"hop 2":          {s.Hop2Cluster(), "outbound|443||api.partner.example.com"},
		"bypass":         {s.BypassCluster(), "outbound|80||api.partner.example.com"},
		"identity":       {s.SPIFFE(s.Client), "spiffe://cluster.local/ns/twohop-app/sa/client"},
		"workload":       {s.Client.String(), "deploy/client -n twohop-app"},
		"URL":            {s.URL("/probe/t1"), "http://api.partner.example.com/probe/t1"},
		"URL, no slash":  {s.URL("probe/t1"), "http://api.partner.example.com/probe/t1"},
		"second client":  {s.SecondClient().Deployment, "second-client"},
		"second gateway": {s.SecondGateway().Deployment, "second-partner-egressgateway"},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: %q, want %q", name, tt.got, tt.want)
		}
	}
	s.AppPort = 8080
	if got := s.URL("/x"); got != "http://api.partner.example.com:8080/x" {
		t.Errorf("%q", got)
	}
	s.Domain, s.TrustDomain = "corp.example", "mesh.example"
	if got := s.GatewayFQDN(); got != "partner-egressgateway.twohop-egress.svc.corp.example" {
		t.Errorf("the registry's domain is not in %q", got)
	}
	if got := s.SPIFFE(s.Gateway); got != "spiffe://mesh.example/ns/twohop-egress/sa/partner-egressgateway" {
		t.Errorf("the trust domain is not in %q", got)
	}
	if d := Default(); d.SecondClient().ServiceAccount == d.Client.ServiceAccount || d.SecondGateway().ServiceAccount != d.Gateway.ServiceAccount {
		t.Error("a second client is somebody else; a second gateway is the same one")
	}
}

func TestNumbered(t *testing.T) {
	for _, n := range []int{0, 1} {
		if diff := cmp.Diff(Default(), Numbered(n)); diff != "" || Renames(n) != nil {
			t.Errorf("lab %d is not the default:\n%s", n, diff)
		}
	}
	two, three := Numbered(2), Numbered(3)
	if two.Gateway.Namespace != "twohop-egress-2" || two.ExternalHost != "api.partner-2.example.com" {
		t.Errorf("%+v", two)
	}
	// Labs share no namespace and no external host.
	taken := map[string]bool{}
	for _, s := range []Subject{Default(), two, three} {
		for _, name := range append(s.Namespaces(), s.ExternalHost) {
			if taken[name] {
				t.Errorf("two labs have %s", name)
			}
			taken[name] = true
		}
	}
	// Whatever the fixtures name is renamed in the subject too: no string field
	// of lab 2 has a name that Renames replaces.
	var walk func(v reflect.Value, path string)
	walk = func(v reflect.Value, path string) {
		switch v.Kind() {
		case reflect.Struct:
			for i := range v.NumField() {
				walk(v.Field(i), path+"."+v.Type().Field(i).Name)
			}
		case reflect.String:
			for old, renamed := range Renames(2) {
				if strings.Contains(strings.ReplaceAll(v.String(), renamed, ""), old) {
					t.Errorf("lab 2's Subject%s is still %q", path, v.String())
				}
			}
		}
	}
	walk(reflect.ValueOf(two), "")
	if len(Renames(2)) != len(two.Namespaces())+1 {
		t.Errorf("%d renames for %d namespaces and a host", len(Renames(2)), len(two.Namespaces()))
	}
}
