//go:build !linux

package main

import "syscall"

// childAttr puts the specs into a group of their own. Labs are made on Linux only; an
// audit starts no specs.
func childAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
