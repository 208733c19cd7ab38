package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"
)

func TestSBOM(t *testing.T) {
	// Any program with modules; the linker tells a test's own nothing of them.
	self := filepath.Join(t.TempDir(), "publish")
	build := exec.Command("go", "build", "-buildvcs=false", "-o", self, "twohop/deploy/audit/publish")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var first, second bytes.Buffer
	at := time.Unix(1795451400, 0)
	for _, b := range []*bytes.Buffer{&first, &second} {
		if err := writeSBOM(b, "twohop_v1.2.3_linux_amd64", at, []string{self}); err != nil {
			t.Fatal(err)
		}
	}
	if first.String() != second.String() {
		t.Error("the same program has two SBOMs")
	}
	d := checkSBOM(t, first.Bytes())
	if d.CreationInfo.Created != "2026-11-23T16:30:00Z" {
		t.Error(d.CreationInfo)
	}
	purls := map[string]bool{}
	for _, p := range d.Packages {
		for _, r := range p.ExternalRefs {
			purls[strings.SplitAfter(r.ReferenceLocator, "@")[0]] = true
		}
	}
	for _, want := range []string{"pkg:golang/k8s.io/client-go@", "pkg:golang/stdlib@"} {
		if !purls[want] {
			t.Errorf("it lacks %s: %v", want, purls)
		}
	}
	if err := writeSBOM(&first, "", at, []string{self}); err == nil {
		t.Error("an SBOM of nothing")
	}
	if err := writeSBOM(&first, "x", at, []string{"packaging_test.go"}); err == nil {
		t.Error("an SBOM of a file that Go did not link")
	}
}

