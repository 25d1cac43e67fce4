package openai

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/catenary-run/catenary/functions"
)

// Both are wrapped, beside [functions.ErrUnavailable], by errors that may mean that there is no server any more.
var (
	ErrUnreachable = errors.New("no answer")              // nobody is there, or it hangs
	ErrCut         = errors.New("the answer was cut off") // the connection ended, or the server sent too much
)

const (
	maxText  = 300      // bytes of a server's text in an error
	maxFault = 64 << 10 // bytes that are read of a reply that says what is wrong
	// faultLimit is for such a reply, once it has begun.
	faultLimit = time.Second
)

// brokenError is a request that got no reply, or a reply without its end.
type brokenError struct{ err error }

func (e *brokenError) Error() string { return e.err.Error() }

// silence is why a server was given up: it said nothing for so long.
type silence time.Duration

func (s silence) Error() string { return fmt.Sprintf("nothing came for %v", time.Duration(s)) }

// broken returns why a request under ctx ended with err: if it was not the server's doing, it is the cause of ctx.
func broken(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return &brokenError{err}
	}
	if s, ok := errors.AsType[silence](context.Cause(ctx)); ok {
		return &brokenError{s}
	}
	return context.Cause(ctx)
}

// statusError is a reply that is none of those that were hoped for.
type statusError struct {
	code       int
	text       string // the server's, in one line, without the key
	retryAfter time.Duration
	location   string
}

func (e *statusError) Error() string { return fmt.Sprintf("status %d: %s", e.code, e.text) }

func (c *Client) statusError(res *http.Response) *statusError {
	// Whoever says what is wrong does so at once. A body without an end is cut.
	cut := time.AfterFunc(faultLimit, func() { _ = res.Body.Close() })
	defer cut.Stop()
	body, _ := io.ReadAll(io.LimitReader(res.Body, maxFault)) // half a text is better than none
	e := &statusError{code: res.StatusCode, text: c.excerpt(errorText(body)), location: c.excerpt([]byte(res.Header.Get("Location")))}
	if e.text == "" {
		e.text = http.StatusText(e.code)
	}
	if s, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil && s > 0 && s < int(24*time.Hour/time.Second) {
		e.retryAfter = time.Duration(s) * time.Second
	}
	return e
}

// explain turns err into an error for callers.
func (c *Client) explain(err error) error {
	if b, ok := errors.AsType[*brokenError](err); ok {
		return fmt.Errorf("%w: %s: %w: %s", functions.ErrUnavailable, c.cfg.URL, ErrUnreachable, c.excerpt([]byte(b.Error())))
	}
	e, ok := errors.AsType[*statusError](err)
	if !ok {
		return err
	}
	switch {
	case e.code == http.StatusBadRequest || e.code == http.StatusRequestEntityTooLarge || e.code == http.StatusUnprocessableEntity:
		return fmt.Errorf("%w: %s refused the request (%w)", functions.ErrInvalid, c.cfg.URL, e)
	case e.code == http.StatusUnauthorized || e.code == http.StatusForbidden:
		return c.failf(false, "it wants another key (%v): %s", e, c.cfg.Key.remedy(c.cfg.URL))
	case e.code == http.StatusNotFound:
		return c.failf(false, "it has no such model, or no chat completions (%v): correct the model or the url in catenary.yaml", e)
	case e.code == http.StatusTooManyRequests && e.retryAfter > 0:
		return fmt.Errorf("%w: %s has too many calls (%w); try again in %v", functions.ErrQueueFull, c.cfg.URL, e, e.retryAfter)
	case e.code == http.StatusTooManyRequests:
		return fmt.Errorf("%w: %s has too many calls (%w); try again later", functions.ErrQueueFull, c.cfg.URL, e)
	case e.code/100 == 3:
		return c.failf(false, "it sends callers to %q; name that in catenary.yaml", e.location)
	}
	return c.failf(e.code >= 500 || e.code == http.StatusRequestTimeout || e.code == http.StatusTooEarly, "%v", e)
}

// failf returns an error of the server's making. It is no fault of who calls, and to call again helps only if retryable.
func (c *Client) failf(retryable bool, format string, args ...any) error {
	return &functions.Failure{
		Code:      functions.CodeOf(functions.ErrUnavailable),
		Message:   fmt.Sprintf("%s: "+format, append([]any{c.cfg.URL}, args...)...),
		Retryable: retryable,
	}
}

// errorText finds what a reply says is wrong, in the forms that servers have for it. Of any other it is the reply itself.
func errorText(body []byte) []byte {
	var reply struct {
		Error, Message, Detail json.RawMessage
	}
	if json.Unmarshal(body, &reply) != nil {
		return body
	}
	for _, said := range []json.RawMessage{reply.Error, reply.Message, reply.Detail} {
		var text string
		var fault struct{ Message string }
		switch {
		case len(said) == 0:
		case json.Unmarshal(said, &text) == nil && text != "":
			return []byte(text)
		case json.Unmarshal(said, &fault) == nil && fault.Message != "":
			return []byte(fault.Message)
		}
	}
	return body
}

// excerpt returns text of the server in one line that is fit to be read, without the key, which some servers repeat.
func (c *Client) excerpt(text []byte) string {
	line := strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, strings.ToValidUTF8(c.cfg.Key.Redact(string(text)), ""))
	line = strings.Join(strings.Fields(line), " ")
	if len(line) > maxText {
		line = strings.ToValidUTF8(line[:maxText], "") + "..."
	}
	return line
}
