package trial

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"twohop/internal/envoy"
	"twohop/internal/lab"
)

// Instead takes back what was changed since the checkpoint and makes other
// changes: for a check that goes through many states.
func (t *T) Instead(ctx context.Context, from lab.Checkpoint, variations ...lab.Variation) error {
	applied, err := t.Lab.Instead(ctx, from, variations...)
	if keepErr := t.applied(variations, applied); keepErr != nil {
		return keepErr
	}
	return err
}

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

// Said is the answer's body as a person reads it: an error page without its
// markup, cut after a line's length.
func (c *Call) Said() string {
	text := strings.Join(strings.Fields(markup.ReplaceAllString(string(c.Body), " ")), " ")
	if r := []rune(text); len(r) > 100 {
		text = string(r[:99]) + "…"
	}
	return text
}

var markup = regexp.MustCompile(`<head>.*?</head>|<[^>]*>`)
