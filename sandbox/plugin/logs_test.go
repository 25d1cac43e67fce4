package plugin

import (
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

type logged struct {
	Level slog.Level
	Text  string
}

// collect returns a lineFunc and what it got.
func collect() (lineFunc, *[]logged) {
	var all []logged
	return func(level slog.Level, text string) { all = append(all, logged{level, text}) }, &all
}

// newTestLogs returns logs of a pipe and its writing end.
func newTestLogs(t *testing.T, idle lineFunc) (*logs, *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	l, err := newLogs(r, idle)
	if err != nil {
		t.Fatal(err)
	}
	return l, w
}

func write(t *testing.T, f *os.File, s string) {
	t.Helper()
	if _, err := f.WriteString(s); err != nil {
		t.Fatal(err)
	}
}

// TestLogsOfACall has no reader but the call's own: what was written before it is not the call's, and what was written
// before its end is.
func TestLogsOfACall(t *testing.T) {
	idle, outside := collect()
	during, inside := collect()
	l, w := newTestLogs(t, idle)
	write(t, w, "before\n")
	end := l.during(during)
	write(t, w, "one\ntwo")
	write(t, w, "\n{\"@level\":\"warn\",\"@message\":\"three\",\"@module\":\"x\"}\n\n{\"@level\":\"error\",\"@message\":\"four\"}\r\n")
	write(t, w, "{\"@level\":\"trace\",\"@message\":\"five\"}\n{not json\n{\"level\":\"other\"}\nbad \xff utf-8\nhalf")
	end()
	write(t, w, " a line\n")
	l.drain()
	if diff := cmp.Diff([]logged{
		{slog.LevelInfo, "one"}, {slog.LevelInfo, "two"}, {slog.LevelWarn, "three"}, {slog.LevelError, "four"}, {slog.LevelDebug, "five"},
		{slog.LevelInfo, "{not json"}, {slog.LevelInfo, `{"level":"other"}`}, {slog.LevelInfo, "bad \uFFFD utf-8"},
	}, *inside); diff != "" {
		t.Errorf("during the call: %s", diff)
	}
	if diff := cmp.Diff([]logged{{slog.LevelInfo, "before"}, {slog.LevelInfo, "half a line"}}, *outside); diff != "" {
		t.Errorf("outside: %s", diff)
	}
}

func TestLogsCutLongLines(t *testing.T) {
	idle, got := collect()
	l, w := newTestLogs(t, idle)
	write(t, w, strings.Repeat("x", maxLine+1))
	l.drain()
	write(t, w, strings.Repeat("x", maxLine)+"\nnext\n")
	l.drain()
	if diff := cmp.Diff([]logged{{slog.LevelInfo, strings.Repeat("x", maxLine) + " ... (cut)"}, {slog.LevelInfo, "next"}}, *got); diff != "" {
		t.Error(diff)
	}
}

func TestLastLines(t *testing.T) {
	numbers := strings.Split("123456789", "")
	for _, tt := range []struct {
		name string
		in   []string
		want []string
	}{
		{"few", []string{"a", "b"}, []string{"a", "b"}},
		{"many", append([]string{"a", "b"}, numbers...), numbers[1:]},
		{"crash", append([]string{"a", "fatal error: runtime: out of memory"}, numbers...), append([]string{"fatal error: runtime: out of memory"}, numbers[:7]...)},
		{"signal", append([]string{"SIGSEGV: segmentation violation"}, append(numbers, "rip 0x0")...), append([]string{"SIGSEGV: segmentation violation"}, numbers[:7]...)},
	} {
		idle, _ := collect()
		l, w := newTestLogs(t, idle)
		write(t, w, strings.Join(tt.in, "\n")+"\n")
		l.drain()
		if diff := cmp.Diff(tt.want, l.last()); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
}

// TestLogsRun reads to the end, with a last line that nobody ended.
func TestLogsRun(t *testing.T) {
	idle, got := collect()
	l, w := newTestLogs(t, idle)
	write(t, w, "last words")
	w.Close()
	l.run()
	if diff := cmp.Diff([]logged{{slog.LevelInfo, "last words"}}, *got); diff != "" {
		t.Error(diff)
	}
}

func FuzzSplitter(f *testing.F) {
	f.Add([]byte("one\ntwo"), 2)
	f.Add([]byte("{\"@level\":\"warn\",\"@message\":\"x\"}\n\r\n"), 7)
	f.Fuzz(func(t *testing.T, b []byte, at int) {
		lines := func(parts ...[]byte) (all []string) {
			var s splitter
			emit := func(line []byte, cut bool) {
				_, text := parseLine(line)
				if cut {
					text += "!"
				}
				all = append(all, text)
			}
			for _, p := range parts {
				s.write(p, emit)
			}
			s.flush(emit)
			return all
		}
		at = min(max(at, 0), len(b))
		if diff := cmp.Diff(lines(b), lines(b[:at], b[at:])); diff != "" {
			t.Errorf("the lines depend on how the bytes come: %s", diff)
		}
	})
}
