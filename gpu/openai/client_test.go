package openai_test

import (
	"context"
	"errors"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/gpu/openai"
	"github.com/catenary-run/catenary/gpu/openai/openaitest"
	"github.com/catenary-run/catenary/internal/testkit"
)

// silenceLimit is how long a server may be silent.
const silenceLimit = 2 * time.Minute

const url = "http://models.example/v1"

// connected runs f in a bubble with a client of s.
func connected(t *testing.T, s *openaitest.Server, key openai.Key, f func(t *testing.T, c *openai.Client)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		network := openaitest.NewNetwork()
		defer network.Serve(s)()
		c := openai.New(openai.Config{URL: url, Key: key, Dial: network.Dial})
		defer func() {
			c.Close()
			synctest.Wait()
			if n := s.Now.Load(); n != 0 {
				t.Errorf("%d answers are under way at the end", n)
			}
		}()
		f(t, c)
	})
}

func asking(prompt string) functions.Generation {
	return functions.Generation{Messages: []functions.Message{{Role: "user", Content: prompt}}}
}

// answer reads an answer to its end.
func answer(ctx context.Context, c *openai.Client, req functions.Generation) (text string, last openai.Piece, err error) {
	a, err := c.Generate(ctx, openaitest.Model, req)
	if err != nil {
		return "", last, err
	}
	defer a.Close()
	for {
		p, err := a.Recv()
		if err == io.EOF {
			return text, last, nil
		}
		if err != nil {
			return text, last, err
		}
		text, last = text+p.Text, p
	}
}

func TestGenerate(t *testing.T) {
	connected(t, &openaitest.Server{Words: 5, TokenTime: time.Second}, openai.Key{}, func(t *testing.T, c *openai.Client) {
		if err := c.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
		text, last, err := answer(t.Context(), c, asking("three words please"))
		if err != nil || text != "word word word word word " || last.Finish != "stop" || last.PromptTokens != 3 || last.CachedTokens != 1 {
			t.Errorf("got %q, %+v, %v", text, last, err)
		}
		req := asking("hello")
		req.MaxTokens = 2
		if text, last, err = answer(t.Context(), c, req); err != nil || text != "word word " || last.Finish != "length" {
			t.Errorf("two tokens: got %q, %+v, %v", text, last, err)
		}
		if text, last, err = answer(t.Context(), c, asking(openaitest.OneChunk)); err != nil || text != "word" || last.Finish != "stop" || last.PromptTokens != 3 {
			t.Errorf("one chunk: got %q, %+v, %v", text, last, err)
		}
		began := time.Now()
		if text, last, err = answer(t.Context(), c, asking(openaitest.LateUsage)); err != nil || text != "word" || last.Finish != "stop" || time.Since(began) > 5*time.Second {
			t.Errorf("no usage: got %q, %+v, %v after %v", text, last, err, time.Since(began))
		}
	})
}

