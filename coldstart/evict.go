package coldstart

import (
	"cmp"
	"slices"
	"time"

	"github.com/catenary-run/catenary/functions"
)

// unused is what a version holds and nobody uses at the moment.
type unused struct {
	Version functions.Digest
	Idle    []idleInstance // the longest unused first
	Code    int64          // bytes that can go once those instances have; 0 if anything else needs the code
	Used    time.Time      // the last use of the code
}

// idleInstance is a ready instance.
type idleInstance struct {
	Since time.Time // unused since
	Bytes int64
}

// eviction is what a version gives up.
type eviction struct {
	Version   functions.Digest
	Instances int  // of the idle ones, the first
	Code      bool // when its instances have gone
}

// evict returns what to give up so that used bytes come down to the budget: the least recently used first, be it an
// instance or code, and no more than needed. Code goes after all instances of its version.
func evict(budget, used int64, all []unused) []eviction {
	if used <= budget {
		return nil
	}
	type part struct {
		of        int // in all
		instances int // that go, this one included
		code      bool
		bytes     int64
		at        time.Time
	}
	var parts []part
	for i, u := range all {
		last := u.Used
		for j, inst := range u.Idle {
			parts = append(parts, part{of: i, instances: j + 1, bytes: inst.Bytes, at: inst.Since})
			last = later(last, inst.Since)
		}
		parts = append(parts, part{of: i, instances: len(u.Idle), code: true, bytes: u.Code, at: last})
	}
	slices.SortStableFunc(parts, func(a, b part) int {
		return cmp.Or(a.at.Compare(b.at), cmp.Compare(all[a.of].Version, all[b.of].Version))
	})
	taken := map[int]eviction{}
	var order []int
	for _, p := range parts {
		if used <= budget {
			break
		}
		if p.bytes <= 0 {
			continue // it would free nothing
		}
		e, known := taken[p.of]
		if !known {
			order = append(order, p.of)
		}
		taken[p.of] = eviction{all[p.of].Version, max(e.Instances, p.instances), e.Code || p.code}
		used -= p.bytes
	}
	var out []eviction
	for _, i := range order {
		out = append(out, taken[i])
	}
	return out
}
