// Package attest binds a run together: an in-toto Statement names every file of
// its folder with its hash, and a DSSE envelope signs the statement where there is
// a key. The run's own hashes tell what was mixed up; the signature tells what was
// forged. The package knows files and hashes, and nothing of claims.
package attest

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	intoto "github.com/in-toto/attestation/go/v1"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	"github.com/secure-systems-lab/go-securesystemslib/signerverifier"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"

	"twohop/internal/verdict"
)

// Names within a run's folder, and what the documents are.
const (
	StatementFile = "statement.json"
	EnvelopeFile  = "statement.dsse.json"

	// PredicateType names the shape of the statement's predicate (predicate).
	PredicateType = "https://twohop.dev/attestations/run/v1"
	payloadType   = "application/vnd.in-toto+json"
)

// predicate says of which run the statement is, and how it ended.
type predicate struct {
	Run    verdict.Header  `json:"run"`
	Result verdict.Outcome `json:"result"`
	Totals verdict.Totals  `json:"totals"`
}

// Key signs statements, or checks their signatures.
type Key struct {
	dsse.SignerVerifier
}

// ParsePrivateKey reads an ed25519 or ECDSA key in PEM (PKCS8).
func ParsePrivateKey(pem []byte) (*Key, error) {
	k, private, err := parseKey(pem)
	if err == nil && !private {
		err = errors.New("it is a public key, and a private one is needed to sign")
	}
	return k, err
}

// ParsePublicKey reads an ed25519 or ECDSA key in PEM (PKIX).
func ParsePublicKey(pem []byte) (*Key, error) {
	k, private, err := parseKey(pem)
	if err == nil && private {
		err = errors.New("it is a private key: the public one is enough to check a signature")
	}
	return k, err
}

func parseKey(pem []byte) (k *Key, private bool, err error) {
	read, err := signerverifier.LoadKey(pem)
	if err != nil {
		return nil, false, err
	}
	var sv dsse.SignerVerifier
	switch read.KeyType {
	case signerverifier.ED25519KeyType:
		sv, err = signerverifier.NewED25519SignerVerifierFromSSLibKey(read)
	case signerverifier.ECDSAKeyType:
		sv, err = signerverifier.NewECDSASignerVerifierFromSSLibKey(read)
	default:
		err = fmt.Errorf("it is a key of type %s, and not ed25519 or ECDSA", read.KeyType)
	}
	if err != nil {
		return nil, false, err
	}
	switch sv.Public().(type) {
	case ed25519.PublicKey, *ecdsa.PublicKey:
	default:
		return nil, false, fmt.Errorf("it is a key of type %T", sv.Public())
	}
	return &Key{sv}, read.KeyVal.Private != "", nil
}

// Seal writes the statement over all files of a run that has ended, and the signed
// envelope where there is a key. Whatever is written into the folder afterwards
// shows as altered.
func Seal(ctx context.Context, f *verdict.Folder, key *Key) error {
	run, err := verdict.OpenRun(f.Dir)
	if err != nil {
		return err
	}
	defer run.Close()
	statement, err := state(run)
	if err != nil {
		return fmt.Errorf("the statement over the run's files cannot be made: %w", err)
	}
	if err := f.Save(StatementFile, statement); err != nil {
		return err
	}
	if key == nil {
		return nil
	}
	signer, err := dsse.NewEnvelopeSigner(key)
	if err != nil {
		return err
	}
	envelope, err := signer.SignPayload(ctx, payloadType, statement)
	if err != nil {
		return fmt.Errorf("the statement cannot be signed: %w", err)
	}
	raw, err := verdict.Encode(envelope)
	if err != nil {
		return err
	}
	return f.Save(EnvelopeFile, raw)
}

