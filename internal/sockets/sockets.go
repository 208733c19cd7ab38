// Package sockets reads what the kernel says of a container's TCP: the lines
// of `ss -Htno`, the table /proc/net/tcp and the counters of /proc/net/netstat.
// It is pure: it knows neither the cluster nor Envoy, and imports nothing of the
// project.
package sockets

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Commands whose output the parsers here expect.
var (
	// List prints TCP sockets that listen not, with timers, without names.
	List = []string{"ss", "-H", "-t", "-n", "-o"}
	// ListInfo is List with the kernel's tcp_info, on the same line.
	ListInfo = []string{"ss", "-H", "-t", "-n", "-o", "-i", "-O"}
	// Counters prints the network namespace's counters.
	Counters = []string{"cat", "/proc/net/netstat"}
)

// Socket is one TCP socket.
type Socket struct {
	State       string // "ESTAB", "SYN-SENT", …
	Local, Peer string // "address:port"
	// Timer is nil where none is armed: for an idle connection that means that
	// it has no keepalive.
	Timer *Timer
	// SinceData and SinceAck are how long ago data and an acknowledgement last
	// came, to the millisecond. Only ListInfo tells them.
	SinceData, SinceAck time.Duration
}

// Probed is how long the connection had carried no data when the peer last
// acknowledged something: on an idle connection that something is a keepalive
// probe. It is zero if data came later.
func (s Socket) Probed() time.Duration { return max(0, s.SinceData-s.SinceAck) }

// Timer is the one timer that is armed on a socket.
type Timer struct {
	Kind      string // "keepalive", "on" (retransmission), "timewait", …
	Remaining time.Duration
	// Tries is how often the timer went off without an answer.
	Tries int
}

// String is a timer as ss prints it, to the millisecond.
func (t *Timer) String() string {
	if t == nil {
		return "none"
	}
	return fmt.Sprintf("%s, %s left, %d unanswered", t.Kind, t.Remaining, t.Tries)
}

// infos are the parts of tcp_info that are read.
var infos = map[string]func(*Socket) *time.Duration{
	"lastrcv": func(s *Socket) *time.Duration { return &s.SinceData },
	"lastack": func(s *Socket) *time.Duration { return &s.SinceAck },
}

var timer = regexp.MustCompile(`^timer:\(([a-z]+),(?:(\d+)min)?(?:(\d+)(?:sec|\.(\d{3})ms)|(\d{1,3})ms)?,(\d+)\)$`)

// Parse reads the output of List or ListInfo. A line that is not a socket's, or that has
// no end, is an error; no line at all means that there is no socket.
func Parse(raw []byte) ([]Socket, error) {
	if err := whole("ss", raw); err != nil {
		return nil, err
	}
	var found []Socket
	for line := range strings.Lines(string(raw)) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		columns := strings.Fields(line)
		if len(columns) < 5 {
			return nil, fmt.Errorf("ss: not \"STATE RECV-Q SEND-Q LOCAL PEER [timer:(…)]\": %.200s", line)
		}
		for _, queue := range columns[1:3] {
			if _, err := strconv.ParseUint(queue, 10, 64); err != nil {
				return nil, fmt.Errorf("ss: the queues are no numbers: %.200s", line)
			}
		}
		s := Socket{State: columns[0], Local: plain(columns[3]), Peer: plain(columns[4])}
		for _, extra := range columns[5:] {
			if err := s.read(extra); err != nil {
				return nil, err
			}
		}
		found = append(found, s)
	}
	return found, nil
}

// read takes what is wanted from a column after the addresses. ss leaves out
// times that are zero.
func (s *Socket) read(column string) (err error) {
	name, value, _ := strings.Cut(column, ":")
	if name == "timer" {
		s.Timer, err = parseTimer(column)
		return err
	}
	into, ok := infos[name]
	if !ok {
		return nil
	}
	millis, err := strconv.ParseUint(value, 10, 32)
	if err != nil {
		return fmt.Errorf("ss: %s is no number of milliseconds", column)
	}
	*into(s) = time.Duration(millis) * time.Millisecond
	return nil
}