// checkSBOM holds a document against what SPDX 2.3 demands of one.
func checkSBOM(t *testing.T, raw []byte) (d document) {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&d); err != nil {
		t.Fatal(err)
	}
	if d.SPDXVersion != "SPDX-2.3" || d.DataLicense != "CC0-1.0" || d.SPDXID != documentID || d.Name == "" || len(d.CreationInfo.Creators) == 0 ||
		!regexp.MustCompile(`^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(d.DocumentNamespace) {
		t.Errorf("the document's head: %+v", d.CreationInfo)
	}
	if _, err := time.Parse("2006-01-02T15:04:05Z", d.CreationInfo.Created); err != nil {
		t.Error(err)
	}
	ids := map[string]bool{documentID: true}
	purl := regexp.MustCompile(`^pkg:golang/[^@\s]+@[^@+\s]+$`)
	for _, p := range d.Packages {
		if !regexp.MustCompile(`^SPDXRef-[a-zA-Z0-9.-]+$`).MatchString(p.SPDXID) || ids[p.SPDXID] || p.Name == "" || p.DownloadLocation == "" {
			t.Errorf("package %s: %+v", p.Name, p)
		}
		ids[p.SPDXID] = true
		for _, r := range p.ExternalRefs {
			if !purl.MatchString(r.ReferenceLocator) {
				t.Errorf("package %s: %s is no package URL", p.Name, r.ReferenceLocator)
			}
		}
	}
	described := false
	for _, r := range d.Relationships {
		if !ids[r.SpdxElementID] || !ids[r.RelatedSpdxElement] {
			t.Errorf("%+v is about a package that is not there", r)
		}
		described = described || r.RelationshipType == "DESCRIBES"
	}
	if !described {
		t.Error("the document describes nothing")
	}
	return d
}

func TestModule(t *testing.T) {
	for _, tt := range []struct {
		m                   debug.Module
		name, purl, comment string
	}{
		{debug.Module{Path: "github.com/Azure/go", Version: "v1.0.0+incompatible", Sum: "h1:x="}, "github.com/Azure/go", "pkg:golang/github.com/azure/go@v1.0.0%2Bincompatible", "go.sum: h1:x="},
		{debug.Module{Path: "a.b/c", Version: "v1.0.0", Replace: &debug.Module{Path: "d.e/f", Version: "v2.0.0"}}, "d.e/f", "pkg:golang/d.e/f@v2.0.0", "in place of a.b/c v1.0.0"},
		{debug.Module{Path: "a.b/c", Version: "v1.0.0", Replace: &debug.Module{Path: "../c"}}, "../c", "", "in place of a.b/c v1.0.0"},
	} {
		p := module(&tt.m)
		got := ""
		if len(p.ExternalRefs) == 1 {
			got = p.ExternalRefs[0].ReferenceLocator
		}
		if p.Name != tt.name || got != tt.purl || p.Comment != tt.comment {
			t.Errorf("%+v", p)
		}
	}
}

// plugin is krew's manifest.
type plugin struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name string `json:"name"`
	} `json:"metadata"`
	Spec struct {
		Version          string     `json:"version"`
		ShortDescription string     `json:"shortDescription"`
		Description      string     `json:"description"`
		Caveats          string     `json:"caveats"`
		Platforms        []platform `json:"platforms"`
	} `json:"spec"`
}

type platform struct {
	Selector struct {
		MatchLabels map[string]string `json:"matchLabels"`
	} `json:"selector"`
	URI    string `json:"uri"`
	SHA256 string `json:"sha256"`
	Bin    string `json:"bin"`
}

func readPlugin(t *testing.T, raw []byte) (p plugin) {
	t.Helper()
	if err := yaml.UnmarshalStrict(raw, &p); err != nil {
		t.Fatalf("%v\n%s", err, raw)
	}
	if p.APIVersion != "krew.googlecontainertools.github.com/v1alpha2" || p.Kind != "Plugin" || p.Metadata.Name != "twohop" ||
		p.Spec.ShortDescription == "" || strings.Contains(p.Spec.ShortDescription, "\n") || !krewVersion.MatchString(p.Spec.Version) {
		t.Errorf("krew would refuse it: %+v", p)
	}
	for _, platform := range p.Spec.Platforms {
		if platform.URI == "" || platform.Bin == "" || !regexp.MustCompile(`^[a-f0-9]{64}$`).MatchString(platform.SHA256) ||
			platform.Selector.MatchLabels["os"] == "" || platform.Selector.MatchLabels["arch"] == "" {
			t.Errorf("krew would refuse the platform %+v", platform)
		}
	}
	return p
}

func TestKrewManifest(t *testing.T) {
	dir := t.TempDir()
	var archives []string
	for _, platform := range []string{"linux_amd64", "darwin_arm64"} {
		archive := filepath.Join(dir, "twohop_v1.2.3-4-gabc_"+platform+".tar.gz")
		if err := os.WriteFile(archive, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		archives = append(archives, archive)
	}
	var b bytes.Buffer
	if err := writeKrew(&b, "v1.2.3-4-gabc", "https://releases.invalid/v1/", archives); err != nil {
		t.Fatal(err)
	}
	p := readPlugin(t, b.Bytes())
	if len(p.Spec.Platforms) != 2 {
		t.Fatal(p.Spec.Platforms)
	}
	mac := p.Spec.Platforms[1]
	if mac.Selector.MatchLabels["os"] != "darwin" || mac.Selector.MatchLabels["arch"] != "arm64" || mac.URI != "https://releases.invalid/v1/twohop_v1.2.3-4-gabc_darwin_arm64.tar.gz" ||
		mac.SHA256 != "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" {
		t.Errorf("%+v", mac)
	}
	for _, version := range []string{"1.2.3", "abc", "v1.2", ""} {
		if err := writeKrew(&b, version, "https://releases.invalid", archives); err == nil {
			t.Errorf("krew takes no version %q", version)
		}
	}
	if err := writeKrew(&b, "v1.2.3", "https://releases.invalid", archives); err == nil {
		t.Error("archives of another version")
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{nil, {"sbom"}, {"krew"}, {"other", "x"}, {"sbom", "-x", "y"}} {
		if err := run(args, &bytes.Buffer{}); err == nil {
			t.Errorf("%q is no error", args)
		}
	}
}