// What a server does wrong is one clear line of bounded length, and ends in a bounded time.
func TestGenerate_Faults(t *testing.T) {
	for _, tt := range []struct {
		prompt    string
		class     error
		retryable bool
		want      string
	}{
		{openaitest.HangSilent, functions.ErrUnavailable, true, "no answer: nothing came for 2m0s"},
		{openaitest.Hang, functions.ErrUnavailable, true, "no answer: nothing came for 2m0s"},
		{openaitest.Ping, functions.ErrUnavailable, true, "no answer: nothing came for 2m0s"},
		{openaitest.Cut, functions.ErrUnavailable, true, "cut off"},
		{openaitest.EarlyEnd, functions.ErrUnavailable, true, "cut off before its end"},
		{openaitest.Nonsense, functions.ErrUnavailable, false, `it sent "<b>nonsense</b> [31m" in place of a piece of an answer`},
		{openaitest.ErrorEvent, functions.ErrUnavailable, true, "it broke off: out of memory"},
		{openaitest.EndlessLine, functions.ErrUnavailable, true, "a line of more than 1048576 bytes"},
		{openaitest.EndlessEvent, functions.ErrUnavailable, true, "an event of more than 1048576 bytes"},
		{openaitest.NoStream, functions.ErrUnavailable, false, `"application/json", not with a stream of events`},
		{openaitest.Page, functions.ErrUnavailable, false, `"text/html", not with a stream of events`},
		{openaitest.EndlessFault, functions.ErrUnavailable, true, "status 500: wrong wrong"},
		{openaitest.Filter, functions.ErrFunction, false, "its filter cut the answer off"},
		{openaitest.Status + "400", functions.ErrInvalid, false, "refused the request (status 400: no, not now"},
		{openaitest.Status + "401", functions.ErrUnavailable, false, "it wants another key (status 401: no, not now; you said Bearer [key]): put the right one into the environment variable TEST_KEY"},
		{openaitest.Status + "404", functions.ErrUnavailable, false, "it has no such model"},
		{openaitest.Status + "408", functions.ErrUnavailable, true, "status 408"},
		{openaitest.Status + "413", functions.ErrInvalid, false, "status 413"},
		{openaitest.Status + "429", functions.ErrQueueFull, true, "try again in 7s"},
		{openaitest.Status + "307", functions.ErrUnavailable, false, `it sends callers to "http://elsewhere.example/v1"`},
		{openaitest.Status + "418", functions.ErrUnavailable, false, "status 418"},
		{openaitest.Status + "500", functions.ErrUnavailable, true, "status 500"},
		{openaitest.Status + "503", functions.ErrUnavailable, true, "status 503"},
	} {
		t.Run(tt.prompt, func(t *testing.T) {
			t.Setenv("TEST_KEY", "secret")
			connected(t, &openaitest.Server{Words: 5, Key: "secret"}, openai.Key{Env: "TEST_KEY"}, func(t *testing.T, c *openai.Client) {
				began := time.Now()
				_, _, err := answer(t.Context(), c, asking(tt.prompt))
				if !errors.Is(err, tt.class) || functions.Retryable(err) != tt.retryable || !strings.Contains(err.Error(), tt.want) {
					t.Fatalf("got %v (retryable: %v)\nwant %q, %v (retryable: %v)", err, functions.Retryable(err), tt.want, tt.class, tt.retryable)
				}
				if strings.Contains(err.Error(), "secret") || strings.ContainsAny(err.Error(), "\n\x1b") || len(err.Error()) > 1000 {
					t.Errorf("the text is not fit to be shown: %q", err)
				}
				if took := time.Since(began); took > silenceLimit || took > 5*time.Second && !strings.Contains(tt.want, "nothing came") {
					t.Errorf("it took %v", took)
				}
				if text, _, err := answer(t.Context(), c, asking("hello")); err != nil || text == "" {
					t.Errorf("the next call: %q, %v", text, err)
				}
			})
		})
	}
}

func TestGenerate_UnknownModelAndBigRequest(t *testing.T) {
	connected(t, &openaitest.Server{Words: 1}, openai.Key{}, func(t *testing.T, c *openai.Client) {
		_, err := c.Generate(t.Context(), "other", asking("hello"))
		if err == nil || functions.Retryable(err) || !strings.Contains(err.Error(), "The model `other` does not exist.") || !strings.Contains(err.Error(), "catenary.yaml") {
			t.Errorf("got %v", err)
		}
		if _, err := c.Generate(t.Context(), openaitest.Model, asking(strings.Repeat("x", 6<<20))); !errors.Is(err, functions.ErrInvalid) {
			t.Errorf("6 MiB: got %v, want ErrInvalid", err)
		}
	})
}

// A caller that goes away, or whose time is over, ends the answer in the server at once, with its own cause.
func TestGenerate_EndsWithItsContext(t *testing.T) {
	gone := errors.New("gone")
	for _, prompt := range []string{"hello", openaitest.Hang, openaitest.HangSilent} {
		t.Run(prompt, func(t *testing.T) {
			s := &openaitest.Server{Words: 1 << 20, TokenTime: time.Second}
			connected(t, s, openai.Key{}, func(t *testing.T, c *openai.Client) {
				ctx, cancel := context.WithTimeoutCause(t.Context(), 5500*time.Millisecond, gone)
				defer cancel()
				began := time.Now()
				_, _, err := answer(ctx, c, asking(prompt))
				if !errors.Is(err, gone) {
					t.Errorf("got %v, want the cause", err)
				}
				synctest.Wait()
				if s.Now.Load() != 0 || s.Cancelled.Load() != 1 || time.Since(began) > 6*time.Second {
					t.Errorf("%d answers under way, %d cancelled, after %v", s.Now.Load(), s.Cancelled.Load(), time.Since(began))
				}
			})
		})
	}
}

// A reader that takes its time holds the server: nothing but a connection's buffers lies between.
func TestGenerate_SlowReaderHoldsTheServer(t *testing.T) {
	s := &openaitest.Server{Words: 1 << 20}
	connected(t, s, openai.Key{}, func(t *testing.T, c *openai.Client) {
		a, err := c.Generate(t.Context(), openaitest.Model, asking("hello"))
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		for range 3 {
			if _, err := a.Recv(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Minute) // longer than a server may be silent
			synctest.Wait()
			if sent := s.Sent.Load(); sent > 300 {
				t.Errorf("%d words were sent to a reader of 3", sent)
			}
		}
	})
}

