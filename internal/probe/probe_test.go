package probe

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"twohop/internal/envoy"
	"twohop/internal/subject"
)

func TestArguments(t *testing.T) {
	s := subject.Default()
	other := s
	other.AppPort = 8080
	for _, tt := range []struct {
		name string
		s    subject.Subject
		r    Request
		want []string
	}{
		{"plain", s, Request{Token: "t1"}, []string{
			"curl", "--silent", "--show-error", "--max-time", "10", "--write-out", `\n%{json}\n`,
			"http://api.partner.example.com/probe/t1"}},
		{"to an address, in time, with more", s, Request{Token: "t1", Connect: "10.96.0.7", Timeout: 1500 * time.Millisecond, Args: []string{"--http2"}}, []string{
			"curl", "--silent", "--show-error", "--max-time", "1.5", "--write-out", `\n%{json}\n`,
			"--resolve", "api.partner.example.com:80:10.96.0.7", "--http2",
			"http://api.partner.example.com/probe/t1"}},
		{"another port", other, Request{Token: "t1", Connect: "10.96.0.7"}, []string{
			"curl", "--silent", "--show-error", "--max-time", "10", "--write-out", `\n%{json}\n`,
			"--resolve", "api.partner.example.com:8080:10.96.0.7",
			"http://api.partner.example.com:8080/probe/t1"}},
		{"several on one connection", s, Request{Token: "t1", More: []string{"t2", "t3"}, Pace: 500 * time.Millisecond}, []string{
			"curl", "--silent", "--show-error", "--max-time", "10", "--write-out", `\n%{json}\n`,
			"--rate", "2/s",
			"http://api.partner.example.com/probe/t1", "http://api.partner.example.com/probe/t2", "http://api.partner.example.com/probe/t3"}},
		{"one that fails", s, Request{Token: "t1", Want: Fail}, []string{
			"curl", "--silent", "--show-error", "--max-time", "10", "--write-out", `\n%{json}\n`,
			"http://api.partner.example.com/fail/t1"}},
		{"slow ones at once", s, Request{Token: "t1", More: []string{"t2"}, Want: Slow, AtOnce: true}, []string{
			"curl", "--silent", "--show-error", "--max-time", "10", "--write-out", `\n%{json}\n`,
			"--parallel", "--parallel-immediate", "--parallel-max", "2",
			"--output", "/dev/null", "http://api.partner.example.com/slow/t1",
			"--output", "/dev/null", "http://api.partner.example.com/slow/t2"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, Arguments(tt.s, tt.r)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// The partner and the access logs are read for the path's last segment.
func TestTokenIsFoundAgain(t *testing.T) {
	seen := map[string]bool{}
	for range 100 {
		token := NewToken()
		if seen[token] || !regexp.MustCompile(`^t[0-9a-f]{12}$`).MatchString(token) {
			t.Fatalf("the token %q came before or is of another shape", token)
		}
		seen[token] = true
		if got := (envoy.AccessLog{Path: Path(token)}).Token(); got != token {
			t.Fatalf("%s is read as %q", Path(token), got)
		}
	}
}

func TestCommandIsWhatAPersonTypes(t *testing.T) {
	got := Command(subject.Default(), Request{Token: "t1", Args: []string{"--header", "x: y"}})
	want := `kubectl exec -n twohop-app deploy/client -c app -- curl --silent --show-error --max-time 10 --write-out '\n%{json}\n' --header 'x: y' http://api.partner.example.com/probe/t1`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// A shell reads what Quote writes as the same words.
func TestQuote(t *testing.T) {
	args := []string{"plain", "", " ", "two words", "it's", `"quoted"`, `back\slash`, "$HOME", "`date`", "$(date)", "a\nb", "a\tb", "*", "?", "[a]", "{a,b}",
		"~", "~root", "a;b", "a&b", "a|b", "a>b", "a<b", "#no", "a#b", "!", "(a)", `'`, `''`, `\'`, "a=b", "--x=y z", "ünï", "%{json}", "-n"}
	sh := exec.Command("sh", "-c", `for word in `+Quote(args)+`; do printf '%s\0' "$word"; done`)
	sh.Dir = t.TempDir()
	out, err := sh.Output()
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
	if diff := cmp.Diff(args, got); diff != "" {
		t.Errorf("-args +shell:\n%s", diff)
	}
	if got := Quote([]string{"curl", "--max-time", "10", "http://a/b"}); got != "curl --max-time 10 http://a/b" {
		t.Errorf("quoted without need: %s", got)
	}
}
