package cluster

import (
	"fmt"
	"io"

	kind "sigs.k8s.io/kind/pkg/cluster"
	"sigs.k8s.io/kind/pkg/log"
)

func newProvider(engine string, w io.Writer) (*kind.Provider, error) {
	logger := kind.ProviderWithLogger(kindLogger{w})
	switch engine {
	case "docker":
		return kind.NewProvider(kind.ProviderWithDocker(), logger), nil
	case "podman":
		return kind.NewProvider(kind.ProviderWithPodman(), logger), nil
	}
	return nil, fmt.Errorf("kind runs on docker or podman, not on %q", engine)
}

// kindLogger writes kind's user-facing lines to the run's log.
type kindLogger struct{ io.Writer }

func (l kindLogger) Warn(message string)            { l.Error(message) }
func (l kindLogger) Warnf(format string, a ...any)  { l.Errorf(format, a...) }
func (l kindLogger) Error(message string)           { fmt.Fprintln(l, message) }
func (l kindLogger) Errorf(format string, a ...any) { fmt.Fprintf(l, format+"\n", a...) }
func (l kindLogger) Info(message string)            { l.Error(message) }
func (l kindLogger) Infof(format string, a ...any)  { l.Errorf(format, a...) }
func (l kindLogger) Enabled() bool                  { return true }
func (l kindLogger) V(level log.Level) log.InfoLogger {
	if level > 0 {
		return log.NoopInfoLogger{}
	}
	return l
}
