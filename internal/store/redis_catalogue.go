package store

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	goredis "github.com/redis/go-redis/v9"

	"github.com/catenary-run/catenary/functions"
)

const (
	aliasesKey     = redisPrefix + "aliases"         // a hash: name to aliasEntry
	aliasesChannel = redisPrefix + "aliases-changed" // carries the functions.Alias that has moved, as JSON
)

// aliasEntry is an alias as it lies in Redis. By names the SetAlias that wrote it: the library repeats a command whose
// answer was lost, and the script must then tell its own success from another's.
type aliasEntry struct {
	functions.Alias
	By string `json:"by"`
}

// setAlias moves an alias if its revision is ARGV[2], and announces it. It returns the revision that it found
// otherwise. KEYS: the hash. ARGV: name, expected revision, new entry, its By, channel, announcement.
var setAlias = goredis.NewScript(`
local have = 0
local entry = redis.call('HGET', KEYS[1], ARGV[1])
if entry then
  local old = cjson.decode(entry)
  if old.by == ARGV[4] then return -1 end
  have = old.rev
end
if have ~= tonumber(ARGV[2]) then return have end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
redis.call('PUBLISH', ARGV[5], ARGV[6])
return -1`)

func recordKey(kind functions.RecordKind, d functions.Digest) string {
	return redisPrefix + "record:" + string(kind) + ":" + d.Hex()
}

// PutRecord implements [functions.Catalogue].
func (r *redisStore) PutRecord(ctx context.Context, kind functions.RecordKind, data []byte) (functions.Digest, error) {
	if err := checkRecordData(kind, data); err != nil {
		return "", err
	}
	d := functions.DigestOf(data)
	err := r.do(ctx, "put record", func(ctx context.Context) error {
		return r.client.Set(ctx, recordKey(kind, d), data, 0).Err()
	})
	return d, err
}

// Record implements [functions.Catalogue].
func (r *redisStore) Record(ctx context.Context, kind functions.RecordKind, d functions.Digest) ([]byte, error) {
	d, err := checkRecordRef(kind, d)
	if err != nil {
		return nil, err
	}
	var data []byte
	err = r.do(ctx, "get record", func(ctx context.Context) (err error) {
		data, err = r.client.Get(ctx, recordKey(kind, d)).Bytes()
		return err
	})
	if errors.Is(err, goredis.Nil) {
		return nil, errNoRecord(kind, d)
	}
	if err != nil {
		return nil, err
	}
	return checkRecord(kind, d, data, "key "+recordKey(kind, d))
}

// Alias implements [functions.Catalogue].
func (r *redisStore) Alias(ctx context.Context, name string) (functions.Alias, error) {
	if err := checkAliasName(name); err != nil {
		return functions.Alias{}, err
	}
	var data []byte
	err := r.do(ctx, "get alias", func(ctx context.Context) (err error) {
		data, err = r.client.HGet(ctx, aliasesKey, name).Bytes()
		return err
	})
	if errors.Is(err, goredis.Nil) {
		return functions.Alias{}, fmt.Errorf("%w: no alias %s", functions.ErrNotFound, name)
	}
	if err != nil {
		return functions.Alias{}, err
	}
	return parseAlias(name, data)
}

// Aliases implements [functions.Catalogue].
func (r *redisStore) Aliases(ctx context.Context, prefix string) ([]functions.Alias, error) {
	var entries map[string]string
	err := r.do(ctx, "list aliases", func(ctx context.Context) (err error) {
		entries, err = r.client.HGetAll(ctx, aliasesKey).Result()
		return err
	})
	if err != nil {
		return nil, err
	}
	var all []functions.Alias
	for name, data := range entries {
		if !strings.HasPrefix(name, prefix) {
			continue
		}
		a, err := parseAlias(name, []byte(data))
		if err != nil {
			return nil, err
		}
		all = append(all, a)
	}
	slices.SortFunc(all, func(a, b functions.Alias) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

// parseAlias reads an entry of the hash.
func parseAlias(name string, data []byte) (functions.Alias, error) {
	var e aliasEntry
	err := json.Unmarshal(data, &e)
	if err == nil {
		err = checkAlias(e.Alias)
	}
	if err == nil && e.Name != name {
		err = fmt.Errorf("it is of %q", clip(e.Name))
	}
	if err != nil {
		return functions.Alias{}, fmt.Errorf("alias %s in Redis key %s is damaged: %w; delete it (HDEL) and deploy again", clip(name), aliasesKey, err)
	}
	return e.Alias, nil
}

// SetAlias implements [functions.Catalogue].
func (r *redisStore) SetAlias(ctx context.Context, name string, d functions.Digest, rev uint64) (functions.Alias, error) {
	next, err := nextAlias(name, d, rev)
	if err != nil {
		return functions.Alias{}, err
	}
	by := rand.Text()
	entry, err := json.Marshal(aliasEntry{next, by})
	if err != nil {
		return functions.Alias{}, fmt.Errorf("store: %w", err)
	}
	announcement, err := json.Marshal(next)
	if err != nil {
		return functions.Alias{}, fmt.Errorf("store: %w", err)
	}
	var have int64
	err = r.do(ctx, "set alias", func(ctx context.Context) (err error) {
		have, err = setAlias.Run(ctx, r.client, []string{aliasesKey}, name, rev, entry, by, aliasesChannel, announcement).Int64()
		return err
	})
	switch {
	case err != nil:
		return functions.Alias{}, err
	case have >= 0:
		return functions.Alias{}, errConflict(name, rev, uint64(have))
	}
	return next, nil
}
