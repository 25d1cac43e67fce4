// Command relay is a plugin between two streams. What it does is in its first item.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/catenary-run/catenary/sdk"
	"github.com/catenary-run/catenary/sdk/plugin"
)

// frame is an item on either side. What the first one says is done to all of them.
type frame struct {
	Do   string    `json:"do"`
	N    int       `json:"n"`
	Text string    `json:"text"`
	Blob *sdk.Blob `json:"blob,omitempty"`
}

type (
	receiver = *sdk.Receiver[frame]
	sender   = *sdk.Sender[frame]
)

func main() {
	f := sdk.NewFunc[sdk.Stream[frame], sdk.Stream[frame]]("relay").OpensTurns()
	plugin.ServeDuplex(f, run)
}

func run(ctx context.Context, in receiver, out sender) error {
	m, err := in.Recv(ctx)
	if err == io.EOF {
		return nil
	}
	if err != nil {
		return err
	}
	switch m.Value.Do {
	case "echo":
		return echo(ctx, m, in, out)
	case "first": // gives back one item and leaves the rest
		return out.Send(ctx, m)
	case "deaf": // gives back one item and takes no other one
		if err := out.Send(ctx, m); err != nil {
			return err
		}
		<-ctx.Done()
		return ctx.Err()
	case "flood": // sends without end and takes no other one
		for {
			if err := out.Send(ctx, sdk.Msg[frame]{Value: frame{Text: strings.Repeat("x", 10_000)}}); err != nil {
				return err
			}
		}
	case "turns": // says of each turn that it is over
		for turn := m.Turn; ; turn++ {
			under, done := sdk.TurnContext(ctx, turn)
			if err := out.Send(ctx, sdk.Msg[frame]{Value: frame{N: int(turn)}, Turn: turn}); err != nil {
				done()
				return err
			}
			<-under.Done()
			err := context.Cause(under)
			done()
			if !errors.Is(err, sdk.ErrInterrupted) {
				return err
			}
		}
	case "fall": // fails when so many items have come
		for range m.Value.N {
			if _, err := in.Recv(ctx); err != nil {
				return err
			}
		}
		return errors.New("tired")
	case "panic":
		panic("lost")
	case "stay": // goes on though it was cancelled
		fmt.Fprintln(os.Stderr, "staying")
		time.Sleep(time.Hour)
	}
	return fmt.Errorf("nothing known of %q", m.Value.Do)
}

// echo gives back every item, with its blob made anew.
func echo(ctx context.Context, m sdk.Msg[frame], in receiver, out sender) error {
	for {
		if ref := m.Value.Blob; ref != nil {
			data, err := sdk.ReadBlob(ctx, *ref)
			if err != nil {
				return err
			}
			if *ref, err = sdk.NewBlob(ctx, ref.Type, data); err != nil {
				return err
			}
		}
		err := out.Send(ctx, m)
		if err != nil {
			return err
		}
		if m, err = in.Recv(ctx); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}
