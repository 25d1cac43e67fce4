package sdktest_test

import (
	"context"
	"strings"
	"testing"

	"github.com/catenary-run/catenary/sdk"
	"github.com/catenary-run/catenary/sdk/sdktest"
)

func ExampleRun() {
	type Question struct {
		Text string `json:"text"`
		Sure bool   `json:"sure"`
	}
	answer := sdk.NewFunc[Question, string]("answer")
	sorry := sdk.NewFunc[Question, string]("sorry")
	chain := sdk.MustDefine("reply", func(s *sdk.Steps, q sdk.Val[Question]) sdk.Val[string] {
		return sdk.Switch(s, q,
			sdk.When(`!it.sure`, func() sdk.Val[string] { return sdk.Call(s, sorry, q) }),
			sdk.Else(func() sdk.Val[string] { return sdk.Call(s, answer, q) }))
	})

	_ = func(t *testing.T) { // a test of yours
		got, err := sdktest.Run(t, chain, Question{"Who?", true},
			sdktest.Bind(answer, func(_ context.Context, q Question) (string, error) { return strings.ToUpper(q.Text), nil }),
			sdktest.Bind(sorry, func(context.Context, Question) (string, error) { return "Pardon?", nil }))
		if err != nil || got != "WHO?" {
			t.Errorf("got %q, %v", got, err)
		}
	}
	// Output:
}
