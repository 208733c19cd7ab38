// Publish brings the metrics of an audit from its Job, which ends, to Prometheus, which
// asks later. "run" runs an audit and keeps what it prints in a ConfigMap; "serve" serves
// the ConfigMap, mounted as a folder, to Prometheus. It knows nothing of what the metrics
// say, and must not import anything of the project: the audit itself writes to nothing.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"k8s.io/client-go/rest"
)

const usage = `Usage: twohop-publish run NAMESPACE/CONFIGMAP COMMAND...
       twohop-publish serve [-listen :9464] FOLDER

run ends with 0 if the command ended with 0, 1 or 4 (nothing found, findings, something
unknown) and the ConfigMap has its metrics; else with the command's exit code, or 3. Then
the ConfigMap stays as it was, and the metrics show their age.
`

// key is the ConfigMap's, and a file's in the folder that it is mounted as.
const key = "metrics"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	code, err := start(ctx, os.Args[1:], os.Stdout, os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "twohop-publish:", err)
	}
	os.Exit(code)
}

const (
	exitUsage  = 2
	exitFailed = 3
)

func start(ctx context.Context, args []string, stdout, stderr io.Writer) (code int, err error) {
	switch {
	case len(args) >= 3 && args[0] == "run":
		namespace, name, ok := strings.Cut(args[1], "/")
		if !ok {
			return exitUsage, fmt.Errorf("%s is not NAMESPACE/CONFIGMAP", args[1])
		}
		return run(ctx, args[2:], stdout, stderr, func(metrics string) error {
			config, err := rest.InClusterConfig()
			if err != nil {
				return err
			}
			return patch(ctx, config, namespace, name, metrics)
		})
	case len(args) >= 2 && args[0] == "serve":
		flags := flag.NewFlagSet("serve", flag.ContinueOnError)
		flags.SetOutput(stderr)
		listen := flags.String("listen", ":9464", "")
		if err := flags.Parse(args[1:]); err != nil || flags.NArg() != 1 {
			return exitUsage, errors.Join(err, errors.New(usage))
		}
		return serve(ctx, *listen, flags.Arg(0))
	}
	return exitUsage, errors.New(usage)
}

// run runs an audit and publishes what it prints.
func run(ctx context.Context, command []string, stdout, stderr io.Writer, publish func(string) error) (code int, err error) {
	var printed bytes.Buffer
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Stdout, cmd.Stderr = io.MultiWriter(&printed, stdout), stderr
	if err := cmd.Run(); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			return exitFailed, err
		}
	}
	switch code := cmd.ProcessState.ExitCode(); code {
	case 0, 1, 4:
	case -1:
		return exitFailed, fmt.Errorf("the audit was killed: %v", cmd.ProcessState)
	default:
		return code, fmt.Errorf("the audit ended with %d: nothing is published", code)
	}
	if !strings.HasSuffix(printed.String(), "# EOF\n") {
		return exitFailed, errors.New("the audit printed no metrics, or not all of them: give it -o metrics")
	}
	if err := publish(printed.String()); err != nil {
		return exitFailed, fmt.Errorf("publish the metrics: %w", err)
	}
	return 0, nil
}

// patch puts the metrics into a ConfigMap that exists.
func patch(ctx context.Context, config *rest.Config, namespace, name, metrics string) error {
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return err
	}
	body, err := json.Marshal(map[string]any{"data": map[string]string{key: metrics}})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	address := strings.TrimSuffix(config.Host, "/") + "/api/v1/namespaces/" + namespace + "/configmaps/" + name
	r, err := http.NewRequestWithContext(ctx, http.MethodPatch, address, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/merge-patch+json")
	response, err := client.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		said, _ := io.ReadAll(io.LimitReader(response.Body, 1000))
		return fmt.Errorf("the API server answers %s to a patch of ConfigMap %s/%s: %s", response.Status, namespace, name, bytes.TrimSpace(said))
	}
	return nil
}

// serve serves the folder's metrics until the context ends.
func serve(ctx context.Context, listen, folder string) (code int, err error) {
	server := &http.Server{Addr: listen, Handler: handler(folder), ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan error, 1)
	go func() { ended <- server.ListenAndServe() }()
	select {
	case err := <-ended:
		return exitFailed, err
	case <-ctx.Done():
		return 0, server.Close()
	}
}

func handler(folder string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		// Read anew each time: the kubelet replaces the file.
		metrics, err := os.ReadFile(filepath.Join(folder, key))
		switch {
		case errors.Is(err, os.ErrNotExist):
			metrics = []byte("# EOF\n") // no audit has ended yet; an alert is about that
		case err != nil:
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/openmetrics-text; version=1.0.0; charset=utf-8")
		_, _ = w.Write(metrics)
	})
	return mux
}
