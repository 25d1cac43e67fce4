package compile

import (
	"github.com/catenary-run/catenary/functions/value"
	"github.com/catenary-run/catenary/sdk"
)

var notes, _ = sdk.Define("notes", func(s *sdk.Steps, in sdk.Val[Clip]) sdk.Val[Note] {
	return sdk.Call(s, Hear, in) // want: sdk.Val[Note]
})

var _ sdk.Chain[Clip, Text] = notes // want: sdk.Chain[Clip, Text]

var _ = sdk.Chain[Clip, Text](notes) // want: cannot convert notes

var _ = sdk.NewHandler(value.Codec{}, Translate, hear) // want: does not match inferred type

func init() { sdk.Main(Translate) } // want: sdk.AnyChain
