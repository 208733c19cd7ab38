package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/rest"
)

const metrics = "# TYPE twohop_audit_checks_passed gauge\ntwohop_audit_checks_passed 2.0\n# EOF\n"

// What an audit printed is published if it was made, and then only.
func TestRun(t *testing.T) {
	for name, tt := range map[string]struct {
		script    string
		refused   error
		code      int
		published bool
	}{
		"passed":        {`printf "$METRICS"`, nil, 0, true},
		"findings":      {`printf "$METRICS"; exit 1`, nil, 0, true},
		"unknown":       {`printf "$METRICS"; exit 4`, nil, 0, true},
		"usage":         {`printf "$METRICS"; exit 2`, nil, 2, false},
		"not made":      {`exit 3`, nil, 3, false},
		"half":          {`echo "twohop_audit_checks_passed 2.0"`, nil, 3, false},
		"killed":        {`kill -9 $$`, nil, 3, false},
		"not published": {`printf "$METRICS"`, errors.New("forbidden"), 3, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("METRICS", strings.ReplaceAll(metrics, "\n", `\n`))
			got := ""
			code, err := run(t.Context(), []string{"/bin/sh", "-c", tt.script}, io.Discard, io.Discard, func(m string) error {
				if tt.refused == nil {
					got = m
				}
				return tt.refused
			})
			if code != tt.code || (err == nil) != (tt.code == 0) {
				t.Errorf("exit %d, %v", code, err)
			}
			if (got == metrics) != tt.published || got != "" && got != metrics {
				t.Errorf("published: %q", got)
			}
		})
	}
	if code, err := run(t.Context(), []string{"/no/such/program"}, io.Discard, io.Discard, nil); code != 3 || err == nil {
		t.Errorf("a program that is missing: exit %d, %v", code, err)
	}
}

func TestPatch(t *testing.T) {
	status := http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body struct{ Data map[string]string }
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			t.Error(err)
		}
		if r.Method != http.MethodPatch || r.URL.Path != "/api/v1/namespaces/twohop-audit/configmaps/summary" || r.Header.Get("Content-Type") != "application/merge-patch+json" || body.Data[key] != metrics {
			t.Errorf("%s %s %v", r.Method, r.URL, body)
		}
		w.WriteHeader(status)
	}))
	defer server.Close()
	config := &rest.Config{Host: server.URL}
	if err := patch(t.Context(), config, "twohop-audit", "summary", metrics); err != nil {
		t.Error(err)
	}
	status = http.StatusForbidden
	if err := patch(t.Context(), config, "twohop-audit", "summary", metrics); err == nil || !strings.Contains(err.Error(), "403") {
		t.Errorf("forbidden: %v", err)
	}
}

// Before the first audit there are no metrics, which is not an error: the alert about an
// audit that is missing needs the answer.
func TestServe(t *testing.T) {
	folder := t.TempDir()
	h := handler(folder)
	ask := func() string {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		if w.Code != http.StatusOK || !strings.HasPrefix(w.Header().Get("Content-Type"), "application/openmetrics-text") {
			t.Errorf("%d %v", w.Code, w.Header())
		}
		return w.Body.String()
	}
	if got := ask(); got != "# EOF\n" {
		t.Errorf("before the first audit: %q", got)
	}
	if err := os.WriteFile(filepath.Join(folder, key), []byte(metrics), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := ask(); got != metrics {
		t.Errorf("%q", got)
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{nil, {"run"}, {"run", "a/b"}, {"run", "summary", "true"}, {"serve"}, {"serve", "a", "b"}, {"serve", "-x", "a"}} {
		var stderr bytes.Buffer
		if code, err := start(t.Context(), args, io.Discard, &stderr); code != 2 || err == nil {
			t.Errorf("%q: exit %d, %v", args, code, err)
		}
	}
}
