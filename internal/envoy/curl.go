package envoy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// CurlWriteOut is the -w argument that the parsers here expect.
const CurlWriteOut = `\n%{json}\n`

// CurlResult is curl's own word about one transfer, which is trusted over the
// exit code of whatever carried it.
type CurlResult struct {
	Body []byte // as received, without the newline that CurlWriteOut starts with

	HTTPCode    int // 0: no answer arrived
	ExitCode    int // curl's, 0: the transfer is complete
	ErrorMsg    string
	HTTPVersion string // "1.1", "2"; "0" without an answer
	Method      string
	URL         string
	RemoteIP    string
	RemotePort  int
	LocalIP     string
	LocalPort   int
	NumConnects int // connections made for this transfer; 0: one was reused
	TimeTotal   time.Duration
	TimeConnect time.Duration
}

// curlTrailer has pointers, so that what is missing does not read as zero.
type curlTrailer struct {
	HTTPCode    *int     `json:"http_code"`
	ExitCode    *int     `json:"exitcode"`
	ErrorMsg    *string  `json:"errormsg"`
	HTTPVersion *string  `json:"http_version"`
	Method      string   `json:"method"`
	URL         string   `json:"url"`
	RemoteIP    *string  `json:"remote_ip"`
	RemotePort  *int     `json:"remote_port"`
	LocalIP     string   `json:"local_ip"`
	LocalPort   *int     `json:"local_port"`
	NumConnects *int     `json:"num_connects"`
	TimeTotal   *float64 `json:"time_total"` // seconds
	TimeConnect *float64 `json:"time_connect"`
	Version     *string  `json:"curl_version"`
}

// ParseCurl reads what one transfer of curl -w CurlWriteOut printed: the body,
// a newline and the JSON trailer. A trailer that is missing, cut or without
// its deciding fields is an error: the probe's outcome is then unknown.
func ParseCurl(raw []byte) (CurlResult, error) {
	trimmed := bytes.TrimRight(raw, "\r\n")
	start := bytes.LastIndexByte(trimmed, '\n') + 1
	result, err := curlResult(trimmed[start:])
	if err != nil {
		return CurlResult{}, fmt.Errorf("curl: no trailer in the last line (%w): %s", err, excerpt(trimmed[start:]))
	}
	result.Body = body(trimmed[:start])
	return result, nil
}

// ParseCurlMany reads what several transfers of one curl printed, one after
// the other (not with --parallel, which mixes them). Anything after the last
// trailer is an error, and so is no trailer at all.
func ParseCurlMany(raw []byte) ([]CurlResult, error) {
	results, rest := splitCurl(raw)
	if rest = bytes.TrimSpace(rest); len(rest) > 0 || len(results) == 0 {
		return nil, fmt.Errorf("curl: no trailer after %d transfers: %s", len(results), excerpt(rest))
	}
	return results, nil
}

// ParseCurlStopped is ParseCurlMany for a curl that was stopped: what it had
// not finished is left out.
func ParseCurlStopped(raw []byte) ([]CurlResult, error) {
	results, rest := splitCurl(raw)
	if len(results) == 0 {
		return nil, fmt.Errorf("curl: stopped before it had finished a transfer: %s", excerpt(rest))
	}
	return results, nil
}

// splitCurl takes transfers off the front, as long as there is a trailer.
func splitCurl(raw []byte) (results []CurlResult, rest []byte) {
	begin := 0 // of the transfer that is being read
	for at := 0; at < len(raw); {
		end := len(raw)
		if n := bytes.IndexByte(raw[at:], '\n'); n >= 0 {
			end = at + n + 1
		}
		if raw[at] == '{' {
			d := json.NewDecoder(bytes.NewReader(raw[at:]))
			var object json.RawMessage
			if d.Decode(&object) == nil {
				if r, err := curlResult(object); err == nil {
					r.Body = body(raw[begin:at])
					results = append(results, r)
					end = at + int(d.InputOffset())
					if end < len(raw) && raw[end] == '\n' {
						end++
					}
					begin = end
				}
			}
		}
		at = end
	}
	return results, raw[begin:]
}

// body takes off the newline that separates it from the trailer.
func body(raw []byte) []byte { return bytes.TrimSuffix(raw, []byte("\n")) }

func curlResult(line []byte) (CurlResult, error) {
	d := json.NewDecoder(bytes.NewReader(line))
	var t curlTrailer
	if err := d.Decode(&t); err != nil {
		return CurlResult{}, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return CurlResult{}, errors.New("something follows the JSON object")
	}
	switch {
	case t.Version == nil:
		return CurlResult{}, errors.New("no curl_version: not curl's JSON")
	case t.HTTPCode == nil, t.ExitCode == nil, t.NumConnects == nil, t.TimeTotal == nil,
		t.RemoteIP == nil, t.LocalPort == nil, t.HTTPVersion == nil:
		return CurlResult{}, errors.New("curl's JSON lacks one of http_code, exitcode, num_connects, time_total, remote_ip, local_port, http_version")
	}
	r := CurlResult{
		HTTPCode: *t.HTTPCode, ExitCode: *t.ExitCode, HTTPVersion: *t.HTTPVersion,
		Method: t.Method, URL: t.URL, RemoteIP: *t.RemoteIP, LocalIP: t.LocalIP, LocalPort: *t.LocalPort,
		NumConnects: *t.NumConnects, TimeTotal: inSeconds(*t.TimeTotal),
	}
	if t.ErrorMsg != nil {
		r.ErrorMsg = *t.ErrorMsg
	}
	if t.RemotePort != nil {
		r.RemotePort = *t.RemotePort
	}
	if t.TimeConnect != nil {
		r.TimeConnect = inSeconds(*t.TimeConnect)
	}
	return r, nil
}

func inSeconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
