package gateway

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/coder/websocket"
	"google.golang.org/protobuf/proto"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/invokertest"
	"github.com/catenary-run/catenary/functions/value"
	catenaryv1 "github.com/catenary-run/catenary/gateway/catenary/v1"
)

// actor is a function from a stream of texts to a stream of texts. Each text is a list of words: trap fails, hold waits
// for the end of the call, turn opens the next turn if the function does; any other is said back in capitals.
type actor struct {
	held  chan struct{} // a value for each hold that has begun
	ended chan error    // why each ended
}

func newActor() *actor { return &actor{make(chan struct{}, 16), make(chan error, 16)} }

func (a *actor) function(name string, opens bool) invokertest.Function {
	f := invokertest.New(name, a.serve)
	f.Manifest.In, f.Manifest.Out, f.Manifest.Turns = port[string](true), port[string](true), opens
	return f
}

func (a *actor) serve(ctx context.Context, in functions.Source, out functions.Sink) error {
	opened := uint64(0)
	for {
		it, err := in.Recv(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		var text string
		if err := value.Decode(it.Value, &text); err != nil {
			return err
		}
		for _, word := range strings.Fields(text) {
			switch word {
			case "trap":
				return fmt.Errorf("%w: as it was told", functions.ErrTrap)
			case "hold":
				a.held <- struct{}{}
				<-ctx.Done()
				a.ended <- context.Cause(ctx)
				return context.Cause(ctx)
			case "turn":
				opened++
				continue
			}
			b, err := value.Encode(strings.ToUpper(word))
			if err != nil {
				return err
			}
			if err := out.Send(ctx, functions.Item{Value: b, Turn: it.Turn + opened}); err != nil {
				return err
			}
		}
	}
}

// heard is one event of a run as each door tells it.
type heard struct {
	Kind  string // item, turn_over, end or error
	Value string // of an item
	Turn  uint64
	// Of an error.
	Code    functions.Code
	Connect connect.Code
	Step    string
}

// visit is one run over some door. Its methods fail the test if they can't.
type visit interface {
	hear() heard
	id() string // of the run, once something was heard
	leave()     // without a word
}

// talk is a visit that can send more.
type talk interface {
	visit
	say(text string, turn uint64)
	interrupt(turn uint64)
	finish()
}

// failureOf reads an error as the doors send it in JSON.
func failureOf(t *testing.T, data []byte) heard {
	t.Helper()
	var e struct {
		Code    connect.Code
		Message string
		Details []struct{ Type, Value string }
	}
	if err := json.Unmarshal(data, &e); err != nil || e.Message == "" {
		t.Fatalf("error %s: %v", data, err)
	}
	for _, d := range e.Details {
		if d.Type != "catenary.v1.Failure" {
			continue
		}
		raw, err := base64.RawStdEncoding.DecodeString(d.Value)
		if err != nil {
			t.Fatal(err)
		}
		f := new(catenaryv1.Failure)
		if err := proto.Unmarshal(raw, f); err != nil {
			t.Fatal(err)
		}
		return heard{Kind: eventError, Code: functions.Code(f.Code), Connect: e.Code, Step: f.Step}
	}
	t.Fatalf("no Failure in %s", data)
	return heard{}
}

// rpcVisit goes through Connect's Stream.
type rpcVisit struct {
	t      *testing.T
	stream *connect.BidiStreamForClientSimple[catenaryv1.StreamRequest, catenaryv1.StreamResponse]
	cancel context.CancelFunc
	run    string // once something was heard
}

func (v *rpcVisit) id() string { return v.run }

func (w *world) rpcVisit(t *testing.T, chain string, limit time.Duration) *rpcVisit {
	ctx, cancel := context.WithCancel(t.Context())
	if limit > 0 {
		// Only the server knows the limit, so that it is the one who ends the run.
		var info connect.CallInfo
		ctx, info = connect.NewClientContext(ctx)
		info.RequestHeader().Set("Connect-Timeout-Ms", strconv.FormatInt(limit.Milliseconds(), 10))
	}
	stream, err := w.rpc.Stream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cancel)
	v := &rpcVisit{t: t, stream: stream, cancel: cancel}
	v.send(&catenaryv1.StreamRequest{Kind: &catenaryv1.StreamRequest_Open{Open: &catenaryv1.Open{Chain: chain}}})
	return v
}

