package main

import (
	"context"
	"errors"
	"io"

	"github.com/catenary-run/catenary/examples/functions/voice"
	"github.com/catenary-run/catenary/examples/functions/voice/sentence"
	"github.com/catenary-run/catenary/sdk"
)

// split sends each sentence as soon as it is whole, with the turn and time of the piece that ends it. A text ends with
// its last piece, where another turn begins, and with the stream; what is left of it belongs to its own turn, so that
// the end of an answer that was interrupted is not spoken in the next.
func split(ctx context.Context, in *sdk.Receiver[voice.Text], out *sdk.Sender[voice.Sentence]) error {
	var splitter sentence.Splitter
	var last sdk.Msg[voice.Text]
	send := func(sentences []string) error {
		for _, text := range sentences {
			if err := out.Send(ctx, sdk.Msg[voice.Sentence]{Value: voice.Sentence{Text: text}, Turn: last.Turn, Time: last.Time}); err != nil {
				return err
			}
		}
		return nil
	}
	for {
		piece, err := in.Recv(ctx)
		if errors.Is(err, io.EOF) {
			return send(splitter.Flush())
		}
		if err != nil {
			return err
		}
		if piece.Turn != last.Turn {
			if err := send(splitter.Flush()); err != nil {
				return err
			}
		}
		last = piece
		sentences := splitter.Add(piece.Value.Text)
		if piece.Value.Last {
			sentences = append(sentences, splitter.Flush()...)
		}
		if err := send(sentences); err != nil {
			return err
		}
	}
}
