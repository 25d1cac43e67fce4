package gpu

import (
	"bytes"
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"github.com/catenary-run/catenary/gpu/gpuv1"
)

// Bounds of what is kept and logged of a process's output.
const (
	maxLine  = 1 << 10
	maxLines = 4
)

// crashMarks begin the report that the Go runtime writes when C code takes the process down: pages of registers and
// stacks, after the one line of C's that says why.
var crashMarks = []string{"SIGABRT:", "SIGSEGV:", "SIGBUS:", "SIGFPE:", "SIGILL:", "fatal error:", "panic:"}

// lines logs what is written to it, line by line, and keeps the last few lines before a crash.
type lines struct {
	log   *slog.Logger
	who   string              // writes them
	level slog.Level          // of an ordinary line
	clean func(string) string // takes out what may not be told; nil if there is nothing

	mu      sync.Mutex // guards the fields below
	partial []byte     // of the line being written, at most maxLine
	kept    []string
	crashed bool                     // the rest is the Go runtime's report
	waiting map[string]chan struct{} // closed when the line comes; the map does not change
}

// newLines returns lines of a model worker.
func newLines(log *slog.Logger) *lines {
	return &lines{log: log, who: "model worker", level: slog.LevelWarn, waiting: map[string]chan struct{}{gpuv1.Ready: make(chan struct{})}}
}

// saw returns a channel that is closed once the line has been written, be it before the call. It knows gpuv1.Ready only.
func (l *lines) saw(line string) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.waiting[line]
}

// Write never fails.
func (l *lines) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 {
		part, rest, whole := bytes.Cut(b, []byte("\n"))
		b = rest
		if line, level := l.add(part, whole); line != "" {
			l.log.Log(context.Background(), level, l.who+" says", "line", line)
		}
	}
	return n, nil
}

// add returns a line if it is whole now, and how loud to log it.
func (l *lines) add(part []byte, whole bool) (string, slog.Level) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.partial = append(l.partial, part[:min(len(part), maxLine-len(l.partial))]...)
	if !whole {
		return "", 0
	}
	line := strings.ToValidUTF8(strings.TrimSpace(string(l.partial)), "\uFFFD")
	l.partial = l.partial[:0]
	if l.clean != nil {
		line = l.clean(line)
	}
	if seen, ok := l.waiting[line]; ok {
		select {
		case <-seen: // it says so twice
		default:
			close(seen) // and stays, for who asks only now
		}
		return "", 0
	}
	if l.crashed || line == "" {
		return line, slog.LevelDebug
	}
	l.kept = append(l.kept, line)
	l.kept = l.kept[max(0, len(l.kept)-maxLines):]
	l.crashed = slices.ContainsFunc(crashMarks, func(mark string) bool { return strings.HasPrefix(line, mark) })
	return line, l.level
}

// last returns the last lines in one.
func (l *lines) last() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.kept, "; ")
}
