package verdict

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
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

var (
	kinds = []string{KindClusters, KindSecrets, KindCurl, KindAccessLog, KindPartnerLog, KindText, KindYAML, KindJSON}
	// The empty witness is for evidence that nobody in particular saw.
	witnesses = []string{WitnessClient, WitnessSidecar, WitnessGateway, WitnessPartner, WitnessIstiod, WitnessAPI, ""}
)

// SaveEvidence writes raw bytes to evidence/<claim>/<nn>-<name> and returns the
// entry that a finding lists. Call it before anything parses the bytes: what
// cannot be parsed is evidence too. command is what a person would run to see
// the same.
func (f *Folder) SaveEvidence(id claim.ID, name, kind, witness, command string, raw []byte) (Evidence, error) {
	if !safeName.MatchString(string(id)) {
		return Evidence{}, fmt.Errorf("evidence for claim %q: the id cannot name a folder", id)
	}
	if !contains(kinds, kind) {
		return Evidence{}, fmt.Errorf("evidence %q for claim %s: kind %q is none of %s", name, id, kind, strings.Join(kinds, ", "))
	}
	if !contains(witnesses, witness) {
		return Evidence{}, fmt.Errorf("evidence %q for claim %s: witness %q is none of %s",
			name, id, witness, strings.Join(witnesses[:len(witnesses)-1], ", "))
	}
	dir := filepath.Join(f.Dir, EvidenceDir, string(id))
	var path string
	err := f.locked(func() error {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		n, err := nextNumber(dir)
		if err != nil {
			return err
		}
		path = filepath.Join(dir, fmt.Sprintf("%02d-%s", n, fileName(name)))
		return writeAtomic(path, raw)
	})
	if err != nil {
		return Evidence{}, fmt.Errorf("evidence %q for claim %s cannot be saved: %w", name, id, err)
	}
	rel, err := filepath.Rel(f.Dir, path)
	if err != nil {
		return Evidence{}, err
	}
	return Evidence{
		Path: filepath.ToSlash(rel), SHA256: hash(raw),
		Command: command, Kind: kind, Witness: witness,
	}, nil
}

func nextNumber(dir string) (int, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	last := 0
	for _, e := range entries {
		prefix, _, _ := strings.Cut(e.Name(), "-")
		if n, err := strconv.Atoi(prefix); err == nil && n > last {
			last = n
		}
	}
	return last + 1, nil
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

func hash(raw []byte) string {
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
