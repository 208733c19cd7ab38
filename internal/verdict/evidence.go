package verdict

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"twohop/internal/claim"
)

// Kinds of evidence: how a file's bytes parse.
const (
	KindClusters   = "clusters"    // JSON: an Envoy's clusters, as proxy-config cluster prints them
	KindSecrets    = "secrets"     // JSON: an Envoy's secrets, as proxy-config secret prints them
	KindCurl       = "curl"        // what curl printed; its last line is the JSON of -w '%{json}'
	KindAccessLog  = "access-log"  // JSON lines: a proxy's access log
	KindPartnerLog = "partner-log" // JSON lines: the partner's log
	KindText       = "text"
	KindYAML       = "yaml"
	KindJSON       = "json"
)

// Witnesses: who saw a piece of evidence.
const (
	WitnessClient  = "client"
	WitnessSidecar = "sidecar"
	WitnessGateway = "gateway"
	WitnessPartner = "partner"
	WitnessIstiod  = "istiod"
	WitnessAPI     = "api"
)

// SaveFile writes bytes to evidence/<claim>/<name> and returns the path within
// the run's folder and the bytes' SHA-256. Call it before anything parses them:
// what cannot be parsed is evidence too. Private keys are refused: they leave the
// lab in no form. A file of that name that is there already is an error.
func (f *Folder) SaveFile(id claim.ID, name string, raw []byte) (file, sum string, err error) {
	if !safeName.MatchString(string(id)) {
		return "", "", fmt.Errorf("evidence for claim %q: the id cannot name a folder", id)
	}
	if HoldsPrivateKey(raw) {
		return "", "", fmt.Errorf("evidence %q for claim %s holds a private key, and is not kept", name, id)
	}
	file = path.Join(EvidenceDir, string(id), fileName(name))
	full := filepath.Join(f.Dir, filepath.FromSlash(file))
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		return "", "", fmt.Errorf("evidence %q for claim %s cannot be saved: %w", name, id, err)
	}
	if _, err := os.Lstat(full); err == nil {
		return "", "", fmt.Errorf("evidence %q for claim %s is there already", name, id)
	}
	if err := writeAtomic(full, raw); err != nil {
		return "", "", fmt.Errorf("evidence %q for claim %s cannot be saved: %w", name, id, err)
	}
	return file, Hash(raw), nil
}

// OpenLog makes the file that keeps a log, by its path within the run's folder.
func (f *Folder) OpenLog(name string) (io.WriteCloser, error) {
	full := filepath.Join(f.Dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		return nil, err
	}
	return os.OpenFile(full, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o644)
}

// lineEnd is the end of a line with the next one's indentation.
var lineEnd = regexp.MustCompile(`\r?\n[ \t]*`)

// base64Run is long enough to hold a key.
var base64Run = regexp.MustCompile(`[A-Za-z0-9+/]{60,}={0,2}`)

// HoldsPrivateKey reports whether bytes hold a private key: in PEM, in DER, or
// either of them in base64, as a Secret's manifest has it.
func HoldsPrivateKey(raw []byte) bool {
	if bytes.Contains(raw, []byte("PRIVATE KEY-----")) || isKey(raw) {
		return true
	}
	// Base64 comes in lines of 64 or 76 letters, too.
	unwrapped := lineEnd.ReplaceAll(raw, nil)
	for _, run := range append(base64Run.FindAll(raw, -1), base64Run.FindAll(unwrapped, -1)...) {
		decoded, err := base64.StdEncoding.DecodeString(string(run))
		if err != nil {
			decoded, err = base64.RawStdEncoding.DecodeString(strings.TrimRight(string(run), "="))
		}
		if err == nil && (bytes.Contains(decoded, []byte("PRIVATE KEY-----")) || isKey(decoded)) {
			return true
		}
	}
	return false
}

func isKey(der []byte) bool {
	if _, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		return true
	}
	if _, err := x509.ParseECPrivateKey(der); err == nil {
		return true
	}
	_, err := x509.ParsePKCS1PrivateKey(der)
	return err == nil
}

// Chain is the SHA-256 that binds an entry to the one before it.
func Chain(before string, e Evidence) string {
	e.Chain = ""
	raw, err := json.Marshal(e)
	if err != nil {
		panic(err) // plain strings and numbers
	}
	return Hash(append([]byte(before), raw...))
}

var unsafeChars = regexp.MustCompile(`[^A-Za-z0-9._-]+`)

// fileName makes a name of one path element that a link can carry unescaped.
func fileName(name string) string {
	name = strings.Trim(unsafeChars.ReplaceAllString(name, "-"), "-.")
	if name == "" {
		return "evidence"
	}
	return name
}

// Hash is the SHA-256 of bytes, in hexadecimal.
func Hash(raw []byte) string {
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}

func contains(list []string, s string) bool {
	for _, item := range list {
		if item == s {
			return true
		}
	}
	return false
}
