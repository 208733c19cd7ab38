package sockets

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// From a gateway of the lab: ss of iproute2 6.1.
const sample = `ESTAB 0      0               127.0.0.1:45318          127.0.0.1:15020                              
ESTAB 0      0             10.244.0.38:8443         10.244.0.39:38246                              
ESTAB 0      0               127.0.0.1:36630          127.0.0.1:15000 timer:(keepalive,5.920ms,0)  
ESTAB 0      0             10.244.0.38:59614      10.96.221.232:15012 timer:(keepalive,116min,0)   
ESTAB 0      0             10.244.0.38:48204      10.96.193.163:443   timer:(keepalive,4min57sec,0)
SYN-SENT 0   1             10.244.0.38:48205      10.96.193.163:8449  timer:(on,345ms,1)
ESTAB 0      0      [::ffff:127.0.0.1]:15020 [::ffff:127.0.0.1]:56562 timer:(keepalive,29sec,0)
`

func TestParse(t *testing.T) {
	got, err := Parse([]byte(sample))
	if err != nil {
		t.Fatal(err)
	}
	want := []Socket{
		{State: "ESTAB", Local: "127.0.0.1:45318", Peer: "127.0.0.1:15020"},
		{State: "ESTAB", Local: "10.244.0.38:8443", Peer: "10.244.0.39:38246"},
		{State: "ESTAB", Local: "127.0.0.1:36630", Peer: "127.0.0.1:15000", Timer: &Timer{"keepalive", 5920 * time.Millisecond, 0}},
		{State: "ESTAB", Local: "10.244.0.38:59614", Peer: "10.96.221.232:15012", Timer: &Timer{"keepalive", 116 * time.Minute, 0}},
		{State: "ESTAB", Local: "10.244.0.38:48204", Peer: "10.96.193.163:443", Timer: &Timer{"keepalive", 297 * time.Second, 0}},
		{State: "SYN-SENT", Local: "10.244.0.38:48205", Peer: "10.96.193.163:8449", Timer: &Timer{"on", 345 * time.Millisecond, 1}},
		{State: "ESTAB", Local: "127.0.0.1:15020", Peer: "127.0.0.1:56562", Timer: &Timer{"keepalive", 29 * time.Second, 0}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if n := len(To(got, "10.96.193.163:443")); n != 1 {
		t.Errorf("To finds %d sockets, not 1", n)
	}
	if n := len(To(got, "10.96.193.163:8449")); n != 0 {
		t.Errorf("To takes a socket that is not established")
	}
	if d := Keepalive(To(got, "10.96.193.163:443")); d == nil || *d != 297*time.Second {
		t.Errorf("Keepalive = %v, not 297s", d)
	}
	if d := Keepalive(got); d != nil {
		t.Errorf("Keepalive = %v, although one socket has none", d)
	}
	if d := Keepalive(nil); d != nil {
		t.Errorf("Keepalive of no socket = %v", d)
	}
}

// From a gateway of the lab whose probes go out each second; iproute2 6.1, shortened.
const withInfo = `ESTAB 0 0 10.244.0.23:42000 10.96.226.176:443 timer:(keepalive,1.450ms,0) ts sack bbr rto:204 rtt:0.091/0.11 segs_out:9 bbr:(bw:891076864bps,mrtt:0.013) send 1782153846bps lastsnd:1504 lastrcv:1504 lastack:452 delivered:5 app_limited rcv_space:14480
ESTAB 0 0 10.244.0.23:8443 10.244.0.24:52872 ts sack bbr lastsnd:8200 lastrcv:8204 delivered:8
ESTAB 0 0 127.0.0.1:46226 127.0.0.1:15020 ts sack bbr lastsnd:2480 lastack:2480
`

func TestParseInfo(t *testing.T) {
	got, err := Parse([]byte(withInfo))
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []struct{ data, ack, probed time.Duration }{
		{1504 * time.Millisecond, 452 * time.Millisecond, 1052 * time.Millisecond},
		{8204 * time.Millisecond, 0, 8204 * time.Millisecond}, // just now: ss leaves a zero out
		{0, 2480 * time.Millisecond, 0},
	} {
		if s := got[i]; s.SinceData != want.data || s.SinceAck != want.ack || s.Probed() != want.probed {
			t.Errorf("%s: data %s, acknowledgement %s, probed after %s; want %v", s.Local, s.SinceData, s.SinceAck, s.Probed(), want)
		}
	}
}

func TestProbed(t *testing.T) {
	got, err := Parse([]byte(withInfo))
	if err != nil {
		t.Fatal(err)
	}
	if d := Probed(got[:2]); d == nil || *d != 1052*time.Millisecond {
		t.Errorf("Probed = %v, not the shorter of two times", d)
	}
	if d := Probed(nil); d != nil {
		t.Errorf("Probed of no socket = %v", d)
	}
}

func TestParseNone(t *testing.T) {
	if got, err := Parse(nil); err != nil || got != nil {
		t.Errorf("Parse(nil) = %v, %v", got, err)
	}
}

func TestParseRefuses(t *testing.T) {
	for _, bad := range []string{
		"State Recv-Q Send-Q Local Address:Port Peer Address:Port",
		"ESTAB 0 0 127.0.0.1:1",
		"ESTAB 0 0 127.0.0.1:1 127.0.0.1:2 timer:(keepalive,soon,0)",
		"ESTAB 0 0 127.0.0.1:1 127.0.0.1:2 timer:(keepalive,5sec)",
		"ESTAB 0 0 127.0.0.1:1 127.0.0.1:2 ts sack lastack:soon",
		"OCI runtime exec failed: exec: \"ss\": not found",
	} {
		if got, err := Parse([]byte(bad + "\n")); err == nil {
			t.Errorf("Parse(%q) = %v, and no error", bad, got)
		}
	}
}

// An output that ends within a line is not all of it.
func TestCutOff(t *testing.T) {
	for name, parse := range map[string]func(string) error{
		"ESTAB 0 0 127.0.0.1:1 127.0.0.1:2":                                  func(s string) error { _, err := Parse([]byte(s)); return err },
		"TcpExt: A\nTcpExt: 1":                                               func(s string) error { _, err := ParseCounters([]byte(s)); return err },
		"sl local_address\n0: 0100007F:20FB 0100007F:0001 01 0:0 02:1 0 0 0": func(s string) error { _, err := ParseTable([]byte(s)); return err },
	} {
		if err := parse(name + "\n"); err != nil {
			t.Errorf("%q, whole: %v", name, err)
		}
		if err := parse(name); err == nil || !strings.Contains(err.Error(), "cut off") {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestParseCounters(t *testing.T) {
	got, err := ParseCounters([]byte("TcpExt: ListenDrops TCPKeepAlive\nTcpExt: 3 15\nIpExt: InNoRoutes\nIpExt: -1\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]int64{"TcpExtListenDrops": 3, "TcpExtTCPKeepAlive": 15, "IpExtInNoRoutes": -1}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []string{"", "TcpExt: A B\n", "TcpExt: A B\nTcpExt: 1\n", "TcpExt: A\nIpExt: 1\n", "TcpExt: A\nTcpExt: x\n"} {
		if got, err := ParseCounters([]byte(bad)); err == nil {
			t.Errorf("ParseCounters(%q) = %v, and no error", strings.TrimSpace(bad), got)
		}
	}
}
