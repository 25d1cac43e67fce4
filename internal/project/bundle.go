package project

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/sdk"
)

// Folder is where a build leaves its bundle, below the project's folder.
const Folder = ".catenary"

// Bundle is what a deploy sends.
type Bundle struct {
	Manifests []functions.Manifest   `json:"manifests"`
	Models    []functions.Model      `json:"models"`
	Chains    []sdk.ChainDescription `json:"chains"`

	blobs string // the folder that holds the bytes
}

const bundleFile = "bundle.json"

// Open reads the bundle that Build left in the project at dir. It returns an error wrapping functions.ErrNotFound if there
// is none: the latest build failed, or there was none.
func Open(dir string) (*Bundle, error) {
	data, err := os.ReadFile(filepath.Join(dir, Folder, bundleFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s has not been built: run catenary build %s (a build that fails leaves nothing to deploy)", functions.ErrNotFound, dir, dir)
	}
	if err != nil {
		return nil, err
	}
	b := &Bundle{blobs: filepath.Join(dir, Folder, "blobs")}
	if err := json.Unmarshal(data, b); err != nil {
		return nil, fmt.Errorf("%w: %s: %w: build it again", functions.ErrInvalid, filepath.Join(dir, Folder, bundleFile), err)
	}
	return b, nil
}

// forget removes the bundle of the project at dir, if there is one. Its blobs stay: they are named by their bytes, and the
// next bundle may need them.
func forget(dir string) error {
	if err := os.Remove(filepath.Join(dir, Folder, bundleFile)); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// OpenBlob opens the bytes with that digest, and returns their count. The caller closes what it returns.
func (b *Bundle) OpenBlob(d functions.Digest) (io.ReadCloser, int64, error) {
	f, err := os.Open(filepath.Join(b.blobs, d.Hex()))
	if errors.Is(err, os.ErrNotExist) {
		return nil, 0, fmt.Errorf("%w: blob %s of the bundle: build it again", functions.ErrNotFound, d)
	}
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

// save writes the bundle and removes blobs that it does not name, with what a build that was killed left half-written.
func (b *Bundle) save(dir string) error {
	data, err := json.MarshalIndent(b, "", " ")
	if err != nil {
		return err
	}
	keep := map[string]bool{}
	for _, m := range b.Manifests {
		keep[m.Artifact.Hex()] = true
	}
	for _, m := range b.Models {
		keep[m.File.Hex()] = true
	}
	entries, err := os.ReadDir(b.blobs)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !keep[e.Name()] {
			if err := os.Remove(filepath.Join(b.blobs, e.Name())); err != nil {
				return err
			}
		}
	}
	return b.write(filepath.Join(dir, Folder, bundleFile), data)
}

// write replaces path by data: whoever reads it sees all of the old or all of the new.
func (b *Bundle) write(path string, data []byte) error {
	tmp, err := os.CreateTemp(b.blobs, ".tmp-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(data)
	if err := errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}

// addBlob copies a file into the bundle and returns its digest and size. A link would change with the file.
func (b *Bundle) addBlob(path string) (functions.Digest, int64, error) {
	src, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer src.Close()
	tmp, err := os.CreateTemp(b.blobs, ".tmp-*")
	if err != nil {
		return "", 0, err
	}
	defer os.Remove(tmp.Name())
	digest, size, err := functions.DigestFrom(io.TeeReader(src, tmp))
	if err := errors.Join(err, tmp.Close()); err != nil {
		return "", 0, err
	}
	return digest, size, os.Rename(tmp.Name(), filepath.Join(b.blobs, digest.Hex()))
}
