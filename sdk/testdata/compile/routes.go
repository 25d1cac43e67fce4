package compile

import "github.com/catenary-run/catenary/sdk"

func routes(s *sdk.Steps, text sdk.Val[Text]) {
	note := sdk.Call(s, Jot, text)
	sdk.Switch(s, text,
		sdk.When(`true`, func() sdk.Val[Text] { return text }),
		sdk.Else(func() sdk.Val[Note] { return note }), // want: does not match inferred type sdk.Case[Text]
	)
	sdk.Switch(s, text,
		sdk.Else(func() sdk.Val[sdk.Stream[Text]] { return sdk.Call(s, Translate, text) }), // want: cannot use sdk.Call(s, Translate, text)
	)
	var _ sdk.Val[Note] = sdk.Switch(s, text, sdk.Else(func() sdk.Val[Text] { return text })) // want: sdk.Val[Note]
	sdk.Switch(s, text, sdk.As("x"), sdk.Else(func() sdk.Val[Text] { return text }))          // want: type sdk.Name of sdk.As("x") does not match sdk.Case[O]
}
