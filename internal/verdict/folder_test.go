package verdict

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"twohop/internal/claim"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func golden(t *testing.T, name string, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (go test ./internal/verdict -update writes it)", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs (-want +got):\n%s", name, diff)
	}
}

var two = []claim.Claim{
	{ID: "X1", Chapter: claim.Goals, Statement: "One.", Expected: claim.Supported},
	{ID: "X2", Chapter: claim.Goals, Statement: "Two.", Expected: claim.Supported},
}

func TestCreateWritesEveryClaimNotRun(t *testing.T) {
	out := t.TempDir()
	f, err := Create(out, Run{Header: Header{Selection: "X1,X2"}}, two)
	if err != nil {
		t.Fatal(err)
	}
	v, err := f.Verdict()
	if err != nil {
		t.Fatal(err)
	}
	if v.Result != Running || v.ExitCode != 4 || v.Totals != (Totals{Claims: 2, NotRun: 2}) {
		t.Errorf("a run that just began says %s, exit %d, %+v", v.Result, v.ExitCode, v.Totals)
	}
	if err := ValidateFile(filepath.Join(f.Dir, VerdictFile)); err != nil {
		t.Error(err)
	}
	latest, err := filepath.EvalSymlinks(filepath.Join(out, "latest"))
	if err != nil {
		t.Fatal(err)
	}
	real, _ := filepath.EvalSymlinks(f.Dir)
	if latest != real {
		t.Errorf("latest is %s, want %s", latest, real)
	}

	second, err := Create(out, Run{}, two)
	if err != nil {
		t.Fatalf("a second run in the same second: %v", err)
	}
	if target, _ := os.Readlink(filepath.Join(out, "latest")); target != filepath.Base(second.Dir) {
		t.Errorf("latest points at %s, want %s", target, filepath.Base(second.Dir))
	}
}

func TestCreateRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, out string
		selection []claim.Claim
		want      string
	}{
		{"no claims", t.TempDir(), nil, "at least one claim"},
		{"a claim twice", t.TempDir(), []claim.Claim{two[0], two[0]}, "selected twice"},
		{"an id that leaves the folder", t.TempDir(), []claim.Claim{{ID: "../x"}}, "cannot name a file"},
		{"a folder that cannot be", file, two, "cannot be created"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := Create(tt.out, Run{}, tt.selection); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Create() error = %v, want one that says %q", err, tt.want)
			}
		})
	}
}

func TestRecord(t *testing.T) {
	f, err := Create(t.TempDir(), Run{}, two)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Record(Finding{Claim: "stranger"}); err == nil || !strings.Contains(err.Error(), "not in the selection") {
		t.Errorf("a claim outside the selection: error = %v", err)
	}
	finding := good()
	if err := f.Record(finding); err != nil {
		t.Fatal(err)
	}
	v, err := f.Verdict()
	if err != nil {
		t.Fatal(err)
	}
	if v.Claims[0].Verdict != claim.Supported || v.Claims[1].Verdict != claim.NotRun || v.Result != Running {
		t.Errorf("after one of two claims: %s, %s, %s", v.Claims[0].Verdict, v.Claims[1].Verdict, v.Result)
	}
	if diff := cmp.Diff(finding, v.Claims[0].Finding); diff != "" {
		t.Errorf("the finding changed on its way:\n%s", diff)
	}
	if err := ValidateFile(filepath.Join(f.Dir, VerdictFile)); err != nil {
		t.Error(err)
	}

	v, err = f.Finish(Interrupted, "Ctrl-C.")
	if err != nil {
		t.Fatal(err)
	}
	if v.Result != Interrupted || v.ExitCode != 130 || v.Message != "Ctrl-C." {
		t.Errorf("interrupted run says %s, exit %d, %q", v.Result, v.ExitCode, v.Message)
	}
	for _, r := range renderings {
		if info, err := os.Stat(filepath.Join(f.Dir, r.file)); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v, or it is empty", r.file, err)
		}
	}
}

func TestFinishDoesNotTakeTheCallersWordForGreen(t *testing.T) {
	f, err := Create(t.TempDir(), Run{}, two)
	if err != nil {
		t.Fatal(err)
	}
	v, err := f.Finish(Green, "")
	if err != nil {
		t.Fatal(err)
	}
	if v.Result != Inconclusive || v.ExitCode != 4 || !strings.Contains(v.Message, "2 not run") {
		t.Errorf("a run in which nothing ran says %s, exit %d, %q", v.Result, v.ExitCode, v.Message)
	}
}

func TestIstioVersionChoosesTheExpectedVerdict(t *testing.T) {
	// The registry's own words are used where this build knows the claim.
	f, err := Create(t.TempDir(), Run{}, claim.All()[:1])
	if err != nil {
		t.Fatal(err)
	}
	if err := f.SetRun(func(r *Run) { r.Istio = "1.31.4" }); err != nil {
		t.Fatal(err)
	}
	v, err := f.Verdict()
	if err != nil {
		t.Fatal(err)
	}
	if want := claim.All()[0].Expect("1.31.4"); v.Claims[0].Expected != want || v.Run.Istio != "1.31.4" {
		t.Errorf("expected is %s on Istio %s, want %s", v.Claims[0].Expected, v.Run.Istio, want)
	}
}

