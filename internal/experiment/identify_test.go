package experiment

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"twohop/internal/manifest"
	"twohop/internal/subject"
)

// grounds are a lab's editor and that of its replay, which has no key.
func grounds(t *testing.T) (run, replay *manifest.Editor) {
	t.Helper()
	certificates, err := manifest.NewCertificates(subject.Default())
	if err != nil {
		t.Fatal(err)
	}
	baseline, err := manifest.Baseline(1, "", manifest.Images{}, certificates)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(NewGround(1, "", manifest.Images{}, certificates))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(raw, []byte("PRIVATE KEY")) {
		t.Errorf("the ground holds a private key: %s", raw)
	}
	var ground Ground
	if err := json.Unmarshal(raw, &ground); err != nil {
		t.Fatal(err)
	}
	if replay, err = ground.Editor(); err != nil {
		t.Fatal(err)
	}
	return manifest.NewEditor(baseline, certificates), replay
}

// manifest.yaml of a run is what its replay renders, and holds no key.
func TestTheGroundRendersTheSameManifest(t *testing.T) {
	run, replay := grounds(t)
	had, err := manifest.YAML(run.Baseline.Objects()...)
	if err != nil {
		t.Fatal(err)
	}
	has, err := manifest.YAML(replay.Baseline.Objects()...)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(had), string(has)); d != "" {
		t.Errorf("-run +replay:\n%s", d)
	}
	if !bytes.Contains(had, []byte("name: "+manifest.CASecret)) {
		t.Errorf("the manifest has no Secret %s", manifest.CASecret)
	}
	for _, o := range run.Baseline.Objects() {
		if k := manifest.KeyOf(o); k.Kind != "Secret" {
			continue
		}
		text, err := manifest.YAML(o)
		if err != nil {
			t.Fatal(err)
		}
		// Base64 of "-----BEGIN PRIVATE KEY".
		if bytes.Contains(text, []byte("LS0tLS1CRUdJTiBQUklWQVRF")) {
			t.Errorf("%s shows a private key", manifest.KeyOf(o))
		}
	}
}
