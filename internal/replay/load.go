package replay

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"

	"twohop/internal/claim"
	"twohop/internal/experiment"
	"twohop/internal/observe"
	"twohop/internal/observe/recorded"
	"twohop/internal/subject"
	"twohop/internal/verdict"
)

func hash(raw []byte) string {
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}

// readLogs reads the whole logs that the claims' windows are on.
func (r *replay) readLogs() {
	for _, l := range r.v.Run.Logs {
		raw, err := r.run.ReadFile(l.Path)
		if err != nil {
			r.Problem("The log %s cannot be checked: %v.", l.Path, missing(err))
			continue
		}
		r.listed[l.Path] = experiment.RunID
		r.Files, r.Bytes = r.Files+1, r.Bytes+int64(len(raw))
		if r.hashes[l.Path] = hash(raw); r.hashes[l.Path] != l.SHA256 {
			r.Problem("The log %s was altered: its SHA-256 is not the one that the verdict says.", l.Path)
		}
		log, err := observe.ParseLog(raw, r.gaps)
		if err != nil {
			r.Problem("The log %s is not as a run keeps it: %v.", l.Path, err)
			continue
		}
		if log.Len() != l.Lines {
			r.Problem("The log %s has %d lines, and the verdict says %d.", l.Path, log.Len(), l.Lines)
		}
		r.logs[l.Path] = log
		r.inOrder(l.Path, log)
	}
}

// readObservations reads the logs, and what the run and each claim observed.
func (r *replay) readObservations() {
	r.readLogs()
	r.readEvidence(experiment.RunID, r.v.Run.Evidence)
	for _, c := range r.v.Claims {
		r.readEvidence(c.ID, c.Evidence)
	}
}

// readEvidence reads a claim's observations, and holds each against its hash and
// against the one before it.
func (r *replay) readEvidence(id claim.ID, list []verdict.Evidence) {
	chain := experiment.ChainStart(r.key, id)
	for _, e := range list {
		at := observe.Slot{Claim: string(id), Stage: e.Stage, Ordinal: e.Ordinal}
		if chain = verdict.Chain(chain, e); chain != e.Chain {
			r.Problem("%s: the chain of evidence is broken at %s %d: the entry is not the run's, or one before it is missing.", id, e.Stage, e.Ordinal)
			chain = e.Chain
		}
		source := r.source(id)
		entry := recorded.Entry{Question: e.Question, Meta: observe.Meta{Kind: e.Kind, Witness: e.Witness, Command: e.Command}, Path: e.Path, Error: e.Error, Took: time.Duration(e.TookMillis) * time.Millisecond}
		for _, w := range e.Windows {
			entry.Windows = append(entry.Windows, observe.Window{Role: subject.Role(w.Role), Log: w.Log, From: w.From, To: w.To, Flush: w.Flush})
		}
		if e.Path != "" {
			var ok bool
			if entry.Raw, entry.Meta.Name, ok = r.readFile(id, at, e); !ok {
				continue
			}
		}
		if e.Question == "" {
			source.Derived[recorded.Name{At: at, File: entry.Meta.Name}] = entry
			continue
		}
		if _, twice := source.Entries[at]; twice {
			r.Problem("%s: two observations have the place %s %d.", id, e.Stage, e.Ordinal)
		}
		source.Entries[at] = entry
	}
}

// readFile reads an entry's file. name is what the check called it.
func (r *replay) readFile(id claim.ID, at observe.Slot, e verdict.Evidence) (raw []byte, name string, ok bool) {
	if other, twice := r.listed[e.Path]; twice {
		r.Problem("%s: %s is listed twice (also by %s).", id, e.Path, other)
		return nil, "", false
	}
	r.listed[e.Path] = id
	name, ok = strings.CutPrefix(e.Path, fmt.Sprintf("%s/%s/%s-%03d-", verdict.EvidenceDir, id, e.Stage, e.Ordinal))
	if !ok {
		r.Problem("%s: %s is not the file of the claim's observation %s.", id, e.Path, at)
		return nil, "", false
	}
	raw, err := r.run.ReadFile(e.Path)
	if err != nil {
		r.Problem("%s: evidence %s cannot be checked: %v.", id, e.Path, missing(err))
		return nil, "", false
	}
	r.Files, r.Bytes = r.Files+1, r.Bytes+int64(len(raw))
	if hash(raw) != e.SHA256 {
		r.Problem("%s: evidence %s was altered: its SHA-256 is not the one that the verdict says.", id, e.Path)
	}
	return raw, name, true
}

func missing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return errors.New("it is missing")
	}
	return err
}

// leftOver finds evidence and logs that nothing lists. A run that did not come to
// its end may have kept some for a claim that did not report.
func (r *replay) leftOver() {
	notRun := map[string]bool{string(experiment.RunID): true}
	for _, c := range r.v.Claims {
		notRun[string(c.ID)] = c.Verdict == claim.NotRun
	}
	for _, c := range r.v.Claims {
		r.listed[c.Reproduce] = c.ID
	}
	for _, dir := range []string{verdict.EvidenceDir, verdict.LogsDir, verdict.ReproduceDir} {
		files, err := r.run.Walk(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			r.Problem("The folder %s cannot be listed: %v.", dir, err)
		}
		for _, file := range files {
			if _, ok := r.listed[file]; ok {
				continue
			}
			if !r.ended() && (dir == verdict.LogsDir || notRun[path.Base(path.Dir(file))] || dir == verdict.ReproduceDir) {
				r.Note("%s was kept before the run ended, and nothing reports it.", file)
				continue
			}
			r.Problem("%s is there, and nothing lists it.", file)
		}
	}
}
