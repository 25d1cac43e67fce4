package plugin

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
)

const (
	maxLine   = 16 << 10 // bytes of a line; what is longer is cut and says so
	tailLines = 8        // lines that are kept for the error of a crash
	// drainBytes bounds one drain: more than a pipe holds, so that a plugin that writes without end can't hold it up.
	drainBytes = 256 << 10
)

// lineFunc takes one line of a plugin's log.
type lineFunc func(slog.Level, string)

// logs reads the standard error of a process, line by line, and hands the lines to the call that runs, or else to the
// driver's own log. It remembers the last lines.
type logs struct {
	file *os.File // the reading end, in non-blocking mode
	conn syscall.RawConn
	idle lineFunc // where lines go outside of calls

	mu     sync.Mutex // guards the fields below, and gives the lines their order: it is held while a line is handed on
	to     lineFunc
	buf    [4 << 10]byte
	stderr splitter
	tail   []string // the last lines
	crash  []string // the first lines of a crash: a long dump of stacks would push them out of tail
}

func newLogs(file *os.File, idle lineFunc) (*logs, error) {
	conn, err := file.SyscallConn()
	if err != nil {
		return nil, err
	}
	return &logs{file: file, conn: conn, idle: idle, to: idle}, nil
}

// run reads until the end of the file, or until it is closed.
func (l *logs) run() {
	// It reads until the file is empty before it waits: the poller tells of new bytes only. The error is that of a
	// closed file: there is nothing more to read.
	_ = l.conn.Read(func(fd uintptr) (done bool) { return l.read(int(fd), math.MaxInt) != syscall.EAGAIN })
}

// drain reads what the process has written so far.
func (l *logs) drain() {
	_ = l.conn.Control(func(fd uintptr) { _ = l.read(int(fd), drainBytes) }) // a closed file has nothing to read
}

// read takes what the file holds, but not much more than limit bytes. It returns nil at the end of the file, EAGAIN
// when there is no more to take, and why it can't be read otherwise.
func (l *logs) read(fd, limit int) error {
	for taken := 0; taken < limit; {
		n, err := l.readOnce(fd)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return err
		case n == 0:
			return nil
		}
		taken += max(n, 0)
	}
	return syscall.EAGAIN
}

func (l *logs) readOnce(fd int) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, err := syscall.Read(fd, l.buf[:])
	switch {
	case n > 0:
		l.stderr.write(l.buf[:n], l.emit)
	case n == 0 && err == nil:
		l.stderr.flush(l.emit)
	}
	return n, err
}

// during hands the lines to a call until the returned func is called. It first reads what the process has written so
// far, which a call before this one may have left; and so does the returned func, so that the call's lines come before
// its end.
func (l *logs) during(to lineFunc) (end func()) {
	l.drain()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.to = to
	return func() {
		l.drain()
		l.mu.Lock()
		defer l.mu.Unlock()
		l.to = l.idle
	}
}

// emit hands on one line; mu is held.
func (l *logs) emit(line []byte, cut bool) {
	level, text := parseLine(line)
	if cut {
		text += " ... (cut)"
	}
	if len(l.crash) > 0 && len(l.crash) < tailLines || len(l.crash) == 0 && beginsCrash(text) {
		l.crash = append(l.crash, text)
	}
	if len(l.tail) == tailLines {
		l.tail = append(l.tail[:0], l.tail[1:]...)
	}
	l.tail = append(l.tail, text)
	l.to(level, text)
}

// last returns the first lines of a crash if there was one, and the last lines otherwise.
func (l *logs) last() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.crash) > 0 {
		return slices.Clone(l.crash)
	}
	return slices.Clone(l.tail)
}

// beginsCrash reports whether a line is the first that a runtime writes when it gives up: Go's, Rust's, C++'s.
func beginsCrash(line string) bool {
	for _, prefix := range []string{"panic: ", "fatal error: ", "runtime: ", "thread '", "terminate called", "memory allocation of ",
		"SIGSEGV", "SIGABRT", "SIGBUS", "SIGILL", "SIGFPE"} {
		if strings.HasPrefix(line, prefix) {
			return true
		}
	}
	return false
}

// splitter makes lines of bytes. The zero value is ready.
type splitter struct {
	line []byte
	cut  bool // the line was longer than maxLine
}

// write takes bytes and gives the lines that they complete to emit, which must not keep them.
func (s *splitter) write(b []byte, emit func(line []byte, cut bool)) {
	for len(b) > 0 {
		part, rest, whole := bytes.Cut(b, []byte{'\n'})
		if room := maxLine - len(s.line); len(part) > room {
			part, s.cut = part[:room], true
		}
		s.line = append(s.line, part...)
		if whole {
			s.flush(emit)
		}
		b = rest
	}
}

// flush gives the line so far to emit, if it holds anything.
func (s *splitter) flush(emit func(line []byte, cut bool)) {
	if len(s.line) > 0 {
		emit(s.line, s.cut)
	}
	s.line, s.cut = s.line[:0], false
}

// parseLine returns a line's level and text. A line of hclog's JSON says its level; any other is at level info.
func parseLine(line []byte) (slog.Level, string) {
	var entry struct {
		Level   string `json:"@level"`
		Message string `json:"@message"`
	}
	if line[0] == '{' && json.Unmarshal(line, &entry) == nil && entry.Level != "" {
		switch entry.Level {
		case "trace", "debug":
			return slog.LevelDebug, entry.Message
		case "warn":
			return slog.LevelWarn, entry.Message
		case "error":
			return slog.LevelError, entry.Message
		}
		return slog.LevelInfo, entry.Message
	}
	return slog.LevelInfo, strings.ToValidUTF8(strings.TrimRight(string(line), "\r"), "\uFFFD")
}
