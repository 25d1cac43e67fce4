package coldstart

import (
	"slices"
	"time"

	"github.com/catenary-run/catenary/functions"
)

// parkedCode is the code of a version that has no instance and that nobody waits for.
type parkedCode struct {
	Version functions.Digest
	Bytes   int64
	Used    time.Time
}

// evict returns which parked code to give up so that used bytes come down to the budget: the least recently used first,
// and no more than needed.
func evict(budget, used int64, parked []parkedCode) []functions.Digest {
	if used <= budget {
		return nil
	}
	oldest := slices.SortedStableFunc(slices.Values(parked), func(a, b parkedCode) int { return a.Used.Compare(b.Used) })
	var out []functions.Digest
	for _, c := range oldest {
		if used <= budget {
			break
		}
		if c.Bytes <= 0 {
			continue // it would free nothing
		}
		out = append(out, c.Version)
		used -= c.Bytes
	}
	return out
}
