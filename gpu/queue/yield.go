package queue

// Yields returns the index of the entry that gives way to a newcomer when the queue is full, or -1 if the newcomer is to
// be refused. The caller that has most in the queue gives way, if it has at least two more than the newcomer's; otherwise
// the newcomer's own less urgent calls do. It is always the newest of the least urgent of the caller. Entries are in the
// order of their arrival.
func Yields(entries []Entry, newcomer Entry) int {
	count := map[string]int{}
	longest := newcomer.Caller
	for _, e := range entries {
		if count[e.Caller]++; count[e.Caller] > count[longest] {
			longest = e.Caller
		}
	}
	if count[longest] < count[newcomer.Caller]+2 {
		longest = newcomer.Caller
	}
	last := -1
	for i, e := range entries {
		if e.Caller == longest && (last < 0 || e.class() >= entries[last].class()) {
			last = i
		}
	}
	if longest == newcomer.Caller && (last < 0 || entries[last].class() <= newcomer.class()) {
		return -1
	}
	return last
}
