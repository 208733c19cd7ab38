package images

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
)

// hashLength is how much of a hash a tag shows.
const hashLength = 12

// inputs is the hash of everything that decides an artifact. Each part is
// written with its name and length, so no two lists of parts run together.
type inputs struct {
	sum hash.Hash
	err error
}

func inputsOf(kind string) *inputs {
	in := &inputs{sum: sha256.New()}
	return in.text("kind", kind)
}

// text adds a named value.
func (in *inputs) text(name, value string) *inputs {
	fmt.Fprintf(in.sum, "%d:%s=%d:%s\n", len(name), name, len(value), value)
	return in
}

// files adds files by their path under root and their content, and whether
// they can be executed; a folder adds all the files under it.
func (in *inputs) files(root string, paths ...string) *inputs {
	for _, path := range paths {
		err := filepath.WalkDir(filepath.Join(root, path), func(p string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			rel, err := filepath.Rel(root, p)
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			f, err := os.Open(p)
			if err != nil {
				return err
			}
			defer f.Close()
			in.text("file", fmt.Sprintf("%s x=%t size=%d", rel, info.Mode()&0o100 != 0, info.Size()))
			_, err = io.Copy(in.sum, f)
			return err
		})
		if err != nil && in.err == nil {
			in.err = err
		}
	}
	return in
}

// tag returns the hash, shortened for a tag.
func (in *inputs) tag() (string, error) {
	return hex.EncodeToString(in.sum.Sum(nil))[:hashLength], in.err
}

// fileSHA256 returns a file's SHA-256 in hex.
func fileSHA256(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
