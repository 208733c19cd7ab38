package experiment

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"

	"twohop/internal/manifest"
	"twohop/internal/observe"
	"twohop/internal/subject"
	partnernginx "twohop/partner-nginx"
)

// taped answers a replay's inputs with what the run made.
type taped struct {
	castSource
	made   map[string][]byte
	replay bool
}

func (s *taped) Begin(ctx context.Context, at observe.Slot, q observe.Question, meta observe.Meta) observe.Pending {
	in, ok := q.(observe.Input)
	if !ok {
		raw, err := json.Marshal(observe.Cast{PartnerService: "10.96.0.9", Pods: []observe.Pod{
			{Role: subject.Sidecar, Name: "client-1"}, {Role: subject.Gateway, Name: "gateway-1"}, {Role: subject.Partner, Name: "partner-1", IP: "10.244.0.9"}}})
		return reply{observe.Answer{Raw: raw}, err}
	}
	if !s.replay {
		raw, err := in.Make()
		s.made[at.String()] = raw
		return reply{observe.Answer{Raw: raw}, err}
	}
	return reply{observe.Answer{Raw: s.made[at.String()]}, nil}
}

// nowhere is a world in which changes cost nothing.
type nowhere struct{}

func (nowhere) Vary(context.Context, ...manifest.Variation) error { return nil }
func (nowhere) Return(context.Context, *manifest.Set) error       { return nil }

// sampled changes Secrets in every way that a claim does.
var sampled = Define("G1", func(s *Setup) Experiment[int] {
	ns := s.Subject.Gateway.Namespace
	first, second := s.NewPair(), s.NewPair()
	short := s.Issue(s.Certificates.ClientCA, "short", partnernginx.ValidFor(6*time.Second), partnernginx.DNS("a.example"))
	list := s.CRL(s.PartnerCertificate(), second.Cert)
	revoking := s.CredentialSecret("revoking", first)
	revoking.Data["ca.crl"] = list
	_, service := s.PartnerAddresses()
	return Experiment[int]{
		Arrange: []manifest.Variation{
			manifest.Add("two pairs", s.CredentialSecret("first", first), s.CredentialSecret("second", second)).Holding(manifest.SDSName("second"), second.Serial()),
			manifest.Add("a list", revoking),
			manifest.Secret("a CA", ns, "stranger", map[string][]byte{"ca.crt": s.Certificates.Stranger.CertPEM, "note": []byte("cost: $5 `now` \\")}),
			s.PartnerName("elsewhere").Has("a name", service),
		},
		Check: func(t *T) int { t.Past(short); t.Fact("a", Given(t, "a", 1), gomega.Equal(1)); return 0 },
		Control: []manifest.Variation{
			manifest.Remove("no more first", &corev1.Secret{ObjectMeta: s.InGateway("first")}),
			manifest.Input("", "a", 2),
			manifest.Add("the short one", s.CredentialSecret("short", short)),
			s.RemoveDestinationRule("no rule", s.Subject.Hop2Rule),
		},
		Flips: []string{"a"},
	}
})

// scripts are those of a run and of its replay.
func scripts(t *testing.T) (run, replay string) {
	t.Helper()
	source := &taped{made: map[string][]byte{}}
	a, b := grounds(t)
	script := func(e *manifest.Editor) string {
		out := sampled.Run(t.Context(), Environment{World: nowhere{}, Source: source, Editor: e, Now: time.Now})
		if out.Finding.Error != "" {
			t.Fatal(out.Finding.Error)
		}
		return string(out.Script)
	}
	run = script(a)
	source.replay = true
	return run, script(b)
}

// A replay has no key, and its script is the run's, byte by byte.
func TestScriptIsTheSameInAReplay(t *testing.T) {
	run, replay := scripts(t)
	if d := cmp.Diff(run, replay); d != "" {
		t.Errorf("-run +replay:\n%s", d)
	}
}

