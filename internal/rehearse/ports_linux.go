package rehearse

import "syscall"

// shared lets another socket bind a port that is held but not listened on.
var shared = []int{syscall.SO_REUSEADDR}

// withParent has a process end when the thread that started it does: no proxy outlives
// a rehearsal that was killed.
func withParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
