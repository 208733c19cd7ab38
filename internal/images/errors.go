package images

import (
	"errors"
	"regexp"
	"strconv"
	"strings"
	"syscall"

	"twohop/internal/engine"
)

// unreachable matches what go, pip, apt and the engines write when nobody answers.
var unreachable = regexp.MustCompile(`(?i)dial tcp|i/o timeout|no such host|connection refused|connection reset|tls handshake timeout|could not resolve|temporary failure|name resolution|max retries exceeded|failed to establish a new connection|no route to host|network is unreachable|unable to connect|connection timed out|connection failed|connection broken|read timed out|operation timed out`)

var diskFull = regexp.MustCompile(`(?i)no space left on device|disk quota exceeded`)

// compilerError matches a line of a compiler: file:line:column: message.
var compilerError = regexp.MustCompile(`^\S+\.go:\d+(:\d+)?: `)

// compileError is a failed `go build`: the first line that says why. What else
// it writes is names of packages that do compile, and what follows from the first.
type compileError struct {
	line string
	err  error
}

func (e *compileError) Error() string { return e.line }
func (e *compileError) Unwrap() error { return e.err }

// classify turns a failed step into one sentence on what is wrong and what to
// do, where the cause is known from what the command wrote. log has all of it.
func classify(err error, log string) error {
	var usage *engine.UsageError
	var environment *engine.EnvironmentError
	// Without the steps that wrap it: its sentence says where.
	switch {
	case errors.As(err, &usage):
		return usage
	case errors.As(err, &environment):
		return environment
	}
	text := err.Error()
	if compile := (*compileError)(nil); errors.As(err, &compile) {
		text = compile.err.Error() + compile.line
	}
	switch {
	case errors.Is(err, syscall.ENOSPC), diskFull.MatchString(text):
		return &engine.EnvironmentError{What: "the disk is full", Do: "make room (`make clean` removes this project's images, `go clean -cache` Go's) and run again", Err: telling(err, diskFull)}
	case unreachable.MatchString(text):
		return &engine.EnvironmentError{What: "a package registry does not answer", Do: "see that this machine reaches the Go module proxy (GOPROXY), the Python index (PIP_INDEX_URL) and a Debian mirror, then run again; what is done already is kept", Err: telling(err, unreachable)}
	}
	return &engine.EnvironmentError{What: "the images could not be made", Do: "read " + log + " and run again; what is done already is kept", Err: err}
}

// telling is the line of a failed command's output that says why, in the place
// of all that it wrote: the log has that.
func telling(err error, why *regexp.Regexp) error {
	lines := strings.Split(err.Error(), " / ")
	for i := len(lines) - 1; i >= 0; i-- {
		if why.MatchString(lines[i]) {
			return errors.New(lines[i])
		}
	}
	return err
}

// notAnswering names what a step fetches from, if that is why it failed.
func notAnswering(what, variable string, err error) error {
	var environment *engine.EnvironmentError
	if err == nil || errors.As(err, &environment) || !unreachable.MatchString(err.Error()) {
		return err
	}
	return &engine.EnvironmentError{
		What: what + " does not answer", Err: telling(err, unreachable),
		Do: "see that this machine reaches it, or set " + variable + ", then run again; what is done already is kept",
	}
}

// needFree fails unless the file system that holds path has room for bytes.
func needFree(path string, bytes uint64, forWhat string) error {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(path, &fs); err != nil {
		return err
	}
	if free := fs.Bavail * uint64(fs.Bsize); free < bytes {
		return &engine.EnvironmentError{
			What: "the disk that holds " + path + " has " + gigabytes(free) + " free, and " + forWhat + " needs " + gigabytes(bytes),
			Do:   "make room there and run again",
		}
	}
	return nil
}

func gigabytes(bytes uint64) string {
	return strconv.FormatFloat(float64(bytes)/(1<<30), 'f', 1, 64) + " GB"
}
