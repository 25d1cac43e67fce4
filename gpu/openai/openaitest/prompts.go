package openaitest

import (
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Prompts that make a server fail. Each fault but the first comes after two good words.
const (
	HangSilent   = "hang before the answer"
	Hang         = "hang in the answer"
	Ping         = "send comments and no answer"
	Cut          = "cut the connection"
	EarlyEnd     = "end the stream without a finish"
	Nonsense     = "send what is not JSON"
	ErrorEvent   = "send an error in the stream"
	EndlessLine  = "send a line without an end"
	EndlessEvent = "send an event without an end"
	NoStream     = "answer as a whole"
	Page         = "answer with a web page"
	EndlessFault = "say what is wrong without an end"
	Filter       = "filter the answer"
	OneChunk     = "send text and finish at once, and close"
	LateUsage    = "hang before what was counted"
	Crash        = "crash" // of a process
	// Status with a number after it is answered with that status.
	Status = "status "
)

// piece is 1,000 bytes that end no line.
var piece = strings.Repeat("0123456789", 100)

// faults do not return to the server before they are done.
var faults = map[string]func(*Server, http.ResponseWriter, *http.Request){
	HangSilent: func(s *Server, _ http.ResponseWriter, r *http.Request) { s.hang(r) },
	Hang: func(s *Server, w http.ResponseWriter, r *http.Request) {
		s.begin(w, r)
		s.hang(r)
	},
	Ping: func(s *Server, w http.ResponseWriter, r *http.Request) {
		s.begin(w, r)
		s.forever(w, r, ": still here\n\n", 10*time.Second)
	},
	Cut: func(s *Server, w http.ResponseWriter, r *http.Request) {
		s.begin(w, r)
		panic(http.ErrAbortHandler)
	},
	EarlyEnd: func(s *Server, w http.ResponseWriter, r *http.Request) { s.begin(w, r) },
	Nonsense: func(s *Server, w http.ResponseWriter, r *http.Request) {
		s.begin(w, r)
		_ = send(w, "<b>nonsense</b>\x1b[31m")
	},
	ErrorEvent: func(s *Server, w http.ResponseWriter, r *http.Request) {
		s.begin(w, r)
		_ = send(w, `{"error":{"message":"out of\nmemory","type":"server_error","code":500}}`)
	},
	EndlessLine: func(s *Server, w http.ResponseWriter, r *http.Request) {
		s.begin(w, r)
		s.forever(w, r, piece, 0)
	},
	EndlessEvent: func(s *Server, w http.ResponseWriter, r *http.Request) {
		s.begin(w, r)
		s.forever(w, r, "data: "+piece+"\n", 0)
	},
	NoStream: func(_ *Server, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"choices":[{"message":{"role":"assistant","content":"word"},"finish_reason":"stop"}]}`)
	},
	Page: func(_ *Server, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, "<html>Sign in to the network</html>")
	},
	EndlessFault: func(s *Server, w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusInternalServerError)
		s.forever(w, r, "wrong ", 100*time.Millisecond)
	},
	Filter: func(s *Server, w http.ResponseWriter, r *http.Request) {
		s.begin(w, r)
		_ = send(w, `{"choices":[{"delta":{},"finish_reason":"content_filter"}]}`)
	},
	OneChunk: func(_ *Server, w http.ResponseWriter, _ *http.Request) {
		head(w)
		_ = send(w, `{"choices":[{"delta":{"content":"word"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3}}`)
	},
	Crash: func(s *Server, w http.ResponseWriter, r *http.Request) {
		s.begin(w, r)
		s.crash()
	},
	LateUsage: func(s *Server, w http.ResponseWriter, r *http.Request) {
		head(w)
		_ = send(w, `{"choices":[{"delta":{"content":"word"},"finish_reason":"stop"}]}`)
		s.hang(r)
	},
}

func (s *Server) begin(w http.ResponseWriter, r *http.Request) {
	head(w)
	for range 2 {
		if !s.word(w, r) {
			return
		}
	}
}

// hang waits until the caller goes away.
func (s *Server) hang(r *http.Request) {
	<-r.Context().Done()
	s.Cancelled.Add(1)
}

// forever writes text, again and again, until the caller goes away.
func (s *Server) forever(w http.ResponseWriter, r *http.Request, text string, pause time.Duration) {
	for r.Context().Err() == nil {
		if _, err := fmt.Fprint(w, text); err != nil {
			break
		}
		if http.NewResponseController(w).Flush() != nil {
			break
		}
		select {
		case <-time.After(pause):
		case <-r.Context().Done():
		}
	}
	s.Cancelled.Add(1)
}
