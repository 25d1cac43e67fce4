// Package compile is checked by TestWrongWiringDoesNotCompile, each file together with this one. A line that must not
// compile says why after "want:".
package compile

import (
	"context"

	"github.com/catenary-run/catenary/sdk"
)

type Clip struct {
	PCM []byte `json:"pcm"`
}

type Text struct {
	Body string `json:"body"`
}

// Note has the fields of Text and is another type.
type Note struct {
	Body string `json:"body"`
}

var (
	Hear      = sdk.NewFunc[Clip, Text]("hear")
	Translate = sdk.NewFunc[Text, Text]("translate")
	Jot       = sdk.NewFunc[Text, Note]("jot")
	Split     = sdk.NewFunc[Text, sdk.Stream[Text]]("split")
)

func hear(context.Context, Clip) (Text, error) { return Text{}, nil }
