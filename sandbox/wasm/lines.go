package wasm

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
)

const (
	// maxLine is where a line without an end is cut in two.
	maxLine = 8 << 10
	// maxLogBytes bounds what one call may log; a line says when it was reached.
	maxLogBytes = 1 << 20
)

// logger passes on what a call logs, up to maxLogBytes.
type logger struct {
	log  func(slog.Level, string)
	left int
}

func newLogger(log func(slog.Level, string)) *logger { return &logger{log: log, left: maxLogBytes} }

func (l *logger) line(level slog.Level, text string) {
	switch {
	case l.left < 0:
		return
	case l.left < len(text)+1:
		l.left = -1
		l.log(slog.LevelWarn, fmt.Sprintf("the function has logged %d KiB: the rest of its lines is left out", maxLogBytes>>10))
		return
	}
	l.left -= len(text) + 1
	l.log(level, strings.ToValidUTF8(text, "\uFFFD"))
}

// lines cuts what a guest writes to a standard stream into log lines.
type lines struct {
	to    *logger
	level slog.Level
	part  []byte // the line that has not ended
	last  string // the last line that was not blank, or the one that tells of a crash
	crash bool
}

// crashMarks begin or mark the line in which a language's runtime says why it gives up; what follows are stacks.
var crashMarks = []string{"panic: ", "fatal error: ", "' panicked at ", "abort: "}

func (l *lines) Write(p []byte) {
	for len(p) > 0 {
		end := bytes.IndexByte(p, '\n')
		room := maxLine - len(l.part)
		switch {
		case end >= 0 && end <= room:
			l.part = append(l.part, p[:end]...)
			l.emit()
			p = p[end+1:]
		case len(p) >= room:
			l.part = append(l.part, p[:room]...)
			l.emit()
			p = p[room:]
		default:
			l.part = append(l.part, p...)
			return
		}
	}
}

// flush logs what was not ended by a newline.
func (l *lines) flush() {
	if len(l.part) > 0 {
		l.emit()
	}
}

func (l *lines) emit() {
	text := strings.TrimRight(string(l.part), "\r")
	l.part = l.part[:0]
	l.to.line(l.level, text)
	if l.crash || strings.TrimSpace(text) == "" {
		return
	}
	l.last = text
	for _, mark := range crashMarks {
		l.crash = l.crash || strings.Contains(text, mark)
	}
}
