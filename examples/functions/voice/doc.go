// Package voice holds the contracts of the voice chain: the types on its edges and the handles of its functions. An
// implementation and every chain that calls it share them, so that both sides change together or do not compile.
//
// A spoken question is an sdk.Audio. [Transcribe] hears a [Transcript] in it. [Answer] or [Sorry] say something about
// that as a stream of [Sentence] values, and [Speak] turns each into an sdk.Audio again.
//
// Caveats:
//   - The package is linked into WASM guests: it imports package sdk only.
package voice