// The script makes all keys and certificates that it applies: none is in it, and
// none is left out.
func TestScriptMakesItsKeys(t *testing.T) {
	run, _ := scripts(t)
	_, steps, _ := strings.Cut(run, "\naddress=")
	for _, want := range []string{
		"take client-ca.key twohop-partner partner-ca client-ca.key\nissue pair-1 client-ca egress-client 604800\n",
		"  ca.crt: $(b64 server-ca.crt)\n  tls.crt: $(b64 pair-1.crt)\n  tls.key: $(b64 pair-1.key)\n",
		"issue pair-2 client-ca egress-client 604800\n", "  tls.key: $(b64 pair-2.key)\n",
		"holds twohop-egress deploy/partner-egressgateway", "second%24' pair-2.crt\n",
		"revoke list-1.crl server-ca partner-server.crt pair-2.crt\n", "  ca.crl: $(b64 list-1.crl)\n",
		"  ca.crt: $(b64 stranger-ca.crt)\n",
		"- $address\n", `resolves elsewhere.twohop-partner.svc.cluster.local "$address"`,
		"await \"pair-3.crt has expired\" expired pair-3.crt\n",
		"drop secret twohop-egress first\n", "drop destinationrule.networking.istio.io twohop-egress partner-originate-mtls\n",
	} {
		if !strings.Contains(steps, want) {
			t.Errorf("the script lacks %q", want)
		}
	}
	for _, line := range strings.Split(steps, "\n") {
		if n := strings.Count(line, "issue pair-3 client-ca short 2"); n > 0 && !strings.HasSuffix(line, "DNS:a.example") {
			t.Errorf("%q lacks the alternative name", line)
		}
	}
	for _, never := range []string{"LS0tLS1CRUdJTi", "bGVmdCBvdXQ6", "10.96.0.9", "PRIVATE KEY"} { // base64 of "-----BEGIN" and "left out:"
		if strings.Contains(steps, never) {
			t.Errorf("the script holds %q", never)
		}
	}
	if n := strings.Count(steps, "\nissue pair-1 "); n != 1 {
		t.Errorf("pair-1 is issued %d times", n)
	}
}

// A heredoc that the shell expands leaves everything but the markers alone.
func TestHeredocIsProtected(t *testing.T) {
	const text = "cost: $5 `now` \\ $(date) \\$ \"quoted\"\n"
	out, err := exec.Command("sh", "-c", "cat <<YAML\n"+inHeredoc.Replace(text)+"YAML\n").Output()
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(text, string(out)); d != "" {
		t.Error(d)
	}
}

// The shell makes what the steps ask for: certificates that the lab's CA
// vouches for, with the names and the lifetime that were asked for, and a list.
func TestLibraryIssues(t *testing.T) {
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("openssl is not there")
	}
	pki, err := partnernginx.NewPKI()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, raw := range map[string][]byte{"client-ca.crt": pki.ClientCA.CertPEM, "client-ca.key": pki.ClientCA.KeyPEM, "reproduce.sh": []byte(library)} {
		if err := os.WriteFile(filepath.Join(dir, name), raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const steps = `. "$0/reproduce.sh"
cp "$0"/client-ca.* "$work"
issue pair-1 client-ca egress-client 604800
issue pair-2 client-ca short 20 DNS:a.example
issue pair-3 client-ca old -60
revoke list-1.crl client-ca pair-1.crt
cat "$work/pair-1.crt" "$work/pair-2.crt"
cd "$work"
openssl verify -CAfile client-ca.crt pair-1.crt pair-2.crt >verified || exit
openssl verify -CAfile client-ca.crt -crl_check -CRLfile list-1.crl pair-1.crt 2>&1 | grep -q 'certificate revoked' || die "not revoked"
expired pair-3.crt || die "pair-3 lives"
! expired pair-2.crt || die "pair-2 has expired"
`
	cmd := exec.Command("sh", "-c", steps, dir)
	cmd.Env = append(os.Environ(), "TMPDIR="+dir)
	raw, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, raw)
	}
	cut := strings.Index(string(raw[1:]), "-----BEGIN") + 1
	first, err := partnernginx.ParsePair(raw[:cut])
	if err != nil {
		t.Fatal(err)
	}
	second, err := partnernginx.ParsePair(raw[cut:])
	if err != nil {
		t.Fatal(err)
	}
	if got := first.Cert.Subject.String(); got != partnernginx.ClientDN {
		t.Errorf("the subject is %q", got)
	}
	if left := time.Until(second.Cert.NotAfter); left > 20*time.Second || left < 5*time.Second {
		t.Errorf("the short one lives %v", left)
	}
	if d := cmp.Diff([]string{"a.example"}, second.Cert.DNSNames); d != "" {
		t.Error(d)
	}
	left, err := filepath.Glob(filepath.Join(dir, "tmp.*"))
	if err != nil || len(left) > 0 {
		t.Errorf("the script left %v, %v", left, err)
	}
}

// What the scripts are made of is a POSIX shell's, and so is a script.
func TestScriptIsPOSIX(t *testing.T) {
	if _, err := exec.LookPath("shellcheck"); err != nil {
		t.Skip("shellcheck is not there")
	}
	run, _ := scripts(t)
	file := filepath.Join(t.TempDir(), "G1.sh")
	if err := os.WriteFile(file, []byte(run), 0o600); err != nil {
		t.Fatal(err)
	}
	if raw, err := exec.Command("shellcheck", file).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, raw)
	}
}