// TestProcesses has several processes record into one folder at once, as
// Ginkgo's do. Each is this test binary, started again.
func TestProcesses(t *testing.T) {
	const each = 5
	if dir := os.Getenv("TWOHOP_TEST_FOLDER"); dir != "" {
		f, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for i := range each {
			wg.Go(func() {
				id := claim.ID(fmt.Sprintf("P%s-%d", os.Getenv("TWOHOP_TEST_PROCESS"), i))
				finding := good()
				path, sum, err := f.SaveFile(id, "check-001-curl.txt", []byte(id))
				finding.Claim, finding.Evidence = id, []Evidence{{Path: path, SHA256: sum, Kind: KindCurl, Stage: "check", Ordinal: 1, Chain: sum}}
				for _, facts := range [][]Fact{finding.Check.Facts, finding.Control.Facts, finding.Control.Cause} {
					for i := range facts {
						facts[i].Evidence = []string{path}
					}
				}
				if err := errors.Join(err, f.Record(finding)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		return
	}
	const processes = 3
	var selection []claim.Claim
	for p := range processes {
		for i := range each {
			selection = append(selection, claim.Claim{
				ID: claim.ID(fmt.Sprintf("P%d-%d", p, i)), Chapter: claim.Goals, Statement: "x", Expected: claim.Supported,
			})
		}
	}
	f, err := Create(t.TempDir(), Run{}, selection)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for p := range processes {
		wg.Go(func() {
			cmd := exec.Command(os.Args[0], "-test.run=^TestProcesses$")
			cmd.Env = append(os.Environ(), "TWOHOP_TEST_FOLDER="+f.Dir, fmt.Sprintf("TWOHOP_TEST_PROCESS=%d", p))
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("process %d: %v\n%s", p, err, out)
			}
		})
	}
	wg.Wait()
	v, err := f.Finish("", "")
	if err != nil {
		t.Fatal(err)
	}
	if v.Totals.Supported != processes*each || v.Result != Green {
		t.Errorf("%+v, %s: a finding was lost", v.Totals, v.Result)
	}
	paths := map[string]bool{}
	for _, r := range v.Claims {
		for _, e := range r.Evidence {
			if paths[e.Path] {
				t.Errorf("%s was given out twice", e.Path)
			}
			paths[e.Path] = true
		}
	}
}

func TestSaveFile(t *testing.T) {
	f, err := Create(t.TempDir(), Run{}, two)
	if err != nil {
		t.Fatal(err)
	}
	raw := []byte("not JSON at all, and kept all the same \x00")
	path, sum, err := f.SaveFile("X1", "../../side car's log", raw)
	if err != nil {
		t.Fatal(err)
	}
	if want := "evidence/X1/side-car-s-log"; path != want {
		t.Errorf("path %q, want %q", path, want)
	}
	got, err := os.ReadFile(filepath.Join(f.Dir, path))
	if err != nil || string(got) != string(raw) || Hash(got) != sum {
		t.Errorf("saved %q (%v), hash %s", got, err, sum)
	}
	if _, _, err := f.SaveFile("X1", "side car's log", nil); err == nil || !strings.Contains(err.Error(), "is there already") {
		t.Errorf("a second file of that name: %v", err)
	}
	if _, _, err := f.SaveFile("../X1", "x", nil); err == nil || !strings.Contains(err.Error(), "cannot name a folder") {
		t.Errorf("an id that leaves the folder: %v", err)
	}
}

// Keys leave the lab in no form, and what merely looks like one is evidence.
func TestSaveFileRefusesPrivateKeys(t *testing.T) {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	old, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(ec)
	if err != nil {
		t.Fatal(err)
	}
	sec1, err := x509.MarshalECPrivateKey(ec)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(&ec.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	pkcs1 := x509.MarshalPKCS1PrivateKey(old)
	block := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	base64Of := func(raw []byte) []byte {
		return []byte("data:\n  tls.key: " + base64.StdEncoding.EncodeToString(raw) + "\n")
	}
	inJSON, err := json.Marshal(map[string]string{"tls.key": string(block("PRIVATE KEY", pkcs8))})
	if err != nil {
		t.Fatal(err)
	}
	f, err := Create(t.TempDir(), Run{}, two)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		raw  []byte
		kept bool
	}{
		"PKCS8 in PEM":               {block("PRIVATE KEY", pkcs8), false},
		"PEM in base64, in lines":    {wrapped(block("PRIVATE KEY", pkcs8), 64), false},
		"DER in base64, in lines":    {wrapped(pkcs8, 76), false},
		"PKCS1 in PEM":               {block("RSA PRIVATE KEY", pkcs1), false},
		"SEC1 in PEM":                {block("EC PRIVATE KEY", sec1), false},
		"PEM in JSON":                {inJSON, false},
		"PKCS8 in DER":               {pkcs8, false},
		"PKCS1 in DER":               {pkcs1, false},
		"SEC1 in DER":                {sec1, false},
		"a Secret's PEM in base64":   {base64Of(block("PRIVATE KEY", pkcs8)), false},
		"DER in base64":              {base64Of(sec1), false},
		"DER in base64, without end": {bytes.ReplaceAll(base64Of(sec1), []byte("="), nil), false},
		"PEM within text":            {[]byte("tls.key: |\n" + string(block("PRIVATE KEY", pkcs8)) + "other: x\n"), false},
		"PEM in base64 in JSON":      {[]byte(`{"inline_bytes":"` + base64.StdEncoding.EncodeToString(block("PRIVATE KEY", pkcs8)) + `"}`), false},
		"PEM in base64, without end": {bytes.ReplaceAll(base64Of(block("PRIVATE KEY", pkcs8)), []byte("="), nil), false},
		"PKCS8 in base64":            {base64Of(pkcs8), false},
		"PKCS1 in base64":            {base64Of(pkcs1), false},
		"nothing":                    {nil, true},
		"text":                       {[]byte("no private key here"), true},
		"a public key in DER":        {public, true},
		"bytes":                      {bytes.Repeat([]byte{0x30, 0x82}, 50), true},
		"a public key":               {block("PUBLIC KEY", public), true},
		"a public key in base64":     {base64Of(public), true},
		"a key that was left out":    {[]byte("tls.key: private key of client, left out"), true},
	} {
		path, _, err := f.SaveFile("X1", name, tt.raw)
		if tt.kept != (err == nil) || !tt.kept && !strings.Contains(err.Error(), "holds a private key") {
			t.Errorf("%s: SaveFile() = %q, %v", name, path, err)
		}
		if _, statErr := os.Stat(filepath.Join(f.Dir, EvidenceDir, "X1", fileName(name))); (statErr == nil) != tt.kept {
			t.Errorf("%s: on disk: %v", name, statErr)
		}
	}
}

func TestSaveScriptAndManifest(t *testing.T) {
	f, err := Create(t.TempDir(), Run{}, two)
	if err != nil {
		t.Fatal(err)
	}
	path, err := f.SaveScript("X1", []byte("#!/bin/sh\n"))
	if err != nil || path != "reproduce/X1.sh" {
		t.Fatalf("SaveScript() = %q, %v", path, err)
	}
	info, err := os.Stat(filepath.Join(f.Dir, path))
	if err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("the script: %v, %v", info, err)
	}
	if err := f.SaveManifest([]byte("kind: Namespace\n")); err != nil {
		t.Error(err)
	}
	if raw, err := os.ReadFile(filepath.Join(f.Dir, ManifestFile)); err != nil || string(raw) != "kind: Namespace\n" {
		t.Errorf("the manifest: %q, %v", raw, err)
	}
}

func TestReadVerdictNamesWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct{ name, content, want string }{
		{"broken", `{`, "is not a verdict"},
		{"another version", `{"apiVersion":"twohop/v9"}`, `apiVersion is "twohop/v9"`},
		{"unknown field", `{"apiVersion":"twohop/v1","zebra":1}`, "zebra"},
	} {
		path := filepath.Join(dir, "verdict.json")
		if err := os.WriteFile(path, []byte(tt.content), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadVerdict(path); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error = %v, want one that says %q", tt.name, err, tt.want)
		}
	}
}

func TestUpdateMeasuresTimes(t *testing.T) {
	f := makeSample(t, t.TempDir(), false)
	v, err := f.Verdict()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]int64{"run": v.Run.DurationMillis}
	for _, p := range v.Phases {
		got[p.Name] = p.DurationMillis
	}
	want := map[string]int64{
		"run": 43120, "engine": 400, "images": 1200, "cluster": 17000, "istio": 9000, "lab": 4000, "claims": 9520, "down": 2000,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if v.Phases[1].Start != sampleStart.Add(400*time.Millisecond) {
		t.Errorf("the second phase starts at %s", v.Phases[1].Start)
	}
}

// writeJSON writes a file as a run's folder has it.
func writeJSON(path string, value any) error {
	return (&Folder{sync: func(*os.File) error { return nil }}).writeJSON(path, value)
}

// wrapped is base64 in lines of so many letters, indented as YAML has them.
func wrapped(raw []byte, letters int) []byte {
	var b strings.Builder
	text := base64.StdEncoding.EncodeToString(raw)
	for len(text) > letters {
		b.WriteString("    " + text[:letters] + "\n")
		text = text[letters:]
	}
	b.WriteString("    " + text + "\n")
	return []byte(b.String())
}
