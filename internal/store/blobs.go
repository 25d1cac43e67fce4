package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/catenary-run/catenary/functions"
)

// blobFolder keeps blobs as files that are named by the hex of their digest. It is the folder store's half for blobs,
// and what a node keeps of a store elsewhere.
type blobFolder struct {
	files
	dir string
}

func (b *blobFolder) file(d functions.Digest) string { return filepath.Join(b.dir, d.Hex()) }

// Put implements [functions.Blobs]. Bytes that are there already are read and checked all the same: the sender must
// learn that it sent something else. If those that are there are damaged, they are replaced.
func (b *blobFolder) Put(ctx context.Context, want functions.Digest, r io.Reader) (int64, error) {
	want, err := functions.ParseDigest(string(want))
	if err != nil {
		return 0, err
	}
	r = ctxReader{ctx, r}
	v := newVerifier(want)
	if _, err := b.Verify(ctx, want); err == nil {
		n, err := io.Copy(v, r)
		if err != nil {
			return 0, fmt.Errorf("blob %s: %w", want, err)
		}
		if err := v.checkSent(); err != nil {
			return 0, err
		}
		return n, nil
	}
	t, err := b.create(ctx, b.dir)
	if err != nil {
		return 0, err
	}
	defer t.discard()
	n, err := io.Copy(io.MultiWriter(t, v), r)
	if err != nil {
		return 0, fmt.Errorf("blob %s: %w", want, err)
	}
	if err := v.checkSent(); err != nil {
		return 0, err
	}
	if err := t.commit(b.file(want)); err != nil {
		return 0, err
	}
	return n, nil
}

// Open implements [functions.Blobs].
func (b *blobFolder) Open(ctx context.Context, d functions.Digest) (io.ReadCloser, int64, error) {
	if ctx.Err() != nil {
		return nil, 0, context.Cause(ctx)
	}
	d, err := functions.ParseDigest(string(d))
	if err != nil {
		return nil, 0, err
	}
	f, err := os.Open(b.file(d))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, errNoBlob(d)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("blob %s: %w", d, err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a file", f.Name())
	}
	if err != nil {
		f.Close()
		return nil, 0, fmt.Errorf("blob %s: %w", d, err)
	}
	return newVerifyingReader(f, d, f.Name()), info.Size(), nil
}

// Verify implements [functions.Blobs].
func (b *blobFolder) Verify(ctx context.Context, d functions.Digest) (damaged bool, err error) {
	r, _, err := b.Open(ctx, d)
	if err != nil {
		return false, err
	}
	defer r.Close()
	v := r.(*verifyingReader)
	if _, err := io.Copy(io.Discard, ctxReader{ctx, v}); err == nil || ctx.Err() != nil || v.verifier.sum() == d {
		return false, err
	}
	if err := os.Remove(b.file(d)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return true, fmt.Errorf("blob %s is damaged, and can't be removed: %w", d, err)
	}
	return true, fmt.Errorf("%w: blob %s was damaged and is removed; deploy again, or PUT /blobs/%s", functions.ErrNotFound, d.Short(), d.Hex())
}

// Path implements [functions.Blobs].
func (b *blobFolder) Path(ctx context.Context, d functions.Digest) (string, error) {
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	d, err := functions.ParseDigest(string(d))
	if err != nil {
		return "", err
	}
	path := b.file(d)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return "", errNoBlob(d)
	} else if err != nil {
		return "", fmt.Errorf("blob %s: %w", d, err)
	}
	return path, nil
}
