package gateway

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/wav"
)

const (
	// pingEvery and pongLimit find peers that are gone without a word. A peer that has much to read before it comes to
	// the ping has pongLimit for that.
	pingEvery = 20 * time.Second
	pongLimit = time.Minute
	// statusFailed closes a WebSocket whose run has failed; the message before it says why.
	statusFailed websocket.StatusCode = 4000
)

// wantsSocket reports whether the request asks for a WebSocket.
func wantsSocket(r *http.Request) bool {
	return hasToken(r.Header, "Connection", "upgrade") && hasToken(r.Header, "Upgrade", "websocket")
}

func hasToken(h http.Header, name, token string) bool {
	for _, v := range h.Values(name) {
		for part := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(strings.TrimSpace(part), token) {
				return true
			}
		}
	}
	return false
}

// getSocket runs a chain in full duplex over a WebSocket: GET /chains/NAME with an upgrade.
func (s *Server) getSocket(w http.ResponseWriter, r *http.Request) {
	err := s.socketRun(w, r)
	s.metrics.answered("websocket", err)
}

func (s *Server) socketRun(w http.ResponseWriter, r *http.Request) error {
	ch, err := s.chains.resolve(r.Context(), r.PathValue("name"))
	if err == nil && (r.Header.Get("Sec-WebSocket-Version") != "13" || r.Header.Get("Sec-WebSocket-Key") == "") {
		err = fmt.Errorf("%w: the handshake of a WebSocket needs Sec-WebSocket-Version 13 and a Sec-WebSocket-Key", functions.ErrInvalid)
	}
	if err != nil {
		s.fail(w, r, err)
		return err
	}
	caught := &caughtConn{ResponseWriter: w}
	// The Origin was checked for all doors, see guard.
	conn, err := websocket.Accept(caught, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		return fmt.Errorf("%w: %w", functions.ErrInvalid, err) // Accept has answered
	}
	defer conn.CloseNow()
	conn.SetReadLimit(-1) // ours has an error of its own
	defer s.metrics.stream("websocket")()
	k := &socket{s: s, conn: conn, chain: ch, line: newLine(caught.conn, s.cfg.CallTimeout+writeGrace)}
	defer k.line.release()
	return k.run(r.Context())
}

// caughtConn keeps the connection that is taken over.
type caughtConn struct {
	http.ResponseWriter
	conn net.Conn
}

// Hijack implements http.Hijacker.
func (c *caughtConn) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(c.ResponseWriter).Hijack()
	c.conn = conn
	return conn, rw, err
}

// socket is one WebSocket and its run. The library closes the connection when a context that it was given ends, so it
// gets none that ends: the line bounds its reads and writes.
type socket struct {
	s      *Server
	conn   *websocket.Conn
	chain  *chain
	line   *line
	cancel context.CancelCauseFunc
	inline bool // items come with the bytes of their blobs

	// Of the goroutine that reads.
	format pcmFormat
	turn   uint64 // of what comes without one

	holding atomic.Bool  // the reader has a message that the run does not take yet
	writing atomic.Int32 // writes that go on
	moved   atomic.Int64 // messages that were read or written
	mu      sync.Mutex   // held while what belongs together is written
}

