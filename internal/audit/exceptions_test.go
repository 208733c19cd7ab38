package audit

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"twohop/internal/channel"
	"twohop/internal/objects"
)

// judged is the report of a mesh without channels and with one finding.
func judged(exceptions []Exception, now string) *Report {
	at, err := time.Parse(time.RFC3339, now)
	if err != nil {
		panic(err)
	}
	return Judge(Input{
		Run: Run{Source: "live", FailOn: High}, Mesh: channel.Read(&objects.Set{}, channel.DefaultSettings()), Now: at, Exceptions: exceptions,
		Channels: nil,
		Also:     []Finding{{ID: "29", Severity: Critical, Hop: 1, Object: objects.Ref{Kind: "Pod", Namespace: "n", Name: "p"}, Seen: "refused", Wanted: "accepted"}},
	})
}

func TestAnExceptionHoldsUntilItsDayEnds(t *testing.T) {
	e := []Exception{{ID: "29", Object: "Pod n/p", Reason: "r", Owner: "o", Expires: "2026-12-31"}}
	r := judged(e, "2026-12-31T23:59:59Z")
	if len(r.Findings) != 1 || r.Findings[0].Status != Excepted || r.Findings[0].Exception == nil || r.Totals.Excepted != 1 || r.Result == Failed {
		t.Errorf("on its last day: %+v", r)
	}
	r = judged(e, "2027-01-01T00:00:00Z")
	if len(r.Findings) != 2 || r.Totals.Excepted != 0 || r.Result != Failed || r.Totals.Failed[Critical] != 1 || r.Totals.Failed[High] != 1 {
		t.Errorf("the day after, the finding and the exception fail: %+v", r)
	}
	for _, other := range []Exception{{ID: "28"}, {ID: "29", Object: "Pod n/q"}, {ID: "29", Host: "elsewhere"}} {
		other.Expires = "2027-12-31"
		if r := judged([]Exception{other}, "2026-12-01T00:00:00Z"); r.Result != Failed || r.Totals.Excepted > 0 {
			t.Errorf("%+v covers what it does not name", other)
		}
	}
}

func TestReadExceptions(t *testing.T) {
	for text, want := range map[string]string{
		"exceptions: [{id: '29', reason: r, expires: 2027-01-31}]":                          "exception 1 has no owner",
		"exceptions: [{id: '29', reason: r, owner: o, expires: soon}]":                      "expires is a day",
		"exceptions: [{id: '99', reason: r, owner: o, expires: 2027-01-31}]":                `there is no check "99"`,
		"exceptions: [{id: '29', reason: r, owner: o, expires: 2027-01-31, until: never}]":  "until",
		"exceptions: [{id: '29', reason: r, owner: o, expires: 2027-01-31, host: a.b.com}]": "",
	} {
		path := filepath.Join(t.TempDir(), "exceptions.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := ReadExceptions(path)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

func TestABaselineNeedsAnOwner(t *testing.T) {
	path := filepath.Join(t.TempDir(), "baseline.yaml")
	r := judged(nil, "2026-12-01T00:00:00Z")
	if err := WriteBaseline(path, r, time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadExceptions(path); err == nil || !strings.Contains(err.Error(), "no owner") {
		t.Errorf("%v", err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(string(raw), `owner: ""`, "owner: me")), 0o600); err != nil {
		t.Fatal(err)
	}
	exceptions, err := ReadExceptions(path)
	if err != nil || len(exceptions) != 1 {
		t.Fatalf("%v %+v", err, exceptions)
	}
	if r := judged(exceptions, "2026-12-01T00:00:00Z"); r.Totals.Excepted != 1 {
		t.Errorf("%+v", r.Findings)
	}
}

// Without a channel nothing was audited, which is no pass.
func TestNothingToAuditIsUnknown(t *testing.T) {
	r := Judge(Input{Run: Run{Source: "computed", FailOn: High}, Mesh: channel.Read(&objects.Set{}, channel.DefaultSettings()), Now: time.Now()})
	if r.Result != Unclear {
		t.Errorf("%s", r.Result)
	}
}
