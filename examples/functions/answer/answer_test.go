package main

import (
	"errors"
	"testing"

	"github.com/catenary-run/catenary/examples/functions/voice"
	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/sdk"
	"github.com/catenary-run/catenary/sdk/sdktest"
	"github.com/google/go-cmp/cmp"
)

var chain = sdk.MustDefine("reply", func(s *sdk.Steps, q sdk.Val[voice.Transcript]) sdk.Val[sdk.Stream[voice.Sentence]] {
	return sdk.Call(s, voice.Answer, q)
})

func TestAnswer(t *testing.T) {
	for name, tc := range map[string]struct{ tokens, want []string }{
		"one":                        {[]string{"Grass is green."}, []string{"Grass is green."}},
		"two in one token":           {[]string{"One. Two? Three"}, []string{"One.", "Two?", "Three"}},
		"cut between stop and space": {[]string{"One.", " Two."}, []string{"One.", "Two."}},
		"a number is no end":         {[]string{"It costs 2.", "50 today. Yes"}, []string{"It costs 2.50 today.", "Yes"}},
		"no stop":                    {[]string{"and so ", "on"}, []string{"and so on"}},
		"nothing":                    {[]string{"", " "}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := sdktest.Run(t, chain, voice.Transcript{Text: "what?"}, sdktest.Bind(voice.Answer, answer),
				sdktest.Model("llm", func(g functions.Generation) []string {
					if g.Messages[0].Content != "what?" || g.MaxTokens != maxTokens {
						t.Errorf("the model was asked %+v", g)
					}
					return tc.tokens
				}))
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
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("sentences (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAnswer_WithoutItsModel(t *testing.T) {
	_, err := sdktest.Run(t, chain, voice.Transcript{}, sdktest.Bind(voice.Answer, answer))
	if !errors.Is(err, functions.ErrDenied) {
		t.Errorf("got %v, want denied", err)
	}
}