// state makes the statement.
func state(run verdict.Files) ([]byte, error) {
	raw, err := run.ReadFile(verdict.VerdictFile)
	if err != nil {
		return nil, err
	}
	v, err := verdict.Decode(raw)
	if err != nil {
		return nil, err
	}
	hashes, names, err := hashes(run)
	if err != nil {
		return nil, err
	}
	s := &intoto.Statement{Type: intoto.StatementTypeUri, PredicateType: PredicateType}
	for _, name := range names {
		s.Subject = append(s.Subject, &intoto.ResourceDescriptor{Name: name, Digest: map[string]string{"sha256": hashes[name]}})
	}
	if s.Predicate, err = predicateOf(v); err != nil {
		return nil, err
	}
	if err := s.Validate(); err != nil {
		return nil, err
	}
	compact, err := protojson.Marshal(s)
	if err != nil {
		return nil, err
	}
	// protojson varies its spaces on purpose.
	var b bytes.Buffer
	if err := json.Indent(&b, compact, "", "  "); err != nil {
		return nil, err
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}

func predicateOf(v *verdict.Verdict) (*structpb.Struct, error) {
	raw, err := json.Marshal(predicate{v.Run.Header, v.Result, v.Totals})
	if err != nil {
		return nil, err
	}
	s := &structpb.Struct{}
	return s, protojson.Unmarshal(raw, s)
}

// hashes are those of every file but the statement's own and an empty lock.
func hashes(run verdict.Files) (map[string]string, []string, error) {
	all, err := run.Walk(".")
	if err != nil {
		return nil, nil, err
	}
	hashes, names := map[string]string{}, []string{}
	for _, name := range all {
		if name == StatementFile || name == EnvelopeFile {
			continue
		}
		raw, err := run.ReadFile(name)
		if err != nil {
			return nil, nil, err
		}
		if name == verdict.LockFile && len(raw) == 0 {
			continue
		}
		hashes[name], names = verdict.Hash(raw), append(names, name)
	}
	return hashes, names, nil
}

// Check holds a run's files against its statement, and the statement against its
// signature where there is a key. What does not agree goes into the verification
// as a problem, and what could not be ruled out as a note.
func Check(ctx context.Context, run verdict.Files, key *Key, into *verdict.Verification) {
	raw, err := run.ReadFile(StatementFile)
	switch {
	case errors.Is(err, fs.ErrNotExist) && key == nil && running(run):
		into.Note("There is no %s: the run has not ended.", StatementFile)
	case errors.Is(err, fs.ErrNotExist):
		into.Problem("%s is missing: nothing says which files are the run's.", StatementFile)
	case err != nil:
		into.Problem("%s cannot be read: %v.", StatementFile, err)
	default:
		compare(run, raw, into)
	}
	if key == nil {
		into.Note("No key was given (--key): it is not ruled out that somebody rewrote observations, hashes and verdict so that they agree.")
		return
	}
	if err := signed(ctx, run, raw, key); err != nil {
		into.Problem("The run is not signed by the key: %v.", err)
	}
}

func running(run verdict.Files) bool {
	raw, err := run.ReadFile(verdict.VerdictFile)
	if err != nil {
		return false
	}
	v, err := verdict.Decode(raw)
	return err == nil && v.Result == verdict.Running
}

// signed checks the envelope.
func signed(ctx context.Context, run verdict.Files, statement []byte, key *Key) error {
	raw, err := run.ReadFile(EnvelopeFile)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is missing", EnvelopeFile)
	}
	if err != nil {
		return err
	}
	var envelope dsse.Envelope
	if err := json.Unmarshal(raw, &envelope); err != nil {
		return fmt.Errorf("%s is not an envelope: %w", EnvelopeFile, err)
	}
	verifier, err := dsse.NewEnvelopeVerifier(key)
	if err != nil {
		return err
	}
	_, payload, err := verifier.VerifyAndDecode(ctx, &envelope)
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", EnvelopeFile, err)
	case envelope.PayloadType != payloadType:
		return fmt.Errorf("%s holds a payload of type %q, and not %q", EnvelopeFile, envelope.PayloadType, payloadType)
	case !bytes.Equal(payload, statement):
		return fmt.Errorf("%s does not hold %s", EnvelopeFile, StatementFile)
	}
	return nil
}

// compare says where the files are not as the statement has them.
func compare(run verdict.Files, raw []byte, into *verdict.Verification) {
	var s intoto.Statement
	if err := protojson.Unmarshal(raw, &s); err != nil {
		into.Problem("%s is not an in-toto Statement: %s.", StatementFile, plain(err))
		return
	}
	if err := s.Validate(); err != nil {
		into.Problem("%s is not an in-toto Statement: %v.", StatementFile, err)
		return
	}
	if s.PredicateType != PredicateType {
		into.Problem("%s is about %q, and not about a run (%s).", StatementFile, s.PredicateType, PredicateType)
	}
	want, err := state(run)
	if err != nil {
		into.Problem("The run's files cannot be held against %s: %v.", StatementFile, err)
		return
	}
	if bytes.Equal(raw, want) {
		return
	}
	before := len(into.Problems)
	files, names, err := hashes(run)
	if err != nil {
		into.Problem("The run's files cannot be held against %s: %v.", StatementFile, err)
		return
	}
	stated := map[string]bool{}
	for _, subject := range s.Subject {
		switch sum, ok := files[subject.Name]; {
		case stated[subject.Name]:
			into.Problem("%s lists %s twice.", StatementFile, subject.Name)
		case !ok:
			into.Problem("%s lists %s, which is missing.", StatementFile, subject.Name)
		case sum != subject.Digest["sha256"]:
			into.Problem("%s was altered since the run ended: its SHA-256 is not the one of %s.", subject.Name, StatementFile)
		}
		stated[subject.Name] = true
	}
	for _, name := range names {
		if !stated[name] {
			into.Problem("%s came into the folder since the run ended: %s does not list it.", name, StatementFile)
		}
	}
	if len(into.Problems) == before {
		into.Problem("%s is not the statement of this run: its predicate or its form is another.", StatementFile)
	}
}

// plain is an error of protojson's without its varying spaces.
func plain(err error) string { return strings.ReplaceAll(err.Error(), "\u00a0", " ") }
