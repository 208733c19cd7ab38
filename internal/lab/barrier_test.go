package lab

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"twohop/internal/envoy"
)

func capture(t *testing.T, name string) string {
	t.Helper()
	raw, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// The statistics are of a sidecar and a gateway of a run; the sentinel's cluster
// was the newest one in both.
func TestPushed(t *testing.T) {
	const sentinel = ".sentinel.invalid"
	cut := func(prefix string) func(string) string {
		return func(stats string) string {
			var kept []string
			for line := range strings.Lines(stats) {
				if !strings.HasPrefix(line, prefix) {
					kept = append(kept, line)
				}
			}
			return strings.Join(kept, "")
		}
	}
	replace := func(old, new string) func(string) string {
		return func(stats string) string { return strings.Replace(stats, old, new, 1) }
	}
	for _, who := range []string{"sidecar", "gateway"} {
		stats := capture(t, who+"-versions.txt")
		found := regexp.MustCompile(`(cluster_manager\.cds\.version_text: "[^/]+/)(\d+)`).FindStringSubmatch(stats)
		if found == nil {
			t.Fatal("the capture has no version of its clusters")
		}
		cds, number := found[1], found[2]
		lds := strings.Replace(cds, cdsStat, ldsStat, 1)
		for _, tt := range []struct {
			name   string
			host   string
			change func(string) string
			done   bool
			says   string // of last, or of the error
			failed bool
		}{
			{name: "as it was", host: sentinel, done: true},
			{name: "a sentinel that did not come", host: "s0-0" + sentinel, says: "the sentinel's cluster is not there"},
			{name: "listeners of an earlier push", host: sentinel, change: replace(lds+number, lds+"1"), says: "listener_manager.lds is at push 1, clusters at " + number},
			{name: "listeners of a later push", host: sentinel, change: replace(lds+number, lds+"999999"), done: true},
			{name: "clusters of a later push", host: sentinel, change: replace(cds+number, cds+"999999"), says: "clusters at 999999"},
			{name: "routes of an earlier push", host: sentinel, change: func(stats string) string {
				at := strings.Index(stats, ".rds.")
				return stats[:at] + strings.Replace(stats[at:], "/"+number, "/2", 1)
			}, says: "is at push 2, clusters at " + number},
			{name: "no listeners", host: sentinel, change: cut("listener_manager."), says: "no listeners yet"},
			{name: "a cluster that is not warm", host: sentinel, change: func(stats string) string {
				var lines []string
				for line := range strings.Lines(stats) {
					if strings.Contains(line, sentinel) {
						line = strings.SplitN(line, ": ", 2)[0] + ": \"\"\n"
					}
					lines = append(lines, line)
				}
				return strings.Join(lines, "")
			}, says: "the sentinel's cluster is not there"},
			{name: "no clusters' version", host: sentinel, change: cut("cluster_manager."), says: "the pod needs proxyStatsMatcher", failed: true},
			{name: "no statistics", host: sentinel, change: func(string) string { return "" }, says: "the pod needs proxyStatsMatcher", failed: true},
			{name: "a version of another shape", host: sentinel, change: replace(lds+number, `listener_manager.lds.version_text: "v`+number), says: "is not <time>/<number>", failed: true},
		} {
			t.Run(who+": "+tt.name, func(t *testing.T) {
				given := stats
				if tt.change != nil {
					if given = tt.change(stats); given == stats {
						t.Fatal("the change of this test changes nothing in the capture")
					}
				}
				parsed, err := envoy.ParseStats([]byte(given))
				if err != nil {
					t.Fatal(err)
				}
				done, last, err := pushed(parsed.Texts, tt.host)
				if done != tt.done || (err != nil) != tt.failed {
					t.Errorf("done %v, want %v; last %q, error %v", done, tt.done, last, err)
				}
				if text := fmt.Sprint(last, " ", err); !done && !strings.Contains(text, tt.says) {
					t.Errorf("%q does not say %q", text, tt.says)
				}
			})
		}
	}
}

func TestPushNumber(t *testing.T) {
	for version, want := range map[string]uint64{"2026-11-23T16:10:11Z/37": 37, "x/0": 0, "x/18446744073709551615": 18446744073709551615} {
		if got, err := pushNumber(version); err != nil || got != want {
			t.Errorf("pushNumber(%q) is %d, %v", version, got, err)
		}
	}
	for _, version := range []string{"", "37", "2026-11-23T16:10:11Z/", "2026-11-23T16:10:11Z/x", "x/-1", "x/3/7", "x/18446744073709551616"} {
		if got, err := pushNumber(version); err == nil || !strings.Contains(err.Error(), version) {
			t.Errorf("pushNumber(%q) is %d, %v", version, got, err)
		}
	}
}
