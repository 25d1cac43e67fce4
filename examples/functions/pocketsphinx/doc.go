// Package pocketsphinx hears words with pocketsphinx and its model of US English, for plugins: transcribe takes an
// utterance as a whole, listen hears it as it is spoken.
//
// A [Decoder] hears one whole utterance after the other. A [Live] hears an [Utterance] while it is spoken: it searches
// during the speech, so that only the last passes are left to do at its end. Both listen to voices only: silence, noise
// and tones, gliding ones too, give no words.
//
// The library and the model are Debian's packages pocketsphinx and pocketsphinx-en-us. They are opened at run time, so
// that a plugin builds without them and without cgo.
//
// Caveats:
//   - What a Decoder hears does not depend on what it heard before. A Live gets used to a voice and a microphone: it
//     belongs to one session.
//   - Each of them holds some 100 MiB until it is closed.
package pocketsphinx
