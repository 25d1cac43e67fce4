package plugin

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"syscall"
	"unsafe"

	"github.com/catenary-run/catenary/functions"
	"golang.org/x/sys/unix"
)

// Confine turns the calling process into a plugin: the hidden subcommand `catenary confine` calls it with its
// arguments, before anything else. It returns only if it could not; then nothing of the plugin has run, and the process
// must print the error on standard error and exit with a status other than 0.
func Confine(args []string) error {
	c, err := parseConfinement(args)
	if err != nil {
		return err
	}
	// What follows is partly of the thread, not of the process, and must be of the thread that executes.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	f, err := openArtifact(c.artifact, c.digest)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := os.Chdir(c.dir); err != nil {
		return fmt.Errorf("confine: socket folder: %w", err)
	}
	// The node made us the leader of a session already; a person who tries this by hand did not.
	if sid, err := unix.Getsid(0); err == nil && sid != os.Getpid() {
		if _, err := unix.Setsid(); err != nil {
			return fmt.Errorf("confine: own session: %w", err)
		}
	}
	unix.Umask(0o077)
	if c.userBase != 0 {
		id := int(c.userBase)
		if !c.oneUser {
			pid, _, err := c.ids()
			if err != nil {
				return fmt.Errorf("confine: own process id: %w", err)
			}
			id += pid
		}
		if err := becomeUser(id); err != nil {
			return fmt.Errorf("confine: user %d: %w", id, err)
		}
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("confine: no_new_privs: %w", err)
	}
	// After the change of user, since that clears it.
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("confine: parent-death signal: %w", err)
	}
	// The parent may have died before that call.
	_, ppid, err := c.ids()
	if err != nil {
		return fmt.Errorf("confine: parent's process id: %w", err)
	}
	if ppid != c.parent {
		return fmt.Errorf("confine: the server, process %d, is gone", c.parent)
	}
	return execute(f, append([]string{c.artifact}, c.args...), environment(os.Environ()), c)
}

// openArtifact opens a file and returns it if its bytes, read from the open descriptor, are those of the digest.
func openArtifact(path string, want functions.Digest) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, fmt.Errorf("confine: artifact: %w", err)
	}
	if err := checkArtifact(f, want); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func checkArtifact(f *os.File, want functions.Digest) error {
	magic := make([]byte, 4)
	if _, err := f.ReadAt(magic, 0); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("confine: artifact: %w", err)
	}
	if !bytes.Equal(magic, []byte("\x7fELF")) {
		return fmt.Errorf("%w: confine: the artifact is no ELF executable; scripts are refused", functions.ErrInvalid)
	}
	got, _, err := functions.DigestFrom(f)
	if err != nil {
		return fmt.Errorf("confine: artifact: %w", err)
	}
	if got != want {
		return fmt.Errorf("%w: confine: the artifact has digest %s, not %s: it was changed", functions.ErrInvalid, got.Short(), want.Short())
	}
	return nil
}

// becomeUser gives the working folder to user and group id and changes to them, with no other group.
func becomeUser(id int) error {
	if err := os.Chown(".", id, id); err != nil {
		return err
	}
	// Of this thread alone: it is the one that executes, and the others end with that. Package syscall would change all
	// threads, which Go refuses in a program that calls C, as the binary does for the engine.
	uid := uintptr(id)
	if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, 0, 0, 0); errno != 0 {
		return fmt.Errorf("setgroups: %w", errno)
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESGID, uid, uid, uid); errno != 0 {
		return fmt.Errorf("setresgid: %w", errno)
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uid, uid, uid); errno != 0 {
		return fmt.Errorf("setresuid: %w", errno)
	}
	return nil
}

// execute sets the limits and becomes the program of f. The limits come last: this process has more memory than the
// plugin may have.
func execute(f *os.File, argv, env []string, c confinement) error {
	argvp, err := syscall.SlicePtrFromStrings(argv)
	if err != nil {
		return fmt.Errorf("%w: confine: arguments: %w", functions.ErrInvalid, err)
	}
	envp, err := syscall.SlicePtrFromStrings(env)
	if err != nil {
		return fmt.Errorf("%w: confine: environment: %w", functions.ErrInvalid, err)
	}
	empty, err := syscall.BytePtrFromString("")
	if err != nil {
		return err
	}
	if err := keepStandardFiles(); err != nil {
		return fmt.Errorf("confine: open files: %w", err)
	}
	debug.SetGCPercent(-1) // no allocation may have to grow the heap under the new limit
	limits := map[int]uint64{unix.RLIMIT_CORE: 0, unix.RLIMIT_NOFILE: maxFiles}
	if c.userBase != 0 && !c.oneUser {
		limits[unix.RLIMIT_NPROC] = maxTasks
	}
	if c.data > 0 {
		limits[unix.RLIMIT_DATA] = uint64(c.data)
	}
	for resource, value := range limits {
		if err := lower(resource, value); err != nil {
			return fmt.Errorf("confine: limit %d to %d: %w", resource, value, err)
		}
	}
	_, _, errno := unix.Syscall6(unix.SYS_EXECVEAT, f.Fd(), uintptr(unsafe.Pointer(empty)),
		uintptr(unsafe.Pointer(&argvp[0])), uintptr(unsafe.Pointer(&envp[0])), unix.AT_EMPTY_PATH, 0)
	if errno == unix.EACCES {
		return fmt.Errorf("confine: execute the artifact: %w: is %s on a file system that is mounted noexec?", errno, filepath.Dir(c.artifact))
	}
	return fmt.Errorf("confine: execute the artifact: %w", errno)
}

// keepStandardFiles has every descriptor but the standard ones closed when the program is executed: whoever started the
// node may have left it some.
func keepStandardFiles() error {
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, e := range open {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}

// lower sets a limit, unless the one that holds already is lower.
func lower(resource int, value uint64) error {
	var old unix.Rlimit
	if err := unix.Getrlimit(resource, &old); err != nil {
		return err
	}
	value = min(value, old.Max)
	return unix.Prlimit(0, resource, &unix.Rlimit{Cur: value, Max: value}, nil)
}
