// Package openaitest is a small server that speaks OpenAI's API as vLLM, SGLang and llama-server do, and badly if it is
// asked to. It computes nothing and listens nowhere by itself.
//
// A [Server] is an http.Handler. What it does is decided by the last message of a prompt (prompts.go): any text is answered
// with words, and each constant names a fault. [Network] connects a client to it in memory, so that a test's clock is that of
// both. [Main] is a process.
package openaitest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Model is the name of the model that a Server has.
const Model = "tiny"

// Server is the state of one server. Its fields are set before it is used.
type Server struct {
	Key        string        // that callers must have, if it is not empty
	Words      int           // of an answer, unless max_tokens is less
	TokenTime  time.Duration // before each word
	LoadTime   time.Duration // from the first request until it is ready, as llama-server says it
	SleepMode  bool          // has vLLM's /sleep, /wake_up and /is_sleeping
	WakeFails  bool          // and can't wake
	SleepHangs bool          // and does not answer when it is told to sleep

	// Unwell is true while /health says that something is wrong.
	Unwell atomic.Bool

	crash func() // ends the process that it is, if it is one

	// Requests counts the answers that were asked for, Now those under way, Most how many there were at once, Cancelled
	// those whose caller went away, and Sent the words that were written.
	Requests, Now, Most, Cancelled, Sent atomic.Int64
	// Sleeps and Wakes count how often it was told to.
	Sleeps, Wakes atomic.Int64

	mu       sync.Mutex // guards the fields below
	began    time.Time
	sleeping bool
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	loading := s.loading()
	switch route := r.Method + " " + r.URL.Path; {
	case route == "GET /health" && s.Unwell.Load():
		fail(w, http.StatusServiceUnavailable, "unwell")
	case route == "GET /health" && loading, route == "POST /v1/chat/completions" && loading:
		fail(w, http.StatusServiceUnavailable, "Loading model")
	case route == "GET /health":
	case route == "GET /v1/models" && s.allowed(w, r):
		fmt.Fprintf(w, `{"object":"list","data":[{"id":%q,"object":"model"}]}`, Model)
	case route == "POST /v1/chat/completions" && s.allowed(w, r):
		s.chat(w, r)
	case r.Method == "POST" && s.SleepMode && r.URL.Path == "/sleep":
		s.Sleeps.Add(1)
		if s.SleepHangs {
			<-r.Context().Done()
			return
		}
		s.setSleeping(true)
	case r.Method == "POST" && s.SleepMode && r.URL.Path == "/wake_up":
		s.Wakes.Add(1)
		if s.WakeFails {
			fail(w, http.StatusInternalServerError, "CUDA error: out of memory")
			return
		}
		s.setSleeping(false)
	case s.SleepMode && route == "GET /is_sleeping":
		fmt.Fprintf(w, `{"is_sleeping":%v}`, s.Sleeping())
	case strings.HasPrefix(r.URL.Path, "/v1/") && s.Key != "": // allowed has answered
	default:
		http.NotFound(w, r)
	}
}

// Sleeping reports whether it is in vLLM's sleep.
func (s *Server) Sleeping() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sleeping
}

func (s *Server) setSleeping(to bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sleeping = to
}

func (s *Server) loading() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.began.IsZero() {
		s.began = time.Now()
	}
	return time.Since(s.began) < s.LoadTime
}

// allowed answers callers without the key.
func (s *Server) allowed(w http.ResponseWriter, r *http.Request) bool {
	if s.Key == "" || r.Header.Get("Authorization") == "Bearer "+s.Key {
		return true
	}
	fail(w, http.StatusUnauthorized, "Incorrect API key provided: "+r.Header.Get("Authorization"))
	return false
}

func fail(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"error":{"message":%q,"type":"some_error","code":%d}}`, text, status)
}

// request is as much of a chat completion's as the server reads.
type request struct {
	Model    string
	Messages []struct{ Role, Content string }
	Stream   bool
	Options  struct {
		Usage bool `json:"include_usage"`
	} `json:"stream_options"`
	MaxTokens int `json:"max_tokens"`
}

func (s *Server) chat(w http.ResponseWriter, r *http.Request) {
	var req request
	body, err := io.ReadAll(r.Body)
	if err == nil {
		err = json.Unmarshal(body, &req)
	}
	switch {
	case err != nil || len(req.Messages) == 0 || !req.Stream:
		fail(w, http.StatusBadRequest, "this is no chat completion")
		return
	case req.Model != Model:
		fail(w, http.StatusNotFound, fmt.Sprintf("The model `%s` does not exist.", req.Model))
		return
	case s.Sleeping():
		fail(w, http.StatusServiceUnavailable, "the engine sleeps")
		return
	}
	s.Requests.Add(1)
	now := s.Now.Add(1)
	leave := sync.OnceFunc(func() { s.Now.Add(-1) })
	defer leave()
	for most := s.Most.Load(); now > most && !s.Most.CompareAndSwap(most, now); most = s.Most.Load() {
	}
	prompt := req.Messages[len(req.Messages)-1].Content
	if fault := faults[prompt]; fault != nil {
		fault(s, w, r)
		return
	}
	if text, ok := strings.CutPrefix(prompt, Status); ok {
		code, _ := strconv.Atoi(text)
		w.Header().Set("Retry-After", "7")
		w.Header().Set("Location", "http://elsewhere.example/v1")
		fail(w, code, "no,\nnot now; you said "+r.Header.Get("Authorization"))
		return
	}
	words := s.Words
	if req.MaxTokens > 0 {
		words = min(words, req.MaxTokens)
	}
	if s.answer(w, r, words, req.MaxTokens > 0 && words == req.MaxTokens, len(strings.Fields(prompt))) {
		leave() // before the caller knows
		_ = send(w, "[DONE]")
	}
}

// answer writes words as vLLM does: first a role, then words, then the finish, and last what was counted. It reports false
// if the caller has gone.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, words int, cut bool, prompt int) bool {
	head(w)
	_ = send(w, `{"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}`)
	for range words {
		if !s.word(w, r) {
			return false
		}
	}
	finish := "stop"
	if cut {
		finish = "length"
	}
	_ = send(w, fmt.Sprintf(`{"choices":[{"index":0,"delta":{},"finish_reason":%q}]}`, finish))
	_ = send(w, fmt.Sprintf(`{"choices":[],"usage":{"prompt_tokens":%d,"completion_tokens":%d,"prompt_tokens_details":{"cached_tokens":1}}}`, prompt, words))
	return true
}

// word writes one, and reports false if the caller has gone.
func (s *Server) word(w http.ResponseWriter, r *http.Request) bool {
	select {
	case <-time.After(s.TokenTime):
	case <-r.Context().Done():
	}
	if r.Context().Err() != nil || send(w, `{"choices":[{"index":0,"delta":{"content":"word "},"finish_reason":null}]}`) != nil {
		s.Cancelled.Add(1)
		return false
	}
	s.Sent.Add(1)
	return true
}

func head(w http.ResponseWriter) { w.Header().Set("Content-Type", "text/event-stream; charset=utf-8") }

// send writes one event.
func send(w http.ResponseWriter, data string) error {
	if _, err := fmt.Fprintf(w, "data: %s\n\n", data); err != nil {
		return err
	}
	return http.NewResponseController(w).Flush()
}
