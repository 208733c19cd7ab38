package main

import "syscall"

// childAttr puts the specs into a group of their own: Ctrl-C reaches this process only,
// which passes it on. If this process is killed, the suite is told and cleans up by itself.
func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGINT}
}
