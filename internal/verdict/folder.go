package verdict

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"twohop/internal/claim"
)

// Names within a run's folder.
const (
	VerdictFile = "verdict.json"
	FindingsDir = "findings"
	EvidenceDir = "evidence"
	LockFile    = ".lock"
)

// Folder is a run's folder, out/<run-id>. The parent process creates it; the
// specs, possibly in several processes, open it and record their findings.
// Every method may be called from any of them at any time: what is on disk is
// the only state, and it is changed under a lock and atomically, so a killed
// process leaves a whole file.
type Folder struct {
	// Dir is the folder's path.
	Dir  string
	now  func() time.Time
	sync func(*os.File) error
}

// Create makes outDir/<run-id>, writes its verdict.json with every claim of the
// selection not-run, and points outDir/latest at it. An empty run.ID and a zero
// run.Start are filled in.
func Create(outDir string, run Run, selection []claim.Claim) (*Folder, error) {
	return create(outDir, run, selection, time.Now)
}

func create(outDir string, run Run, selection []claim.Claim, now func() time.Time) (*Folder, error) {
	if len(selection) == 0 {
		return nil, errors.New("a run needs at least one claim: a run of none would prove nothing")
	}
	seen := map[claim.ID]bool{}
	for _, c := range selection {
		if !safeName.MatchString(string(c.ID)) || strings.Contains(string(c.ID), "..") {
			return nil, fmt.Errorf("claim id %q cannot name a file: use letters, digits, '.', '_' and '-'", c.ID)
		}
		if seen[c.ID] {
			return nil, fmt.Errorf("claim %s is selected twice", c.ID)
		}
		seen[c.ID] = true
	}
	if run.Start.IsZero() {
		run.Start = now()
	}
	run.Start = run.Start.UTC().Round(time.Millisecond)
	if run.ID == "" {
		id, err := newID(run.Start)
		if err != nil {
			return nil, err
		}
		run.ID = id
	}
	dir := filepath.Join(outDir, run.ID)
	if err := os.MkdirAll(outDir, 0o755); err != nil {
		return nil, fmt.Errorf("the folder for runs cannot be created: %w", err)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, fmt.Errorf("the run's folder cannot be created: %w", err)
	}
	for _, sub := range []string{FindingsDir, EvidenceDir} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, fmt.Errorf("the run's folder cannot be created: %w", err)
		}
	}
	f := &Folder{Dir: dir, now: now, sync: (*os.File).Sync}
	v := &Verdict{Run: run, Result: Running}
	f.fold(v, selection, nil)
	if err := f.writeVerdict(v); err != nil {
		return nil, err
	}
	if err := pointLatest(outDir, run.ID); err != nil {
		return nil, err
	}
	return f, nil
}

// Open reads a run's folder that exists.
func Open(dir string) (*Folder, error) {
	f := &Folder{Dir: dir, now: time.Now, sync: (*os.File).Sync}
	if _, err := f.Verdict(); err != nil {
		return nil, err
	}
	return f, nil
}

// newID is a run's name: it sorts by time and differs from any other started
// in the same second.
func newID(start time.Time) (string, error) {
	var random [3]byte
	if _, err := rand.Read(random[:]); err != nil {
		return "", fmt.Errorf("no random bytes for the run's id: %w", err)
	}
	return start.Format("20060102T150405Z") + "-" + hex.EncodeToString(random[:]), nil
}

// pointLatest makes outDir/latest a link to the run, by renaming a new link
// over the old one so that there always is one.
func pointLatest(outDir, id string) error {
	tmp := filepath.Join(outDir, ".latest-"+id)
	if err := os.Symlink(id, tmp); err != nil {
		return fmt.Errorf("the link to the latest run cannot be created: %w", err)
	}
	if err := os.Rename(tmp, filepath.Join(outDir, "latest")); err != nil {
		_ = os.Remove(tmp)
		return fmt.Errorf("the link to the latest run cannot be created: %w", err)
	}
	return nil
}

