package verdict

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// writeJSON writes a file that outlasts a crash of the machine, as verdict.json
// and the findings have to. Evidence is not synced: a run saves a thousand files
// of it, each would cost 0.5 to 1 ms on a fast virtual disk (BenchmarkWrite) and
// ten times that on a slow one, and its hash in the finding tells if one was lost.
// The rendered files can be made again.
func (f *Folder) writeJSON(path string, value any) error {
	raw, err := Encode(value)
	if err != nil {
		return fmt.Errorf("%s cannot be encoded: %w", path, err)
	}
	return replace(path, raw, f.sync)
}

// Encode writes JSON as a run's folder has it.
func Encode(value any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	err := enc.Encode(value)
	return b.Bytes(), err
}

// writeAtomic replaces a file whole, or leaves it as it was.
func writeAtomic(path string, content []byte) error {
	return replace(path, content, func(*os.File) error { return nil })
}

// replace writes beside the file and renames. sync is called with the new file
// before it takes the name, and with the folder afterwards.
func replace(path string, content []byte, sync func(*os.File) error) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".tmp-*")
	if err != nil {
		return fmt.Errorf("%s cannot be written: %w", path, err)
	}
	_, err = tmp.Write(content)
	if err == nil {
		err = tmp.Chmod(0o644)
	}
	if err == nil {
		err = sync(tmp)
	}
	if closeErr := tmp.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		_ = os.Remove(tmp.Name())
		return fmt.Errorf("%s cannot be written: %w", path, err)
	}
	dir, err := os.Open(filepath.Dir(path))
	if err == nil {
		err = errors.Join(sync(dir), dir.Close())
	}
	if err != nil {
		return fmt.Errorf("the folder of %s cannot be written: %w", path, err)
	}
	return nil
}
