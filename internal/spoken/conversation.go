package spoken

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/catenary-run/catenary/examples/functions/voice"
	"github.com/catenary-run/catenary/examples/voice/chain"
	"github.com/catenary-run/catenary/functions/wav"
	"github.com/catenary-run/catenary/sdk"
	"github.com/catenary-run/catenary/sdk/client"
)

// Event is something that happened in a [Conversation]: exactly one of the fields after Turn is set.
type Event struct {
	At   time.Time
	Turn uint64

	Speech *voice.Speech   // found by the step vad
	Heard  *voice.Heard    // by the step listen
	Said   *voice.Sentence // by the step reply
	Audio  []byte          // of the answer: a wav
	Over   bool            // the turn was interrupted
	Timing *client.Timing  // at the end, one for each step
}

// Conversation is one over the chain talk. One goroutine may speak while another listens. Close it when you are done.
type Conversation struct {
	c       *client.Client
	session *client.Session[sdk.Audio, sdk.Audio]
	cancel  context.CancelFunc

	events    chan Event
	receiving sync.WaitGroup
	err       error // how it ended, once events is closed
}

// The microphone.
const (
	SampleHz = 16000
	// Piece is how much audio goes into one item.
	Piece      = 20 * time.Millisecond
	pieceBytes = 2 * SampleHz / 50
)

// Converse begins a conversation. It ends with ctx.
func Converse(ctx context.Context, c *client.Client) (*Conversation, error) {
	ctx, cancel := context.WithCancel(ctx)
	v := &Conversation{c: c, cancel: cancel, events: make(chan Event, 64)}
	var err error
	v.session, err = client.Start(ctx, c, chain.Talk,
		client.Observe(func(o client.Observed) { v.observed(ctx, o) }, "vad", "listen", "reply"),
		client.Timings(func(t client.Timing) { v.tell(ctx, Event{Timing: &t}) }))
	if err != nil {
		cancel()
		return nil, err
	}
	v.receiving.Go(func() {
		defer close(v.events)
		v.err = v.receive(ctx)
	})
	return v, nil
}

func (v *Conversation) tell(ctx context.Context, e Event) {
	e.At = time.Now()
	select {
	case v.events <- e:
	case <-ctx.Done():
	}
}

func (v *Conversation) observed(ctx context.Context, o client.Observed) {
	e := Event{Turn: o.Turn}
	into := map[string]any{"vad": &e.Speech, "listen": &e.Heard, "reply": &e.Said}[o.Step]
	if err := json.Unmarshal(o.JSON, into); err != nil {
		panic(fmt.Sprintf("the server sent %s for step %s: %v", o.JSON, o.Step, err)) // it checks what it sends
	}
	v.tell(ctx, e)
}

// receive tells of what comes until the end.
func (v *Conversation) receive(ctx context.Context) error {
	for {
		r, err := v.session.Recv(ctx)
		if err != nil {
			return err
		}
		e := Event{Turn: r.Turn, Over: r.TurnOver}
		if !r.TurnOver {
			if e.Audio, err = v.c.ReadBlob(ctx, r.Value.Blob); err != nil {
				return err
			}
		}
		v.tell(ctx, e)
	}
}

// Next waits for the next event. It returns io.EOF after a conversation that has ended well.
func (v *Conversation) Next() (Event, error) {
	e, ok := <-v.events
	if !ok {
		return e, v.err
	}
	return e, nil
}

// Say says samples as [Say] does.
func (v *Conversation) Say(ctx context.Context, samples []byte, realTime bool) error {
	return Say(ctx, v.c, v.session, samples, realTime)
}

// Say sends samples, 16 bits in mono at 16 kHz, in pieces: in real time as a microphone does, or as fast as they are
// taken.
func Say[O any](ctx context.Context, c *client.Client, to *client.Session[sdk.Audio, O], samples []byte, realTime bool) error {
	begin := time.Now()
	for at := 0; at < len(samples); at += pieceBytes {
		piece := samples[at:min(at+pieceBytes, len(samples))]
		if realTime { // a piece is there when it has been spoken
			select {
			case <-time.After(time.Until(begin.Add(time.Duration(at/pieceBytes+1) * Piece))):
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		audio, err := c.Audio(append(wav.Header(SampleHz, 1, int64(len(piece))), piece...))
		if err != nil {
			return err
		}
		if err := to.Send(ctx, sdk.Msg[sdk.Audio]{Value: audio, Time: time.Now()}); err != nil {
			return err
		}
	}
	return nil
}

// loud is an amplitude that only speech has in the recorded questions.
const loud = 600

// Trim returns samples without the silence before and after the speech.
func Trim(samples []byte) []byte {
	isLoud := func(at int) bool {
		v := int16(uint16(samples[at]) | uint16(samples[at+1])<<8)
		return v > loud || v < -loud
	}
	from, to := 0, len(samples)&^1
	for from < to && !isLoud(from) {
		from += 2
	}
	for from < to && !isLoud(to-2) {
		to -= 2
	}
	return samples[from:to]
}

// Silence returns samples for Say.
func Silence(d time.Duration) []byte { return make([]byte, int(d*SampleHz/time.Second)*2) }

// Samples returns those of a wav, which must be fit for Say.
func Samples(file []byte) ([]byte, error) {
	info, err := wav.Parse(file)
	if err != nil {
		return nil, err
	}
	if info.SampleHz != SampleHz || info.Channels != 1 {
		return nil, fmt.Errorf("a wav of %d Hz and %d channels; want %d Hz and one", info.SampleHz, info.Channels, SampleHz)
	}
	return info.Data, nil
}

// Interrupt ends the answer to a turn.
func (v *Conversation) Interrupt(ctx context.Context, turn uint64) error {
	return v.session.Interrupt(ctx, turn)
}

// HangUp ends the input: what was asked is still answered.
func (v *Conversation) HangUp() { v.session.CloseSend() }

// Close ends the conversation, if it goes on, and waits until nothing of it is left here.
func (v *Conversation) Close() {
	v.cancel()
	v.receiving.Wait()
	v.session.Close()
}

// Rest waits for the end and returns the events until then.
func (v *Conversation) Rest() (all []Event, err error) {
	for {
		e, err := v.Next()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		all = append(all, e)
	}
}
