package state

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Mode says with whom a lock can be shared.
type Mode int

// One exclusive holder, or any number of shared ones.
const (
	Shared    Mode = syscall.LOCK_SH
	Exclusive Mode = syscall.LOCK_EX
)

// retryAfter is how long a taker waits before it tries again.
const retryAfter = 100 * time.Millisecond

// Lock is flock(2) on a file. It belongs to the open file: a child that
// inherits it (Hold.Pass) holds the lock too, until the last of them closes it.
// That is why this is not gofrs/flock, which keeps its descriptor to itself.
type Lock struct {
	path string
	file *os.File
}

// HeldError says that another process holds a lock.
type HeldError struct {
	Path   string
	Holder string // who took it: a process and its command line
}

func (e *HeldError) Error() string { return fmt.Sprintf("%s is held by %s", e.Path, e.Holder) }

// Try takes a lock, or returns a *HeldError at once.
func Try(path string, mode Mode) (*Lock, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	for {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
		if err != nil {
			return nil, err
		}
		l := &Lock{path: path, file: f}
		if err := flock(f, int(mode)|syscall.LOCK_NB); err != nil {
			held := &HeldError{Path: path, Holder: l.holder()}
			_ = f.Close()
			if errors.Is(err, syscall.EWOULDBLOCK) {
				return nil, held
			}
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		if !l.current() { // removed between open and lock: it locks nobody out
			_ = f.Close()
			continue
		}
		if mode == Exclusive {
			err = l.sign()
		}
		if err != nil {
			_ = f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		return l, nil
	}
}

// Take waits for a lock until ctx ends. waiting is called once, if it has to.
func Take(ctx context.Context, path string, mode Mode, waiting func(*HeldError)) (*Lock, error) {
	for told := false; ; {
		l, err := Try(path, mode)
		var held *HeldError
		if !errors.As(err, &held) {
			return l, err
		}
		if !told && waiting != nil {
			waiting(held)
		}
		told = true
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(retryAfter):
		}
	}
}

// Close ends this process's hold. It does not unlock: a child that inherited
// the file keeps the lock.
func (l *Lock) Close() error { return l.file.Close() }

// Remove removes the file of an exclusive lock and closes it. Whoever waits
// finds that its file is no longer the one of that name, and makes it anew.
func (l *Lock) Remove() error { return errors.Join(os.Remove(l.path), l.Close()) }

func (l *Lock) current() bool {
	mine, err1 := l.file.Stat()
	named, err2 := os.Stat(l.path)
	return err1 == nil && err2 == nil && os.SameFile(mine, named)
}

// sign writes down who holds the lock, for the sentences of those who wait.
func (l *Lock) sign() error {
	if err := l.file.Truncate(0); err != nil {
		return err
	}
	command := append([]string{filepath.Base(os.Args[0])}, os.Args[1:]...)
	_, err := l.file.WriteAt(fmt.Appendf(nil, "process %d (%s)\n", os.Getpid(), strings.Join(command, " ")), 0)
	return err
}

func (l *Lock) holder() string {
	raw, err := io.ReadAll(io.LimitReader(l.file, 4096))
	if text := strings.TrimSpace(string(raw)); err == nil && text != "" {
		return text
	}
	return anotherProcess
}

const anotherProcess = "another process"

func flock(f *os.File, how int) error {
	for {
		if err := syscall.Flock(int(f.Fd()), how); !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}
