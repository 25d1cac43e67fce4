package compile

import "github.com/catenary-run/catenary/sdk"

func types(s *sdk.Steps, clip sdk.Val[Clip]) {
	text := sdk.Call(s, Hear, clip)
	note := sdk.Call(s, Jot, text)
	sdk.Call(s, Translate, clip)        // want: type sdk.Val[Clip] of clip does not match inferred type sdk.Val[Text]
	sdk.Call(s, Translate, note)        // want: type sdk.Val[Note] of note does not match inferred type sdk.Val[Text]
	sdk.Call(s, Translate, Text{})      // want: does not match inferred type sdk.Val[Text]
	_ = sdk.Val[Text](note)             // want: cannot convert note
	_ = sdk.Func[Text, Note](Translate) // want: cannot convert Translate
	_ = text == Text{Body: ""}          // want: mismatched types
	if text.Body == "" {                // want: text.Body undefined
	}
	_ = sdk.Val[Text]{note} // want: too few values in struct literal
}
