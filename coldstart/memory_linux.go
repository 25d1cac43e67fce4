package coldstart

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// memoryLimit returns the bytes that this process may use: the machine's memory, or the limit of its control group if
// that is lower.
func memoryLimit() int64 {
	limit := int64(fallbackMemory)
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil {
		limit = int64(uint64(info.Totalram) * uint64(info.Unit))
	}
	// In a container with its own cgroup namespace, as Docker and Kubernetes make it, the root is our own group.
	if data, err := os.ReadFile("/sys/fs/cgroup/memory.max"); err == nil {
		if max, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64); err == nil && max > 0 {
			limit = min(limit, max)
		}
	}
	return limit
}
