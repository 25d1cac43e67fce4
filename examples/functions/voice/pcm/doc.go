// Package pcm turns audio of 8000 to 192000 Hz and 1 to 8 channels into what the functions of the voice chain work on:
// mono samples at [SampleHz].
//
// [Read] opens the wav file of an sdk.Audio, a [Resampler] converts its samples as they come, [Write] makes an sdk.Audio
// of samples again.
//
// Caveats:
//   - A Resampler keeps the last milliseconds of its input: one stream needs one, and Flush at its end.
//   - Of the channels the mean is heard.
//   - The package is linked into WASM guests: it imports package sdk and below only.
package pcm
