package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/catenary-run/catenary/functions"
)

const (
	// blobPiece is the size of all pieces of a blob but the last: large enough that round trips don't count, small
	// enough that nobody holds much, and far below the 512 MiB that a value may have.
	blobPiece = 1 << 20
	// uploadLife is how long an upload may pause before Redis forgets it, and how long the rest of a process that was
	// killed stays.
	uploadLife = 10 * time.Minute
	// sizeField is the field of a blob's hash that counts its bytes. The others are the pieces, numbered from 0.
	sizeField = "size"
)

// setField writes a field of an upload and has the upload expire: in one step, or a process that dies between the two
// would leave its first piece for ever.
// KEYS: upload. ARGV: field, value, milliseconds.
var setField = goredis.NewScript(`
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return redis.call('PEXPIRE', KEYS[1], ARGV[3])`)

// commitBlob makes an upload the blob, unless it is there already. It returns 0 if pieces are missing.
// KEYS: upload, blob. ARGV: the count of fields.
var commitBlob = goredis.NewScript(`
if redis.call('EXISTS', KEYS[2]) == 1 then
  redis.call('UNLINK', KEYS[1])
  return 1
end
if redis.call('HLEN', KEYS[1]) ~= tonumber(ARGV[1]) then return 0 end
redis.call('RENAME', KEYS[1], KEYS[2])
redis.call('PERSIST', KEYS[2])
return 1`)

func blobKey(d functions.Digest) string { return redisPrefix + "blob:" + d.Hex() }

// Put implements [functions.Blobs]. It holds one piece at a time.
func (r *redisStore) Put(ctx context.Context, want functions.Digest, src io.Reader) (int64, error) {
	want, err := functions.ParseDigest(string(want))
	if err != nil {
		return 0, err
	}
	key := blobKey(want)
	var there int64
	err = r.do(ctx, "put blob", func(ctx context.Context) (err error) {
		there, err = r.client.Exists(ctx, key).Result()
		return err
	})
	if err != nil {
		return 0, err
	}
	v := newVerifier(want)
	src = io.TeeReader(ctxReader{ctx, src}, v)
	if there == 1 {
		n, err := io.Copy(io.Discard, src)
		if err != nil {
			return 0, fmt.Errorf("blob %s: %w", want, err)
		}
		if err := v.checkSent(); err != nil {
			return 0, err
		}
		return n, nil
	}
	upload := redisPrefix + "upload:" + rand.Text()
	size, err := r.upload(ctx, upload, v, src)
	if err == nil {
		err = r.commit(ctx, upload, key, size)
	}
	if err != nil {
		r.forget(ctx, upload)
		return 0, fmt.Errorf("blob %s: %w", want, err)
	}
	return size, nil
}

// upload sends src in pieces and returns its size if the verifier is content.
func (r *redisStore) upload(ctx context.Context, upload string, v *verifier, src io.Reader) (int64, error) {
	var size int64
	buf := make([]byte, blobPiece)
	for i := 0; ; i++ {
		n, err := io.ReadFull(src, buf)
		if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
			return 0, err
		}
		if n > 0 {
			if err := r.setField(ctx, upload, strconv.Itoa(i), buf[:n]); err != nil {
				return 0, err
			}
		}
		size += int64(n)
		if err != nil {
			break
		}
	}
	if err := v.checkSent(); err != nil {
		return 0, err
	}
	return size, r.setField(ctx, upload, sizeField, strconv.FormatInt(size, 10))
}

func (r *redisStore) setField(ctx context.Context, key, field string, value any) error {
	return r.do(ctx, "put blob", func(ctx context.Context) error {
		return setField.Run(ctx, r.client, []string{key}, field, value, uploadLife.Milliseconds()).Err()
	})
}

func pieces(size int64) int64 { return (size + blobPiece - 1) / blobPiece }

func (r *redisStore) commit(ctx context.Context, upload, key string, size int64) error {
	var ok int64
	err := r.do(ctx, "put blob", func(ctx context.Context) (err error) {
		ok, err = commitBlob.Run(ctx, r.client, []string{upload, key}, pieces(size)+1).Int64()
		return err
	})
	if err == nil && ok == 0 {
		err = fmt.Errorf("%s: %w: the upload paused for more than %v and was forgotten; send it again", r, functions.ErrUnavailable, uploadLife)
	}
	return err
}

