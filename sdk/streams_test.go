package sdk_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/catenary-run/catenary/chains/spec"
	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/value"
	"github.com/catenary-run/catenary/sdk"
	"github.com/google/go-cmp/cmp"
)

// TestDefine_Streams: streams go in, through and out, and the chain says what interrupts a turn.
func TestDefine_Streams(t *testing.T) {
	type frame struct {
		Hz int `json:"hz"`
	}
	listen := sdk.NewFunc[sdk.Stream[frame], sdk.Stream[string]]("listen").OpensTurns()
	reply := sdk.NewFunc[sdk.Stream[string], sdk.Stream[string]]("reply")
	speak := sdk.NewFunc[string, frame]("speak")
	c, err := sdk.Define("talk", func(s *sdk.Steps, sound sdk.Val[sdk.Stream[frame]]) sdk.Val[sdk.Stream[frame]] {
		s.InterruptOnOnset()
		return sdk.Each(s, speak, sdk.Call(s, reply, sdk.Call(s, listen, sound)))
	})
	if err != nil {
		t.Fatal(err)
	}
	in, out, err := c.Ports()
	if err != nil || !in.Stream || !out.Stream {
		t.Errorf("the sides are %+v and %+v, %v", in, out, err)
	}
	if c.Spec().Interrupt != spec.InterruptOnset {
		t.Errorf("the chain is interrupted by %q", c.Spec().Interrupt)
	}
	d, err := c.Describe()
	if err != nil || !d.Uses[0].Turns || d.Uses[1].Turns {
		t.Errorf("described as %+v, %v", d.Uses, err)
	}
}

// TestHandler_StreamKeepsTurns: what an iterator makes of an item has its turn and its time.
func TestHandler_StreamKeepsTurns(t *testing.T) {
	f := sdk.NewFunc[sdk.Stream[int], sdk.Stream[int]]("half")
	handler := sdk.NewHandler(value.Codec{}, f, func(_ context.Context, in sdk.Stream[int]) (sdk.Stream[int], error) {
		return func(yield func(int, error) bool) {
			for v, err := range in {
				if err != nil {
					yield(0, err)
					return
				}
				if v%2 == 0 && !yield(v/2, nil) {
					return
				}
			}
		}, nil
	})
	var in []functions.Item
	for i := range 4 {
		b, err := value.Encode(i)
		if err != nil {
			t.Fatal(err)
		}
		in = append(in, functions.Item{Value: b, Turn: uint64(i), Time: time.Unix(int64(i), 0)})
	}
	var got []functions.Item
	sink := functions.SinkFunc(func(_ context.Context, it functions.Item) error { got = append(got, it); return nil })
	if err := handler(t.Context(), functions.Items(in...), sink); err != nil {
		t.Fatal(err)
	}
	want := []functions.Item{in[0], in[2]}
	want[1].Value = slices.Clone(in[1].Value)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
