package image

// keeper remembers which pages a memory keeps as its own from one call to the next. To write a page that is not its own
// costs a fault of several microseconds, and to put one back that it keeps some 0.2: so a memory keeps what its calls
// write again and again, and no more of what only one of them wrote than it has room for.
type keeper struct {
	left []uint8 // by page: how many resets it stays though nobody changes it; 0 if it is not kept
	kept int     // pages
	used bool    // there has been a reset
}

const (
	// maxKept is how many pages a memory keeps: 2 MiB. A Go guest changes some 20 to 100 in a call.
	maxKept = 512
	// patience is how many resets a page stays that no call changes.
	patience = 16
)

// newKeeper keeps the given pages from the start on.
func newKeeper(pages int, kept []int) *keeper {
	k := &keeper{left: make([]uint8, pages)}
	for _, p := range kept {
		if k.left[p] == 0 {
			k.left[p], k.kept = patience, k.kept+1
		}
	}
	return k
}

// admits reports whether page p is kept, or can be.
func (k *keeper) admits(p int) bool { return k.left[p] > 0 || k.kept < maxKept }

// keep notes that p, which admits has let in, is the memory's own and whether the call changed it. It returns false if
// it is to be given back.
func (k *keeper) keep(p int, changed bool) bool {
	switch left := k.left[p]; {
	case left == 0:
		k.left[p], k.kept = patience, k.kept+1
	case changed:
		k.left[p] = patience
	default:
		k.left[p] = left - 1
		if left == 1 {
			k.kept--
			return false
		}
	}
	return true
}

// forget keeps nothing any more.
func (k *keeper) forget() {
	clear(k.left)
	k.kept = 0
}

// seedPages returns the pages that Reseed writes, which it does after every reset.
func seedPages(seeds []uint32, page int) []int {
	var pages []int
	for _, at := range seeds {
		first, last := int(at)+stateSeed, int(at)+stateC+3
		for p := first / page; p <= last/page; p++ {
			pages = append(pages, p)
		}
	}
	return pages
}
