package check

import (
	"bytes"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"twohop/internal/observe"
	"twohop/internal/verdict"
)

// Timeline keeps a table of calls by the gateway's clock, for people and for
// facts about times: what was reckoned has to be shown as well. All times are
// of the calls' start at the gateway: since zero, since the first call on the
// same connection of the partner's, and since the first on the one before that.
func (t *T) Timeline(calls []*Call, event string, zero time.Time) (path string) {
	var raw bytes.Buffer
	w := tabwriter.NewWriter(&raw, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "%s: %s\n\n", event, zero.UTC().Format("2006-01-02T15:04:05.000Z"))
	fmt.Fprintln(w, "START\tSINCE THAT\tCONNECTION\tSINCE ITS FIRST\tSINCE THE FIRST OF THE ONE BEFORE\tCERTIFICATE\tSTATUS")
	var connection uint64
	var began, beganBefore time.Time
	for _, c := range calls {
		at := c.GatewayLog().StartTime
		if n := c.PartnerLog().Connection; n != connection {
			connection, beganBefore, began = n, began, at
		}
		before := "-"
		if !beganBefore.IsZero() {
			before = show(at.Sub(beganBefore))
		}
		fmt.Fprintln(w, strings.Join([]string{
			at.UTC().Format("15:04:05.000"), show(at.Sub(zero)), fmt.Sprint(connection), show(at.Sub(began)), before,
			c.PartnerLog().Serial, fmt.Sprint(c.HTTPCode),
		}, "\t"))
	}
	t.must(w.Flush())
	return t.derive(t.session.Next(), observe.Meta{Name: "timeline.txt", Kind: verdict.KindText, Witness: verdict.WitnessGateway,
		Command: "reckoned from the gateway's and the partner's log"}, raw.Bytes())
}
