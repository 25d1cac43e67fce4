package specfile_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/catenary-run/catenary/chains/spec"
	"github.com/catenary-run/catenary/chains/specfile"
	"github.com/catenary-run/catenary/sdk"
)

type (
	text     struct{ Text string }
	sentence struct{ Text string }
)

var (
	transcribe = sdk.NewFunc[sdk.Audio, text]("transcribe")
	polish     = sdk.NewFunc[text, text]("polish")
	sorry      = sdk.NewFunc[text, sdk.Stream[sentence]]("sorry")
	answer     = sdk.NewFunc[text, sdk.Stream[sentence]]("answer")
	speak      = sdk.NewFunc[sentence, sdk.Audio]("speak")
)

// TestParse_LikeDefine: a chain has the same hash whether it is written in YAML or in Go.
func TestParse_LikeDefine(t *testing.T) {
	voice, err := sdk.Define("voice", func(s *sdk.Steps, in sdk.Val[sdk.Audio]) sdk.Val[sdk.Stream[sdk.Audio]] {
		s.Interactive()
		heard := sdk.Call(s, transcribe, in)
		said := sdk.Switch(s, heard,
			sdk.When(`it.text == "" || it.confidence < 0.35`, func() sdk.Val[sdk.Stream[sentence]] { return sdk.Call(s, sorry, heard) }),
			sdk.Else(func() sdk.Val[sdk.Stream[sentence]] { return sdk.Call(s, answer, heard) }),
		)
		return sdk.Each(s, speak, said)
	})
	if err != nil {
		t.Fatal(err)
	}
	long, err := sdk.Define("long", func(s *sdk.Steps, in sdk.Val[sdk.Audio]) sdk.Val[sentence] {
		s.Batch()
		heard := sdk.Call(s, transcribe, in, sdk.Timeout(5*time.Second))
		clean := sdk.SwitchAs(s, "clean", heard,
			sdk.When(`  it.text != ""  `, func() sdk.Val[text] {
				once := sdk.Call(s, polish, heard, sdk.Lazy())
				return sdk.Call(s, polish, once, sdk.As("again"))
			}),
			sdk.Else(func() sdk.Val[text] { return heard }),
		)
		return sdk.Last(s, sdk.Call(s, answer, clean))
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		chain spec.Chain
		yaml  string
	}{
		{voice.Spec(), `
chain: voice
priority: interactive
steps:
  - call: transcribe
  - switch: transcribe
    cases:
      - when: it.text == "" || it.confidence < 0.35
        steps: [{call: sorry}]
      - else:
        steps: [{call: answer}]
  - each: speak
`},
		{long.Spec(), `
chain: long
priority: batch
steps:
  - {call: transcribe, timeout: 5s}
  - switch: transcribe
    name: clean
    cases:
      - when: it.text != ""
        steps:
          - {call: polish, lazy: true}
          - {call: polish, name: again}
      - else:
        out: transcribe
  - call: answer
  - last: answer
`},
	} {
		got, err := specfile.Parse("x.yaml", []byte(tt.yaml))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(tt.chain.Canonical()), string(got.Canonical())); diff != "" {
			t.Errorf("%s (-Go +YAML):\n%s", tt.chain.Name, diff)
		}
	}
}