func (k *socket) run(parent context.Context) error {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	k.cancel = cancel
	limit, stop := limited(ctx, k.s.cfg.CallTimeout) // of the opening, and of the run if nothing of it is a stream
	defer stop()

	var beside sync.WaitGroup
	defer beside.Wait()
	defer k.conn.CloseNow() // ends both
	in := newIntake(!k.chain.opens)
	defer in.queue.CloseRecv(nil)
	over, first, begin := make(chan struct{}), make(chan *openMessage, 1), make(chan struct{})
	defer close(over)
	beside.Go(func() { k.readAll(ctx, in, first, begin, over) })
	beside.Go(func() { k.ping(over) })
	var open openMessage
	select {
	case o := <-first:
		if o != nil {
			open = *o
		}
	case <-limit.Done():
		return k.fail(limit, context.Cause(limit))
	}
	if err := k.opened(open); err != nil {
		return k.fail(ctx, err)
	}

	if !k.chain.flows() {
		ctx = limit
	}
	ctx, stop = within(ctx, time.Now(), time.Duration(open.TimeoutMs)*time.Millisecond)
	defer stop()
	r := run{id: newID(), door: "websocket", chain: k.chain, in: in, bytes: true, hurry: k.line.hurry, idle: k.s.cfg.StreamIdle,
		out: func(_ context.Context, it functions.Item) error { return k.item(it) }}
	r.tell(k, open.Observe, cancel)
	k.line.flow(k.s.cfg.StreamIdle + writeGrace)
	defer context.AfterFunc(ctx, k.line.hurry)()
	rn, err := k.s.start(ctx, r)
	if err != nil {
		return k.fail(ctx, err)
	}
	close(begin)
	report, err := rn.wait()
	in.queue.CloseRecv(nil) // what still comes is dropped
	if err != nil {
		k.line.hurry()
	}
	if gone := k.s.tellEnd(ctx, k, len(open.Observe) > 0, report, err); gone != nil {
		return errors.Join(err, gone)
	}
	k.close(err)
	return err
}

// opened takes what the first message asks for.
func (k *socket) opened(open openMessage) (err error) {
	if open.Audio != nil {
		if err := k.setFormat(*open.Audio); err != nil {
			return err
		}
	}
	if k.inline, err = wantsInline(open.Blobs); err != nil {
		return err
	}
	if open.TimeoutMs < 0 || open.TimeoutMs > maxTimeoutMs {
		return fmt.Errorf("%w: timeout_ms %d is not a count of milliseconds from 1 to %d", functions.ErrInvalid, open.TimeoutMs, int64(maxTimeoutMs))
	}
	return k.chain.observable(open.Observe)
}

// fail tells of a failure before the run, and closes.
func (k *socket) fail(ctx context.Context, err error) error {
	k.line.hurry()
	if k.send(eventError, k.s.errorJSON(ctx, err)) == nil {
		k.close(err)
	}
	return err
}

func (k *socket) close(err error) {
	if err != nil {
		_ = k.conn.Close(statusFailed, "see the error message before this")
		return
	}
	_ = k.conn.Close(websocket.StatusNormalClosure, "")
}

// readAll reads what the caller sends, until it goes: first open, or nil if it sends none; the rest is for the run, as
// soon as that has begun. It goes on reading when the run takes no more: only so does it see the end.
func (k *socket) readAll(ctx context.Context, in *intake, first chan<- *openMessage, begin, over <-chan struct{}) {
	for opened := false; ; opened = true {
		m, err := k.read()
		if err != nil && !errors.Is(err, errMessage) {
			k.cancel(errGone(err))
			return
		}
		if !opened {
			if err == nil && m.Open != nil {
				first <- m.Open
				m = nil
			} else {
				first <- nil
			}
			select {
			case <-begin:
			case <-over:
				return
			}
		}
		if err == nil && m != nil {
			k.holding.Store(true)
			err = k.take(ctx, m, in)
			k.holding.Store(false)
		}
		if err != nil { // after the first one, and after the run's end, this changes nothing
			in.queue.CloseSend(err)
		}
	}
}

// take hands one message to the run.
func (k *socket) take(ctx context.Context, m *socketMessage, in *intake) error {
	schema := k.chain.In().Schema
	switch {
	case m.samples != nil:
		if schema.Format != functions.FormatAudio {
			return fmt.Errorf("%w: a binary message is audio, and chain %s takes %s: send {\"item\":{\"value\":...}}", functions.ErrInvalid, k.chain.name(), schema)
		}
		if len(m.samples) == 0 {
			return nil
		}
		it, err := k.format.item(m.samples)
		if err != nil {
			return err
		}
		if it.Size() > k.s.cfg.MaxItem {
			return fmt.Errorf("input: %w: %d bytes of audio; one input may hold %d", functions.ErrMemoryLimit, it.Size(), k.s.cfg.MaxItem)
		}
		it.Turn = k.turn
		return in.push(ctx, it)
	case m.Item != nil:
		it, err := k.s.inputJSON(ctx, schema, m.Item.Value)
		if err != nil {
			return err
		}
		if m.Item.Turn != nil {
			k.turn = *m.Item.Turn
		}
		it.Turn = k.turn
		if m.Item.Time != nil {
			it.Time = *m.Item.Time
		}
		return in.push(ctx, it)
	case m.Audio != nil:
		if m.Audio.Turn != nil {
			k.turn = *m.Audio.Turn
		}
		return k.setFormat(*m.Audio)
	case m.Interrupt != nil:
		return in.interruptAll(m.Interrupt.Turn)
	case m.End != nil:
		in.queue.CloseSend(nil)
		return nil
	default:
		return fmt.Errorf("%w: open is the first message or none", functions.ErrInvalid)
	}
}

