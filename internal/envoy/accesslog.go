package envoy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"
)

// AccessLogFormat is the mesh's accessLogFormat, for accessLogEncoding JSON:
// Istio's default fields under Istio's names, since a format replaces the
// default as a whole, and those that the claims need besides. Every value is a
// single operator, so that Envoy prints numbers as numbers and what is absent
// as null.
const AccessLogFormat = `{
  "start_time": "%START_TIME%",
  "route_name": "%ROUTE_NAME%",
  "method": "%REQ(:METHOD)%",
  "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
  "protocol": "%PROTOCOL%",
  "response_code": "%RESPONSE_CODE%",
  "response_flags": "%RESPONSE_FLAGS%",
  "response_code_details": "%RESPONSE_CODE_DETAILS%",
  "connection_termination_details": "%CONNECTION_TERMINATION_DETAILS%",
  "bytes_received": "%BYTES_RECEIVED%",
  "bytes_sent": "%BYTES_SENT%",
  "duration": "%DURATION%",
  "upstream_service_time": "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
  "x_forwarded_for": "%REQ(X-FORWARDED-FOR)%",
  "user_agent": "%REQ(USER-AGENT)%",
  "request_id": "%REQ(X-REQUEST-ID)%",
  "authority": "%REQ(:AUTHORITY)%",
  "upstream_host": "%UPSTREAM_HOST%",
  "upstream_cluster": "%UPSTREAM_CLUSTER_RAW%",
  "upstream_local_address": "%UPSTREAM_LOCAL_ADDRESS%",
  "downstream_local_address": "%DOWNSTREAM_LOCAL_ADDRESS%",
  "downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%",
  "requested_server_name": "%REQUESTED_SERVER_NAME%",
  "upstream_transport_failure_reason": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
  "connection_id": "%CONNECTION_ID%",
  "upstream_connection_id": "%UPSTREAM_CONNECTION_ID%",
  "upstream_request_attempt_count": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
  "upstream_protocol": "%UPSTREAM_PROTOCOL%",
  "downstream_direct_remote_address": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%",
  "downstream_tls_version": "%DOWNSTREAM_TLS_VERSION%",
  "downstream_tls_cipher": "%DOWNSTREAM_TLS_CIPHER%",
  "downstream_peer_uri_san": "%DOWNSTREAM_PEER_URI_SAN%",
  "downstream_local_uri_san": "%DOWNSTREAM_LOCAL_URI_SAN%",
  "downstream_transport_failure_reason": "%DOWNSTREAM_TRANSPORT_FAILURE_REASON%",
  "upstream_tls_version": "%UPSTREAM_TLS_VERSION%",
  "upstream_tls_cipher": "%UPSTREAM_TLS_CIPHER%",
  "upstream_peer_uri_san": "%UPSTREAM_PEER_URI_SAN%",
  "upstream_peer_dns_san": "%UPSTREAM_PEER_DNS_SAN%",
  "upstream_peer_subject": "%UPSTREAM_PEER_SUBJECT%",
  "upstream_local_uri_san": "%UPSTREAM_LOCAL_URI_SAN%"
}`

// istioFields are the fields of Istio's default JSON format. A line without
// one of them is not an access log line of an Istio proxy.
var istioFields = []string{
	"start_time", "route_name", "method", "path", "protocol", "response_code", "response_flags",
	"response_code_details", "connection_termination_details", "bytes_received", "bytes_sent", "duration",
	"upstream_service_time", "x_forwarded_for", "user_agent", "request_id", "authority", "upstream_host",
	"upstream_cluster", "upstream_local_address", "downstream_local_address", "downstream_remote_address",
	"requested_server_name", "upstream_transport_failure_reason",
}

