package experiment

import (
	"encoding/json"
	"encoding/pem"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"twohop/internal/claim"
	"twohop/internal/manifest"
	"twohop/internal/observe"
	"twohop/internal/subject"
	"twohop/internal/verdict"
)

// files is a run's folder in memory, which refuses what a real one refuses.
type files map[string][]byte

func (f files) SaveFile(id claim.ID, name string, raw []byte) (string, string, error) {
	if verdict.HoldsPrivateKey(raw) {
		return "", "", errors.New("holds a private key")
	}
	path := "evidence/" + string(id) + "/" + name
	f[path] = raw
	return path, "sum of " + name, nil
}

func TestKeeperChainsEvidence(t *testing.T) {
	kept := files{}
	key := observe.Key("key")
	k := NewKeeper(kept, key, "G1")
	at := observe.Slot{Claim: "G1", Stage: "check", Ordinal: 7}
	meta := observe.Meta{Name: "a.json", Kind: verdict.KindJSON, Witness: verdict.WitnessGateway, Command: "kubectl"}
	path, err := k.Keep(observe.Observation{At: at, Question: observe.Get{Path: "/a"}, Meta: meta, Raw: []byte("{}"), Took: 1500 * time.Millisecond, Err: errors.New("boom"),
		Windows: []observe.Window{{Role: subject.Gateway, Log: "logs/g", From: 1, To: 3, Flush: "t1"}}})
	if err != nil || path != "evidence/G1/check-007-a.json" || string(kept[path]) != "{}" {
		t.Fatalf("%s, %v", path, err)
	}
	if path, err := k.Derive(at, observe.Meta{Name: "a.log"}, nil); err != nil || kept[path] == nil {
		t.Errorf("no line is a file without a line: %s, %v", path, err)
	}
	if path, err := k.Keep(observe.Observation{At: at, Question: observe.Get{Path: "/b"}}); err != nil || path != "" {
		t.Errorf("an answer without bytes has the file %q, %v", path, err)
	}
	list := k.Evidence()
	want := verdict.Evidence{Path: "evidence/G1/check-007-a.json", SHA256: "sum of check-007-a.json", Command: "kubectl", Kind: verdict.KindJSON, Witness: verdict.WitnessGateway,
		Stage: "check", Ordinal: 7, Question: "get /a", Error: "boom", TookMillis: 1500, Windows: []verdict.Window{{Role: "gateway", Log: "logs/g", From: 1, To: 3, Flush: "t1"}}}
	first := list[0]
	first.Chain = ""
	if diff := cmp.Diff(want, first); diff != "" || len(list) != 3 || list[1].Question != "" {
		t.Errorf("%v\n%s", list, diff)
	}
	if !chained(list, key, "G1") {
		t.Error("the chain is broken")
	}
	// Whatever is altered breaks the chain, and so does what is left out.
	for name, alter := range map[string]func([]verdict.Evidence) []verdict.Evidence{
		"a hash":        func(l []verdict.Evidence) []verdict.Evidence { l[0].SHA256 = "x"; return l },
		"a window":      func(l []verdict.Evidence) []verdict.Evidence { l[0].Windows[0].To = 9; return l },
		"an error":      func(l []verdict.Evidence) []verdict.Evidence { l[0].Error = ""; return l },
		"a place":       func(l []verdict.Evidence) []verdict.Evidence { l[1].Ordinal = 8; return l },
		"a lost entry":  func(l []verdict.Evidence) []verdict.Evidence { return l[1:] },
		"another order": func(l []verdict.Evidence) []verdict.Evidence { l[0], l[1] = l[1], l[0]; return l },
	} {
		altered := make([]verdict.Evidence, len(list))
		for i, e := range list {
			e.Windows = append([]verdict.Window(nil), e.Windows...)
			altered[i] = e
		}
		if chained(alter(altered), key, "G1") {
			t.Errorf("%s: the chain holds", name)
		}
	}
	if chained(list, observe.Key("other"), "G1") || chained(list, key, "G2") {
		t.Error("the chain is another run's or claim's as well")
	}
}

func chained(list []verdict.Evidence, key observe.Key, id claim.ID) bool {
	chain := ChainStart(key, id)
	for _, e := range list {
		if chain = verdict.Chain(chain, e); chain != e.Chain {
			return false
		}
	}
	return true
}

// What the folder refuses is not listed either. In which clothes a private key may
// come is tested there.
func TestPrivateKeysAreRefused(t *testing.T) {
	k := NewKeeper(files{}, nil, "G1")
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("any")})
	if _, err := k.Keep(observe.Observation{Question: observe.Get{}, Raw: key}); err == nil || len(k.Evidence()) != 0 {
		t.Errorf("%v, and it is listed", err)
	}
}

// A replay has the public half of a run's certificates, and the same subject.
func TestGroundHoldsNoKey(t *testing.T) {
	env, _, _ := environment(t)
	raw, err := json.Marshal(NewGround(1, "", manifest.Images{}, env.Editor.Certificates))
	if err != nil || verdict.HoldsPrivateKey(raw) {
		t.Fatalf("the ground holds a private key, or %v", err)
	}
	var g Ground
	if err := json.Unmarshal(raw, &g); err != nil {
		t.Fatal(err)
	}
	again, err := g.Editor()
	if err != nil {
		t.Fatal(err)
	}
	want, err := manifest.YAML(env.Editor.Baseline.Objects()...)
	if err != nil {
		t.Fatal(err)
	}
	got, err := manifest.YAML(again.Baseline.Objects()...)
	if diff := cmp.Diff(string(want), string(got)); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	if again.Certificates.Credential.Serial() != env.Editor.Certificates.Credential.Serial() {
		t.Error("the credential is another one")
	}
	for name, spoil := range map[string]func(*Ground){
		"a CA":           func(g *Ground) { g.ClientCA = "x" },
		"the credential": func(g *Ground) { g.Credential = "" },
	} {
		spoilt := g
		spoil(&spoilt)
		if _, err := spoilt.Editor(); err == nil || !strings.Contains(err.Error(), "the certificates of the lab") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A run on something else than was asked for proves nothing about that.
func TestIdentityDiffers(t *testing.T) {
	id := Identity{Istio: "1.31.4", IstioRevision: "v0.0.0-1", Kubernetes: "v1.36.1", Envoy: "1.39.3"}
	for _, tt := range []struct {
		asked verdict.Asked
		says  string
	}{
		{verdict.Asked{}, ""},
		{verdict.Asked{Istio: "1.31", IstioRevision: "v0.0.0-1", Kubernetes: "v1.36.1", Envoy: "1.39.3"}, ""},
		{verdict.Asked{Istio: "1.31.4"}, ""},
		{verdict.Asked{Istio: "1.3"}, "istiod says that it is 1.31.4, and the run asks for Istio 1.3"},
		{verdict.Asked{Istio: "1.30"}, "the run asks for Istio 1.30"},
		{verdict.Asked{IstioRevision: "v0.0.0-2"}, `built from revision "v0.0.0-1"`},
		{verdict.Asked{Kubernetes: "v1.36.2"}, "the kubelets are v1.36.1"},
		{verdict.Asked{Envoy: "1.39.2"}, "the gateway's Envoy says that it is 1.39.3"},
	} {
		if err := id.differs(tt.asked); (err == nil) != (tt.says == "") || err != nil && !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%+v: %v", tt.asked, err)
		}
	}
}
