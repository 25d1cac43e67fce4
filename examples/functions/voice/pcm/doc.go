// Package pcm turns audio of any rate and channel count into what the functions of the voice chain work on: mono samples
// at [SampleHz].
//
// [Read] opens the wav file of an sdk.Audio, a [Resampler] converts its samples as they come, [Write] makes an sdk.Audio
// of samples again.
//
// Caveats:
//   - A Resampler keeps the last milliseconds of its input: one stream needs one, and Flush at its end.
//   - Rates from 8 to 192 kHz and up to 8 channels are taken; of the channels the mean is heard.
//   - The package is linked into WASM guests: it imports package sdk and below only.
package pcm
