package rehearse

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// serverName is what the partner calls itself in its pages.
const serverName = "nginx"

// page is an answer of nginx's own making. A title makes it one of the errors that nginx
// tells apart though all of them are a 400.
func page(status int, title, text string) string {
	name := fmt.Sprintf("%d %s", status, http.StatusText(status))
	head := name
	if title != "" {
		head = fmt.Sprintf("%d %s", status, title)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "<html>\r\n<head><title>%s</title></head>\r\n<body>\r\n<center><h1>%s</h1></center>\r\n", head, name)
	if text != "" {
		fmt.Fprintf(&b, "<center>%s</center>\r\n", text)
	}
	fmt.Fprintf(&b, "<hr><center>%s</center>\r\n</body>\r\n</html>\r\n", serverName)
	return fmt.Sprintf("HTTP/1.1 %s\r\nServer: %s\r\nContent-Type: text/html\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", name, serverName, b.Len(), b.String())
}

// line is one of the partner's access log, as partner-nginx/nginx.conf has nginx write it.
type line struct {
	token, host, uri, protocol, peer, xfcc string
	status, port                           int
	tls, cipher, sni, verify               string
	client                                 description
	connection                             uint64
	at                                     time.Time
}

func newLine(c *connection, r *http.Request, state *tls.ConnectionState) line {
	peer, _, _ := net.SplitHostPort(c.RemoteAddr().String())
	l := line{
		token: pathToken(r.RequestURI), host: r.Host, uri: r.RequestURI, protocol: r.Proto, peer: peer, xfcc: r.Header.Get("x-forwarded-client-cert"),
		status: http.StatusOK, port: portOf(c.LocalAddr()), connection: c.number, at: time.Now(),
	}
	if state != nil {
		l.tls, l.cipher, l.sni = tlsVersions[state.Version], openSSL(state.CipherSuite), state.ServerName
		if len(state.PeerCertificates) > 0 {
			l.client = describe(state.PeerCertificates[0])
		}
	}
	return l
}

// pathToken is the last segment of a path, without a query.
func pathToken(uri string) string {
	path, _, _ := strings.Cut(uri, "?")
	last := path[strings.LastIndex(path, "/")+1:]
	if plain, err := url.PathUnescape(last); err == nil {
		return plain
	}
	return last
}

var tlsVersions = map[uint16]string{tls.VersionTLS12: "TLSv1.2", tls.VersionTLS13: "TLSv1.3"}

// openSSL spells a cipher suite as OpenSSL does, which drops what RFC 5246 puts around
// the names; those of TLS 1.3 are the same.
func openSSL(suite uint16) string {
	name := tls.CipherSuiteName(suite)
	before, after, old := strings.Cut(strings.TrimPrefix(name, "TLS_"), "_WITH_")
	if !old {
		return name
	}
	after = strings.NewReplacer("AES_128", "AES128", "AES_256", "AES256", "CHACHA20_POLY1305_SHA256", "CHACHA20-POLY1305").Replace(after)
	if before == "RSA" {
		before = ""
	} else {
		before = strings.ReplaceAll(before, "_", "-") + "-"
	}
	return before + strings.ReplaceAll(after, "_", "-")
}

// json is the line, or without times and x-forwarded-client-cert the body of the answer
// (partner-nginx/echo.conf).
func (l line) json(logged bool) string {
	var b strings.Builder
	put := func(name string, value any) {
		quoted, err := json.Marshal(fmt.Sprint(value))
		if err != nil {
			panic(err) // a string
		}
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "%q:%s", name, quoted)
	}
	put("token", l.token)
	if logged {
		put("time", l.at.UTC().Format(time.RFC3339))
		put("msec", fmt.Sprintf("%d.%03d", l.at.Unix(), l.at.Nanosecond()/1e6))
	}
	put("status", l.status)
	put("port", l.port)
	put("peer", l.peer)
	put("host", l.host)
	put("uri", l.uri)
	put("protocol", l.protocol)
	put("tls", l.tls)
	put("cipher", l.cipher)
	put("sni", l.sni)
	put("verify", l.verify)
	put("dn", l.client.dn)
	put("issuer", l.client.issuer)
	put("serial", l.client.serial)
	put("fingerprint", l.client.fingerprint)
	if logged {
		put("xfcc", l.xfcc)
	}
	put("connection", l.connection)
	put("connection_requests", 1)
	return "{" + b.String() + "}"
}
