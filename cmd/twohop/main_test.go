package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"twohop"
	"twohop/internal/attest"
	"twohop/internal/claim"
	"twohop/internal/verdict"
)

// run executes a command line.
func run(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = execute(context.Background(), args, &out, &errs)
	return code, out.String(), errs.String()
}

// TestMain lets this binary stand in for the program where a script wants one.
func TestMain(m *testing.M) {
	switch os.Getenv("TWOHOP_TEST_AS") {
	case "twohop":
		main()
	case "run":
		os.Exit(fakeRun(os.Args[1:]))
	}
	os.Exit(m.Run())
}

// makeRun makes a run in out that judged the registry's first claim.
func makeRun(t *testing.T, out, istio, status string) string {
	t.Helper()
	f, err := record(out, verdict.Run{Header: verdict.Header{Rules: twohop.Rules()}, Istio: istio}, status, true)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Finish("", ""); err != nil {
		t.Fatal(err)
	}
	return f.Dir
}

// cutShort makes a run that came to judge nothing, and signs it where there is a
// key. What a run that judged looks like to verify-run, package replay tests.
func cutShort(t *testing.T, key *attest.Key) string {
	t.Helper()
	c := claim.All()[0]
	f, err := verdict.Create(t.TempDir(), verdict.Run{Header: verdict.Header{Selection: string(c.ID)}}, []claim.Claim{c})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Finish(verdict.Failed, "no engine"); err != nil {
		t.Fatal(err)
	}
	if err := attest.Seal(t.Context(), f, key); err != nil {
		t.Fatal(err)
	}
	return f.Dir
}

// keys makes a pair of PEM files.
func keys(t *testing.T) (private, public string) {
	t.Helper()
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, der []byte, err error) string {
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	der, err := x509.MarshalPKCS8PrivateKey(priv)
	private = write("key.pem", "PRIVATE KEY", der, err)
	der, err = x509.MarshalPKIXPublicKey(pub)
	return private, write("key.pub.pem", "PUBLIC KEY", der, err)
}

// record makes a run that judged the registry's first claim and is not finished
// yet. status is what the control saw; as it should be or not, the claim is.
func record(out string, run verdict.Run, status string, supported bool) (*verdict.Folder, error) {
	c := claim.All()[0]
	run.Selection = string(c.ID)
	f, err := verdict.Create(out, run, []claim.Claim{c})
	if err != nil {
		return nil, err
	}
	e := verdict.Evidence{Kind: verdict.KindCurl, Witness: verdict.WitnessClient, Command: "curl", Stage: "check", Ordinal: 1, Question: "requests"}
	if e.Path, e.SHA256, err = f.SaveFile(c.ID, "check-001-curl.txt", []byte("{\"http_code\":200}\n")); err != nil {
		return nil, err
	}
	e.Chain = verdict.Chain("", e)
	check := &verdict.Trial{Facts: []verdict.Fact{{Name: "status", Expected: "200", Seen: "200", OK: true, Flips: true, Evidence: []string{e.Path}}}}
	control := &verdict.Trial{
		Facts: []verdict.Fact{{Name: "status", Expected: "200", Seen: status, OK: false, Flips: true, Evidence: []string{e.Path}}},
		Cause: []verdict.Fact{{Name: "flags", Expected: "UF", Seen: "UF", OK: true, Evidence: []string{e.Path}}},
	}
	if !supported {
		check, control = control, check
	}
	control.Change = "break it"
	return f, f.Record(verdict.Finding{Claim: c.ID, Evidence: []verdict.Evidence{e}, Check: check, Control: control})
}

