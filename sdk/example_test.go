package sdk_test

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/catenary-run/catenary/chains/spec"
	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/sdk"
)

type Transcript struct {
	Text       string  `json:"text"`
	Confidence float64 `json:"confidence"` // from 0 to 1
}

type Sentence struct {
	Text string `json:"text"`
}

// The handles of four functions: the program that implements one and the chains that call it share it.
var (
	Transcribe = sdk.NewFunc[sdk.Audio, Transcript]("transcribe")
	Answer     = sdk.NewFunc[Transcript, sdk.Stream[Sentence]]("answer")
	Sorry      = sdk.NewFunc[Transcript, sdk.Stream[Sentence]]("sorry")
	Speak      = sdk.NewFunc[Sentence, sdk.Audio]("speak")
)

// A spoken question becomes spoken sentences, each as soon as it is there. Only what was understood goes to the model.
var Voice = sdk.MustDefine("voice", func(s *sdk.Steps, question sdk.Val[sdk.Audio]) sdk.Val[sdk.Stream[sdk.Audio]] {
	heard := sdk.Call(s, Transcribe, question, sdk.Timeout(30*time.Second))
	reply := sdk.Switch(s, heard,
		sdk.When(`it.text == "" || it.confidence < 0.35`, func() sdk.Val[sdk.Stream[Sentence]] {
			return sdk.Call(s, Sorry, heard)
		}),
		sdk.Else(func() sdk.Val[sdk.Stream[Sentence]] {
			return sdk.Call(s, Answer, heard)
		}),
	)
	return sdk.Each(s, Speak, reply)
})

func ExampleMustDefine() {
	Voice.Spec().Walk(func(st spec.Step) { fmt.Println(st.Op, st.Name, "reads", st.From) })
	// Output:
	// call transcribe reads in
	// switch route reads transcribe
	// call sorry reads transcribe
	// call answer reads transcribe
	// each speak reads route
}

func ExampleDefine() {
	_, err := sdk.Define("broken", func(s *sdk.Steps, question sdk.Val[sdk.Audio]) sdk.Val[Transcript] {
		heard := sdk.Call(s, Transcribe, question)
		sdk.Switch(s, heard,
			sdk.When(`it.text != ""`, func() sdk.Val[Transcript] { return heard }))
		return heard
	})
	fmt.Println(errors.Is(err, functions.ErrInvalid))
	fmt.Println(err)
	// Output:
	// true
	// define chain broken: sdk/example_test.go:58: invalid: switch "route" has no Else at its end; say what happens to the rest
	// sdk/example_test.go:58: invalid: nobody reads what step "route" yields; read its output, or remove the step
}

func ExampleSwitchAs() {
	translate := sdk.NewFunc[Transcript, Transcript]("translate")
	c := sdk.MustDefine("two-routes", func(s *sdk.Steps, in sdk.Val[Transcript]) sdk.Val[Transcript] {
		sure := sdk.Switch(s, in,
			sdk.When(`it.confidence < 0.5`, func() sdk.Val[Transcript] { return sdk.Call(s, translate, in) }),
			sdk.Else(func() sdk.Val[Transcript] { return in }))
		return sdk.SwitchAs(s, "by-length", sure,
			sdk.When(`size(it.text) > 1000`, func() sdk.Val[Transcript] { return sdk.Call(s, translate, sure, sdk.As("shorten")) }),
			sdk.Else(func() sdk.Val[Transcript] { return sure }))
	})
	fmt.Println(c.Spec().Out)
	// Output: by-length
}

func ExampleStreamOf() {
	words := sdk.StreamOf(slices.Values([]string{"one", "two"}))
	for word, err := range words {
		fmt.Println(word, err)
	}
	// Output:
	// one <nil>
	// two <nil>
}
