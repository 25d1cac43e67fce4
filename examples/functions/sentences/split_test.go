package main

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/catenary-run/catenary/examples/functions/voice"
	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/value"
	"github.com/catenary-run/catenary/sdk"
	"github.com/catenary-run/catenary/sdk/sdktest"
	"github.com/google/go-cmp/cmp"
)

// item is one value of a stream with its turn and time.
type item struct {
	Text string
	Last bool
	Turn uint64
	At   int64
}

// run runs the function on a stream and returns what it sends.
func run(t *testing.T, in []item, sink func(got []item) error) ([]item, error) {
	t.Helper()
	var items []functions.Item
	for _, it := range in {
		b, err := value.Encode(voice.Text{Text: it.Text, Last: it.Last})
		if err != nil {
			t.Fatal(err)
		}
		items = append(items, functions.Item{Value: b, Turn: it.Turn, Time: time.Unix(it.At, 0)})
	}
	var got []item
	err := sdk.NewDuplexHandler(value.Codec{}, voice.Sentences, split)(t.Context(), functions.Items(items...),
		functions.SinkFunc(func(_ context.Context, it functions.Item) error {
			var s voice.Sentence
			if err := value.Decode(it.Value, &s); err != nil {
				return err
			}
			got = append(got, item{Text: s.Text, Turn: it.Turn, At: it.Time.Unix()})
			return sink(got)
		}))
	return got, err
}

func all([]item) error { return nil }

func TestSplit(t *testing.T) {
	for name, tc := range map[string]struct{ in, want []item }{
		"no text": {nil, nil},
		"turn and time are those of the piece that ends it": {
			[]item{{"Pi is ", false, 2, 1}, {"3.14. It", false, 2, 5}, {" is", false, 2, 6}, {" so. ", false, 2, 7}},
			[]item{{"Pi is 3.14.", false, 2, 5}, {"It is so.", false, 2, 7}}},
		"no final stop":     {[]item{{"and so ", false, 0, 1}, {"on", false, 0, 2}}, []item{{"and so on", false, 0, 2}}},
		"the last piece":    {[]item{{"It is.", true, 0, 1}, {"lower", false, 0, 2}}, []item{{"It is.", false, 0, 1}, {"lower", false, 0, 2}}},
		"an empty last one": {[]item{{"It is", false, 0, 1}, {"", true, 0, 2}, {"More", true, 0, 3}}, []item{{"It is", false, 0, 2}, {"More", false, 0, 3}}},
		"another turn":      {[]item{{"I was going to", false, 1, 1}, {"Yes. ", false, 2, 2}}, []item{{"I was going to", false, 1, 1}, {"Yes.", false, 2, 2}}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := run(t, tc.in, all)
			if diff := cmp.Diff(tc.want, got); diff != "" || err != nil {
				t.Errorf("%v, -want +got:\n%s", err, diff)
			}
		})
	}
}

func TestSplit_ReaderGone(t *testing.T) {
	gone := errors.New("gone")
	for _, in := range [][]item{
		{{"One. Two. ", false, 0, 0}},
		{{"One", false, 0, 0}},
		{{"One", false, 0, 0}, {"Two", false, 1, 0}},
	} {
		if got, err := run(t, in, func([]item) error { return gone }); err != gone || len(got) != 1 {
			t.Errorf("%+v: sent %+v, %v; want one and the reader's reason", in, got, err)
		}
	}
}

// TestSplit_InAChain runs it by the executor.
func TestSplit_InAChain(t *testing.T) {
	chain := sdk.MustDefine("cut", func(s *sdk.Steps, in sdk.Val[sdk.Stream[voice.Text]]) sdk.Val[sdk.Stream[voice.Sentence]] {
		return sdk.Call(s, voice.Sentences, in)
	})
	in := sdk.StreamOf(slices.Values([]voice.Text{{Text: "Mr. Li sa"}, {Text: "id no"}, {Text: ". Then"}, {Text: " he left"}}))
	out, err := sdktest.Run(t, chain, in, sdktest.BindDuplex(voice.Sentences, split))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for s, err := range out {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, s.Text)
	}
	if diff := cmp.Diff([]string{"Mr. Li said no.", "Then he left"}, got); diff != "" {
		t.Error(diff)
	}
}
