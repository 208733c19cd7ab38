package sockets

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// From a partner of the lab; the keepalive and the timewait row are a client's.
const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:20FB 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 347179 1 000000008d43b63f 100 0 0 10 0
   1: 1600F40A:20FB 1700F40A:A410 01 00000000:00000000 00:00000000 00000000   101        0 350001 1 0000000000000000 20 4 30 10 -1
   2: 1700F40A:A411 B0E2600A:01BB 01 00000000:00000000 02:000000FA 00000000  1337        1 350002 2 0000000000000000 20 4 30 10 -1
   3: 1700F40A:A412 B0E2600A:01BB 06 00000000:00000000 03:0000176F 00000000     0        0 0 3 0000000000000000
   4: 1700F40A:A413 B0E2600A:2101 02 00000001:00000000 01:00000012 0000000A  1337        0 350003 2 0000000000000000 400 0 0 1 -1
`

func TestParseTable(t *testing.T) {
	got, err := ParseTable([]byte(table))
	if err != nil {
		t.Fatal(err)
	}
	want := []Socket{
		{State: "LISTEN", Local: "0.0.0.0:8443", Peer: "0.0.0.0:0"},
		{State: "ESTAB", Local: "10.244.0.22:8443", Peer: "10.244.0.23:42000"},
		{State: "ESTAB", Local: "10.244.0.23:42001", Peer: "10.96.226.176:443", Timer: &Timer{"keepalive", 2500 * time.Millisecond, 1}},
		{State: "TIME-WAIT", Local: "10.244.0.23:42002", Peer: "10.96.226.176:443", Timer: &Timer{"timewait", 59990 * time.Millisecond, 0}},
		{State: "SYN-SENT", Local: "10.244.0.23:42003", Peer: "10.96.226.176:8449", Timer: &Timer{"on", 180 * time.Millisecond, 10}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestParseTableRefuses(t *testing.T) {
	const heading = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
	for _, bad := range []string{
		"",
		"cat: /proc/net/tcp: No such file or directory",
		"   0: 00000000:20FB 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 347179",
		heading + "   0: 00000000:20FB 00000000:0000 0A",
		heading + "   0: 0000:20FB 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 347179",
		heading + "   0: 00000000:20FB 0000000g:0000 0A 00000000:00000000 00:00000000 00000000     0        0 347179",
		heading + "   0: 00000000:20FB 00000000:0000 FF 00000000:00000000 00:00000000 00000000     0        0 347179",
		heading + "   0: 00000000:20FB 00000000:0000 01 00000000:00000000 09:00000000 00000000     0        0 347179",
		heading + "   0: 00000000:20FB 00000000:0000 01 00000000:00000000 02:soon 00000000     0        0 347179",
		heading + "   0: 00000000:20FB 00000000:0000 01 00000000:00000000 02:00000001 00000000     0       ten 347179",
	} {
		if got, err := ParseTable([]byte(bad + "\n")); err == nil {
			t.Errorf("ParseTable(%q) = %v, and no error", bad, got)
		}
	}
}

// The other end of a socket is the one that came from it, in its peer's table.
func TestEnds(t *testing.T) {
	here := []Socket{{State: "ESTAB", Local: "10.244.0.23:42000", Peer: "10.96.226.176:443"}}
	there, err := ParseTable([]byte(table))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Socket{there[1]}, Ends(there, here)); diff != "" {
		t.Error(diff)
	}
	here[0].Local = "10.244.0.23:4200"
	if got := Ends(there, here); got != nil {
		t.Errorf("Ends takes %v, which came from a port that only begins like it", got)
	}
}