func (v *rpcVisit) send(m *catenaryv1.StreamRequest) {
	if err := v.stream.Send(m); err != nil && !errors.Is(err, io.EOF) {
		v.t.Fatal(err)
	}
}

func (v *rpcVisit) say(text string, turn uint64) {
	b, _ := json.Marshal(text)
	v.send(&catenaryv1.StreamRequest{Kind: &catenaryv1.StreamRequest_Json{Json: b}, Turn: turn})
}

func (v *rpcVisit) interrupt(turn uint64) {
	v.send(&catenaryv1.StreamRequest{Kind: &catenaryv1.StreamRequest_Interrupt{Interrupt: &catenaryv1.Interrupt{Turn: turn}}})
}

func (v *rpcVisit) finish() { _ = v.stream.CloseRequest() }
func (v *rpcVisit) leave() {
	v.cancel()
	_ = v.stream.CloseResponse() // net/http does not see the end of the context while a write waits for the peer
}

func (v *rpcVisit) hear() heard {
	v.t.Helper()
	m, err := v.stream.Receive()
	if err == nil && v.run == "" {
		if v.run = m.GetStarted().GetRun(); v.run == "" {
			v.t.Fatalf("the first message is %v, want the run's id", m)
		}
		m, err = v.stream.Receive()
	}
	if err != nil {
		v.t.Fatal(err)
	}
	switch k := m.Kind.(type) {
	case *catenaryv1.StreamResponse_Item:
		h := heard{Kind: eventItem, Turn: k.Item.Turn}
		if err := json.Unmarshal(k.Item.Json, &h.Value); err != nil {
			v.t.Fatal(err)
		}
		return h
	case *catenaryv1.StreamResponse_TurnOver:
		return heard{Kind: eventTurnOver, Turn: k.TurnOver.Turn}
	case *catenaryv1.StreamResponse_End:
		v.finish()
		if f := k.End.Error; f != nil {
			return heard{Kind: eventError, Code: functions.Code(f.Code), Connect: Code(f.Err()), Step: f.Step}
		}
		return heard{Kind: eventEnd}
	}
	v.t.Fatalf("message %v", m)
	return heard{}
}

// sseVisit goes through POST with Accept: text/event-stream.
type sseVisit struct {
	t      *testing.T
	lines  *bufio.Scanner
	cancel context.CancelFunc
	run    string
}

func (v *sseVisit) id() string { return v.run }

func (w *world) sseVisit(t *testing.T, chain, text string, limit time.Duration) *sseVisit {
	ctx, cancel := context.WithCancel(t.Context())
	body, _ := json.Marshal(text)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url+"/chains/"+chain, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "text/event-stream")
	if limit > 0 {
		req.Header.Set("Connect-Timeout-Ms", strconv.FormatInt(limit.Milliseconds(), 10))
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); resp.Body.Close() })
	if ct := resp.Header.Get("Content-Type"); resp.StatusCode != http.StatusOK || ct != "text/event-stream" {
		t.Fatalf("status %s, type %q", resp.Status, ct)
	}
	return &sseVisit{t: t, lines: bufio.NewScanner(resp.Body), cancel: cancel}
}

func (v *sseVisit) leave() { v.cancel() }

func (v *sseVisit) hear() heard {
	v.t.Helper()
	v.run = started(v.t, v.run, v.event)
	kind, data := v.event()
	return told(v.t, kind, data)
}

