package online

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"twohop/internal/audit"
	"twohop/internal/audit/livesource"
	"twohop/internal/envoy"
)

// snapshot is what `twohop audit --snapshot` kept of a lab on kind (Istio 1.31).
func snapshot(t *testing.T) *livesource.Snapshot {
	t.Helper()
	f, err := os.Open("testdata/snapshot.tgz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	packed, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for in := tar.NewReader(packed); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, filepath.FromSlash(h.Name))
		if h.FileInfo().IsDir() {
			err = os.MkdirAll(path, 0o755)
		} else {
			var raw []byte
			if raw, err = io.ReadAll(in); err == nil {
				err = os.WriteFile(path, raw, 0o644)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	s, err := livesource.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func judged(t *testing.T, s *livesource.Snapshot) *audit.Report {
	t.Helper()
	in, err := Input(s)
	if err != nil {
		t.Fatal(err)
	}
	return audit.Judge(in)
}

func find(r *audit.Report, id string, status audit.Status) (audit.Finding, bool) {
	for _, f := range r.Findings {
		if f.ID == id && f.Status == status {
			return f, true
		}
	}
	return audit.Finding{}, false
}

func TestTheLabPasses(t *testing.T) {
	r := judged(t, snapshot(t))
	if r.Result != audit.Passed || len(r.Channels) != 1 || !r.Channels[0].DoubleTLS || r.Totals.Unknown > 0 {
		t.Errorf("%s, %+v, %+v", r.Result, r.Totals, r.Channels)
	}
	// The lab's client certificates live for a week.
	if f, ok := find(r, "21", audit.Fail); !ok || f.Severity != audit.Medium || !strings.Contains(f.Seen, "2026-12-05") {
		t.Errorf("the certificate's end, by the gateway's own dump: %+v", f)
	}
}

func TestAnExpiredCertificate(t *testing.T) {
	s := snapshot(t)
	s.At = s.At.Add(14 * 24 * time.Hour)
	if f, ok := find(judged(t, s), "21", audit.Fail); !ok || f.Severity != audit.Critical {
		t.Errorf("%+v", f)
	}
}

// What could not be read is unknown, never passed.
func TestAMissingRightIsUnknown(t *testing.T) {
	for name, x := range map[string]struct {
		take func(s *livesource.Snapshot)
		id   string
	}{
		"no access review": {func(s *livesource.Snapshot) { s.Accounts = nil }, "05"},
		"a review that failed": {func(s *livesource.Snapshot) {
			s.Accounts[0].Answer, s.Accounts[1].Answer = livesource.AccessUnknown, livesource.AccessUnknown
		}, "05"},
		"no proxy":           {func(s *livesource.Snapshot) { s.Proxies = nil }, "29"},
		"no view of a proxy": {func(s *livesource.Snapshot) { s.Proxies[0].Envoy, s.Proxies[0].Istiod = nil, nil }, "29"},
		"objects that are not there": {func(s *livesource.Snapshot) {
			s.Missing = append(s.Missing, livesource.Missing{What: "virtualservices", Why: "forbidden", Resource: "virtualservices"})
		}, "32"},
	} {
		s := snapshot(t)
		x.take(s)
		r := judged(t, s)
		if f, ok := find(r, x.id, audit.Unknown); !ok {
			t.Errorf("%s: check %s is not unknown: %+v", name, x.id, r.Findings)
		} else if f.Seen == "" {
			t.Errorf("%s: it does not say why", name)
		}
		for _, c := range r.Checks {
			if c.ID == x.id && c.Host != "" {
				t.Errorf("%s: check %s has passed", name, x.id)
			}
		}
	}
}

// Where objects could not be read, what rests on them is unknown: that none is there is
// not said.
func TestObjectsThatCouldNotBeReadAreNotAbsent(t *testing.T) {
	istio, kubernetes := "networking.istio.io", "networking.k8s.io"
	for _, x := range []struct {
		id, group, resource, namespace string
	}{
		{"01", istio, "destinationrules", ""}, {"07", istio, "destinationrules", ""}, {"12", istio, "serviceentries", ""},
		{"28", istio, "virtualservices", ""}, {"28", istio, "gateways", ""}, {"28", istio, "sidecars", ""}, {"28", istio, "", ""},
		{"15", kubernetes, "networkpolicies", ""}, {"15", kubernetes, "networkpolicies", "twohop-app"},
		{"20", "security.istio.io", "authorizationpolicies", ""}, {"20", "security.istio.io", "authorizationpolicies", "twohop-egress"},
	} {
		s := snapshot(t)
		missing := livesource.Missing{What: x.resource, Why: "this account may not list it", Group: x.group, Resource: x.resource}
		if x.namespace != "" {
			missing.Namespaces = []string{x.namespace}
		}
		s.Missing = append(s.Missing, missing)
		r := judged(t, s)
		if f, ok := find(r, x.id, audit.Unknown); !ok || !strings.Contains(f.Seen, "may not list") {
			t.Errorf("%+v: check %s is not unknown: %+v", x, x.id, f)
		}
		if f, ok := find(r, x.id, audit.Fail); ok {
			t.Errorf("%+v: check %s says that something is absent: %+v", x, x.id, f)
		}
		for _, c := range r.Checks {
			if c.ID == x.id {
				t.Errorf("%+v: check %s has passed", x, x.id)
			}
		}
	}
}

// Of a proxy that was not compared with istiod, nobody knows whether it is in sync.
func TestWithoutAComparisonInSyncIsNotPassed(t *testing.T) {
	s := snapshot(t)
	for _, p := range s.Proxies {
		p.Sync.Compared, p.Sync.Differences = false, nil
	}
	for _, c := range judged(t, s).Checks {
		if c.ID == "29" {
			t.Errorf("passed: %+v", c)
		}
	}
}

func TestADeniedAccount(t *testing.T) {
	s := snapshot(t)
	for i := range s.Accounts {
		s.Accounts[i].Answer = livesource.AccessDenied
	}
	if f, ok := find(judged(t, s), "05", audit.Fail); !ok || f.Severity != audit.Critical {
		t.Errorf("%+v", f)
	}
}

func TestProxiesThatAreNotInSync(t *testing.T) {
	s := snapshot(t)
	p := s.Proxies[0]
	p.Sync.Rejected = []envoy.Rejection{{Name: "cluster x", Details: "no"}}
	p.Sync.Compared, p.Sync.Differences = true, []livesource.Difference{{Kind: "cluster", Name: "y", Where: "istiod"}}
	p.Sync.MinorsApart = 2
	r := judged(t, s)
	var seen []string
	for _, f := range r.Findings {
		if f.ID == "29" {
			seen = append(seen, string(f.Severity)+" "+f.Seen)
		}
	}
	if all := strings.Join(seen, "\n"); len(seen) != 3 || !strings.Contains(all, "critical the proxy refused cluster x: no") || !strings.Contains(all, "high cluster y: istiod would send it") {
		t.Errorf("%v", seen)
	}
}
