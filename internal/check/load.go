package check

import (
	"net"
	"slices"
	"strconv"
	"time"

	"twohop/internal/envoy"
)

func address(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }

// Answered counts the calls that got a response of a status; 0 is "no response".
func Answered(calls []*Call, status int) int {
	return count(calls, func(c *Call) bool { return c.HTTPCode == status })
}

// Flagged counts the calls whose line in a proxy's log has a response flag.
func Flagged(calls []*Call, line func(*Call) envoy.AccessLog, flag string) int {
	return count(calls, func(c *Call) bool { return slices.Contains(line(c).ResponseFlags, flag) })
}

func count(calls []*Call, is func(*Call) bool) (n int) {
	for _, c := range calls {
		if is(c) {
			n++
		}
	}
	return n
}

// Once counts the calls about which a log has exactly one line.
func Once(calls []*Call, lines func(*Call) int) int {
	return count(calls, func(c *Call) bool { return lines(c) == 1 })
}

// Longest is how long the call took that took longest, by curl's word.
func Longest(calls []*Call) time.Duration {
	longest := time.Duration(0)
	for _, c := range calls {
		longest = max(longest, c.TimeTotal)
	}
	return longest
}

// Values are the values that calls have, in order of their first appearance.
func Values[V comparable](calls []*Call, value func(*Call) V) (found []V) {
	for _, c := range calls {
		if v := value(c); !slices.Contains(found, v) {
			found = append(found, v)
		}
	}
	return found
}

// Connection is one of the partner's connections and the requests it carried.
type Connection struct {
	Number   uint64
	Requests []envoy.PartnerLog
}

// Connections are the partner's connections that carried the calls, in the
// order of their first use.
func Connections(calls []*Call) []Connection {
	var found []Connection
	for _, l := range Arrivals(calls) {
		i := slices.IndexFunc(found, func(c Connection) bool { return c.Number == l.Connection })
		if i < 0 {
			i, found = len(found), append(found, Connection{Number: l.Connection})
		}
		found[i].Requests = append(found[i].Requests, l)
	}
	return found
}

// Carried is how many requests each connection carried.
func Carried(connections []Connection) []int {
	counts := make([]int, len(connections))
	for i, c := range connections {
		counts[i] = len(c.Requests)
	}
	return counts
}

// Use is when a connection was first and last used, by the partner's log.
type Use struct{ First, Last time.Time }

// Used says when the n-th of the connections was used; the zero Use if there
// are not so many.
func Used(connections []Connection, n int) Use {
	if n >= len(connections) {
		return Use{}
	}
	r := connections[n].Requests
	return Use{First: r[0].Logged, Last: r[len(r)-1].Logged}
}

// Arrivals are the partner's lines of all calls.
func Arrivals(calls []*Call) []envoy.PartnerLog {
	var all []envoy.PartnerLog
	for _, c := range calls {
		all = append(all, c.PartnerLines...)
	}
	return all
}

// Arrived counts the requests that the partner itself answered with a status.
func Arrived(calls []*Call, status uint64) int {
	n := 0
	for _, l := range Arrivals(calls) {
		if l.Status == status {
			n++
		}
	}
	return n
}

// Callers counts the connections on which the application's calls came.
func Callers(calls []*Call) int {
	seen := map[uint64]bool{}
	for _, c := range calls {
		for _, l := range c.SidecarLines {
			if l.ConnectionID != nil {
				seen[*l.ConnectionID] = true
			}
		}
	}
	return len(seen)
}
