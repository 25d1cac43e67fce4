package coldstart

import "golang.org/x/sys/unix"

// memoryLimit returns the machine's memory in bytes.
func memoryLimit() int64 {
	if n, err := unix.SysctlUint64("hw.memsize"); err == nil {
		return int64(n)
	}
	return fallbackMemory
}