func (k *socket) setFormat(m audioMessage) error {
	f, err := newPCMFormat(m.SampleHz, m.Channels)
	if err == nil {
		k.format = f
	}
	return err
}

// read reads one message. An error that wraps errMessage is the caller's mistake; any other means that the connection is
// done.
func (k *socket) read() (*socketMessage, error) {
	kind, r, err := k.conn.Reader(context.Background())
	if err != nil {
		return nil, err
	}
	limit := k.s.cfg.MaxBody
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	k.moved.Add(1)
	if int64(len(data)) > limit {
		if _, err := io.Copy(io.Discard, r); err != nil { // so that what comes behind it, such as the close, is seen
			return nil, err
		}
		return nil, wrongMessage(fmt.Errorf("%w: a message is larger than %d bytes, the most that this server takes", functions.ErrMemoryLimit, limit))
	}
	if kind == websocket.MessageBinary {
		return &socketMessage{samples: data}, nil
	}
	m, err := parseSocketMessage(data)
	if err != nil {
		return nil, wrongMessage(err)
	}
	return m, nil
}

// send implements audience.
func (k *socket) send(kind string, body any) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.sendLocked(kind, body)
}

func (k *socket) sendLocked(kind string, body any) error {
	data, err := json.Marshal(map[string]any{kind: body})
	if err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	return k.write(websocket.MessageText, data)
}

func (k *socket) write(kind websocket.MessageType, data []byte) error {
	k.writing.Add(1)
	defer k.writing.Add(-1)
	k.line.writes()
	if err := k.conn.Write(context.Background(), kind, data); err != nil {
		k.cancel(errGone(err))
		return errGone(err)
	}
	k.moved.Add(1)
	return nil
}

// item sends one item of the output: audio as its samples behind a message that tells of them.
func (k *socket) item(it functions.Item) error {
	schema := k.chain.Out().Schema
	if schema.Format == functions.FormatAudio {
		file, err := audioOf(schema, it)
		if err != nil {
			return err
		}
		if info, err := wav.Parse(file); file != nil && err == nil {
			k.mu.Lock()
			defer k.mu.Unlock()
			if err := k.sendLocked(eventAudio, audioEvent{SampleHz: info.SampleHz, Channels: info.Channels, Seq: it.Seq, Turn: it.Turn, Time: timeOf(it)}); err != nil {
				return err
			}
			return k.write(websocket.MessageBinary, info.Data)
		}
	}
	if !k.inline {
		k.s.hold(it)
	}
	ev, err := newItemEvent(schema, it, k.inline)
	if err != nil {
		return err
	}
	return k.send(eventItem, ev)
}

// ping looks after the peer until over is closed. That no pong comes means something only while the peer's messages are
// read and nothing else moves.
func (k *socket) ping(over <-chan struct{}) {
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	for {
		select {
		case <-over:
			return
		case <-tick.C:
		}
		moved := k.moved.Load()
		ctx, cancel := context.WithTimeout(context.Background(), pongLimit)
		err := k.conn.Ping(ctx)
		cancel()
		busy := k.holding.Load() || k.writing.Load() > 0 || k.moved.Load() != moved
		if err == nil || errors.Is(err, context.DeadlineExceeded) && busy {
			continue
		}
		k.cancel(errGone(err))
		_ = k.conn.CloseNow() // so that who reads and writes hears of it
		return
	}
}
