package experiment

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"sync"

	"twohop/internal/claim"
	"twohop/internal/observe"
	"twohop/internal/verdict"
)

// Files keeps bytes; a run's folder does.
type Files interface {
	SaveFile(id claim.ID, name string, raw []byte) (path, sha256 string, err error)
}

// Keeper keeps a claim's observations, and lists them as the finding's evidence:
// each entry is chained to the one before it.
type Keeper struct {
	files Files
	id    claim.ID
	mu    sync.Mutex
	chain string
	list  []verdict.Evidence
}

// NewKeeper keeps observations of one claim of a run.
func NewKeeper(files Files, key observe.Key, id claim.ID) *Keeper {
	return &Keeper{files: files, id: id, chain: ChainStart(key, id)}
}

// ChainStart is what the first entry of a claim is chained to.
func ChainStart(key observe.Key, id claim.ID) string {
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "chain/%s", id)
	return hex.EncodeToString(mac.Sum(nil))
}

// Evidence is what was kept so far.
func (k *Keeper) Evidence() []verdict.Evidence {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.list
}

// Keep keeps an observation.
func (k *Keeper) Keep(o observe.Observation) (string, error) {
	e := entry(o.At, o.Meta)
	e.Question, e.TookMillis = o.Question.Key(), o.Took.Milliseconds()
	for _, w := range o.Windows {
		e.Windows = append(e.Windows, verdict.Window{Role: string(w.Role), Log: w.Log, From: w.From, To: w.To, Flush: w.Flush})
	}
	if o.Err != nil {
		e.Error = o.Err.Error()
	}
	return k.add(e, o.At, o.Meta, o.Raw)
}

// Derive keeps bytes that follow from observations.
func (k *Keeper) Derive(at observe.Slot, meta observe.Meta, raw []byte) (string, error) {
	if raw == nil {
		raw = []byte{} // no line is a file without a line
	}
	return k.add(entry(at, meta), at, meta, raw)
}

func entry(at observe.Slot, meta observe.Meta) verdict.Evidence {
	return verdict.Evidence{Kind: meta.Kind, Witness: meta.Witness, Command: meta.Command, Stage: at.Stage, Ordinal: at.Ordinal}
}

func (k *Keeper) add(e verdict.Evidence, at observe.Slot, meta observe.Meta, raw []byte) (string, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if raw != nil {
		var err error
		if e.Path, e.SHA256, err = k.files.SaveFile(k.id, fmt.Sprintf("%s-%03d-%s", at.Stage, at.Ordinal, meta.Name), raw); err != nil {
			return "", err
		}
	}
	k.chain = verdict.Chain(k.chain, e)
	e.Chain = k.chain
	k.list = append(k.list, e)
	return e.Path, nil
}
