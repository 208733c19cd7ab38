package verdict

import (
	"fmt"
	"os"
	"path/filepath"

	"twohop/internal/claim"
)

// ReproduceDir holds a script for each claim, ManifestFile all that was applied.
const (
	ReproduceDir = "reproduce"
	ManifestFile = "manifest.yaml"
)

// SidecarConfigFile and GatewayConfigFile hold Envoy's config_dump of the two proxies,
// as the baseline's objects made it. No verdict rests on them.
const (
	SidecarConfigFile = "config-sidecar.json"
	GatewayConfigFile = "config-gateway.json"
)

// SaveScript writes reproduce/<claim>.sh and returns its path in the folder.
func (f *Folder) SaveScript(id claim.ID, script []byte) (string, error) {
	path := filepath.Join(ReproduceDir, string(id)+".sh")
	if err := os.MkdirAll(filepath.Join(f.Dir, ReproduceDir), 0o755); err != nil {
		return "", err
	}
	if err := writeAtomic(filepath.Join(f.Dir, path), script); err != nil {
		return "", err
	}
	return path, os.Chmod(filepath.Join(f.Dir, path), 0o755)
}

// SaveManifest writes manifest.yaml: everything that the lab applied.
func (f *Folder) SaveManifest(manifest []byte) error {
	return writeAtomic(filepath.Join(f.Dir, ManifestFile), manifest)
}

// Save writes a file beside verdict.json, or replaces it.
func (f *Folder) Save(name string, raw []byte) error {
	if !safeName.MatchString(name) {
		return fmt.Errorf("%q cannot name a file of a run's folder", name)
	}
	return writeAtomic(filepath.Join(f.Dir, name), raw)
}
