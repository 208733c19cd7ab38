package manifest

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	networking "istio.io/api/networking/v1alpha3"

	"twohop/internal/subject"
)

func TestReplace(t *testing.T) {
	list := []string{"mesh", "ns/gateway"}
	Replace(list, "ns/gateway", "other")
	if diff := cmp.Diff([]string{"mesh", "other"}, list); diff != "" {
		t.Error(diff)
	}
	set := NewSet(subject.Default())
	_, err := Variation{Change: "rename", edit: func(*Set) error { Replace(list, "ns/gateway", "again"); return nil }}.Apply(set)
	if err == nil || !strings.Contains(err.Error(), `rename: no "ns/gateway"; there are [mesh, other]`) {
		t.Errorf("a text that the list does not hold: %v", err)
	}
}

func TestHop1SettingsOfAnotherServicePort(t *testing.T) {
	e := &Editor{Subject: subject.Default()}
	entry := &networking.TrafficPolicy_PortTrafficPolicy{Port: &networking.PortSelector{Number: 443}}
	dr := &networking.DestinationRule{Subsets: []*networking.Subset{{Name: e.Subject.Subset,
		TrafficPolicy: &networking.TrafficPolicy{PortLevelSettings: []*networking.TrafficPolicy_PortTrafficPolicy{entry}}}}}
	if got := e.Hop1SettingsOf(dr, 443); got != entry {
		t.Errorf("settings of port 443: %v", got)
	}
	defer func() {
		if m, ok := recover().(missing); !ok || !strings.Contains(m.Error(), "port 8443; there are [443]") {
			t.Errorf("the fixtures' port is not there: %v", m)
		}
	}()
	e.Hop1Settings(dr)
}
