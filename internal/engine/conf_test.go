package engine

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestContainersConf(t *testing.T) {
	bare := facts{CgroupV1: true, Runtime: "crun", HasRunc: true, CgroupManager: "systemd", EventLogger: "journald", HardFiles: 20000, HardProcs: 96365}
	systemd := facts{SystemdRunning: true, RaisesLimits: true, Runtime: "crun", HasRunc: true, CgroupManager: "systemd", EventLogger: "journald", HardFiles: 1048576, HardProcs: 96365}
	rootless := bare
	rootless.Rootless = true
	limits := bare
	limits.CgroupManager, limits.EventLogger, limits.Runtime, limits.HardProcs = "cgroupfs", "file", "runc", 1000

	const head = "# Written by twohop, which passes it to podman as CONTAINERS_CONF.\n[containers]\n"
	for name, tc := range map[string]struct {
		facts facts
		want  string
	}{
		"a machine without systemd, on hybrid cgroups": {bare, head +
			`default_ulimits = ["nofile=20000:20000", "nproc=30000:30000"]
pids_limit = 0
log_driver = "k8s-file"

[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
`},
		"an ordinary one is left as it is": {systemd, ""},
		"so is a rootless one":             {rootless, ""},
		"only the limits are wrong": {limits, head +
			`default_ulimits = ["nofile=20000:20000", "nproc=1000:1000"]
pids_limit = 0
log_driver = "k8s-file"

[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
`},
	} {
		t.Run(name, func(t *testing.T) {
			got, why := containersConf(tc.facts)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("containers.conf (-want +got):\n%s", diff)
			}
			if (got == "") != (len(why) == 0) {
				t.Errorf("settings and reasons do not go together: %q", why)
			}
		})
	}
}

func TestParseInfo(t *testing.T) {
	got, err := parseInfo([]byte(`{"host":{"cgroupVersion":"v1","cgroupManager":"cgroupfs","eventLogger":"file","ociRuntime":{"name":"runc"},"security":{"rootless":false}}}`))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(facts{CgroupV1: true, Runtime: "runc", CgroupManager: "cgroupfs", EventLogger: "file"}, got); diff != "" {
		t.Errorf("facts (-want +got):\n%s", diff)
	}
	for _, bad := range []string{``, `{}`, `{"host":{"cgroupVersion":"v2"}}`, `not json`} {
		if _, err := parseInfo([]byte(bad)); err == nil {
			t.Errorf("%q parses", bad)
		}
	}
}

func TestHasSysResource(t *testing.T) {
	for status, want := range map[string]bool{
		"Name:\tx\nCapEff:\t000001fffeffffff\n": false,
		"Name:\tx\nCapEff:\t000001ffffffffff\n": true,
	} {
		if got, err := hasSysResource(status); err != nil || got != want {
			t.Errorf("%q: %v, %v; want %v", status, got, err, want)
		}
	}
	for _, bad := range []string{"", "CapEff:\tzz\n", strings.Repeat("Name:\tx\n", 3)} {
		if _, err := hasSysResource(bad); err == nil {
			t.Errorf("%q parses", bad)
		}
	}
}
