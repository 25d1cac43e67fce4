package plugin

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// memory returns the bytes that the process and its descendants have in memory for themselves: not those that they only
// map from files. If it is not more than enough, it may count memory that they share once for each of them, which costs
// less. It is 0 when the process has ended.
func (p *process) memory(enough int64) int64 {
	p.mu.Lock()
	reaped := p.reaped
	p.mu.Unlock()
	if reaped {
		return 0
	}
	pids := tree(p.pid)
	var upper, exact int64
	for _, pid := range pids {
		upper += resident(pid)
	}
	if len(pids) == 1 || upper <= enough {
		return upper
	}
	for _, pid := range pids {
		n, ok := proportional(pid)
		if !ok {
			return upper // it is not ours to see
		}
		exact += n
	}
	return min(upper, exact)
}

// tree returns a process and its descendants. One that comes or goes meanwhile may be missing.
func tree(root int) []int {
	pids, seen := []int{root}, map[int]bool{root: true}
	for i := 0; i < len(pids); i++ { // it grows
		for _, child := range children(pids[i]) {
			if !seen[child] { // one that changes its parent meanwhile is found twice
				pids, seen[child] = append(pids, child), true
			}
		}
	}
	return pids
}

// children returns the processes that a process has started, or inherited from one of them that has ended.
func children(pid int) []int {
	dir := fmt.Sprintf("/proc/%d/task/", pid)
	threads, err := os.ReadDir(dir)
	if err != nil {
		return nil // it has ended
	}
	var pids []int
	for _, thread := range threads {
		text, err := os.ReadFile(dir + thread.Name() + "/children")
		if err != nil {
			continue // the thread has ended
		}
		for field := range strings.FieldsSeq(string(text)) {
			if child, err := strconv.Atoi(field); err == nil {
				pids = append(pids, child)
			}
		}
	}
	return pids
}

// childrenKnown returns why the kernel does not tell a process's children.
func childrenKnown() error {
	_, err := os.ReadFile("/proc/thread-self/children")
	return err
}

// resident returns the bytes that a process has in memory and not from files, shared or not. It is 0 when the process
// has ended.
func resident(pid int) int64 {
	n, _ := sumKiB(fmt.Sprintf("/proc/%d/status", pid), "RssAnon", "RssShmem")
	return n
}

// proportional is resident with each page divided by the number of processes that share it. The kernel walks the pages
// for it. It returns false if this process may not see that, or the kernel does not know it.
func proportional(pid int) (int64, bool) {
	n, err := sumKiB(fmt.Sprintf("/proc/%d/smaps_rollup", pid), "Pss_Anon", "Pss_Shmem")
	if errors.Is(err, os.ErrNotExist) {
		_, err = os.Stat(fmt.Sprintf("/proc/%d", pid))
		return 0, errors.Is(err, os.ErrNotExist) // it has ended
	}
	return n, err == nil || errors.Is(err, unix.ESRCH) // it ends just now
}

// sumKiB returns the sum of lines such as "RssAnon:  12 kB" in bytes. It returns an error if there is none of them.
func sumKiB(file string, names ...string) (bytes int64, err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	found := false
	for line := range strings.Lines(string(text)) {
		if name, rest, _ := strings.Cut(line, ":"); slices.Contains(names, name) {
			n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			if err != nil {
				return 0, fmt.Errorf("%s: %w", file, err)
			}
			bytes, found = bytes+n<<10, true
		}
	}
	if !found {
		return 0, fmt.Errorf("%s has no line of %v", file, names)
	}
	return bytes, nil
}
