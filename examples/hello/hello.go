// Package hello is the smallest chain: one function in WASM, one route.
package hello

import "github.com/catenary-run/catenary/sdk"

// Person is who comes in.
type Person struct {
	Name string `json:"name"`
	Age  int    `json:"age"`
}

// Greet greets a person. The function and every chain share this handle, so both sides agree or do not compile.
var Greet = sdk.NewFunc[Person, string]("greet")

// GreetChild is the same contract with another implementation behind it.
var GreetChild = sdk.NewFunc[Person, string]("greet-child")

// Hello routes by age. The func runs once, to record the steps; the route is checked against Person before a deploy.
var Hello = sdk.MustDefine("hello", func(s *sdk.Steps, who sdk.Val[Person]) sdk.Val[string] {
	return sdk.Switch(s, who,
		sdk.When(`it.age < 12`, func() sdk.Val[string] { return sdk.Call(s, GreetChild, who) }),
		sdk.Else(func() sdk.Val[string] { return sdk.Call(s, Greet, who) }),
	)
})