// Verdict reads verdict.json.
func (f *Folder) Verdict() (*Verdict, error) {
	return ReadVerdict(filepath.Join(f.Dir, VerdictFile))
}

// ReadVerdict reads a verdict.json of this API version.
func ReadVerdict(path string) (*Verdict, error) {
	raw, err := readRunFile(path)
	if err != nil {
		return nil, fmt.Errorf("no verdict in %s: %w", filepath.Dir(path), err)
	}
	var v Verdict
	if err := decodeStrict(raw, &v); err != nil {
		return nil, fmt.Errorf("%s is not a verdict: %w", path, err)
	}
	if v.APIVersion != APIVersion {
		return nil, fmt.Errorf("%s: apiVersion is %q; this program reads %q", path, v.APIVersion, APIVersion)
	}
	return &v, nil
}

// Update changes the run's metadata or phases. It refolds the claims, so that
// an Istio version that becomes known chooses the expected verdicts.
func (f *Folder) Update(change func(*Run, *[]Phase)) error {
	return f.locked(func() error {
		return f.rewrite(func(v *Verdict) { change(&v.Run, &v.Phases) })
	})
}

// SetRun changes the run's metadata.
func (f *Folder) SetRun(change func(*Run)) error {
	return f.Update(func(r *Run, _ *[]Phase) { change(r) })
}

// AddPhase appends a phase that took from start until now.
func (f *Folder) AddPhase(name string, start time.Time) error {
	p := Phase{
		Name: name, Start: start.UTC().Round(time.Millisecond),
		DurationMillis: f.now().Sub(start).Milliseconds(),
	}
	return f.Update(func(_ *Run, phases *[]Phase) { *phases = append(*phases, p) })
}

// Record keeps a finding and rewrites verdict.json with what it proves. A
// second finding of the same claim replaces the first.
func (f *Folder) Record(finding Finding) error {
	return f.locked(func() error {
		v, err := f.Verdict()
		if err != nil {
			return err
		}
		if !has(v, finding.Claim) {
			return fmt.Errorf("the finding's claim %q is not in the selection of run %s", finding.Claim, v.Run.ID)
		}
		path := filepath.Join(f.Dir, FindingsDir, string(finding.Claim)+".json")
		if err := f.writeJSON(path, finding); err != nil {
			return err
		}
		// The others are in the verdict: reading all their files for each claim was a
		// third of the suite's CPU time.
		findings := map[claim.ID]Finding{finding.Claim: finding}
		for _, r := range v.Claims {
			if r.Finding.Claim != "" && r.ID != finding.Claim {
				findings[r.ID] = r.Finding
			}
		}
		return f.refold(v, findings, func(*Verdict) {})
	})
}

func has(v *Verdict, id claim.ID) bool {
	for _, r := range v.Claims {
		if r.ID == id {
			return true
		}
	}
	return false
}

// conclude folds for the last time and writes the outcome.
func (f *Folder) conclude(ending Outcome, message string) (*Verdict, error) {
	if ending == Running {
		ending = ""
	}
	var ended *Verdict
	err := f.locked(func() error {
		return f.rewrite(func(v *Verdict) {
			v.Result, v.Message = ending, message
			ended = v
		})
	})
	return ended, err
}

// rewrite changes verdict.json under the lock, folding from the findings on disk.
func (f *Folder) rewrite(change func(*Verdict)) error {
	v, err := f.Verdict()
	if err != nil {
		return err
	}
	findings, err := f.Findings()
	if err != nil {
		return err
	}
	return f.refold(v, findings, change)
}

// refold changes the verdict, folds findings into it and writes it.
func (f *Folder) refold(v *Verdict, findings map[claim.ID]Finding, change func(*Verdict)) error {
	running := v.Result == Running
	change(v)
	f.fold(v, registry(v), findings)
	if running {
		v.Run.DurationMillis = f.now().Sub(v.Run.Start).Milliseconds()
	}
	return f.writeVerdict(v)
}