// AccessLog is one line of a proxy's access log. What Envoy prints as null or
// "-" is nil or empty.
type AccessLog struct {
	StartTime time.Time
	Duration  *time.Duration // to the millisecond

	// The request. All are empty in a line of TCP traffic.
	Method, Path, Protocol, Authority  string
	RequestID, UserAgent, ForwardedFor string

	// The answer. A code of 0 is Envoy's word for "none was sent".
	ResponseCode                 *uint64
	ResponseFlags                []string // short names: "UF", "UO", "NR", …
	ResponseCodeDetails          string
	ConnectionTerminationDetails string
	BytesReceived, BytesSent     *uint64

	// Downstream: who called. Addresses are "host:port".
	ConnectionID                     *uint64
	DownstreamRemoteAddress          string
	DownstreamDirectRemoteAddress    string
	DownstreamLocalAddress           string
	RequestedServerName              string // SNI
	DownstreamTLSVersion             string
	DownstreamTLSCipher              string
	DownstreamPeerURISAN             string
	DownstreamLocalURISAN            string
	DownstreamTransportFailureReason string

	// Upstream: where it went.
	RouteName                      string
	UpstreamCluster, UpstreamHost  string
	UpstreamLocalAddress           string
	UpstreamConnectionID           *uint64
	UpstreamRequestAttemptCount    *uint64
	UpstreamProtocol               string
	UpstreamServiceTime            *time.Duration // to the millisecond
	UpstreamTLSVersion             string
	UpstreamTLSCipher              string
	UpstreamPeerURISAN             string
	UpstreamPeerDNSSAN             string
	UpstreamPeerSubject            string
	UpstreamLocalURISAN            string
	UpstreamTransportFailureReason string

	logged map[string]json.RawMessage
}

// IsAccessLog tells an access log line from the agent's own log lines, which
// share the container's output. It does not say that the line parses.
func IsAccessLog(line []byte) bool {
	line = bytes.TrimSpace(line)
	return bytes.HasPrefix(line, []byte("{")) && bytes.Contains(line, []byte(`"response_flags":`)) &&
		bytes.Contains(line, []byte(`"start_time":`))
}

// ParseAccessLog reads one line in AccessLogFormat or in Istio's default JSON
// format. Fields that neither knows are skipped; a missing field of Istio's is
// an error.
func ParseAccessLog(line []byte) (AccessLog, error) {
	f, err := newFields("access log", line)
	if err != nil {
		return AccessLog{}, err
	}
	f.require(istioFields...)
	l := AccessLog{
		StartTime:                        f.time("start_time", time.RFC3339Nano),
		Duration:                         f.millis("duration"),
		Method:                           f.text("method"),
		Path:                             f.text("path"),
		Protocol:                         f.text("protocol"),
		Authority:                        f.text("authority"),
		RequestID:                        f.text("request_id"),
		UserAgent:                        f.text("user_agent"),
		ForwardedFor:                     f.text("x_forwarded_for"),
		ResponseCode:                     f.number("response_code"),
		ResponseCodeDetails:              f.text("response_code_details"),
		ConnectionTerminationDetails:     f.text("connection_termination_details"),
		BytesReceived:                    f.number("bytes_received"),
		BytesSent:                        f.number("bytes_sent"),
		ConnectionID:                     f.identifier("connection_id"),
		DownstreamRemoteAddress:          f.text("downstream_remote_address"),
		DownstreamDirectRemoteAddress:    f.text("downstream_direct_remote_address"),
		DownstreamLocalAddress:           f.text("downstream_local_address"),
		RequestedServerName:              f.text("requested_server_name"),
		DownstreamTLSVersion:             f.text("downstream_tls_version"),
		DownstreamTLSCipher:              f.text("downstream_tls_cipher"),
		DownstreamPeerURISAN:             f.text("downstream_peer_uri_san"),
		DownstreamLocalURISAN:            f.text("downstream_local_uri_san"),
		DownstreamTransportFailureReason: f.text("downstream_transport_failure_reason"),
		RouteName:                        f.text("route_name"),
		UpstreamCluster:                  f.text("upstream_cluster"),
		UpstreamHost:                     f.text("upstream_host"),
		UpstreamLocalAddress:             f.text("upstream_local_address"),
		UpstreamConnectionID:             f.identifier("upstream_connection_id"),
		UpstreamRequestAttemptCount:      f.number("upstream_request_attempt_count"),
		UpstreamProtocol:                 f.text("upstream_protocol"),
		UpstreamServiceTime:              f.millis("upstream_service_time"),
		UpstreamTLSVersion:               f.text("upstream_tls_version"),
		UpstreamTLSCipher:                f.text("upstream_tls_cipher"),
		UpstreamPeerURISAN:               f.text("upstream_peer_uri_san"),
		UpstreamPeerDNSSAN:               f.text("upstream_peer_dns_san"),
		UpstreamPeerSubject:              f.text("upstream_peer_subject"),
		UpstreamLocalURISAN:              f.text("upstream_local_uri_san"),
		UpstreamTransportFailureReason:   f.text("upstream_transport_failure_reason"),
		logged:                           f.raw,
	}
	if flags := f.text("response_flags"); flags != "" {
		l.ResponseFlags = strings.Split(flags, ",")
	}
	if f.err != nil {
		return AccessLog{}, f.err
	}
	return l, nil
}

