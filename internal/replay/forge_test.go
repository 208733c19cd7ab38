package replay

import (
	"bytes"
	"encoding/json"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"twohop/internal/claim"
	"twohop/internal/experiment"
	"twohop/internal/observe"
	"twohop/internal/replay/recording"
	"twohop/internal/verdict"
)

// forger alters a run as somebody would who knows the format: hashes, chain and
// findings agree again afterwards, by the nonce that the run shows everybody.
type forger struct {
	t     *testing.T
	files recording.Files
	v     *verdict.Verdict
}

func forge(t *testing.T, files recording.Files) *forger {
	t.Helper()
	v, err := verdict.Decode(files[verdict.VerdictFile])
	if err != nil {
		t.Fatal(err)
	}
	return &forger{t, files, v}
}

func (f *forger) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

// seal makes all agree that follows from what was altered.
func (f *forger) seal() {
	key, err := observe.NewKey(f.v.Run.Nonce, f.v.Run.Header)
	f.must(err)
	rehash := func(id claim.ID, list []verdict.Evidence) {
		chain := experiment.ChainStart(key, id)
		for i := range list {
			if e := &list[i]; e.Path != "" {
				if raw, ok := f.files[e.Path]; ok {
					e.SHA256 = verdict.Hash(raw)
				}
			}
			chain = verdict.Chain(chain, list[i])
			list[i].Chain = chain
		}
	}
	rehash(experiment.RunID, f.v.Run.Evidence)
	for name := range f.files {
		if strings.HasPrefix(name, verdict.FindingsDir+"/") {
			delete(f.files, name)
		}
	}
	for i := range f.v.Claims {
		c := &f.v.Claims[i]
		rehash(c.ID, c.Evidence)
		if c.Claim != "" {
			f.files[path.Join(verdict.FindingsDir, string(c.ID)+".json")], err = verdict.Encode(c.Finding)
			f.must(err)
		}
	}
	for i := range f.v.Run.Logs {
		l := &f.v.Run.Logs[i]
		l.SHA256 = verdict.Hash(f.files[l.Path])
		log, err := observe.ParseLog(f.files[l.Path], true)
		f.must(err)
		l.Lines = log.Len()
	}
	f.files[verdict.VerdictFile], err = verdict.Encode(f.v)
	f.must(err)
}

// recount makes totals, result, exit code and message follow from the claims.
func (f *forger) recount() {
	f.v.Totals = verdict.Count(f.v.Claims)
	f.v.Result = verdict.Conclude(f.v.Claims, "")
	f.v.ExitCode = f.v.Result.ExitCode()
	f.v.Message, _ = verdict.Message(f.v.Claims, f.v.Result)
}

// rejudge makes a claim's verdict and reason follow from its facts.
func (f *forger) rejudge(id claim.ID) {
	c := f.claim(id)
	c.Verdict, c.Reason = verdict.Judge(id, c.Finding)
	f.recount()
}

func (f *forger) claim(id claim.ID) *verdict.Result {
	f.t.Helper()
	for i := range f.v.Claims {
		if f.v.Claims[i].ID == id {
			return &f.v.Claims[i]
		}
	}
	f.t.Fatalf("the recording has no claim %s", id)
	return nil
}

// entry is the first entry of a claim's stage whose question, or else whose path,
// has the text.
func (f *forger) entry(id claim.ID, stage, text string) *verdict.Evidence {
	f.t.Helper()
	list := f.v.Run.Evidence
	if id != experiment.RunID {
		list = f.claim(id).Evidence
	}
	for _, of := range []func(verdict.Evidence) string{
		func(e verdict.Evidence) string { return e.Question }, func(e verdict.Evidence) string { return e.Path },
	} {
		for i := range list {
			if list[i].Stage == stage && strings.Contains(of(list[i]), text) {
				return &list[i]
			}
		}
	}
	f.t.Fatalf("%s has no observation %q in its %s", id, text, stage)
	return nil
}

// fact is the first fact of a trial whose name has the text.
func (f *forger) fact(trial *verdict.Trial, text string) *verdict.Fact {
	f.t.Helper()
	for i := range trial.Facts {
		if strings.Contains(trial.Facts[i].Name, text) {
			return &trial.Facts[i]
		}
	}
	f.t.Fatalf("no fact is called %q", text)
	return nil
}

// replace replaces a text in an entry's file, everywhere or once. That it is there
// at all is part of the test.
func (f *forger) replace(e *verdict.Evidence, old, new string, times int) {
	f.t.Helper()
	f.substitute(e.Path, old, new, times)
}

// copyCertificate puts one certificate of the ground in another one's place.
func (f *forger) copyCertificate(from, to string) {
	f.t.Helper()
	e := f.entry(run, "lab-1", "input ground")
	raw := string(f.files[e.Path])
	value := func(name string) (start, end int) {
		key := `"` + name + `": "`
		at := strings.Index(raw, key)
		if at < 0 {
			f.t.Fatalf("%s does not hold %s", e.Path, key)
		}
		start = at + len(key)
		return start, start + strings.Index(raw[start:], `"`)
	}
	fromStart, fromEnd := value(from)
	toStart, toEnd := value(to)
	f.files[e.Path] = []byte(raw[:toStart] + raw[fromStart:fromEnd] + raw[toEnd:])
}

