package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/catenary-run/catenary/functions/wav"
	"github.com/catenary-run/catenary/sdk/client"
)

// pieceDur is how much of a wav is sent at a time: what a microphone gives a page at once.
const pieceDur = 100 * time.Millisecond

// errSignalled is why a run ends that was told to, twice.
var errSignalled = errors.New("interrupted")

// stream runs the chain in full duplex. The command's own context ends with the first signal, which here only interrupts
// a turn: so the run gets another.
func (c *runCmd) stream(e *env, server *client.Client, body []byte, mediaType string) error {
	input, err := c.pieces(body, mediaType)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(e.ctx))
	defer cancel(nil)
	s, err := server.OpenStream(ctx, c.Chain, c.Observe...)
	if err != nil {
		return err
	}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	over := make(chan struct{})
	var beside sync.WaitGroup
	beside.Go(func() {
		defer s.CloseSend()
		if err := input(ctx, s); err != nil && !errors.Is(err, io.EOF) { // EOF: the run has ended, and says how
			cancel(err)
		}
	})
	beside.Go(func() {
		interrupts(signals, over, func() {
			fmt.Fprintln(e.stderr, "interrupting the turn; once more ends the run")
			beside.Go(func() {
				err := s.Interrupt(ctx, math.MaxUint64)
				if err != nil && ctx.Err() == nil && !errors.Is(err, io.EOF) { // how a run ended, Recv tells
					fmt.Fprintln(e.stderr, "the turn was not interrupted:", err)
				}
			})
		}, cancel)
	})
	err = c.hear(ctx, e, s)
	close(over)
	cancel(nil)
	beside.Wait()
	s.Close()
	return err
}

// interrupts turns the first signal into an interruption of all turns that have begun, and the second one, or SIGTERM,
// into the end of the run.
func interrupts(signals <-chan os.Signal, over <-chan struct{}, interrupt func(), cancel context.CancelCauseFunc) {
	for n := 0; ; n++ {
		select {
		case <-over:
			return
		case sig := <-signals:
			if n > 0 || sig != os.Interrupt {
				cancel(errSignalled)
				return
			}
			interrupt()
		}
	}
}

// hear prints what comes, and keeps audio for the file that it goes to, which is written however the run ends.
func (c *runCmd) hear(ctx context.Context, e *env, s *client.Stream) (err error) {
	var parts [][]byte
	var timings []client.Timing
	defer func() {
		if c.Out != "" && len(parts) > 0 {
			err = errors.Join(err, writeJoined(c.Out, parts))
		}
	}()
	for {
		ev, err := s.Recv(ctx)
		if errors.Is(err, io.EOF) {
			if len(timings) > 0 {
				printTimings(e.stderr, timings)
			}
			return nil
		}
		switch {
		case err != nil:
			return err
		case ev.TurnOver != nil:
			fmt.Fprintf(e.stderr, "turn %d is over\n", ev.TurnOver.Turn)
		case ev.Observed != nil:
			fmt.Fprintf(e.stderr, "%s %s\n", ev.Observed.Step, ev.Observed.JSON)
		case ev.Timing != nil:
			timings = append(timings, *ev.Timing)
		case c.Out != "" && len(ev.Value.Blobs) == 1 && ev.Value.Blobs[0].Type == wav.MediaType:
			parts = append(parts, ev.Value.Blobs[0].Data)
		default:
			if _, err := fmt.Fprintf(e.stdout, "%s\n", ev.Value.JSON); err != nil {
				return err
			}
		}
	}
}

func writeJoined(name string, parts [][]byte) error {
	joined, err := wav.Join(parts)
	if err != nil {
		return err
	}
	return os.WriteFile(name, joined, 0o644)
}

// pieces returns what sends the input: a wav in pieces, at the pace of speech unless it shall be fast; of JSON each
// value; a text as one item.
func (c *runCmd) pieces(body []byte, mediaType string) (func(context.Context, *client.Stream) error, error) {
	switch mediaType {
	case wav.MediaType:
		info, err := wav.Parse(body)
		if err != nil {
			return nil, err
		}
		return func(ctx context.Context, s *client.Stream) error { return c.speak(ctx, s, info) }, nil
	case "application/json":
		return func(ctx context.Context, s *client.Stream) error {
			for dec := json.NewDecoder(bytes.NewReader(body)); ; {
				var v json.RawMessage
				if err := dec.Decode(&v); errors.Is(err, io.EOF) {
					return nil
				} else if err != nil {
					return fmt.Errorf("the input: %w", err)
				}
				if err := s.Send(ctx, client.Input{JSON: v}); err != nil {
					return err
				}
			}
		}, nil
	}
	return func(ctx context.Context, s *client.Stream) error {
		text, err := json.Marshal(string(body))
		if err != nil {
			return err
		}
		return s.Send(ctx, client.Input{JSON: text})
	}, nil
}

// speak sends the samples in pieces. Each is sent when its last sample would have been spoken.
func (c *runCmd) speak(ctx context.Context, s *client.Stream, info wav.Info) error {
	frame := 2 * info.Channels
	size := max(1, int(int64(info.SampleHz)*int64(pieceDur)/int64(time.Second))) * frame
	begin := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for at := 0; at < len(info.Data); at += size {
		data := info.Data[at:min(at+size, len(info.Data))]
		said := begin.Add(time.Duration(at/frame) * time.Second / time.Duration(info.SampleHz))
		if !c.Fast {
			timer.Reset(time.Until(said.Add(pieceDur)))
			select {
			case <-timer.C:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		file := append(wav.Header(info.SampleHz, info.Channels, int64(len(data))), data...)
		value, err := json.Marshal(map[string]any{"data": file, "type": wav.MediaType})
		if err != nil {
			return err
		}
		if err := s.Send(ctx, client.Input{JSON: value, Time: said}); err != nil {
			return err
		}
	}
	return nil
}