func TestClose_EndsAnswers(t *testing.T) {
	s := &openaitest.Server{Words: 5, TokenTime: time.Minute}
	connected(t, s, openai.Key{}, func(t *testing.T, c *openai.Client) {
		time.AfterFunc(90*time.Second, c.Close)
		if _, _, err := answer(t.Context(), c, asking("hello")); !errors.Is(err, functions.ErrUnavailable) || !functions.Retryable(err) {
			t.Errorf("got %v, want ErrUnavailable", err)
		}
		if _, _, err := answer(t.Context(), c, asking("hello")); !errors.Is(err, functions.ErrUnavailable) {
			t.Errorf("after Close: %v", err)
		}
	})
}

// However answers end, no connection is left of them.
func TestDescriptors(t *testing.T) {
	open := func() int {
		all, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip("this system has no /proc to see descriptors in")
		}
		return len(all)
	}
	before := open()
	server := httptest.NewServer(&openaitest.Server{Words: 50})
	c := openai.New(openai.Config{URL: server.URL + "/v1"})
	for range 5 {
		for _, prompt := range []string{"hello", openaitest.Cut, openaitest.Nonsense, openaitest.EndlessLine, openaitest.NoStream, openaitest.Status + "500", openaitest.Status + "307"} {
			_, _, _ = answer(t.Context(), c, asking(prompt))
			ctx, cancel := context.WithCancel(t.Context())
			if a, err := c.Generate(ctx, openaitest.Model, asking("hello")); err == nil {
				_, _ = a.Recv()
				cancel()
				a.Close()
			}
			cancel()
		}
	}
	c.Close()
	server.Close()
	testkit.Eventually(t, "the connections to be closed", func() bool { return open() <= before+2 }) // the poller's own
}

func TestCheck(t *testing.T) {
	t.Run("loading", func(t *testing.T) {
		connected(t, &openaitest.Server{LoadTime: time.Minute}, openai.Key{}, func(t *testing.T, c *openai.Client) {
			if err := c.Check(t.Context()); err == nil || !functions.Retryable(err) || !strings.Contains(err.Error(), "Loading model") {
				t.Errorf("got %v", err)
			}
			time.Sleep(time.Minute)
			if err := c.Check(t.Context()); err != nil {
				t.Error(err)
			}
		})
	})
	t.Run("no key", func(t *testing.T) {
		connected(t, &openaitest.Server{Key: "secret"}, openai.Key{}, func(t *testing.T, c *openai.Client) {
			err := c.Check(t.Context())
			if err == nil || functions.Retryable(err) || !strings.Contains(err.Error(), "key_env or a key_file in the file of catenary serve --endpoints") {
				t.Errorf("got %v", err)
			}
		})
	})
	t.Run("nobody there", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := openai.New(openai.Config{URL: url, Dial: openaitest.NewNetwork().Dial})
			defer c.Close()
			if err := c.Check(t.Context()); !errors.Is(err, openai.ErrUnreachable) || !errors.Is(err, functions.ErrUnavailable) || !strings.Contains(err.Error(), "refused") {
				t.Errorf("got %v", err)
			}
		})
	})
}

// A key is read anew for each request, from where it is, and is never in a text.
func TestKey(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	put := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("first\n")
	s := &openaitest.Server{Key: "first", Words: 1}
	connected(t, s, openai.Key{File: file}, func(t *testing.T, c *openai.Client) {
		if err := c.Check(t.Context()); err != nil {
			t.Error(err)
		}
		put("second")
		if err := c.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "the file "+file) || strings.Contains(err.Error(), "second") {
			t.Errorf("a wrong key: %v", err)
		}
		s.Key = "second"
		if _, _, err := answer(t.Context(), c, asking("hello")); err != nil {
			t.Errorf("the new key: %v", err)
		}
		for _, bad := range []string{"", "\n", "two\nlines", "a\x00b", "\u00e9", strings.Repeat("x", 5000)} {
			put(bad)
			if err := c.Check(t.Context()); err == nil || functions.Retryable(err) || !strings.Contains(err.Error(), file) || bad != "" && bad != "\n" && strings.Contains(err.Error(), bad) {
				t.Errorf("%.20q: %v", bad, err)
			}
		}
		os.Remove(file)
		if err := c.Check(t.Context()); err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("no file: %v", err)
		}
	})
}
