package compile

import "github.com/catenary-run/catenary/sdk"

func streams(s *sdk.Steps, text sdk.Val[Text]) {
	parts := sdk.Call(s, Split, text)
	sdk.Call(s, Translate, parts)  // want: type sdk.Val[sdk.Stream[Text]] of parts does not match inferred type sdk.Val[Text]
	sdk.Each(s, Translate, text)   // want: type sdk.Val[Text] of text does not match inferred type sdk.Val[sdk.Stream[Text]]
	sdk.Each(s, Hear, parts)       // want: type sdk.Val[sdk.Stream[Text]] of parts does not match inferred type sdk.Val[sdk.Stream[Clip]]
	sdk.Last(s, text)              // want: type sdk.Val[Text] of text does not match sdk.Val[sdk.Stream[T]]
	sdk.Last(s, parts, sdk.Lazy()) // want: sdk.Option
}
