package livesource

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// decode reads an item into a value. Decoding it where it stands saves reading it twice.
type decode func(into any) error

const (
	pageSize    = 500
	pageTimeout = time.Minute
)

// listAll reads a collection page by page and gives each item away as it arrives: no
// page is ever whole in memory. again is called where all has to be read from the start,
// because the server has forgotten where it was.
func (s *Source) listAll(ctx context.Context, path, selector string, item func(decode) error, again func()) error {
	next, limit := "", pageSize
	for {
		token, err := s.page(ctx, path, selector, next, limit, item)
		switch {
		case apierrors.IsResourceExpired(err) && next != "":
			// etcd has compacted in between; one list without pages cannot expire.
			again()
			next, limit = "", 0
			continue
		case err != nil:
			return err
		case token == "":
			return nil
		}
		next = token
	}
}

func (s *Source) page(ctx context.Context, path, selector, next string, limit int, item func(decode) error) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, pageTimeout)
	defer cancel()
	r := s.typed.Discovery().RESTClient().Get().AbsPath(path).SetHeader("Accept", "application/json")
	if limit > 0 {
		r = r.Param("limit", strconv.Itoa(limit))
	}
	if next != "" {
		r = r.Param("continue", next)
	}
	if selector != "" {
		r = r.Param("labelSelector", selector)
	}
	body, err := r.Stream(ctx)
	if err != nil {
		return "", err
	}
	defer body.Close()
	return readList(body, item)
}

// readList reads one page. What is no list, or ends early, is an error: half a page must
// not look like all of it.
func readList(from io.Reader, item func(decode) error) (next string, err error) {
	d := json.NewDecoder(from)
	if err := expect(d, '{'); err != nil {
		return "", err
	}
	items, kind := false, ""
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return "", unreadable(err)
		}
		switch key {
		case "items":
			if items, err = true, readItems(d, item); err != nil {
				return "", err
			}
		case "metadata":
			var meta struct {
				Continue string `json:"continue"`
			}
			if err := d.Decode(&meta); err != nil {
				return "", unreadable(err)
			}
			next = meta.Continue
		case "kind":
			if err := d.Decode(&kind); err != nil {
				return "", unreadable(err)
			}
		default:
			var rest json.RawMessage
			if err := d.Decode(&rest); err != nil {
				return "", unreadable(err)
			}
		}
	}
	if err := expect(d, '}'); err != nil {
		return "", err
	}
	if !items || !strings.HasSuffix(kind, "List") {
		return "", fmt.Errorf("the server's answer is a %q, not a list", kind)
	}
	return next, nil
}

func readItems(d *json.Decoder, item func(decode) error) error {
	first, err := d.Token()
	if err != nil {
		return unreadable(err)
	}
	if first == nil {
		return nil // null: none
	}
	if first != json.Delim('[') {
		return errors.New("the server's list has no list of items")
	}
	for d.More() {
		decoded := false
		err := item(func(into any) error {
			decoded = true
			if err := d.Decode(into); err != nil {
				return unreadable(err)
			}
			return nil
		})
		if err == nil && !decoded {
			err = errors.New("an item was not read") // the next one would begin in its middle
		}
		if err != nil {
			return err
		}
	}
	return expect(d, ']')
}

func expect(d *json.Decoder, delim json.Delim) error {
	t, err := d.Token()
	if err != nil {
		return unreadable(err)
	}
	if t != delim {
		return fmt.Errorf("the server's list cannot be read: %v where %v was expected", t, delim)
	}
	return nil
}

func unreadable(err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("the server's list cannot be read: %w", err)
}

// kept is what is kept of an object's metadata. Ages and versions decide which of two
// objects wins, and show that something changed in between.
type kept struct {
	Name              string            `json:"name"`
	Namespace         string            `json:"namespace,omitempty"`
	Labels            map[string]string `json:"labels,omitempty"`
	Annotations       map[string]string `json:"annotations,omitempty"`
	CreationTimestamp string            `json:"creationTimestamp,omitempty"`
	DeletionTimestamp string            `json:"deletionTimestamp,omitempty"`
	ResourceVersion   string            `json:"resourceVersion,omitempty"`
	Generation        int64             `json:"generation,omitempty"`
}

const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

// item is what is kept of an object: no status, managed fields, finalizers or what
// kubectl last applied. EndpointSlices have no spec.
type item struct {
	APIVersion  string          `json:"apiVersion"`
	Kind        string          `json:"kind"`
	Metadata    kept            `json:"metadata"`
	Spec        json.RawMessage `json:"spec,omitempty"`
	AddressType json.RawMessage `json:"addressType,omitempty"`
	Endpoints   json.RawMessage `json:"endpoints,omitempty"`
	Ports       json.RawMessage `json:"ports,omitempty"`
}

// strip keeps of an object what an audit reads. Items of a list do not say their kind.
func strip(read decode, apiVersion, kind string) ([]byte, error) {
	var o item
	if err := read(&o); err != nil {
		return nil, err
	}
	if o.Metadata.Name == "" {
		return nil, errors.New("an object without a name")
	}
	o.APIVersion, o.Kind = apiVersion, kind
	delete(o.Metadata.Annotations, lastApplied)
	switch kind {
	case "Namespace":
		o.Spec = nil
		keepIstios(o.Metadata.Annotations)
	case "Service":
		keepIstios(o.Metadata.Annotations)
	case "WasmPlugin":
		// Its configuration and environment may hold passwords, and nobody reads them.
		var err error
		if o.Spec, err = without(o.Spec, "pluginConfig", "vmConfig"); err != nil {
			return nil, err
		}
	}
	out, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	out, _ = redactPEM(out) // an EnvoyFilter may hold a key
	return out, nil
}

// injected are annotations that the injector writes down for itself. They name volumes
// of one pod, so that no two pods of a template would be alike.
var injected = []string{"sidecar.istio.io/status", "proxy.istio.io/overrides"}

// keepIstios drops annotations that say nothing to Istio.
func keepIstios(annotations map[string]string) {
	for key := range annotations {
		if !strings.Contains(key, "istio.io") || slices.Contains(injected, key) {
			delete(annotations, key)
		}
	}
}

func without(raw json.RawMessage, keys ...string) (json.RawMessage, error) {
	if len(raw) == 0 {
		return raw, nil
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		return nil, err
	}
	for _, k := range keys {
		delete(fields, k)
	}
	return json.Marshal(fields)
}
