package envoy

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// partnerFields are those that both the partner's log and its answer have.
var partnerFields = []string{
	"token", "status", "port", "peer", "host", "uri", "protocol", "tls", "cipher", "sni", "verify",
	"dn", "issuer", "serial", "fingerprint", "connection", "connection_requests",
}

// PartnerLog is what the partner saw of one request: a line of its access log,
// or the same in the body of its answer.
type PartnerLog struct {
	Token string
	Time  time.Time // zero in an answer; to the second
	// Logged is when the line was written, to the millisecond; zero where the
	// line does not tell.
	Logged time.Time
	Status uint64 // in an answer the status when it was written
	Port   uint64 // where the partner listens

	Peer     string // the caller's address, without a port
	Host     string // the Host header
	URI      string // with query
	Protocol string // "HTTP/1.1"

	// TLS, all empty for plaintext.
	TLS    string // "TLSv1.3"
	Cipher string
	SNI    string

	// The client certificate. Verify is "SUCCESS", "NONE" or "FAILED:reason",
	// and empty for plaintext; the others are empty without a certificate.
	Verify      string
	DN, Issuer  string // RFC 2253
	Serial      string // as NormalizeSerial
	Fingerprint string // SHA-1, hex, lower-case
	// XFCC is the x-forwarded-client-cert header that arrived; nil where the
	// line does not tell.
	XFCC *string

	Connection         uint64 // nginx's serial number of the connection
	ConnectionRequests uint64 // requests so far on it, this one included
}

// IsPartnerLog tells the partner's access log lines from its error log, which
// shares the container's output. It does not say that the line parses.
func IsPartnerLog(line []byte) bool {
	return bytes.HasPrefix(bytes.TrimSpace(line), []byte(`{"token":`))
}

// ParsePartnerLog reads one line of the partner's access log. Every field has
// to be there, though it may be empty where PartnerLog says so.
func ParsePartnerLog(line []byte) (PartnerLog, error) {
	f, err := newFields("partner log", line)
	if err != nil {
		return PartnerLog{}, err
	}
	f.require("time", "xfcc")
	l := f.partner()
	l.Time = f.time("time", time.RFC3339)
	if msec := f.text("msec"); msec != "" { // "1764000000.123"
		at, err := strconv.ParseFloat(msec, 64)
		if err != nil {
			f.fail("field msec: %v", err)
		}
		l.Logged = time.UnixMilli(int64(at*1000 + 0.5)).UTC()
	}
	if f.err != nil {
		return PartnerLog{}, f.err
	}
	return l, nil
}

// ParsePartnerEcho reads the body of the partner's answer.
func ParsePartnerEcho(body []byte) (PartnerLog, error) {
	f, err := newFields("partner answer", body)
	if err != nil {
		return PartnerLog{}, err
	}
	l := f.partner()
	if f.err != nil {
		return PartnerLog{}, f.err
	}
	return l, nil
}

func (f *fields) partner() PartnerLog {
	f.require(partnerFields...)
	l := PartnerLog{
		Token: f.text("token"), Peer: f.text("peer"), Host: f.text("host"), URI: f.text("uri"),
		Protocol: f.text("protocol"), TLS: f.text("tls"), Cipher: f.text("cipher"), SNI: f.text("sni"),
		Verify: f.text("verify"), DN: f.text("dn"), Issuer: f.text("issuer"),
		Fingerprint: strings.ToLower(f.text("fingerprint")),
		Status:      f.must("status"), Port: f.must("port"),
		Connection: f.must("connection"), ConnectionRequests: f.must("connection_requests"),
	}
	if l.Peer == "" {
		f.fail("field peer is empty")
	}
	if of := pathToken(l.URI); of != l.Token {
		f.fail("field token is %q, but the uri's token is %q", l.Token, of)
	}
	if s := f.text("serial"); s != "" {
		var err error
		if l.Serial, err = NormalizeSerial(s); err != nil {
			f.fail("field serial: %v", err)
		}
	}
	if _, ok := f.raw["xfcc"]; ok {
		xfcc := f.text("xfcc")
		l.XFCC = &xfcc
	}
	return l
}

func (f *fields) must(name string) uint64 {
	n := f.number(name)
	if n == nil {
		f.fail("field %s has no number", name)
		return 0
	}
	return *n
}

// NginxError is one line of nginx's error log.
type NginxError struct {
	// Time is nginx's local time, which the line does not place; the partner's
	// container runs on UTC.
	Time       time.Time
	Level      string // "info", "notice", "error", …
	Connection *uint64
	Message    string // without what follows here
	// What the line tells of the request; empty where it does not.
	Client, Server, Request, Host string
}

var (
	nginxLine = regexp.MustCompile(`^(\d{4}/\d\d/\d\d \d\d:\d\d:\d\d) \[([a-z]+)\] \d+#\d+: (?:\*(\d+) )?(.*)$`)
	// What nginx appends to a message, in its order.
	nginxContext = regexp.MustCompile(`^(.*?), client: ([^,]+)(?:, server: ([^,]*?))?(?:, request: "(.*?)")?(?:, subrequest: ".*?")?(?:, upstream: ".*?")?(?:, host: "(.*?)")?(?:, referrer: ".*?")?$`)
)

// ParseNginxError reads one line of nginx's error log.
func ParseNginxError(line []byte) (NginxError, error) {
	m := nginxLine.FindSubmatch(bytes.TrimRight(line, "\r\n"))
	if m == nil {
		return NginxError{}, fmt.Errorf("nginx error log: not \"DATE TIME [level] pid#tid: message\": %s", excerpt(line))
	}
	when, err := time.Parse("2006/01/02 15:04:05", string(m[1]))
	if err != nil {
		return NginxError{}, fmt.Errorf("nginx error log: %w: %s", err, excerpt(line))
	}
	e := NginxError{Time: when, Level: string(m[2]), Message: string(m[4])}
	if len(m[3]) > 0 {
		n, err := strconv.ParseUint(string(m[3]), 10, 64)
		if err != nil {
			return NginxError{}, fmt.Errorf("nginx error log: connection number: %w: %s", err, excerpt(line))
		}
		e.Connection = &n
	}
	if c := nginxContext.FindStringSubmatch(e.Message); c != nil {
		e.Message, e.Client, e.Server, e.Request, e.Host = c[1], c[2], c[3], c[4], c[5]
	}
	return e, nil
}

// Token is the probe's token in the request line, if the line has one.
func (e NginxError) Token() string {
	words := strings.Fields(e.Request)
	if len(words) < 2 {
		return ""
	}
	return pathToken(words[1])
}
