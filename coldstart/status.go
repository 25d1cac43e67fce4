package coldstart

import (
	"slices"
	"strings"
	"time"

	"github.com/catenary-run/catenary/functions"
)

// Tier says how much is left to do before the first answer.
type Tier string

// The tiers.
const (
	Hot    Tier = "hot"    // an instance is there
	Parked Tier = "parked" // code and image are in memory
	Cold   Tier = "cold"   // at best they are on disk
)

// PoolStatus is how one version stands on this node.
type PoolStatus struct {
	Name      string
	Kind      functions.Kind // empty until the manifest is known
	Version   functions.Digest
	Tier      Tier
	Instances int // that are there, busy ones included
	Busy      int
	Queued    int // calls that wait
	MemBytes  int64
	WakeTime  time.Duration // what the latest start from nothing took, a load included; 0 before the first
	Captured  bool
	Why       string // why it was not captured
}

// Status returns all versions that this node has had to do with, sorted by name and version.
func (p *Pools) Status() []PoolStatus {
	p.mu.Lock()
	all := make([]PoolStatus, 0, len(p.pools))
	for _, pl := range p.pools {
		all = append(all, pl.status())
	}
	p.mu.Unlock()
	slices.SortFunc(all, func(a, b PoolStatus) int {
		if c := strings.Compare(a.Name, b.Name); c != 0 {
			return c
		}
		return strings.Compare(string(a.Version), string(b.Version))
	})
	return all
}

func (pl *pool) status() PoolStatus {
	s := PoolStatus{
		Name:      pl.ref.Name,
		Kind:      pl.kind(),
		Version:   pl.ref.Digest,
		Tier:      Cold,
		Instances: pl.running(),
		Busy:      len(pl.busy),
		Queued:    len(pl.calls),
		MemBytes:  pl.memBytes(),
		WakeTime:  pl.wakeTime,
	}
	switch {
	case s.Instances > 0:
		s.Tier = Hot
	case pl.code == codeLoaded && pl.kind() != functions.KindPlugin: // the code of a plugin is nothing but its file
		s.Tier = Parked
	}
	if pl.image != nil {
		s.Captured, s.Why = pl.image.Captured, pl.image.Why
	}
	return s
}
