//go:build unix && !linux

package rehearse

import "syscall"

// shared lets another socket bind a port that is held but not listened on.
var shared = []int{syscall.SO_REUSEADDR, syscall.SO_REUSEPORT}

func withParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
