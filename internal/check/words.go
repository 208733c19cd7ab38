package check

import (
	"cmp"
	"fmt"
	"regexp"
	"strings"

	"twohop/internal/envoy"
)

// Logged is what an access log line says of a failure, as people quote it:
// flags, details and the transport's reason.
func Logged(l envoy.AccessLog) string {
	parts := []string{Flags(l)}
	if parts[0] == "" {
		parts[0] = "no flag"
	}
	if l.ResponseCode != nil && *l.ResponseCode != 0 {
		parts = append(parts, fmt.Sprint(*l.ResponseCode))
	}
	for _, text := range []string{l.ResponseCodeDetails, l.UpstreamTransportFailureReason} {
		if text != "" && !strings.Contains(strings.Join(parts, " "), text) {
			parts = append(parts, text)
		}
	}
	return strings.Join(parts, " ")
}

// BriefLog is Logged in a few words: the flags, and the innermost reason.
func BriefLog(l envoy.AccessLog) string {
	reason := cmp.Or(l.UpstreamTransportFailureReason, l.ResponseCodeDetails)
	if inner, ok := strings.CutPrefix(reason, "upstream_reset_before_response_started{"); ok {
		reason = strings.TrimSuffix(inner, "}")
	}
	if _, ssl, ok := strings.Cut(reason, "OPENSSL_internal:"); ok {
		// BoringSSL's error: number, library, function, reason, and more.
		reason, _, _ = strings.Cut(ssl, ":")
		if names := presentedNames.FindString(ssl); names != "" {
			reason += " of " + strings.TrimPrefix(names, "certificate_SANs_are_")
		}
	} else if i := strings.LastIndex(reason, ":_"); i >= 0 {
		reason = reason[i+2:]
	}
	flags := Flags(l)
	if flags == "" && l.ResponseCode != nil && *l.ResponseCode != 0 {
		flags = fmt.Sprint(*l.ResponseCode)
	}
	return strings.TrimSpace(flags + " " + reason)
}

var presentedNames = regexp.MustCompile(`certificate_SANs_are_\[[^]]*\]`)

// Brief is what curl saw, in a few words: the status and, where there is more to
// say, what an error page says beyond its title, or Envoy's own reason.
func Brief(c *Call) string {
	if c.HTTPCode == 0 {
		return "no response"
	}
	text := words(title.ReplaceAllString(string(c.Body), " "))
	if _, reason, ok := strings.Cut(text, "reset reason: "); ok {
		text, _, _ = strings.Cut(reason, ",")
	}
	return strings.TrimSpace(fmt.Sprint(c.HTTPCode) + " " + text)
}

// title is an nginx error page's heading and its signature.
var title = regexp.MustCompile(`<center>(<h1>[^<]*</h1>|nginx[^<]*)</center>`)

// Text is the response's body as a person reads it: an error page without its
// markup, cut after a line's length.
func (c *Call) Text() string {
	text := words(string(c.Body))
	if r := []rune(text); len(r) > 100 {
		text = string(r[:99]) + "…"
	}
	return text
}

// words are a page's text without its markup, in one line.
func words(page string) string {
	return strings.Join(strings.Fields(markup.ReplaceAllString(page, " ")), " ")
}

var markup = regexp.MustCompile(`<head>.*?</head>|<[^>]*>`)