// forget removes an upload that failed, even if it failed because ctx has ended. Redis does it later if this fails.
func (r *redisStore) forget(ctx context.Context, upload string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), redisIOTimeout)
	defer cancel()
	r.client.Unlink(ctx, upload)
}

// Open implements [functions.Blobs]. It fetches a piece when it is read, or reads the node's own copy if it has one. What
// Redis has lost is not there for others, so it is not there.
func (r *redisStore) Open(ctx context.Context, d functions.Digest) (io.ReadCloser, int64, error) {
	size, err := r.size(ctx, d)
	if err != nil && !errors.Is(err, functions.ErrUnavailable) {
		return nil, 0, err
	}
	rc, own, cacheErr := r.cache.Open(ctx, d)
	switch {
	case cacheErr == nil:
		return rc, own, nil
	case err != nil:
		return nil, 0, err
	}
	return r.openRemote(ctx, d, size)
}

// size returns how many bytes Redis has of a blob.
func (r *redisStore) size(ctx context.Context, d functions.Digest) (size int64, err error) {
	if d, err = functions.ParseDigest(string(d)); err != nil {
		return 0, err
	}
	err = r.do(ctx, "get blob", func(ctx context.Context) (err error) {
		size, err = r.client.HGet(ctx, blobKey(d), sizeField).Int64()
		return err
	})
	if errors.Is(err, goredis.Nil) {
		return 0, errNoBlob(d)
	}
	return size, err
}

func (r *redisStore) openRemote(ctx context.Context, d functions.Digest, size int64) (io.ReadCloser, int64, error) {
	key := blobKey(d)
	body := &pieceReader{ctx: ctx, store: r, key: key, count: pieces(size)}
	return newVerifyingReader(body, d, "key "+key), size, nil
}

// Verify implements [functions.Blobs]. A damaged copy of the node's own is fetched anew when it is asked for.
func (r *redisStore) Verify(ctx context.Context, d functions.Digest) (damaged bool, err error) {
	if damaged, err = r.cache.Verify(ctx, d); errors.Is(err, functions.ErrNotFound) {
		_, err = r.size(ctx, d)
	}
	return damaged, err
}

// Path implements [functions.Blobs]: one fetch at a time per blob, whoever asks.
func (r *redisStore) Path(ctx context.Context, d functions.Digest) (string, error) {
	d, err := functions.ParseDigest(string(d))
	if err != nil {
		return "", err
	}
	path, err := r.cache.Path(ctx, d)
	if !errors.Is(err, functions.ErrNotFound) {
		return path, err
	}
	err = r.fetch.alone(ctx, d, func() error {
		if _, err := r.cache.Path(ctx, d); !errors.Is(err, functions.ErrNotFound) {
			return err // another caller has just fetched it
		}
		size, err := r.size(ctx, d)
		if err != nil {
			return err
		}
		body, _, err := r.openRemote(ctx, d, size)
		if err != nil {
			return err
		}
		defer body.Close()
		_, err = r.cache.Put(ctx, d, body)
		return err
	})
	if err != nil {
		return "", err
	}
	return r.cache.Path(ctx, d)
}

// pieceReader reads a blob piece by piece, for the one call that opened it: that is why it keeps the call's context.
type pieceReader struct {
	ctx         context.Context
	store       *redisStore
	key         string
	next, count int64
	rest        []byte
}

func (p *pieceReader) Read(buf []byte) (int, error) {
	if len(buf) == 0 {
		return 0, nil
	}
	if len(p.rest) == 0 {
		if p.next == p.count {
			return 0, io.EOF
		}
		err := p.store.do(p.ctx, "get blob", func(ctx context.Context) (err error) {
			p.rest, err = p.store.client.HGet(ctx, p.key, strconv.FormatInt(p.next, 10)).Bytes()
			return err
		})
		if errors.Is(err, goredis.Nil) || err == nil && len(p.rest) == 0 {
			return 0, fmt.Errorf("blob in Redis key %s is damaged: piece %d is missing; delete the key and deploy again", p.key, p.next)
		}
		if err != nil {
			return 0, err
		}
		p.next++
	}
	n := copy(buf, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

// Close forgets the rest.
func (p *pieceReader) Close() error {
	p.next, p.rest = p.count, nil
	return nil
}