func (f *forger) substitute(name, old, new string, times int) {
	f.t.Helper()
	raw, ok := f.files[name]
	if !ok || !bytes.Contains(raw, []byte(old)) {
		f.t.Fatalf("%s does not hold %q", name, old)
	}
	f.files[name] = bytes.Replace(raw, []byte(old), []byte(new), times)
}

var tokenInPath = regexp.MustCompile(`/probe/(t[0-9a-f]{16})`)

// token is that of a stage's request.
func (f *forger) token(id claim.ID, stage string) string {
	f.t.Helper()
	m := tokenInPath.FindStringSubmatch(f.entry(id, stage, "requests ").Command)
	if m == nil {
		f.t.Fatalf("no command of %s names a token", id)
	}
	return m[1]
}

// window is a stage's request's window on a role's log.
func (f *forger) window(id claim.ID, stage, role string) *verdict.Window {
	f.t.Helper()
	e := f.entry(id, stage, "requests ")
	for i := range e.Windows {
		if e.Windows[i].Role == role {
			return &e.Windows[i]
		}
	}
	f.t.Fatalf("%s has no window on the log of the %s", id, role)
	return nil
}

// rewrite puts lines in the place of each. They are numbered anew, and every window
// on the log moves along, so that nothing but the lines themselves tells.
func (f *forger) rewrite(name string, with func(n int, l observe.LogLine) []observe.LogLine) {
	f.t.Helper()
	log, err := observe.ParseLog(f.files[name], true)
	f.must(err)
	var raw []byte
	moved := make([]int, log.Len()+1) // old number: new number
	shift, last := 0, 0
	log.Each(func(n int, l observe.LogLine) {
		for ; last <= n; last++ {
			moved[last] = last + shift
		}
		lines := with(n, l)
		for i, l := range lines {
			raw = append(raw, observe.FormatLine(n+shift+i, l)...)
		}
		shift += len(lines) - 1
	})
	for ; last <= log.Len(); last++ {
		moved[last] = last + shift
	}
	f.files[name] = raw
	f.windows(func(w *verdict.Window) {
		if w.Log == name {
			w.From, w.To = moved[w.From], moved[w.To]
		}
	})
}

func (f *forger) windows(each func(w *verdict.Window)) {
	lists := [][]verdict.Evidence{f.v.Run.Evidence}
	for _, c := range f.v.Claims {
		lists = append(lists, c.Evidence)
	}
	for _, list := range lists {
		for i := range list {
			for j := range list[i].Windows {
				each(&list[i].Windows[j])
			}
		}
	}
}

// alter replaces a text in the lines of a log that have another text, and in the
// claim's file of these lines.
func (f *forger) alter(id claim.ID, stage, role, old, new string) {
	f.t.Helper()
	token, done := f.token(id, stage), false
	f.rewrite(f.window(id, stage, role).Log, func(_ int, l observe.LogLine) []observe.LogLine {
		if bytes.Contains(l.Text, []byte(token)) && bytes.Contains(l.Text, []byte(old)) {
			l.Text, done = bytes.ReplaceAll(l.Text, []byte(old), []byte(new)), true
		}
		return []observe.LogLine{l}
	})
	if !done {
		f.t.Fatalf("no line of the %s about the request says %q", role, old)
	}
	f.replace(f.entry(id, stage, "-"+role+".log"), old, new, -1)
}

// double lets the partner log a claim's request twice.
func (f *forger) double(id claim.ID, later time.Duration) {
	token := []byte(f.token(id, "check"))
	f.rewrite(f.window(id, "check", "partner").Log, func(_ int, l observe.LogLine) []observe.LogLine {
		if bytes.Contains(l.Text, token) {
			again := l
			again.At = l.At.Add(later)
			return []observe.LogLine{l, again}
		}
		return []observe.LogLine{l}
	})
	e := f.entry(id, "check", "-partner.log")
	f.files[e.Path] = bytes.Repeat(f.files[e.Path], 2)
}

// drop takes an entry out of a claim, with its file.
func (f *forger) drop(id claim.ID, e *verdict.Evidence) {
	delete(f.files, e.Path)
	c := f.claim(id)
	c.Evidence = slices.DeleteFunc(c.Evidence, func(other verdict.Evidence) bool {
		return other.Stage == e.Stage && other.Ordinal == e.Ordinal && other.Path == e.Path
	})
}

// swapFiles swaps the contents of two entries.
func (f *forger) swapFiles(a, b *verdict.Evidence) {
	f.files[a.Path], f.files[b.Path] = f.files[b.Path], f.files[a.Path]
}

// copyOf is a deep copy.
func copyOf[V any](t *testing.T, v V) (c V) {
	t.Helper()
	raw, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(raw, &c)
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func lineWith(text string) func(observe.LogLine) bool {
	return func(l observe.LogLine) bool { return bytes.Contains(l.Text, []byte(text)) }
}
