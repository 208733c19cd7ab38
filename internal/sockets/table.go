package sockets

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Table prints the kernel's IPv4 sockets, for containers without ss.
var Table = []string{"cat", "/proc/net/tcp"}

// states and timers are the kernel's numbers (include/net/tcp_states.h, and
// get_tcp4_sock in net/ipv4/tcp_ipv4.c). Number 2 is the timer of an established
// socket that is no retransmission's: keepalive.
var (
	states = map[string]string{"01": "ESTAB", "02": "SYN-SENT", "03": "SYN-RECV", "04": "FIN-WAIT-1", "05": "FIN-WAIT-2",
		"06": "TIME-WAIT", "07": "CLOSE", "08": "CLOSE-WAIT", "09": "LAST-ACK", "0A": "LISTEN", "0B": "CLOSING", "0C": "NEW-SYN-RECV"}
	timers = map[string]string{"01": "on", "02": "keepalive", "03": "timewait", "04": "persist"}
)

// clockTick is the unit of the table's times (USER_HZ).
const clockTick = 10 * time.Millisecond

// ParseTable reads what Table prints.
func ParseTable(raw []byte) ([]Socket, error) {
	if err := whole("/proc/net/tcp", raw); err != nil {
		return nil, err
	}
	lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
	if !strings.Contains(lines[0], "local_address") {
		return nil, fmt.Errorf("/proc/net/tcp: no heading: %.100s", lines[0])
	}
	var found []Socket
	for _, line := range lines[1:] {
		s, err := parseRow(strings.Fields(line))
		if err != nil {
			return nil, fmt.Errorf("/proc/net/tcp: %w: %.200s", err, line)
		}
		found = append(found, s)
	}
	return found, nil
}

// parseRow reads a row's number, local and remote address, state, queues, timer,
// retransmissions (hexadecimal), user and unanswered probes (decimal).
func parseRow(columns []string) (s Socket, err error) {
	if len(columns) < 9 {
		return s, fmt.Errorf("%d columns", len(columns))
	}
	var ok bool
	if s.State, ok = states[columns[3]]; !ok {
		return s, fmt.Errorf("the state %q", columns[3])
	}
	if s.Local, err = hexAddress(columns[1]); err != nil {
		return s, err
	}
	if s.Peer, err = hexAddress(columns[2]); err != nil {
		return s, err
	}
	s.Timer, err = rowTimer(columns[5], columns[6], columns[8])
	return s, err
}

func rowTimer(timer, retransmissions, probes string) (*Timer, error) {
	number, when, _ := strings.Cut(timer, ":")
	if number == "00" {
		return nil, nil
	}
	kind, ok := timers[number]
	if !ok {
		return nil, fmt.Errorf("the timer %q", timer)
	}
	ticks, err := strconv.ParseUint(when, 16, 32)
	if err != nil {
		return nil, fmt.Errorf("the timer %q", timer)
	}
	tries, err := strconv.ParseUint(retransmissions, 16, 32)
	if kind == "keepalive" {
		tries, err = strconv.ParseUint(probes, 10, 32)
	}
	if err != nil {
		return nil, fmt.Errorf("the timer's tries %q or %q", retransmissions, probes)
	}
	return &Timer{Kind: kind, Remaining: time.Duration(ticks) * clockTick, Tries: int(tries)}, nil
}

// hexAddress reads "0100007F:20FB": an address as a word of the machine, which is
// little-endian wherever Istio runs, and a port.
func hexAddress(text string) (string, error) {
	raw, err := hex.DecodeString(strings.Replace(text, ":", "", 1))
	if err != nil || len(raw) != 6 {
		return "", fmt.Errorf("the address %q", text)
	}
	var ip [4]byte
	binary.LittleEndian.PutUint32(ip[:], binary.BigEndian.Uint32(raw))
	return netip.AddrPortFrom(netip.AddrFrom4(ip), binary.BigEndian.Uint16(raw[4:])).String(), nil
}
