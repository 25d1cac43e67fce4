package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/catenary-run/catenary/examples/functions/pocketsphinx"
	"github.com/catenary-run/catenary/examples/functions/voice"
	"github.com/catenary-run/catenary/examples/functions/voice/pcm"
	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/sdk"
)

const (
	// partialEvery bounds how often a partial comes: so much speech lies between two at least.
	partialEvery = pcm.SampleHz * 300 / 1000
	// sureFrom is the confidence below which the utterance is heard once more as a whole.
	sureFrom = 0.5
	// maxWaiting is how many utterances can wait for the decoder. While there are more, nothing is read.
	maxWaiting = 4
)

type (
	receiver = *sdk.Receiver[voice.Speech]
	sender   = *sdk.Sender[voice.Heard]
)

// listener is the function. A process serves one session after the other.
type listener struct {
	whole *pocketsphinx.Decoder
	next  *pocketsphinx.Live // of the first session; the ones after it load theirs when they begin
}

// load opens the library and loads the models, before the plugin says that it is ready.
func (l *listener) load() (err error) {
	if l.whole, err = pocketsphinx.Open(pocketsphinx.ModelDir); err != nil {
		return err
	}
	l.next, err = pocketsphinx.OpenLive(pocketsphinx.ModelDir)
	return err
}

// live returns the decoder of a session that begins.
func (l *listener) live() (*pocketsphinx.Live, error) {
	if live := l.next; live != nil {
		l.next = nil
		return live, nil
	}
	return pocketsphinx.OpenLive(pocketsphinx.ModelDir)
}

// listen reads and hears side by side, so that an onset is told while the words before it are still searched for.
func (l *listener) listen(ctx context.Context, in receiver, out sender) error {
	if l.whole == nil {
		return errors.New("the decoder is not loaded")
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	utterances := make(chan *utterance, maxWaiting)
	var reading sync.WaitGroup
	var readErr error
	reading.Go(func() {
		defer close(utterances)
		if readErr = read(ctx, in, out, utterances); readErr != nil {
			cancel(readErr)
		}
	})
	err := l.hearAll(ctx, utterances, out)
	cancel(err)
	reading.Wait()
	if readErr != nil {
		return readErr // if it failed first, err is only its echo; else it is the echo of err
	}
	return err
}

// read takes the stream apart into utterances, and sends their onsets.
func read(ctx context.Context, in receiver, out sender, utterances chan<- *utterance) error {
	var open *utterance
	for begun := uint64(0); ; {
		m, err := in.Recv(ctx)
		if errors.Is(err, io.EOF) {
			if open != nil {
				return open.add(nil, time.Time{}, true)
			}
			return nil
		}
		if err != nil {
			return err
		}
		switch kind := m.Value.Kind; {
		case kind == voice.Onset && open == nil:
			open = newUtterance(m.Turn + begun) // the first one is in the turn that there is already
			begun++
			if err := out.Send(ctx, sdk.Msg[voice.Heard]{Value: voice.Heard{Kind: voice.Onset}, Turn: open.turn, Time: m.Time}); err != nil {
				return err
			}
			select {
			case utterances <- open:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		case (kind == voice.Sound || kind == voice.End) && open != nil:
		default:
			return fmt.Errorf("%w: part %q of an utterance where it can't be: an utterance is an %s, any number of %s, and an %s",
				functions.ErrInvalid, kind, voice.Onset, voice.Sound, voice.End)
		}
		samples, err := pcm.ReadMono(ctx, m.Value.Audio)
		if err != nil {
			return err
		}
		ends := m.Value.Kind == voice.End
		if err := open.add(samples, m.Time, ends); err != nil {
			return err
		}
		if ends {
			open = nil
		}
	}
}

// hearAll hears one utterance after the other.
func (l *listener) hearAll(ctx context.Context, utterances <-chan *utterance, out sender) error {
	live, err := l.live()
	if err != nil {
		return err
	}
	defer live.Close()
	for u := range utterances {
		if err := l.hear(ctx, live, u, out); err != nil && !errors.Is(err, sdk.ErrInterrupted) {
			return err
		}
	}
	return nil
}

// hear hears one utterance as it comes. It returns an error wrapping [sdk.ErrInterrupted] as soon as its turn is over.
func (l *listener) hear(ctx context.Context, live *pocketsphinx.Live, u *utterance, out sender) error {
	turn, cancel := sdk.TurnContext(ctx, u.turn)
	defer cancel()
	words, err := live.Begin()
	if err != nil {
		return err
	}
	send := func(h voice.Heard, at time.Time) error {
		return out.Send(ctx, sdk.Msg[voice.Heard]{Value: h, Turn: u.turn, Time: at})
	}
	var told string // the last partial
	since := 0      // samples since then
	for {
		samples, at, ended, err := u.next(turn)
		if err == nil {
			err = words.Add(samples)
		}
		if err != nil {
			return errors.Join(err, words.Drop())
		}
		if ended {
			heard, err := l.final(turn, words)
			if err != nil {
				return err
			}
			return send(voice.Heard{Kind: voice.Final, Text: heard.Text, Confidence: heard.Confidence}, at)
		}
		if since += len(samples); since < partialEvery {
			continue
		}
		if text := words.Text(); text != "" && text != told {
			told, since = text, 0
			if err := send(voice.Heard{Kind: voice.Partial, Text: text}, at); err != nil {
				return errors.Join(err, words.Drop())
			}
		}
	}
}

// final returns what was understood of an utterance that has ended.
func (l *listener) final(turn context.Context, words *pocketsphinx.Utterance) (voice.Transcript, error) {
	heard, err := words.End()
	if err != nil || heard.Text == "" || heard.Confidence >= sureFrom {
		return heard, err
	}
	if turn.Err() != nil {
		return heard, context.Cause(turn)
	}
	return l.whole.Hear(words.Samples())
}
