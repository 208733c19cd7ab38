package engine

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// facts are what decides whether podman's defaults can work on this machine.
type facts struct {
	CgroupV1       bool   // hybrid counts as v1
	SystemdRunning bool   // PID 1 is systemd
	RaisesLimits   bool   // holds CAP_SYS_RESOURCE, so may go above hard limits
	HardFiles      uint64 // hard limit on open files
	HardProcs      uint64 // hard limit on processes
	HasRunc        bool
	Runtime        string // the OCI runtime that podman would use: crun, runc …
	CgroupManager  string // as podman has it: systemd or cgroupfs
	EventLogger    string // as podman has it: journald, file …
	Rootless       bool
	UserConf       string // a containers.conf that the user or distribution wrote; empty if none
}

// Podman's own defaults, from which containersConf departs where they fail.
const (
	defaultFiles = 1048576
	// podman lowers a container's process limit to 32768 by itself, and runc
	// refuses more than the hard limit: stay below both.
	maxProcs = 30000
)

// containersConf renders a containers.conf with which podman can run kind's
// nodes on a machine of these facts, and says why each part is needed. It is
// empty when podman's own settings will do.
func containersConf(f facts) (text string, why []string) {
	if f.Rootless {
		return "", nil // kind has rules of its own for rootless podman
	}
	var engine, containers []string
	if f.CgroupV1 && f.Runtime == "crun" && f.HasRunc {
		engine = append(engine, `runtime = "runc"`)
		why = append(why, "runc, since crun refuses hybrid cgroups")
	}
	if !f.SystemdRunning && f.CgroupManager != "cgroupfs" {
		engine = append(engine, `cgroup_manager = "cgroupfs"`)
		why = append(why, "cgroupfs, since systemd does not run here")
	}
	if !f.SystemdRunning && f.EventLogger != "file" {
		engine = append(engine, `events_logger = "file"`)
		why = append(why, "events in a file, since journald does not run here")
	}
	if !f.RaisesLimits && (f.HardFiles < defaultFiles || f.HardProcs > maxProcs) {
		files, procs := min(f.HardFiles, defaultFiles), min(f.HardProcs, maxProcs)
		containers = append(containers, fmt.Sprintf(`default_ulimits = ["nofile=%d:%d", "nproc=%d:%d"]`, files, files, procs, procs))
		why = append(why, fmt.Sprintf("limits of %d files and %d processes, since this machine may not raise its own", files, procs))
	}
	if len(why) == 0 {
		return "", nil
	}
	// With CONTAINERS_CONF podman reads no other file, so what kind's nodes
	// need besides comes here too: a cluster is more than 2048 processes.
	containers = append(containers, "pids_limit = 0", `log_driver = "k8s-file"`)
	if f.CgroupManager == "cgroupfs" {
		engine = append(engine, `cgroup_manager = "cgroupfs"`)
	}
	if f.EventLogger == "file" {
		engine = append(engine, `events_logger = "file"`)
	}
	if f.Runtime == "runc" {
		engine = append(engine, `runtime = "runc"`)
	}
	return "# Written by twohop, which passes it to podman as CONTAINERS_CONF.\n" +
		"[containers]\n" + strings.Join(containers, "\n") + "\n\n" +
		"[engine]\n" + strings.Join(engine, "\n") + "\n", why
}

// lookAround gathers the facts.
func lookAround(ctx context.Context, e *Engine) (facts, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*answerWithin)
	defer cancel()
	out, err := e.Output(ctx, "info", "--format", "json")
	if err != nil {
		return facts{}, &EnvironmentError{What: "podman is there but `podman info` fails", Do: "repair podman, or start docker", Err: err}
	}
	f, err := parseInfo(out)
	if err != nil {
		return facts{}, err
	}
	_, err = os.Stat("/run/systemd/system")
	f.SystemdRunning = err == nil
	_, err = exec.LookPath("runc")
	f.HasRunc = err == nil
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return facts{}, fmt.Errorf("reading the limit on open files: %w", err)
	}
	f.HardFiles = limit.Max
	const rlimitNProc = 6 // absent from package syscall; the same on every Linux we run on
	if err := syscall.Getrlimit(rlimitNProc, &limit); err != nil {
		return facts{}, fmt.Errorf("reading the limit on processes: %w", err)
	}
	f.HardProcs = limit.Max
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return facts{}, err
	}
	if f.RaisesLimits, err = hasSysResource(string(status)); err != nil {
		return facts{}, err
	}
	f.UserConf = userConf()
	return f, nil
}

// parseInfo reads what `podman info --format json` prints.
func parseInfo(out []byte) (facts, error) {
	var info struct {
		Host struct {
			CgroupVersion string `json:"cgroupVersion"`
			CgroupManager string `json:"cgroupManager"`
			EventLogger   string `json:"eventLogger"`
			OCIRuntime    struct {
				Name string `json:"name"`
			} `json:"ociRuntime"`
			Security struct {
				Rootless bool `json:"rootless"`
			} `json:"security"`
		} `json:"host"`
	}
	if err := json.Unmarshal(out, &info); err != nil {
		return facts{}, fmt.Errorf("parsing what `podman info --format json` printed: %w", err)
	}
	h := info.Host
	if h.CgroupVersion == "" || h.OCIRuntime.Name == "" {
		return facts{}, fmt.Errorf("`podman info` names no cgroup version (%q) or no runtime (%q)", h.CgroupVersion, h.OCIRuntime.Name)
	}
	return facts{
		CgroupV1: h.CgroupVersion == "v1", Runtime: h.OCIRuntime.Name, CgroupManager: h.CgroupManager,
		EventLogger: h.EventLogger, Rootless: h.Security.Rootless,
	}, nil
}

// hasSysResource reads /proc/self/status for CAP_SYS_RESOURCE.
func hasSysResource(status string) (bool, error) {
	const capSysResource = 24
	lines := bufio.NewScanner(strings.NewReader(status))
	for lines.Scan() {
		if hex, ok := strings.CutPrefix(lines.Text(), "CapEff:"); ok {
			set, err := strconv.ParseUint(strings.TrimSpace(hex), 16, 64)
			if err != nil {
				return false, fmt.Errorf("parsing CapEff of /proc/self/status: %w", err)
			}
			return set&(1<<capSysResource) != 0, nil
		}
	}
	return false, fmt.Errorf("/proc/self/status has no CapEff line")
}

// userConf names the containers.conf that a person wrote, if there is one. The
// distribution's own defaults under /usr/share are nobody's wish.
func userConf() string {
	if path := os.Getenv("CONTAINERS_CONF"); path != "" {
		return path
	}
	if path := "/etc/containers/containers.conf"; exists(path) {
		return path
	}
	return ""
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
