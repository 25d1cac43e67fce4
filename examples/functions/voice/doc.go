// Package voice holds the contracts of the voice chain: the types on its edges and the handles of its functions. An
// implementation and every chain that calls it share them, so that both sides change together or do not compile.
//
// A spoken question is an sdk.Audio. [Transcribe] hears a [Transcript] in it. [Answer] or [Sorry] say something about
// that as a stream of [Sentence] values, and [Speak] turns each into an sdk.Audio again.
//
// A live voice is a stream of sdk.Audio. [Resample] brings it to one rate, [VAD] finds each utterance in it as [Speech],
// [Listen] hears the words as they are spoken, as [Heard], and [Reply] answers them. [Sentences] cuts a stream of [Text] as
// it is made.
//
// Package voice/pcm is for functions that work on samples, package voice/sentence for those that cut text.
//
// Caveats:
//   - The package is linked into WASM guests: it imports package sdk only.
package voice