func (f *Folder) fold(v *Verdict, selection []claim.Claim, findings map[claim.ID]Finding) {
	v.APIVersion = APIVersion
	if v.Phases == nil {
		v.Phases = []Phase{}
	}
	v.Claims = Fold(selection, findings, v.Run.Istio)
	v.Totals = Count(v.Claims)
	v.Result = Conclude(v.Claims, v.Result)
	v.ExitCode = v.Result.ExitCode()
	if v.Message == "" && v.Result != Green && v.Result != Running {
		v.Message = v.summary()
	}
}

// summary is the message of a run that gave none.
func (v *Verdict) summary() string {
	words := v.Result.Words()
	return strings.ToUpper(words[:1]) + words[1:] + ". " + v.Totals.sentence()
}

// ownMessage is the message where it says more than the outcome and the totals.
func (v *Verdict) ownMessage() string {
	if v.Message == v.summary() {
		return ""
	}
	return v.Message
}

// allExpected reports whether every claim was judged as expected.
func (t Totals) allExpected() bool {
	return t.Claims > 0 && t.Unexpected+t.Inconclusive+t.NotRun == 0
}

// sentence says why a run that came to its end is not green.
func (t Totals) sentence() string {
	var parts []string
	for _, p := range []struct {
		n    int
		what string
	}{
		{t.Unexpected, "not as expected"}, {t.Inconclusive, "inconclusive"}, {t.NotRun, "not run"},
	} {
		if p.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", p.n, p.what))
		}
	}
	if len(parts) == 0 {
		return "Every claim came out as expected."
	}
	return fmt.Sprintf("Of %s: %s.", plural(t.Claims, "claim"), strings.Join(parts, ", "))
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// registry gives the claims of a verdict in its order: in the registry's words
// where this build knows them, in the file's own otherwise.
func registry(v *Verdict) []claim.Claim {
	claims := make([]claim.Claim, 0, len(v.Claims))
	for _, r := range v.Claims {
		c, err := claim.ByID(r.ID)
		if err != nil {
			c = r.claim()
		}
		claims = append(claims, c)
	}
	return claims
}

// claim is the registry's entry as the result has it.
func (r Result) claim() claim.Claim {
	return claim.Claim{
		ID: r.ID, Chapter: r.Chapter, Section: r.Section,
		Statement: r.Statement, Lesson: r.Lesson, Expected: r.Expected,
	}
}

// Findings reads every finding that was recorded.
func (f *Folder) Findings() (map[claim.ID]Finding, error) {
	d, err := OpenRun(f.Dir)
	if err != nil {
		return nil, fmt.Errorf("the run's folder cannot be opened: %w", err)
	}
	defer d.Close()
	return ReadFindings(d)
}

func (f *Folder) writeVerdict(v *Verdict) error {
	return f.writeJSON(filepath.Join(f.Dir, VerdictFile), v)
}

// locked runs fn while no other process or goroutine changes the folder.
func (f *Folder) locked(fn func() error) (err error) {
	lock, err := os.OpenFile(filepath.Join(f.Dir, LockFile), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return fmt.Errorf("the run's folder cannot be locked: %w", err)
	}
	defer lock.Close() // which also unlocks
	for {
		err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX)
		if err == nil {
			break
		}
		if !errors.Is(err, syscall.EINTR) {
			return fmt.Errorf("the run's folder %s cannot be locked: %w", f.Dir, err)
		}
	}
	return fn()
}

// decodeStrict decodes one JSON value and nothing else; an unknown field is an
// error, since what is not read cannot be judged.
func decodeStrict(raw []byte, into any) error {
	dec := json.NewDecoder(strings.NewReader(string(raw)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return err
	}
	if dec.More() {
		return errors.New("there is more after the JSON value")
	}
	return nil
}

var safeName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)
