// Package specfile reads chains from YAML and writes them.
//
// [Parse] turns a file into a spec.Chain, the same data that sdk.Define records, with the place of every part and of every
// character of an expression; [Format] turns a spec.Chain into a file. A chain that is written in both ways has one hash.
//
//	chain: voice
//	steps:
//	  - call: transcribe
//	  - switch: transcribe
//	    cases:
//	      - when: it.text == "" || it.confidence < 0.35
//	        steps: [{call: sorry}]
//	      - else:
//	        steps: [{call: answer}]
//	  - each: speak
//
// A step is one of
//
//	call: FUNCTION    applies a function to a value
//	each: FUNCTION    applies it to every item of a stream
//	last: STEP        takes the final item of a stream; the step's name is last
//	switch: STEP      routes a value by its cases; the step's name is route
//
// and may have a name, call and each also from, timeout (such as 5s) and lazy. What is left out has a default: name is
// that of the function; from is the step before, and in, the chain's input, for the first; in a branch, from of the
// first step is what the switch routes. The out of the chain and of a case is its last step. A case without steps
// needs an out: it passes on a step from around it. After else: comes nothing.
//
// Caveats:
//   - Unknown keys and keys that stand twice are faults. So are anchors, aliases, merge keys and tags.
//   - Parse checks the form. Names, scopes, types and expressions are checked by package chains, against manifests.
package specfile
