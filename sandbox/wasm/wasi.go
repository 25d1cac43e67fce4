package wasm

import (
	"crypto/rand"
	"runtime"
	"time"

	"github.com/catenary-run/catenary/sandbox/wasm/abi"
)

// wasiModule is the module of WASI preview 1.
const wasiModule = "wasi_snapshot_preview1"

// Errnos of WASI beside those in abi.
const (
	errnoExist       = 20
	errnoIsDir       = 31
	errnoNameTooLong = 37
	errnoNoSpace     = 51
	errnoNotDir      = 54
	errnoNotEmpty    = 55
	errnoNotSup      = 58
	errnoSpipe       = 70
	errnoNotCapable  = 76
)

// clock is the time that an instance sees. Its monotonic clock goes on from base, which is where it stood when the
// image was taken: a guest that slept in an image must not see time run backwards.
type clock struct {
	base  int64
	start time.Time
}

// firstClock is where the clock of a guest that starts anew stands. Zero is no time for Go's runtime.
const firstClock = int64(time.Second)

func startClock(base int64) clock { return clock{base, time.Now()} }

func (k clock) now() int64 { return k.base + int64(time.Since(k.start)) }

// Clocks of WASI. Time spent in a process or thread is told as monotonic time.
const clockRealtime = 0

// read returns the time of a clock.
func (k clock) read(id uint32) (int64, bool) {
	switch id {
	case clockRealtime:
		return time.Now().UnixNano(), true
	case 1, 2, 3:
		return k.now(), true
	}
	return 0, false
}

// wasiFuncs are the functions of WASI preview 1. What no guest of ours needs answers ENOSYS.
var wasiFuncs = map[string]hostFunc{
	"args_sizes_get": {"ii:i", func(c *call, mem guestMemory, s []uint64) {
		size := 0
		for _, a := range c.args {
			size += len(a) + 1
		}
		mem.putU32(uint32(s[0]), uint32(len(c.args)))
		mem.putU32(uint32(s[1]), uint32(size))
		s[0] = abi.Success
	}},
	"args_get": {"ii:i", func(c *call, mem guestMemory, s []uint64) {
		ptrs, text := uint32(s[0]), uint32(s[1])
		for i, a := range c.args {
			mem.putU32(ptrs+4*uint32(i), text)
			copy(mem.view(text, uint32(len(a)+1)), a+"\x00")
			text += uint32(len(a) + 1)
		}
		s[0] = abi.Success
	}},
	"environ_sizes_get": {"ii:i", func(_ *call, mem guestMemory, s []uint64) {
		mem.putU32(uint32(s[0]), 0)
		mem.putU32(uint32(s[1]), 0)
		s[0] = abi.Success
	}},
	"environ_get": {"ii:i", func(_ *call, _ guestMemory, s []uint64) { s[0] = abi.Success }},
	"clock_res_get": {"ii:i", func(c *call, mem guestMemory, s []uint64) {
		if _, ok := c.clock.read(uint32(s[0])); !ok {
			s[0] = abi.Inval
			return
		}
		mem.putU64(uint32(s[1]), 1)
		s[0] = abi.Success
	}},
	"clock_time_get": {"iIi:i", func(c *call, mem guestMemory, s []uint64) {
		now, ok := c.clock.read(uint32(s[0]))
		if !ok {
			s[0] = abi.Inval
			return
		}
		mem.putU64(uint32(s[2]), uint64(now))
		s[0] = abi.Success
	}},
	"random_get": {"ii:i", func(c *call, mem guestMemory, s []uint64) {
		left := mem.view(uint32(s[0]), uint32(s[1]))
		for len(left) > 0 {
			c.check() // a guest may ask for all of its memory
			n := min(len(left), 1<<20)
			rand.Read(left[:n])
			left = left[n:]
		}
		s[0] = abi.Success
	}},
	"sched_yield": {":i", func(c *call, _ guestMemory, s []uint64) {
		c.check()
		runtime.Gosched()
		s[0] = abi.Success
	}},
	"proc_exit": {"i:", func(c *call, _ guestMemory, s []uint64) {
		c.exited, c.exitCode = true, uint32(s[0])
		panic(errStopped)
	}},
	"poll_oneoff": {"iiii:i", pollOneoff},

	"fd_close":              {"i:i", fdClose},
	"fd_fdstat_get":         {"ii:i", fdFdstatGet},
	"fd_fdstat_set_flags":   {"ii:i", fdFdstatSetFlags},
	"fd_prestat_get":        {"ii:i", fdPrestatGet},
	"fd_prestat_dir_name":   {"iii:i", fdPrestatDirName},
	"fd_read":               {"iiii:i", fdRead},
	"fd_write":              {"iiii:i", fdWrite},
	"fd_pread":              {"iiiIi:i", fdPread},
	"fd_pwrite":             {"iiiIi:i", fdPwrite},
	"fd_seek":               {"iIii:i", fdSeek},
	"fd_tell":               {"ii:i", fdTell},
	"fd_filestat_get":       {"ii:i", fdFilestatGet},
	"fd_filestat_set_size":  {"iI:i", fdFilestatSetSize},
	"fd_readdir":            {"iiiIi:i", fdReaddir},
	"fd_sync":               {"i:i", fdNothing},
	"fd_datasync":           {"i:i", fdNothing},
	"fd_advise":             {"iIIi:i", fdNothing},
	"fd_filestat_set_times": {"iIIi:i", fdNothing},
	"path_open":             {"iiiiiIIii:i", pathOpen},
	"path_filestat_get":     {"iiiii:i", pathFilestatGet},
	"path_create_directory": {"iii:i", pathCreateDirectory},
	"path_remove_directory": {"iii:i", pathRemoveDirectory},
	"path_unlink_file":      {"iii:i", pathUnlinkFile},
	"path_rename":           {"iiiiii:i", pathRename},

	"fd_allocate":             {"iII:i", noSys},
	"fd_fdstat_set_rights":    {"iII:i", noSys},
	"fd_renumber":             {"ii:i", noSys},
	"path_filestat_set_times": {"iiiiIIi:i", noSys},
	"path_link":               {"iiiiiii:i", noSys},
	"path_readlink":           {"iiiiii:i", noSys},
	"path_symlink":            {"iiiii:i", noSys},
	"proc_raise":              {"i:i", noSys},
	"sock_accept":             {"iii:i", noSys},
	"sock_recv":               {"iiiiii:i", noSys},
	"sock_send":               {"iiiii:i", noSys},
	"sock_shutdown":           {"ii:i", noSys},
}

func noSys(_ *call, _ guestMemory, s []uint64) { s[0] = abi.NoSys }
