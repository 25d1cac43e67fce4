package plugin

import (
	"bufio"
	"fmt"
	"io"
	"os"
)

// The users of plugin processes, where the node is root. A process id is unique on a machine while its process is
// there, so a user made from it needs no register. The range is one that neither distributions, systemd nor container
// tools give out, and it reaches past the largest process id of Linux, 2^22.
const (
	userBase    = 1_900_000_000
	userEnd     = userBase + 1<<22
	maxUserBase = userEnd
	// nobody is the user of all plugins where the range is not mapped, as in a rootless container.
	nobody = 65_534
)

// pluginUser returns the confinement's user for a node with the user id of this process and the mapping of uidMap, in
// the form of /proc/self/uid_map.
func pluginUser(self int, uidMap io.Reader) (base uint, one bool) {
	if self != 0 {
		return 0, false
	}
	for lines := bufio.NewScanner(uidMap); lines.Scan(); {
		var first, host, count uint64
		if _, err := fmt.Sscan(lines.Text(), &first, &host, &count); err != nil {
			continue
		}
		if first <= userBase && userEnd <= first+count {
			return userBase, false
		}
	}
	return nobody, true
}

// thisPluginUser is pluginUser for this process.
func thisPluginUser() (base uint, one bool) {
	f, err := os.Open("/proc/self/uid_map")
	if err != nil {
		return pluginUser(os.Geteuid(), &emptyReader{})
	}
	defer f.Close()
	return pluginUser(os.Geteuid(), f)
}

type emptyReader struct{}

func (*emptyReader) Read([]byte) (int, error) { return 0, io.EOF }
