// Package wav reads and writes RIFF/WAVE files of 16-bit PCM, the one form in which audio travels.
//
// [Parse] says what a file holds as [Info], [Header] begins a file of known or unknown length, [Join] makes one file of
// many.
//
// Caveats:
//   - Parse forgives what recorders do (sizes of streamed files, further chunks), never a wrong format or a file that was
//     cut off. Of a streamed file nobody can tell whether its end is missing.
//   - Info.Data shares the memory of the file.
package wav
