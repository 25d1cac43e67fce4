// Package llama runs GGUF models on libllama, which it loads at run time: no cgo, no header, no link.
//
// [Open] finds the library in a folder, checks that it is the release that our bindings were made for, and returns the
// [Engine]. Engine.Load reads a file into a [Model], which answers with Generate and goes to sleep and back with Park
// and Wake. [Inspect] reads a GGUF file's header in Go, before any C sees the file.
//
// The library and its Go bindings (yzma) are ONE pinned pair: the bindings mirror C structs field by field, so a
// library of another release would corrupt memory instead of failing. Open refuses it.
//
// Caveats:
//   - Only the worker process may use this package: a fault in C ends the process. The bindings keep global state, so
//     a process opens one engine.
//   - The package's own import already loads libffi, in every process whose binary links it.
//   - Wrong tensor data is noticed as far as libllama checks it; wrong sizes and counts are refused by Inspect.
//   - Text that looks like a control token (such as <|im_start|>) is read as one wherever it stands, also in what a
//     user wrote: the chat template joins all messages to one text before it is split into tokens.
//   - A model's memory is counted as its tensors and its context's keys and values; scratch buffers come on top.
package llama
