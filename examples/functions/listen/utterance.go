package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/catenary-run/catenary/examples/functions/voice/pcm"
	"github.com/catenary-run/catenary/functions"
)

// maxUtterance bounds what is held of an utterance. The function vad ends one after 30 s.
const maxUtterance = 2 * time.Minute

// piece is how many samples are taken at once: what is behind still hears soon that its turn is over.
const piece = pcm.SampleHz * 200 / 1000

// utterance is one on its way from who reads it to who hears it.
type utterance struct {
	turn    uint64
	changed chan struct{} // holds one if there is more than before

	mu      sync.Mutex // guards the fields below
	samples []int16    // not taken yet
	count   int64      // of all samples
	at      time.Time  // of the last part
	ended   bool
}

func newUtterance(turn uint64) *utterance {
	return &utterance{turn: turn, changed: make(chan struct{}, 1)}
}

// add adds a part of a time. It returns an error wrapping functions.ErrInvalid if the utterance becomes too long.
func (u *utterance) add(samples []int16, at time.Time, ends bool) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.count += int64(len(samples)); pcm.Dur(u.count) > maxUtterance {
		return fmt.Errorf("%w: got an utterance of %s and more; need at most %s: end it, as the function vad does", functions.ErrInvalid, pcm.Dur(u.count), maxUtterance)
	}
	u.samples = append(u.samples, samples...)
	u.ended = ends
	if !at.IsZero() {
		u.at = at
	}
	select {
	case u.changed <- struct{}{}:
	default:
	}
	return nil
}

// next waits for samples, or for the end, and takes what there is, though not much at once. At is the time of the last
// part that came.
func (u *utterance) next(ctx context.Context) (samples []int16, at time.Time, ended bool, err error) {
	for {
		if ctx.Err() != nil {
			return nil, at, false, context.Cause(ctx)
		}
		u.mu.Lock()
		samples = u.samples[:min(len(u.samples), piece)]
		u.samples = u.samples[len(samples):]
		at, ended = u.at, u.ended && len(u.samples) == 0
		u.mu.Unlock()
		if len(samples) > 0 || ended {
			return samples, at, ended, nil
		}
		select {
		case <-u.changed:
		case <-ctx.Done():
		}
	}
}
