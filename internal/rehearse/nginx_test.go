package rehearse

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"twohop/internal/envoy"
	partnernginx "twohop/partner-nginx"
)

// realPartner starts nginx with the catalogue's configuration on ports of ours.
func realPartner(t *testing.T, w world) (ports map[Place]int, others int, log string) {
	t.Helper()
	program := os.Getenv("TWOHOP_NGINX")
	if program == "" {
		var err error
		if program, err = exec.LookPath("nginx"); err != nil {
			t.Skip("no nginx: install nginx-light, or set TWOHOP_NGINX to one; nothing was compared")
		}
	}
	dir := t.TempDir()
	files, err := w.pki.partner.ServerFiles(host)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"nginx.conf", "echo.conf"} {
		if files[name], err = partnernginx.Files.ReadFile(name); err != nil {
			t.Fatal(err)
		}
	}
	held := newPorts(t)
	moved := map[string]int{}
	text := regexp.MustCompile(`(?m)^(\s*listen )(\d+)`).ReplaceAllStringFunc(string(files["nginx.conf"]), func(s string) string {
		port := s[strings.LastIndex(s, " ")+1:]
		if moved[port] == 0 {
			var err error
			if moved[port], err = held.take(); err != nil {
				t.Fatal(err)
			}
		}
		return strings.TrimSuffix(s, port) + hostPort(loopback, moved[port])
	})
	log = filepath.Join(dir, "log")
	text = strings.NewReplacer("/etc/partner/pki/", dir+"/", "/etc/partner/", dir+"/", "/dev/stdout", log, "/tmp/", dir+"/").Replace(text)
	files["nginx.conf"] = []byte(text)
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil { // a worker of root's nginx is nobody
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, program, "-p", dir, "-c", filepath.Join(dir, "nginx.conf"), "-e", log)
	cmd.SysProcAttr = withParent()
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // its worker ends with it
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); _ = cmd.Wait() })
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if status, _, _, err := callers["plaintext where it belongs"].call(moved["8080"], nil, w.own); err == nil && status == 200 {
			// Its line comes after its answer; what is read later is of later calls.
			if said, err := os.ReadFile(log); err == nil && bytes.Contains(said, []byte(`"token":"token-1"`)) {
				break
			}
		}
		if time.Now().After(end) {
			said, _ := os.ReadFile(log)
			t.Fatalf("nginx does not answer: %s", said)
		}
	}
	return map[Place]int{AtTLS: moved["8443"], AtPlain: moved["8080"]}, moved["8448"], log
}

func newPorts(t *testing.T) *ports {
	p := &ports{}
	t.Cleanup(p.release)
	return p
}

var (
	itsVersion = regexp.MustCompile(`nginx/[0-9.]+`)
	// its own port, number and time
	itsOwn = regexp.MustCompile(`"(port|connection|connection_requests|time|msec|cipher)":"[^"]*"`)
)

// TestLikeNginx holds the partner equal to the catalogue's nginx.
func TestLikeNginx(t *testing.T) {
	w := newWorld(t)
	real, others, log := realPartner(t, w)
	ours := serveWorld(t, w, false)
	for _, name := range []string{"as it should be", "TLS 1.2", "no certificate", "plaintext", "plaintext where it belongs", "another server name", "other clients", "only HTTP/2"} {
		t.Run(name, func(t *testing.T) {
			c := callers[name]
			if c.variation == "" {
				c.variation = Plain
			}
			port := real[c.at]
			if c.variation == OtherClients {
				port = others
			}
			before, err := os.ReadFile(log)
			if err != nil {
				t.Fatal(err)
			}
			theirStatus, theirBody, _, theirErr := c.call(port, w.roots, w.own)
			ours.become(c.variation, AtTLS)
			from := ours.mark()
			status, body, _, err := c.call(ours.ports[c.at], w.roots, w.own)
			if fmt.Sprint(err) != fmt.Sprint(theirErr) {
				t.Errorf("nginx: %v\nours:  %v", theirErr, err)
			}
			plain := func(b []byte) string {
				return itsOwn.ReplaceAllString(itsVersion.ReplaceAllString(string(b), "nginx"), `"$1":""`)
			}
			if status != theirStatus || plain(body) != plain(theirBody) {
				t.Errorf("nginx: %d %s\nours:  %d %s", theirStatus, plain(theirBody), status, plain(body))
			}
			ours.idle(settle)
			seen, _ := ours.since(from)
			var noted []string
			for _, s := range seen {
				noted = append(noted, plain(s.Raw))
			}
			var theirs []string
			for end := time.Now().Add(time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
				raw, err := os.ReadFile(log)
				if err != nil {
					t.Fatal(err)
				}
				theirs = nil
				for line := range bytes.Lines(raw[len(before):]) {
					if envoy.IsPartnerLog(line) {
						theirs = append(theirs, plain(bytes.TrimSpace(line)))
					}
				}
				if len(theirs) >= len(noted) {
					break
				}
			}
			if strings.Join(theirs, "\n") != strings.Join(noted, "\n") {
				t.Errorf("nginx's log: %s\nours:        %s", theirs, noted)
			}
		})
	}
}
