package openai

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// all reads events to their end.
func all(r io.Reader) (events []string, err error) {
	e := newEvents(r)
	for {
		data, err := e.next()
		if err != nil {
			return events, err
		}
		events = append(events, string(data))
	}
}

func TestEvents(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       []string
	}{
		{"one", "data: a\n\n", []string{"a"}},
		{"no space", "data:a\n\n", []string{"a"}},
		{"one space only", "data:  a \n\n", []string{" a "}},
		{"two", "data: a\n\ndata: b\n\n", []string{"a", "b"}},
		{"several lines", "data: a\ndata: b\n\n", []string{"a\nb"}},
		{"an empty one", "data:\n\n", []string{""}},
		{"no colon", "data\ndata\n\n", []string{"\n"}},
		{"line ends", "data: a\r\n\r\ndata: b\r\rdata: c\n\r\n", []string{"a", "b", "c"}},
		{"comments and other fields", ": ping\n\nevent: x\nid: 7\nretry: 3\ndata: a\n: ping\nfoo\n\nevent: y\n\n", []string{"a"}},
		{"other case", "Data: a\n data: b\n\n", nil},
		{"mark at the start", "\uFEFFdata: a\n\ndata: \uFEFFb\n\n", []string{"a", "\uFEFFb"}},
		{"mark only at the start", "data: a\n\n\uFEFFdata: b\n\n", []string{"a"}},
		{"an event that has not ended", "data: a\n\ndata: b\n", []string{"a"}},
		{"a line that has not ended", "data: a\n\ndata: b", []string{"a"}},
		{"nothing", "", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for name, r := range map[string]io.Reader{"whole": strings.NewReader(tt.text), "byte by byte": iotest.OneByteReader(strings.NewReader(tt.text))} {
				got, err := all(r)
				if err != io.EOF {
					t.Errorf("%s: %v, want io.EOF", name, err)
				}
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("%s: %s", name, diff)
				}
			}
		})
	}
}

// An event comes when its last line has ended, not when more follows.
func TestEvents_ComeAtOnce(t *testing.T) {
	for _, text := range []string{"data: a\n\n", "data: a\r\n\r\n", "data: a\r\r"} {
		r, w := io.Pipe()
		go func() { _, _ = io.WriteString(w, text) }() // ends when it is read
		got, err := newEvents(r).next()
		if err != nil || string(got) != "a" {
			t.Errorf("%q: got %q, %v", text, got, err)
		}
	}
}

func TestEvents_Bounds(t *testing.T) {
	line := strings.Repeat("x", 1000)
	for name, r := range map[string]io.Reader{
		"a line of more than":    endless(line),
		"an event of more than":  endless("data: " + line + "\n"),
		"an answer of more than": endless("data: " + line + "\n\n"),
		"more than":              endless(":\n"),
	} {
		const near = 2 * maxEvent // the end of what may come
		counted := &counting{r: r}
		e := newEvents(counted)
		e.total = maxAnswer - near
		var err error
		for err == nil {
			_, err = e.next()
		}
		if !strings.Contains(err.Error(), name) {
			t.Errorf("got %v, want %s", err, name)
		}
		if counted.n > near+64<<10 {
			t.Errorf("%s: %d bytes were read", name, counted.n)
		}
	}
}

type endless string

func (e endless) Read(p []byte) (n int, err error) {
	for n+len(e) <= len(p) {
		n += copy(p[n:], e)
	}
	return n, nil
}

type counting struct {
	r io.Reader
	n int
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += n
	return n, err
}

// plain is the parser as the standard tells it, over the whole text.
func plain(text string) (events []string) {
	text = strings.TrimPrefix(text, "\uFEFF")
	text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n")
	lines := strings.Split(text, "\n")
	var data []string
	for _, line := range lines[:len(lines)-1] { // the last has no end
		if line == "" {
			if data != nil {
				events = append(events, strings.Join(data, "\n"))
			}
			data = nil
			continue
		}
		if field, value, _ := strings.Cut(line, ":"); field == "data" {
			data = append(data, strings.TrimPrefix(value, " "))
		}
	}
	return events
}

func TestEvents_LikeThePlainParser(t *testing.T) {
	part := rapid.SampledFrom([]string{"data", ":", " ", "\n", "\r", "\r\n", "\n\n", "a", "\uFEFF", "event", "data: {}\n\n"})
	rapid.Check(t, func(t *rapid.T) {
		text := strings.Join(rapid.SliceOf(part).Draw(t, "text"), "")
		got, err := all(iotest.HalfReader(strings.NewReader(text)))
		if err != io.EOF {
			t.Fatal(err)
		}
		if diff := cmp.Diff(plain(text), got); diff != "" {
			t.Fatalf("%q: %s", text, diff)
		}
	})
}

func FuzzEvents(f *testing.F) {
	f.Add([]byte("data: {\"choices\":[{\"delta\":{\"content\":\"a\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n"))
	f.Add([]byte("data: {\"usage\":{\"prompt_tokens\":-1,\"prompt_tokens_details\":null},\"error\":null}\r\n\r\n"))
	f.Add([]byte("data: {\"error\":{\"message\":5},\"choices\":[{},{}]}\r\r:\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := all(bytes.NewReader(text))
		if err != io.EOF {
			t.Skip("over a bound") // TestEvents_Bounds
		}
		if diff := cmp.Diff(plain(string(text)), got); diff != "" {
			t.Error(diff)
		}
		a := &Answer{client: New(Config{URL: "http://h/v1"})}
		for _, data := range got { // each of them, whatever it is
			piece, err := a.take([]byte(data))
			if err != nil && len(err.Error()) > 2*maxText {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
			if err == nil && piece.Finish != "" {
				t.Errorf("the last piece came before its count: %+v", piece)
			}
		}
	})
}
