package store

import (
	"context"
	"time"

	"github.com/catenary-run/catenary/functions"
)

// watchInterval is how often a watcher looks whether another process has changed the folder: soon enough for a person
// who deploys, seldom enough to cost nothing.
const watchInterval = 200 * time.Millisecond

// Watch implements [functions.Catalogue]. It reads the small file of all aliases again whenever this Store changed it,
// and every 200 ms for what other processes did.
func (f *folder) Watch(ctx context.Context, changed func(functions.Alias)) error {
	seen := told{}
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	for {
		own := f.nextChange() // taken before the file is read, so that no change falls between
		all, err := f.readAliases()
		if err != nil {
			return err
		}
		for _, a := range seen.changes(all) {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			seen.keep(a)
			changed(a)
		}
		select {
		case <-own:
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (f *folder) nextChange() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changed
}
