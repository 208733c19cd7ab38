package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"twohop/internal/audit"
	"twohop/internal/computed"
	"twohop/internal/computed/computedtest"
)

var update = flag.Bool("update", false, "write what is generated into the documents")

func TestChecksTable(t *testing.T) {
	const file = "../../docs/audit.md"
	const marker = "writes the table below -->\n"
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	head, have, found := strings.Cut(string(raw), marker)
	if !found {
		t.Fatalf("%s has no marker", file)
	}
	var b strings.Builder
	b.WriteString("| id | holds if | why | measured by |\n|---|---|---|---|\n")
	for _, c := range audit.Kinds() {
		claim := "–"
		if c.Claim != "" {
			claim = fmt.Sprintf("[%s](claims.md#%s)", c.Claim, strings.ToLower(c.Claim))
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", c.ID, c.Title, c.Why, claim)
	}
	if *update {
		if err := os.WriteFile(file, []byte(head+marker+b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if have != b.String() {
		t.Errorf("%s is stale: go test ./cmd/twohop -run TestChecksTable -update", file)
	}
}

func TestAuditUsage(t *testing.T) {
	for _, args := range [][]string{
		{"audit"}, {"audit", "-f", "a", "--live"}, {"audit", "--live", "-o", "nonsense"}, {"audit", "--live", "--fail-on", "bad"},
		{"audit", "-f", "a", "--from", "1.30"}, {"audit", "--live", "--from", "1.30", "--to", "1.31"}, {"audit", "--from-snapshot", "a", "--live"},
		{"audit", "-f", "a", "-n", "b", "-n", "c"}, {"channels"}, {"rehearse"}, {"rehearse", "-f", "a", "-o", "sarif"}, {"audit", "--from-snapshot", t.TempDir()},
	} {
		var out, errs bytes.Buffer
		if code := execute(t.Context(), args, &out, &errs); code != exitUsage || out.Len() > 0 || strings.Count(errs.String(), "\n") != 1 {
			t.Errorf("%v: exit %d, %q, %q", args, code, out.String(), errs.String())
		}
	}
}

func TestChannels(t *testing.T) {
	var out, errs bytes.Buffer
	if code := execute(t.Context(), []string{"channels", "-f", "../../fixtures"}, &out, &errs); code != exitOK {
		t.Fatalf("exit %d: %s", code, errs.String())
	}
	for _, want := range []string{"api.partner.example.com\n", "callers    Deployment twohop-app/client", "DestinationRule twohop-egress/partner-originate-mtls"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it does not print %q:\n%s", want, out.String())
		}
	}
}

// The exit code is what the report comes to, whatever the format.
func TestAuditExitCodes(t *testing.T) {
	computedtest.Program(t, computed.DefaultLine)
	raw, err := os.ReadFile("../../fixtures/30-egress.yaml")
	if err != nil {
		t.Fatal(err)
	}
	broken := filepath.Join(t.TempDir(), "egress.yaml")
	if err := os.WriteFile(broken, bytes.Replace(raw, []byte("          subjectAltNames: [api.partner.example.com]\n"), nil, 1), 0o644); err != nil {
		t.Fatal(err)
	}
	base := []string{"-f", "../../fixtures/10-client.yaml", "-f", "../../fixtures/20-gateway.yaml", "-f"}
	baseline := filepath.Join(t.TempDir(), "baseline.yaml")
	for _, x := range []struct {
		args []string
		code int
		says string
	}{
		{append(base, "../../fixtures/30-egress.yaml"), exitOK, "PASS"},
		{append(base, "../../fixtures/30-egress.yaml", "--strict"), exitUnknowns, "PASS"},
		{append(base, "../../fixtures/30-egress.yaml", "--fail-on", "low"), exitFindings, "FAIL"},
		{append(base, broken), exitFindings, "subjectAltNames"},
		{append(base, broken, "-o", "json"), exitFindings, `"result": "fail"`},
		{append(base, broken, "-o", "sarif"), exitFindings, `"2.1.0"`},
		{append(base, broken, "--write-baseline", baseline), exitFindings, "FAIL"},
		{append(base, broken, "--exceptions", baseline), exitUsage, ""}, // nobody owns them yet
	} {
		var out, errs bytes.Buffer
		code := execute(t.Context(), append([]string{"audit"}, x.args...), &out, &errs)
		if code != x.code || !strings.Contains(out.String(), x.says) {
			t.Errorf("%v: exit %d, want %d; %s\n%.600s", x.args, code, x.code, errs.String(), out.String())
		}
	}
}
