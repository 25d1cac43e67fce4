package compile

import (
	"time"

	"github.com/catenary-run/catenary/functions/value"
	"github.com/catenary-run/catenary/sdk"
)

// Right is the control: all that the other files get wrong, done right.
var Right = sdk.MustDefine("right", func(s *sdk.Steps, in sdk.Val[Clip]) sdk.Val[sdk.Stream[Note]] {
	heard := sdk.Call(s, Hear, in, sdk.Timeout(time.Second))
	parts := sdk.Switch(s, heard,
		sdk.When(`it.body == ""`, func() sdk.Val[sdk.Stream[Text]] { return sdk.Call(s, Split, heard) }),
		sdk.Else(func() sdk.Val[sdk.Stream[Text]] {
			return sdk.Each(s, Translate, sdk.Call(s, Split, heard, sdk.As("split-2")))
		}),
	)
	return sdk.Each(s, Jot, sdk.Call(s, Split, sdk.Last(s, parts), sdk.As("split-3")))
})

var _ sdk.Chain[Clip, sdk.Stream[Note]] = Right

var _ = sdk.NewHandler(value.Codec{}, Hear, hear)

func main() { sdk.Main(Right) }
