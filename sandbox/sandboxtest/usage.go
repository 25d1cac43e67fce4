package sandboxtest

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// resources is what a process holds that a driver might forget.
type resources struct {
	goroutines  int
	descriptors int // 0 where the system does not tell
	children    int
}

func usage() resources {
	u := resources{goroutines: runtime.NumGoroutine()}
	fds, _ := os.ReadDir("/proc/self/fd")
	u.descriptors = len(fds)
	tasks, _ := filepath.Glob("/proc/self/task/*/children")
	for _, task := range tasks {
		pids, _ := os.ReadFile(task)
		u.children += len(strings.Fields(string(pids)))
	}
	return u
}

// check fails the test unless usage comes back to what it was. What ends in the background gets time to end: the
// guard only bounds how long a failing test takes.
func (before resources) check(t *testing.T) {
	t.Helper()
	var now resources
	for range 200 {
		runtime.GC() // closes what only a finalizer would close, such as the runtime's own
		if now = usage(); now.goroutines <= before.goroutines && now.descriptors <= before.descriptors && now.children <= before.children {
			return
		}
		time.Sleep(25 * time.Millisecond)
	}
	buf := make([]byte, 1<<20)
	t.Errorf("left behind: %s\nbefore: %s\n%s", now, before, buf[:runtime.Stack(buf, true)])
}

func (u resources) String() string {
	return fmt.Sprintf("%d goroutines, %d descriptors, %d child processes", u.goroutines, u.descriptors, u.children)
}
