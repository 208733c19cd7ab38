package livesource

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"twohop/internal/objects"
)

// Format is that of a snapshot on disk.
const Format = "twohop.audit-snapshot/v1"

const (
	indexFile   = "snapshot.json"
	objectsFile = "objects.jsonl"
)

// index is snapshot.json: everything but objects and dumps, and what those files hold.
type index struct {
	Format string `json:"format"`
	// Files are the other files, with the SHA-256 of their bytes.
	Files map[string]string `json:"files"`
	*Snapshot
}

// Save writes a snapshot into a folder that is new or empty. It holds no keys; it does
// hold names and addresses of the cluster.
func (s *Snapshot) Save(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the snapshot's folder: %w", err)
	}
	if has, err := os.ReadDir(dir); err != nil {
		return fmt.Errorf("look into the snapshot's folder: %w", err)
	} else if len(has) > 0 {
		return fmt.Errorf("%s is not empty: name a new folder for the snapshot", dir)
	}
	in := index{Format: Format, Files: map[string]string{}, Snapshot: s}
	write := func(name string, raw []byte) error {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return fmt.Errorf("save the snapshot: %w", err)
		}
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			return fmt.Errorf("save the snapshot: %w", err)
		}
		in.Files[name] = sum(raw)
		return nil
	}
	var lines bytes.Buffer
	for _, o := range s.Objects.All {
		if err := json.Compact(&lines, o.JSON); err != nil {
			return fmt.Errorf("save %s: %w", o, err)
		}
		lines.WriteByte('\n')
	}
	if err := write(objectsFile, lines.Bytes()); err != nil {
		return err
	}
	for _, p := range s.Proxies {
		for name, d := range p.dumps() {
			raw, err := d.JSON()
			if err != nil {
				return err
			}
			if err := write(name, raw); err != nil {
				return err
			}
		}
	}
	raw, err := json.MarshalIndent(in, "", "  ")
	if err != nil {
		return fmt.Errorf("save the snapshot: %w", err)
	}
	// Last: a folder without it is no snapshot, and one that broke off has none.
	if err := os.WriteFile(filepath.Join(dir, indexFile), append(raw, '\n'), 0o600); err != nil {
		return fmt.Errorf("save the snapshot: %w", err)
	}
	return nil
}

// dumps are the proxy's, by file.
func (p *Proxy) dumps() map[string]*Dump {
	folder := "proxies/" + p.Namespace + "/" + p.Pod + "/"
	found := map[string]*Dump{}
	if p.Envoy != nil {
		found[folder+"envoy.json"] = p.Envoy
	}
	for replica, d := range p.Istiod {
		found[folder+replicaPrefix+replica+".json"] = d
	}
	return found
}

// replicaPrefix begins the files with istiod's view; the rest is the replica's pod.
const replicaPrefix = "istiod@"

func sum(raw []byte) string {
	s := sha256.Sum256(raw)
	return hex.EncodeToString(s[:])
}

// Load reads a snapshot that was saved. A file that is not there, or not as it was
// written, is an error that names it.
func Load(dir string) (*Snapshot, error) {
	path := filepath.Join(dir, indexFile)
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is not there: %s is no snapshot, or was not saved to its end", path, dir)
	}
	if err != nil {
		return nil, fmt.Errorf("load the snapshot: %w", err)
	}
	var head struct{ Format string }
	if err := json.Unmarshal(raw, &head); err != nil {
		return nil, fmt.Errorf("%s cannot be read: %w", path, err)
	}
	if head.Format != Format {
		return nil, fmt.Errorf("%s has format %q, and this program reads %q: use the release that wrote it", path, head.Format, Format)
	}
	in := index{Snapshot: &Snapshot{}}
	if err := json.Unmarshal(raw, &in); err != nil {
		return nil, fmt.Errorf("%s cannot be read: %w", path, err)
	}
	s := in.Snapshot
	if _, ok := in.Files[objectsFile]; !ok {
		return nil, fmt.Errorf("%s does not name %s", path, objectsFile)
	}
	for name, want := range in.Files {
		if !filepath.IsLocal(name) {
			return nil, fmt.Errorf("%s names %q, which is not in the snapshot's folder", path, name)
		}
		file := filepath.Join(dir, filepath.FromSlash(name))
		raw, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("the snapshot is not complete: %w", err)
		}
		if sum(raw) != want {
			return nil, fmt.Errorf("%s is not as it was saved: its SHA-256 is %s, not %s", file, sum(raw), want)
		}
		if name == objectsFile {
			s.Objects, err = readObjects(file, raw)
		} else {
			err = s.attach(name, raw)
		}
		if err != nil {
			return nil, err
		}
	}
	return s, nil
}

func readObjects(file string, raw []byte) (*objects.Set, error) {
	set := &objects.Set{}
	lines := bufio.NewReader(bytes.NewReader(raw))
	for n := 1; ; n++ {
		line, err := lines.ReadBytes('\n')
		if len(line) == 0 {
			return set, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s:%d: the line has no end", file, n)
		}
		o, err := objects.FromJSON(bytes.TrimSpace(line))
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", file, n, err)
		}
		set.All = append(set.All, o)
	}
}

// attach gives a dump to its proxy.
func (s *Snapshot) attach(name string, raw []byte) error {
	parts := strings.Split(name, "/")
	if len(parts) == 4 && parts[0] == "proxies" {
		for _, p := range s.Proxies {
			if p.Namespace != parts[1] || p.Pod != parts[2] {
				continue
			}
			file := strings.TrimSuffix(parts[3], ".json")
			if file == "envoy" {
				p.Envoy = pack(raw)
				return nil
			}
			if replica, ok := strings.CutPrefix(file, replicaPrefix); ok {
				if p.Istiod == nil {
					p.Istiod = map[string]*Dump{}
				}
				p.Istiod[replica] = pack(raw)
				return nil
			}
		}
	}
	return fmt.Errorf("%s names %s, and no proxy of the snapshot has it", indexFile, name)
}
