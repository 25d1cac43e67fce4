package wasm

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLines(t *testing.T) {
	long := strings.Repeat("x", maxLine)
	for _, test := range []struct {
		name   string
		writes []string
		want   []string
		last   string
	}{
		{"whole lines", []string{"a\nb\n"}, []string{"a", "b"}, "b"},
		{"a line in pieces", []string{"a", "b", "\n", "c"}, []string{"ab", "c"}, "c"},
		{"blank lines and CRLF", []string{"a\r\n\n"}, []string{"a", ""}, "a"},
		{"too long", []string{long + "y\nz"}, []string{long, "y", "z"}, "z"},
		{"just long enough", []string{long, "\n"}, []string{long, ""}, long},
		{"not UTF-8", []string{"a\xffb\n"}, []string{"a\uFFFDb"}, "a\xffb"},
		{"a crash", []string{"warming\npanic: boom\n\ngoroutine 1\n"}, []string{"warming", "panic: boom", "", "goroutine 1"}, "panic: boom"},
	} {
		var got []string
		l := lines{to: newLogger(func(_ slog.Level, line string) { got = append(got, line) })}
		for _, w := range test.writes {
			l.Write([]byte(w))
		}
		l.flush()
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s: %s", test.name, diff)
		}
		if l.last != test.last {
			t.Errorf("%s: the last words are %q, want %q", test.name, l.last, test.last)
		}
	}
}

func TestLogger_EndsAFlood(t *testing.T) {
	var bytes, count int
	var last string
	l := newLogger(func(_ slog.Level, line string) { bytes += len(line); count++; last = line })
	for range 1000 {
		l.line(slog.LevelInfo, strings.Repeat("x", maxLine))
	}
	if bytes > maxLogBytes+200 || !strings.Contains(last, "left out") {
		t.Errorf("%d bytes in %d lines, the last %.40q", bytes, count, last)
	}
}
