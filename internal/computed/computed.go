// Package computed asks istiod's own code what it would send to each proxy of a mesh:
// no cluster, no container. The code of an Istio line is a program of its own, which
// images/computed has the source of; this package makes the question of a mesh's
// objects, with what Kubernetes and the injector would add to them, and reads the
// answer. It must not import Istio, or anything that asks a cluster.
package computed

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"twohop/internal/channel"
	"twohop/internal/objects"
)

// Question is what the program is asked, in JSON on its standard input.
type Question struct {
	Domain  string            `json:"domain"` // istiod's --domain
	Mesh    string            `json:"mesh"`   // MeshConfig in YAML, over istiod's defaults
	Objects []json.RawMessage `json:"objects"`
	Proxies []Proxy           `json:"proxies"`
}

// Proxy is one that istiod is to configure.
type Proxy struct {
	ID             string            `json:"id"`
	Type           string            `json:"type"` // "sidecar" or "router"
	Namespace      string            `json:"namespace"`
	Name           string            `json:"name"`
	ServiceAccount string            `json:"serviceAccount"`
	Labels         map[string]string `json:"labels"`
	IP             string            `json:"ip"`
	// Config is ProxyConfig in YAML, over the mesh's: what the pod's annotation
	// proxy.istio.io/config says.
	Config  string `json:"config"`
	Version string `json:"version"` // of Istio; empty is the line's own
}

// Refusal is an object that the API server would not store.
type Refusal struct {
	// Object is nil for one that the package itself has added.
	Object *objects.Object `json:"-"`
	Index  int             `json:"index"`
	Reason string          `json:"reason"`
	// Warning says that the object is stored all the same.
	Warning bool `json:"warning"`
}

// Answer is what istiod would do with a mesh.
type Answer struct {
	// Istio is the release of the code that answered.
	Istio   string
	Refused []Refusal
	// Dumps are config dumps in Envoy's format, by workload.
	Dumps map[*channel.Workload][]byte
	// Pods are the workloads by the addresses that their pods were given.
	Pods map[string]*channel.Workload
}

// Istiod is a running program with istiod's code. It is for one caller at a time.
type Istiod struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *json.Decoder
	errs *bytes.Buffer
}

// Start starts the program. It ends with Close, or with ctx.
func Start(ctx context.Context, program string) (*Istiod, error) {
	i := &Istiod{cmd: exec.CommandContext(ctx, program), errs: &bytes.Buffer{}}
	// The lanes' istiod has these settings, and Envoy as it is released needs them: it
	// knows no filter of Istio's own build. istiod reads them when it starts.
	i.cmd.Env = append(os.Environ(), "PILOT_ENABLE_ALPN_FILTER=false", "PILOT_ENABLE_METADATA_EXCHANGE=false")
	i.cmd.Stderr = i.errs
	var err error
	if i.in, err = i.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := i.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	i.out = json.NewDecoder(out)
	return i, i.cmd.Start()
}

// Close ends the program.
func (i *Istiod) Close() error {
	_ = i.in.Close()
	return i.cmd.Wait()
}

// Ask asks for the proxies of a mesh. An answer that cannot be read is an error that
// holds what the program said; the program is of no use after it.
func (i *Istiod) Ask(m *channel.Mesh, meshConfig string, proxies []*channel.Workload) (*Answer, error) {
	q, index := question(m, meshConfig, proxies)
	var a struct {
		Istio   string
		Refused []Refusal
		Dumps   map[string]json.RawMessage
	}
	err := json.NewEncoder(i.in).Encode(q)
	if err == nil {
		err = i.out.Decode(&a)
	}
	if err != nil {
		if wait := i.Close(); wait != nil {
			err = wait
		}
		return nil, fmt.Errorf("istiod's code could not compute the configuration: %w: %s", err, strings.TrimSpace(i.errs.String()))
	}
	answer := &Answer{Istio: a.Istio, Dumps: map[*channel.Workload][]byte{}, Pods: map[string]*channel.Workload{}}
	for n, w := range m.Workloads {
		answer.Pods[address(m, n)] = w
	}
	for _, r := range a.Refused {
		if r.Index >= 0 && r.Index < len(index) {
			r.Object = index[r.Index]
		}
		answer.Refused = append(answer.Refused, r)
	}
	for n, w := range proxies {
		dump, ok := a.Dumps[id(n)]
		if !ok {
			return nil, fmt.Errorf("istiod's code said nothing of %s", w.Ref)
		}
		answer.Dumps[w] = dump
	}
	return answer, nil
}
