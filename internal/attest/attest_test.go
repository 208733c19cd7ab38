package attest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"

	"twohop/internal/claim"
	"twohop/internal/verdict"
)

// pair makes PEM files of a key.
func pair(t *testing.T, key crypto.Signer) (private, public []byte) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	private = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	if der, err = x509.MarshalPKIXPublicKey(key.Public()); err != nil {
		t.Fatal(err)
	}
	return private, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func newEd25519(t *testing.T) crypto.Signer {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newECDSA(t *testing.T) crypto.Signer {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func read(t *testing.T, key crypto.Signer) (private, public *Key) {
	t.Helper()
	a, b := pair(t, key)
	private, err := ParsePrivateKey(a)
	if err != nil {
		t.Fatal(err)
	}
	if public, err = ParsePublicKey(b); err != nil {
		t.Fatal(err)
	}
	return private, public
}

// sealed is a run's folder with a statement.
func sealed(t *testing.T, key *Key) *verdict.Folder {
	t.Helper()
	f, err := verdict.Create(t.TempDir(), verdict.Run{Header: verdict.Header{Selection: "G1"}}, claim.All()[:1])
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := f.SaveFile("G1", "check-001-curl.txt", []byte("200")); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Finish(verdict.Failed, "no engine"); err != nil {
		t.Fatal(err)
	}
	if err := Seal(t.Context(), f, key); err != nil {
		t.Fatal(err)
	}
	return f
}

func check(t *testing.T, f *verdict.Folder, key *Key) *verdict.Verification {
	t.Helper()
	run, err := verdict.OpenRun(f.Dir)
	if err != nil {
		t.Fatal(err)
	}
	defer run.Close()
	v := &verdict.Verification{}
	Check(t.Context(), run, key, v)
	return v
}

func TestASignedRun(t *testing.T) {
	for name, key := range map[string]crypto.Signer{"ed25519": newEd25519(t), "ECDSA": newECDSA(t)} {
		private, public := read(t, key)
		f := sealed(t, private)
		if v := check(t, f, public); len(v.Problems)+len(v.Notes) > 0 {
			t.Errorf("%s: %q, %q", name, v.Problems, v.Notes)
		}
		if v := check(t, f, nil); len(v.Problems) > 0 || len(v.Notes) != 1 || !strings.Contains(v.Notes[0], "it is not ruled out") {
			t.Errorf("%s, without a key: %q, %q", name, v.Problems, v.Notes)
		}
	}
}

func TestTheStatementListsEveryFile(t *testing.T) {
	f := sealed(t, nil)
	raw, err := os.ReadFile(filepath.Join(f.Dir, StatementFile))
	if err != nil {
		t.Fatal(err)
	}
	var s struct {
		Type          string `json:"_type"`
		PredicateType string
		Predicate     struct {
			Run    struct{ Selection string }
			Result string
			Totals struct{ NotRun int }
		}
		Subject []struct {
			Name   string
			Digest map[string]string
		}
	}
	if err := json.Unmarshal(raw, &s); err != nil {
		t.Fatal(err)
	}
	if s.Type != "https://in-toto.io/Statement/v1" || s.PredicateType != PredicateType {
		t.Errorf("%s about %s", s.Type, s.PredicateType)
	}
	if s.Predicate.Run.Selection != "G1" || s.Predicate.Result != "failed" || s.Predicate.Totals.NotRun != 1 {
		t.Errorf("predicate %+v", s.Predicate)
	}
	var names []string
	for _, subject := range s.Subject {
		content, err := os.ReadFile(filepath.Join(f.Dir, subject.Name))
		if err != nil || subject.Digest["sha256"] != verdict.Hash(content) {
			t.Errorf("%s: %v, %v", subject.Name, subject.Digest, err)
		}
		names = append(names, subject.Name)
	}
	want := []string{"evidence/G1/check-001-curl.txt", "junit.xml", "metrics.txt", "report.html", "result.txt", "summary.md", "verdict.json"}
	if !slices.Equal(names, want) {
		t.Errorf("the statement lists %q, want %q", names, want)
	}
	again := sealed(t, nil)
	if err := Seal(t.Context(), f, nil); err != nil {
		t.Fatal(err)
	}
	second, err := os.ReadFile(filepath.Join(f.Dir, StatementFile))
	if err != nil || string(second) != string(raw) || again.Dir == f.Dir {
		t.Errorf("a second statement over the same files is another one (%v)", err)
	}
}

func TestWhatDoesNotAgree(t *testing.T) {
	key := newEd25519(t)
	private, public := read(t, key)
	_, stranger := read(t, newEd25519(t))
	path := func(f *verdict.Folder, name string) string { return filepath.Join(f.Dir, filepath.FromSlash(name)) }
	write := func(name, content string) func(*testing.T, *verdict.Folder) {
		return func(t *testing.T, f *verdict.Folder) {
			if err := os.WriteFile(path(f, name), []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	remove := func(name string) func(*testing.T, *verdict.Folder) {
		return func(t *testing.T, f *verdict.Folder) {
			if err := os.Remove(path(f, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	replace := func(name, old, new string) func(*testing.T, *verdict.Folder) {
		return func(t *testing.T, f *verdict.Folder) {
			raw, err := os.ReadFile(path(f, name))
			if err != nil || !strings.Contains(string(raw), old) {
				t.Fatalf("%s does not hold %q (%v)", name, old, err)
			}
			write(name, strings.Replace(string(raw), old, new, 1))(t, f)
		}
	}
	reseal := func(t *testing.T, f *verdict.Folder) { // as somebody without the key would
		if err := Seal(t.Context(), f, nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name string
		edit func(*testing.T, *verdict.Folder)
		key  *Key
		want string
	}{
		{"another key", func(*testing.T, *verdict.Folder) {}, stranger, "The run is not signed by the key: statement.dsse.json"},
		{"a file altered", write("evidence/G1/check-001-curl.txt", "503"), public, "evidence/G1/check-001-curl.txt was altered since the run ended"},
		{"a rendering altered", write("report.html", "fine"), nil, "report.html was altered since the run ended"},
		{"a file added", write("evidence/G1/check-002-curl.txt", "200"), public, "evidence/G1/check-002-curl.txt came into the folder since the run ended"},
		{"a file gone", remove("evidence/G1/check-001-curl.txt"), public, "lists evidence/G1/check-001-curl.txt, which is missing"},
		{"a lock that holds something", write(".lock", "x"), public, ".lock came into the folder"},
		{"a file altered and stated anew", func(t *testing.T, f *verdict.Folder) {
			write("evidence/G1/check-001-curl.txt", "503")(t, f)
			reseal(t, f)
		}, public, "statement.dsse.json does not hold statement.json"},
		{"signed anew by a stranger", func(t *testing.T, f *verdict.Folder) {
			write("evidence/G1/check-001-curl.txt", "503")(t, f)
			other, _ := read(t, newECDSA(t))
			if err := Seal(t.Context(), f, other); err != nil {
				t.Fatal(err)
			}
		}, public, "The run is not signed by the key: statement.dsse.json"},
		{"a hash altered in the statement", replace(StatementFile, verdict.Hash([]byte("200")), verdict.Hash([]byte("503"))), nil, "evidence/G1/check-001-curl.txt was altered since the run ended"},
		{"the predicate altered", replace(StatementFile, `"result": "failed"`, `"result": "as-expected"`), nil, "is not the statement of this run"},
		{"the predicate's type", replace(StatementFile, PredicateType, "https://slsa.dev/provenance/v1"), nil, `is about "https://slsa.dev/provenance/v1"`},
		{"the statement's type", replace(StatementFile, "https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v9"), nil, "is not an in-toto Statement"},
		{"no statement", remove(StatementFile), nil, "statement.json is missing"},
		{"no JSON", write(StatementFile, "{"), nil, "is not an in-toto Statement"},
		{"no envelope", remove(EnvelopeFile), public, "statement.dsse.json is missing"},
		{"no signature", replace(EnvelopeFile, `"keyid"`, `"x"`), stranger, "The run is not signed by the key"},
		{"an envelope of nothing", write(EnvelopeFile, `{"payloadType":"application/vnd.in-toto+json","payload":"","signatures":[]}`), public, "no signature found"},
		{"another payload type, unsigned", replace(EnvelopeFile, payloadType, "text/plain"), public, "The run is not signed by the key: statement.dsse.json"},
		{"another payload type, signed", func(t *testing.T, f *verdict.Folder) {
			raw, err := os.ReadFile(path(f, StatementFile))
			if err != nil {
				t.Fatal(err)
			}
			signer, err := dsse.NewEnvelopeSigner(private)
			if err != nil {
				t.Fatal(err)
			}
			envelope, err := signer.SignPayload(t.Context(), "text/plain", raw)
			if err != nil {
				t.Fatal(err)
			}
			encoded, err := json.Marshal(envelope)
			if err != nil {
				t.Fatal(err)
			}
			write(EnvelopeFile, string(encoded))(t, f)
		}, public, `holds a payload of type "text/plain"`},
		{"another payload", func(t *testing.T, f *verdict.Folder) {
			raw, err := os.ReadFile(path(f, EnvelopeFile))
			if err != nil {
				t.Fatal(err)
			}
			var e dsse.Envelope
			if err := json.Unmarshal(raw, &e); err != nil {
				t.Fatal(err)
			}
			e.Payload = base64.StdEncoding.EncodeToString([]byte("{}"))
			encoded, err := json.Marshal(e)
			if err != nil {
				t.Fatal(err)
			}
			write(EnvelopeFile, string(encoded))(t, f)
		}, public, "The run is not signed by the key: statement.dsse.json"},
		{"a link in the folder", func(t *testing.T, f *verdict.Folder) {
			if err := os.Symlink("/etc/hostname", path(f, "evidence/link")); err != nil {
				t.Fatal(err)
			}
		}, public, "evidence/link is not a regular file (a symbolic link)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := sealed(t, private)
			tt.edit(t, f)
			v := check(t, f, tt.key)
			if !strings.Contains(strings.Join(v.Problems, "\n"), tt.want) {
				t.Errorf("no problem says %q: %q", tt.want, v.Problems)
			}
		})
	}
}

func TestARunThatHasNotEndedHasNoStatement(t *testing.T) {
	f, err := verdict.Create(t.TempDir(), verdict.Run{}, claim.All()[:1])
	if err != nil {
		t.Fatal(err)
	}
	if v := check(t, f, nil); len(v.Problems) > 0 || len(v.Notes) != 2 {
		t.Errorf("%q, %q", v.Problems, v.Notes)
	}
}

func TestKeys(t *testing.T) {
	private, public := pair(t, newEd25519(t))
	weak, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	rsaPrivate, rsaPublic := pair(t, weak)
	for _, tt := range []struct {
		name  string
		parse func([]byte) (*Key, error)
		pem   []byte
		want  string
	}{
		{"a public key signs nothing", ParsePrivateKey, public, "it is a public key"},
		{"a private key is not handed around", ParsePublicKey, private, "it is a private key"},
		{"RSA", ParsePrivateKey, rsaPrivate, "not ed25519 or ECDSA"},
		{"RSA in public", ParsePublicKey, rsaPublic, "not ed25519 or ECDSA"},
		{"no PEM", ParsePublicKey, []byte("key"), ""},
		{"nothing", ParsePrivateKey, nil, ""},
	} {
		if _, err := tt.parse(tt.pem); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want one that says %q", tt.name, err, tt.want)
		}
	}
}
