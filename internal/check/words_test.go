package check

import (
	"testing"

	"twohop/internal/envoy"
)

// The reasons are from a run's access logs.
func TestBriefLog(t *testing.T) {
	line := func(code uint64, reason, details string, flags ...string) envoy.AccessLog {
		return envoy.AccessLog{ResponseCode: &code, ResponseFlags: flags, UpstreamTransportFailureReason: reason, ResponseCodeDetails: details}
	}
	const wrapped = "upstream_reset_before_response_started{remote_connection_failure|"
	for _, c := range []struct {
		line envoy.AccessLog
		want string
	}{
		{line(503, "", "cluster_not_found", "NC"), "NC cluster_not_found"},
		{line(0, "", "filter_chain_not_found", "NR"), "NR filter_chain_not_found"},
		{line(400, "", "via_upstream"), "400 via_upstream"},
		{line(503, "", "upstream_reset_before_response_started{connection_termination}", "UC"), "UC connection_termination"},
		{line(503, "delayed_connect_error:_Connection_refused", wrapped+"delayed_connect_error:_Connection_refused}", "URX", "UF"), "URX,UF Connection_refused"},
		{line(503, "TLS_error:_Secret_is_not_supplied_by_SDS", wrapped+"TLS_error:_Secret_is_not_supplied_by_SDS}", "UF"), "UF Secret_is_not_supplied_by_SDS"},
		{
			line(503, "TLS_error:|33554536:system_library:OPENSSL_internal:Connection_reset_by_peer:TLS_error_end", "", "UF"),
			"UF Connection_reset_by_peer",
		},
		{
			line(503, "TLS_error:|268435581:SSL_routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:verify_cert_failed:_SAN_matcher,_certificate_SANs_are_[default.partner.invalid]:TLS_error_end", "", "UF"),
			"UF CERTIFICATE_VERIFY_FAILED of [default.partner.invalid]",
		},
		{line(503, "", "upstream_reset_before_response_started{connection_timeout}", "UF"), "UF connection_timeout"},
		{envoy.AccessLog{}, ""},
	} {
		if got := BriefLog(c.line); got != c.want {
			t.Errorf("%q, not %q", got, c.want)
		}
	}
}

func TestBrief(t *testing.T) {
	for _, c := range []struct {
		status int
		body   string
		want   string
	}{
		{503, "", "503"},
		{503, "no healthy upstream", "503 no healthy upstream"},
		{
			503, "upstream connect error or disconnect/reset before headers. retried and the latest reset reason: remote connection failure, transport failure reason: TLS_error:_Secret_is_not_supplied_by_SDS",
			"503 remote connection failure",
		},
		{503, "upstream connect error or disconnect/reset before headers. reset reason: connection termination", "503 connection termination"},
		{
			400, "<html>\r\n<head><title>400 The plain HTTP request was sent to HTTPS port</title></head>\r\n<body>\r\n<center><h1>400 Bad Request</h1></center>\r\n<center>The plain HTTP request was sent to HTTPS port</center>\r\n<hr><center>nginx/1.22.1</center>\r\n</body>\r\n</html>\r\n",
			"400 The plain HTTP request was sent to HTTPS port",
		},
		{0, "", "no response"},
	} {
		call := &Call{CurlResult: envoy.CurlResult{HTTPCode: c.status, Body: []byte(c.body)}}
		if got := Brief(call); got != c.want {
			t.Errorf("%q, not %q", got, c.want)
		}
	}
}
