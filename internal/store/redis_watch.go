package store

import (
	"context"
	"encoding/json"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/catenary-run/catenary/functions"
)

// The wait before a lost subscription is made anew doubles from the first of these to the second.
const (
	watchRetryMin = 100 * time.Millisecond
	watchRetryMax = 5 * time.Second
)

// Watch implements [functions.Catalogue]. It outlives outages of the server: each new subscription begins with all
// aliases as they are, so nothing that changed meanwhile is missed.
func (r *redisStore) Watch(ctx context.Context, changed func(functions.Alias)) error {
	w := watcher{store: r, seen: told{}, changed: changed}
	retry := watchRetryMin
	for {
		synced := w.subscribe(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if synced {
			retry = watchRetryMin
		}
		select {
		case <-time.After(retry):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		retry = min(2*retry, watchRetryMax)
	}
}

// watcher is one call of Watch. It belongs to that call's goroutine.
type watcher struct {
	store   *redisStore
	seen    told
	changed func(functions.Alias)
}

// subscribe follows one subscription until it fails or ctx ends, and reports whether it ever delivered all aliases.
// The reason of a failure is of no use to anybody: the next subscription is the remedy, and other calls report that
// the server is away.
func (w *watcher) subscribe(ctx context.Context) (synced bool) {
	sub := w.store.client.Subscribe(ctx, aliasesChannel)
	defer sub.Close()
	defer context.AfterFunc(ctx, func() { sub.Close() })() // wakes a read that has no deadline near
	asked := false
	for {
		msg, err := sub.ReceiveTimeout(ctx, w.store.silence)
		if err != nil {
			if asked || ctx.Err() != nil || !isTimeout(err) {
				return synced
			}
			asked = true
			if sub.Ping(ctx) != nil {
				return synced
			}
			continue
		}
		asked = false
		switch msg := msg.(type) {
		case *goredis.Subscription, *goredis.Pong: // what the server lost without a break, nobody announces
			if !w.resync(ctx) {
				return synced
			}
			synced = true
		case *goredis.Message:
			if !w.announced(ctx, msg.Payload) {
				return synced
			}
		}
	}
}

// resync reports every alias that differs from what was reported last.
func (w *watcher) resync(ctx context.Context) bool {
	all, err := w.store.Aliases(ctx, "")
	if err != nil {
		return false
	}
	for _, a := range w.seen.changes(all) {
		if !w.report(ctx, a) {
			return false
		}
	}
	return true
}

// announced reports the alias of an announcement. One that is not newer than what was reported makes for a resync: it
// was overtaken by one, or the server has lost what was reported. One that can't be read makes for a new subscription.
func (w *watcher) announced(ctx context.Context, payload string) bool {
	var a functions.Alias
	if json.Unmarshal([]byte(payload), &a) != nil || checkAlias(a) != nil {
		return false
	}
	switch last := w.seen[a.Name]; {
	case a == last:
		return true
	case a.Rev <= last.Rev:
		return w.resync(ctx)
	}
	return w.report(ctx, a)
}

// report calls changed, unless ctx has ended: a caller hears nothing after that.
func (w *watcher) report(ctx context.Context, a functions.Alias) bool {
	if ctx.Err() != nil {
		return false
	}
	w.seen.keep(a)
	w.changed(a)
	return true
}

func isTimeout(err error) bool {
	t, ok := err.(interface{ Timeout() bool })
	return ok && t.Timeout()
}
