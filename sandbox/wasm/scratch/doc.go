// Package scratch is a folder in memory with a limit of bytes: where a WASI command reads and writes its files.
//
// An [FS] is the tree of one call. A [Node] is a file or a folder in it; its methods resolve paths the way WASI preview
// 1 asks for: relative to the folder they are called on, never above it.
//
// Caveats:
//   - It is not safe for concurrent use: a call runs on one goroutine.
//   - What does not fit is refused, and [FS.Refused] remembers it: a program that ignores a failed write must not look
//     as if it had succeeded.
//   - There are no links, permissions or times.
package scratch
