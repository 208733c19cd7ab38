package rehearse

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
	"syscall"
)

// ports are loopback ports that nobody else gets while a rehearsal runs. Each is bound
// and does not listen: a connection to it is refused, until a program of the rehearsal
// binds it as well (SO_REUSEADDR) and listens.
type ports struct {
	mutex sync.Mutex
	held  []int // file descriptors
}

func (p *ports) take() (int, error) {
	fail := func(err error) (int, error) {
		return 0, fmt.Errorf("reserve a port on %s: %w", loopback, os.NewSyscallError("bind", err))
	}
	// Between socket and CloseOnExec no program may be started: it would inherit the port.
	syscall.ForkLock.RLock()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return fail(err)
	}
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.held = append(p.held, fd)
	for _, option := range shared {
		if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, option, 1); err != nil {
			return fail(err)
		}
	}
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return fail(err)
	}
	address, err := syscall.Getsockname(fd)
	if err != nil {
		return fail(err)
	}
	return address.(*syscall.SockaddrInet4).Port, nil
}

func (p *ports) release() {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	for _, fd := range p.held {
		_ = syscall.Close(fd)
	}
	p.held = nil
}

func portOf(address net.Addr) int { return address.(*net.TCPAddr).Port }

func hostPort(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }
