// Package wav reads and writes RIFF/WAVE files of 16-bit PCM, the one form in which audio travels.
//
// [Parse] says what a file holds as [Info], [Header] begins a file of known or unknown length, [Join] makes one file of
// many.
//
// Caveats:
//   - Parse forgives what recorders do (sizes of streamed files, further chunks, a cut end), never a wrong format.
//   - Info.Data shares the memory of the file.
package wav