// parseTimer reads "timer:(KIND,TIME,TRIES)". ss writes the time as 9min58sec,
// 12min, 29sec, 5.920ms (which is 5 seconds and 920 milliseconds) or 345ms, and
// leaves it empty for zero (iproute2, misc/ss.c, print_ms_timer).
func parseTimer(text string) (*Timer, error) {
	m := timer.FindStringSubmatch(text)
	if m == nil {
		return nil, fmt.Errorf("ss: not \"timer:(KIND,TIME,TRIES)\": %.100s", text)
	}
	part := func(digits string, unit time.Duration) time.Duration {
		n, _ := strconv.Atoi(digits) // digits only, or empty for zero
		return time.Duration(n) * unit
	}
	t := &Timer{Kind: m[1]}
	t.Remaining = part(m[2], time.Minute) + part(m[3], time.Second) + part(m[4], time.Millisecond) + part(m[5], time.Millisecond)
	var err error
	if t.Tries, err = strconv.Atoi(m[6]); err != nil {
		return nil, fmt.Errorf("ss: %s: %w", text, err)
	}
	return t, nil
}

// plain takes off the form that an IPv4 address has on an IPv6 socket.
func plain(address string) string {
	if rest, ok := strings.CutPrefix(address, "[::ffff:"); ok {
		return strings.Replace(rest, "]", "", 1)
	}
	return address
}

// To returns the established sockets that lead to an "address:port".
func To(all []Socket, peer string) []Socket {
	return established(all, func(s Socket) bool { return s.Peer == peer })
}

// Ends returns the other ends of sockets, among those of the peers' container:
// the established ones that came from one of the sockets.
func Ends(all, of []Socket) []Socket {
	return established(all, func(end Socket) bool {
		return slices.ContainsFunc(of, func(s Socket) bool { return s.Local == end.Peer })
	})
}

// WithKeepalive returns the sockets on which a keepalive timer is armed.
func WithKeepalive(all []Socket) []Socket {
	var found []Socket
	for _, s := range all {
		if s.Timer != nil && s.Timer.Kind == "keepalive" {
			found = append(found, s)
		}
	}
	return found
}

// Keepalive is the longest time to a next keepalive probe on any of the
// sockets; nil if one of them has no keepalive timer, or there are none.
func Keepalive(all []Socket) *time.Duration {
	with := WithKeepalive(all)
	if len(with) == 0 || len(with) < len(all) {
		return nil
	}
	longest := time.Duration(0)
	for _, s := range with {
		longest = max(longest, s.Timer.Remaining)
	}
	return &longest
}

// Probed is the shortest time for which any of the sockets had carried no data
// when its peer last acknowledged something; nil if there are none.
func Probed(all []Socket) *time.Duration {
	if len(all) == 0 {
		return nil
	}
	shortest := all[0].Probed()
	for _, s := range all[1:] {
		shortest = min(shortest, s.Probed())
	}
	return &shortest
}

func established(all []Socket, wanted func(Socket) bool) []Socket {
	var found []Socket
	for _, s := range all {
		if s.State == "ESTAB" && wanted(s) {
			found = append(found, s)
		}
	}
	return found
}

// ParseCounters reads /proc/net/netstat: pairs of lines, names and values, under
// a common word. Keys are word and name together, such as "TcpExtTCPKeepAlive".
func ParseCounters(raw []byte) (map[string]int64, error) {
	if err := whole("netstat", raw); err != nil {
		return nil, err
	}
	lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
	if len(lines)%2 != 0 {
		return nil, fmt.Errorf("netstat: %d lines do not pair", len(lines))
	}
	counters := map[string]int64{}
	for i := 0; i < len(lines); i += 2 {
		names, values := strings.Fields(lines[i]), strings.Fields(lines[i+1])
		if len(names) < 2 || len(names) != len(values) || names[0] != values[0] || !strings.HasSuffix(names[0], ":") {
			return nil, fmt.Errorf("netstat: lines %d and %d are no pair of names and values: %.100s", i+1, i+2, lines[i])
		}
		for k := 1; k < len(names); k++ {
			n, err := strconv.ParseInt(values[k], 10, 64)
			if err != nil {
				return nil, fmt.Errorf("netstat: %s: %w", names[k], err)
			}
			counters[strings.TrimSuffix(names[0], ":")+names[k]] = n
		}
	}
	return counters, nil
}

// whole is an error for an output that was cut off within a line.
func whole(what string, raw []byte) error {
	if len(raw) > 0 && raw[len(raw)-1] != '\n' {
		return fmt.Errorf("%s: the output is cut off: its last line has no end: %.200s", what, raw[bytes.LastIndexByte(raw, '\n')+1:])
	}
	return nil
}