// event reads one event.
func (v *sseVisit) event() (kind string, data []byte) {
	v.t.Helper()
	for v.lines.Scan() {
		line := v.lines.Text()
		switch {
		case strings.HasPrefix(line, "event: "):
			kind = strings.TrimPrefix(line, "event: ")
		case strings.HasPrefix(line, "data: "):
			data = []byte(strings.TrimPrefix(line, "data: "))
		case line == "" && kind != "":
			return kind, data
		}
	}
	v.t.Fatalf("the events broke off: %v", v.lines.Err())
	return "", nil
}

// started reads the first event unless run is known, and returns the run.
func started(t *testing.T, run string, event func() (string, []byte)) string {
	t.Helper()
	if run != "" {
		return run
	}
	kind, data := event()
	var ev startedEvent
	if err := json.Unmarshal(data, &ev); err != nil || kind != eventStarted || ev.Run == "" {
		t.Fatalf("the first event is %s %s (%v), want the run's id", kind, data, err)
	}
	return ev.Run
}

// told reads the body of an event.
func told(t *testing.T, kind string, data []byte) heard {
	t.Helper()
	if kind == eventError {
		return failureOf(t, data)
	}
	h := heard{Kind: kind}
	if err := json.Unmarshal(data, &h); err != nil {
		t.Fatalf("%s %s: %v", kind, data, err)
	}
	return h
}

// socketVisit goes through a WebSocket.
type socketVisit struct {
	t    *testing.T
	conn *websocket.Conn
	run  string
}

func (v *socketVisit) id() string { return v.run }

func (w *world) socketVisit(t *testing.T, chain, open string) *socketVisit {
	conn, _, err := websocket.Dial(t.Context(), strings.Replace(w.url, "http", "ws", 1)+"/chains/"+chain, nil)
	if err != nil {
		t.Fatal(err)
	}
	conn.SetReadLimit(-1)
	t.Cleanup(func() { _ = conn.CloseNow() })
	v := &socketVisit{t: t, conn: conn}
	if open != "" {
		v.text(open)
	}
	return v
}

func (v *socketVisit) text(s string) {
	v.t.Helper()
	if err := v.conn.Write(v.t.Context(), websocket.MessageText, []byte(s)); err != nil {
		v.t.Fatal(err)
	}
}

func (v *socketVisit) say(text string, turn uint64) {
	v.t.Helper()
	v.text(fmt.Sprintf(`{"item":{"value":%q,"turn":%d}}`, text, turn))
}

func (v *socketVisit) interrupt(turn uint64) {
	v.t.Helper()
	v.text(fmt.Sprintf(`{"interrupt":{"turn":%d}}`, turn))
}

func (v *socketVisit) finish() { v.t.Helper(); v.text(`{"end":{}}`) }
func (v *socketVisit) leave()  { _ = v.conn.CloseNow() }

func (v *socketVisit) hear() heard {
	v.t.Helper()
	kind, data := v.event()
	h := told(v.t, kind, data)
	if kind == eventEnd || kind == eventError {
		want := map[string]websocket.StatusCode{eventEnd: websocket.StatusNormalClosure, eventError: statusFailed}[kind]
		if _, _, err := v.conn.Read(v.t.Context()); websocket.CloseStatus(err) != want {
			v.t.Errorf("after %s: %v, want status %v", kind, err, want)
		}
	}
	return h
}

func (v *socketVisit) event() (kind string, data []byte) {
	v.t.Helper()
	typ, b, err := v.conn.Read(v.t.Context())
	if err != nil || typ != websocket.MessageText {
		v.t.Fatalf("message %q of type %v: %v", b, typ, err)
	}
	var m map[string]json.RawMessage
	if err := json.Unmarshal(b, &m); err != nil || len(m) != 1 {
		v.t.Fatalf("message %s: %v", b, err)
	}
	for k, d := range m {
		kind, data = k, d
	}
	if kind == eventStarted { // what is refused before its run begins has none
		v.run = started(v.t, v.run, func() (string, []byte) { return kind, data })
		return v.event()
	}
	return kind, data
}
