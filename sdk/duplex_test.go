package sdk_test

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/value"
	"github.com/catenary-run/catenary/sdk"
	"github.com/google/go-cmp/cmp"
)

// TestDuplex answers every item twice, from two goroutines, with its own turn and time.
func TestDuplex(t *testing.T) {
	f := sdk.NewFunc[sdk.Stream[int], sdk.Stream[int]]("twice")
	handler := sdk.NewDuplexHandler(value.Codec{}, f, func(ctx context.Context, in *sdk.Receiver[int], out *sdk.Sender[int]) error {
		for {
			m, err := in.Recv(ctx)
			if err == io.EOF {
				return nil
			}
			if err != nil {
				return err
			}
			var both sync.WaitGroup
			errs := make([]error, 2)
			for i := range errs {
				both.Go(func() { errs[i] = out.Send(ctx, m) })
			}
			both.Wait()
			if err := errors.Join(errs...); err != nil {
				return err
			}
		}
	})
	var in []functions.Item
	for i := range 3 {
		b, err := value.Encode(i)
		if err != nil {
			t.Fatal(err)
		}
		in = append(in, functions.Item{Value: b, Turn: uint64(10 + i), Time: time.Unix(int64(i), 0)})
	}
	var got []functions.Item
	err := handler(t.Context(), functions.Items(in...), functions.SinkFunc(func(_ context.Context, it functions.Item) error {
		got = append(got, it) // the sender sends one at a time
		return nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]functions.Item{in[0], in[0], in[1], in[1], in[2], in[2]}, got); diff != "" {
		t.Error(diff)
	}
}

func TestDuplex_InputOfAnotherType(t *testing.T) {
	f := sdk.NewFunc[sdk.Stream[int], sdk.Stream[int]]("first")
	handler := sdk.NewDuplexHandler(value.Codec{}, f, func(ctx context.Context, in *sdk.Receiver[int], _ *sdk.Sender[int]) error {
		_, err := in.Recv(ctx)
		return err
	})
	text, err := value.Encode("three")
	if err != nil {
		t.Fatal(err)
	}
	if err := handler(t.Context(), functions.Items(functions.Item{Value: text}), nil); err == nil {
		t.Error("a text was read as a number")
	}
	if err := handler(t.Context(), functions.Items(), nil); err != io.EOF {
		t.Errorf("the end of the input is %v", err)
	}
}

func TestFunc_OpensTurns(t *testing.T) {
	d, err := sdk.NewFunc[sdk.Stream[int], sdk.Stream[int]]("listen").OpensTurns().Describe()
	if err != nil || !d.Turns {
		t.Errorf("described as %+v, %v", d, err)
	}
	if _, err := sdk.NewFunc[int, sdk.Stream[int]]("listen").OpensTurns().Describe(); !errors.Is(err, functions.ErrInvalid) {
		t.Errorf("a function of one value opens turns: %v", err)
	}
}