func TestCommands(t *testing.T) {
	t.Setenv("NO_COLOR", "")
	out := t.TempDir()
	a := makeRun(t, out, "1.30", "503")
	b := makeRun(t, out, "1.31", "404")
	broken := filepath.Join(out, "broken")
	if err := os.MkdirAll(filepath.Join(broken, "empty"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(broken, "verdict.json"), []byte(`{"apiVersion": 7}`), 0o644); err != nil {
		t.Fatal(err)
	}
	private, public := keys(t)
	_, otherPublic := keys(t)
	key, err := readKey(private, attest.ParsePrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	unsigned, signed := cutShort(t, nil), cutShort(t, key)
	tampered := makeRun(t, t.TempDir(), "1.31", "503")
	if err := os.WriteFile(filepath.Join(tampered, "evidence", string(claim.All()[0].ID), "check-001-curl.txt"), []byte("{\"http_code\":201}\n"), 0o644); err != nil {
		t.Fatal(err)
	}

	for _, tt := range []struct {
		name   string
		args   []string
		code   int
		stdout string // occurs
		stderr string // occurs; empty: nothing is said
	}{
		{"no arguments show help", nil, 0, "Usage:", ""},
		{"help has examples", []string{"diff", "--help"}, 0, "Examples:", ""},
		{"report of the latest", []string{"report", "latest", "--out", out}, 0, filepath.Base(b), ""},
		{"report by id", []string{"report", filepath.Base(a), "--out", out}, 0, "Istio 1.30", ""},
		{"report by folder", []string{"report", a}, 0, "AS EXPECTED (exit 0)", ""},
		{"report by file", []string{"report", filepath.Join(a, "verdict.json")}, 0, "AS EXPECTED", ""},
		{"report as JSON", []string{"report", a, "-o", "json"}, 0, `"apiVersion": "twohop/v1"`, ""},
		{"report as Markdown", []string{"report", a, "-o", "markdown"}, 0, "## ✅ Twohop", ""},
		{"diff same", []string{"diff", a, a}, 0, "Same", ""},
		{"diff different", []string{"diff", a, b}, 1, "1 value changed", ""},
		{"diff as JSON", []string{"diff", a, b, "-o", "json"}, 1, `"same": false`, ""},
		{"diff as Markdown", []string{"diff", a, b, "-o", "markdown"}, 1, "### Values that changed", ""},
		{"verify", []string{"verify-run", unsigned}, 0, "Verified: 1 claim, 0 facts and 0 evidence files", ""},
		{"verify as JSON", []string{"verify-run", unsigned, "-o", "json"}, 0, `"problems": []`, ""},
		{"verify says what is not ruled out", []string{"verify-run", unsigned}, 0, "No key was given (--key)", ""},
		{"verify by key", []string{"verify-run", signed, "--key", public}, 0, "Verified: 1 claim", ""},
		{"verify by key what is not signed", []string{"verify-run", unsigned, "--key", public}, 1, "statement.dsse.json is missing", ""},
		{"verify by another key", []string{"verify-run", signed, "--key", otherPublic}, 1, "is not signed by the key", ""},
		{"verify by a private key", []string{"verify-run", signed, "--key", private}, 2, "", "it is a private key"},
		{"verify by no key", []string{"verify-run", signed, "--key", filepath.Join(out, "none")}, 2, "", "no such file"},
		{"run with a key that does not sign", []string{"run", "--sign-key", public}, 2, "", "it is a public key"},
		{"verify what does not follow", []string{"verify-run", a}, 1, "Nothing shows what the run was made on", ""},
		{"verify tampered", []string{"verify-run", tampered}, 1, "was altered", ""},
		{"verify tampered as Markdown", []string{"verify-run", tampered, "-o", "markdown"}, 1, "### Problems", ""},
		{"schema", []string{"schema"}, 0, "json-schema.org/draft/2020-12", ""},
		{"completion", []string{"completion", "bash"}, 0, "bash completion", ""},
		{"completion of runs", []string{"__complete", "--out", out, "report", ""}, 0, filepath.Base(a), "ShellCompDirective"},
		{"completion of formats", []string{"__complete", "report", "-o", ""}, 0, "markdown", "ShellCompDirective"},

		{"unknown command", []string{"rep"}, 2, "", `unknown command "rep": did you mean report?`},
		{"unlike any command", []string{"zebra"}, 2, "", `unknown command "zebra": "twohop --help" lists the commands`},
		{"unknown flag", []string{"report", "--zebra"}, 2, "", `unknown flag: --zebra; "twohop report --help" shows how`},
		{"no run given", []string{"verify-run"}, 2, "", "verify-run takes one run, not 0: write twohop verify-run RUN"},
		{"too much", []string{"schema", "please"}, 2, "", `schema takes no arguments: leave out "please"`},
		{"missing argument", []string{"diff", a}, 2, "", "diff takes two runs, not 1: write twohop diff A B"},
		{"unknown format", []string{"report", a, "-o", "xml"}, 2, "", `-o "xml" is not a format: write text, json or markdown`},
		{"no such run", []string{"report", "nowhere", "--out", out}, 2, "", `no run "nowhere" (looked for nowhere and ` + filepath.Join(out, "nowhere") + `): "twohop runs" lists the runs`},
		{"no latest", []string{"report", "latest", "--out", filepath.Join(out, "none")}, 2, "", "make one with \"twohop run\", or name the folder of the runs with --out"},
		{"folder that is no run", []string{"report", filepath.Join(broken, "empty")}, 2, "", `is not a run: it has no verdict.json; "twohop runs" lists the runs`},
		{"not a verdict", []string{"report", broken}, 2, "", "apiVersion"},
		{"verify of a file by another name", []string{"verify-run", filepath.Join(a, "result.txt")}, 2, "", "needs a run's whole folder"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code, stdout, stderr := run(tt.args...)
			if code != tt.code || !strings.Contains(stdout, tt.stdout) || !strings.Contains(stderr, tt.stderr) || (tt.stderr == "" && stderr != "") {
				t.Errorf("exit %d, want %d\nstdout: %s\nwant: %s\nstderr: %s\nwant: %s", code, tt.code, stdout, tt.stdout, stderr, tt.stderr)
			}
			if code == 2 && strings.Count(strings.TrimSpace(stderr), "\n") > 0 {
				t.Errorf("an error of more than one line: %q", stderr)
			}
			if strings.Contains(stdout, "\x1b") {
				t.Error("colours where there is no terminal")
			}
		})
	}
}

func TestReportRendersAgain(t *testing.T) {
	dir := makeRun(t, t.TempDir(), "1.31", "503")
	files := []string{"result.txt", "summary.md", "junit.xml", "metrics.txt", "report.html"}
	for _, f := range files {
		if err := os.Remove(filepath.Join(dir, f)); err != nil {
			t.Fatal(err)
		}
	}
	if code, _, stderr := run("report", dir, "--print-only"); code != 0 {
		t.Fatal(stderr)
	}
	if _, err := os.Stat(filepath.Join(dir, files[0])); err == nil {
		t.Error("--print-only wrote a file")
	}
	if code, _, stderr := run("report", dir); code != 0 {
		t.Fatal(stderr)
	}
	for _, f := range files {
		if _, err := os.Stat(filepath.Join(dir, f)); err != nil {
			t.Error(err)
		}
	}
}

func TestReportJSONIsTheVerdict(t *testing.T) {
	dir := makeRun(t, t.TempDir(), "1.31", "503")
	_, stdout, _ := run("report", dir, "-o", "json")
	if !json.Valid([]byte(stdout)) {
		t.Fatal("not JSON")
	}
	if problems, err := verdict.SchemaProblems([]byte(stdout)); err != nil || len(problems) > 0 {
		t.Error(problems, err)
	}
}

func TestColourNeedsATerminal(t *testing.T) {
	if textOptions(&bytes.Buffer{}).Colour {
		t.Error("colour into a buffer")
	}
	file, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if textOptions(file).Colour {
		t.Error("colour into a file")
	}
}