// Logged reports whether the line's format has a field of that name at all:
// an empty value then means "absent", otherwise "unknown".
func (l AccessLog) Logged(field string) bool {
	_, ok := l.logged[field]
	return ok
}

// HasFlag reports whether the line carries a response flag, by short name.
func (l AccessLog) HasFlag(flag string) bool {
	for _, f := range l.ResponseFlags {
		if f == flag {
			return true
		}
	}
	return false
}

// Token is the probe's token: the last segment of the path, without a query.
// It is empty for TCP traffic and for a path that ends in a slash.
func (l AccessLog) Token() string { return pathToken(l.Path) }

func pathToken(path string) string {
	path, _, _ = strings.Cut(path, "?")
	last := path[strings.LastIndex(path, "/")+1:]
	if plain, err := url.PathUnescape(last); err == nil {
		return plain
	}
	return last
}

// fields reads a flat JSON object and keeps the first error.
type fields struct {
	what string
	raw  map[string]json.RawMessage
	line []byte
	err  error
}

func newFields(what string, line []byte) (*fields, error) {
	f := &fields{what: what, line: line}
	if err := json.Unmarshal(line, &f.raw); err != nil {
		return nil, fmt.Errorf("%s: not a JSON object (%v): %s", what, err, excerpt(line))
	}
	return f, nil
}

func (f *fields) fail(format string, args ...any) {
	if f.err == nil {
		f.err = fmt.Errorf("%s: %s: %s", f.what, fmt.Sprintf(format, args...), excerpt(f.line))
	}
}

func (f *fields) require(names ...string) {
	var missing []string
	for _, n := range names {
		if _, ok := f.raw[n]; !ok {
			missing = append(missing, n)
		}
	}
	if len(missing) > 0 {
		f.fail("without %s", list(missing))
	}
}

// text returns a field as a string, "" for absent, null and "-".
func (f *fields) text(name string) string {
	raw := f.raw[name]
	if len(raw) == 0 || string(raw) == "null" {
		return ""
	}
	if raw[0] != '"' {
		if raw[0] == '{' || raw[0] == '[' {
			f.fail("field %s is not a plain value", name)
		}
		return string(raw)
	}
	var s string
	if !bytes.ContainsRune(raw, '\\') && utf8.Valid(raw) {
		s = string(raw[1 : len(raw)-1]) // nothing is escaped, and it was read as JSON before
	} else if err := json.Unmarshal(raw, &s); err != nil {
		f.fail("field %s: %v", name, err)
	}
	if s == "-" {
		return ""
	}
	return s
}

func (f *fields) number(name string) *uint64 {
	s := f.text(name)
	if s == "" {
		return nil
	}
	var n uintText
	if err := n.UnmarshalJSON([]byte(s)); err != nil {
		f.fail("field %s: %v", name, err)
		return nil
	}
	return (*uint64)(&n)
}

// identifier is a number that Envoy counts from 1 and prints as 0 where there
// is none.
func (f *fields) identifier(name string) *uint64 {
	if n := f.number(name); n != nil && *n != 0 {
		return n
	}
	return nil
}

func (f *fields) millis(name string) *time.Duration {
	n := f.number(name)
	if n == nil {
		return nil
	}
	d := time.Duration(*n) * time.Millisecond
	return &d
}

func (f *fields) time(name, layout string) time.Time {
	t, err := time.Parse(layout, f.text(name))
	if err != nil {
		f.fail("field %s: %v", name, err)
	}
	return t
}
