// Command relay is a guest that sends back the numbers that it gets, in full duplex. After a negative one it sends nothing
// of its turn until that is over, and then the number, as one of the next turn.
package main

import (
	"context"
	"errors"
	"io"

	"github.com/catenary-run/catenary/internal/rolestest/testdata/contract"
	"github.com/catenary-run/catenary/sdk"
	"github.com/catenary-run/catenary/sdk/guest"
)

func init() { guest.ServeDuplex(contract.Relay, relay) }

func main() {}

func relay(ctx context.Context, in *sdk.Receiver[int], out *sdk.Sender[int]) error {
	for {
		m, err := in.Recv(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if m.Value < 0 {
			turn, done := sdk.TurnContext(ctx, m.Turn)
			<-turn.Done()
			done()
			if ctx.Err() != nil {
				return ctx.Err()
			}
			m.Turn++
		}
		if err := out.Send(ctx, m); err != nil {
			return err
		}
	}
}
