// Package llama runs GGUF models on libllama, which it loads at run time: no cgo, no header, no link.
//
// [Open] finds the library in a folder, checks that it is the release that our bindings were made for, and returns the
// [Engine]. Engine.Load reads a file into a [Model], which goes to sleep and back with Park and Wake; LoadBytes builds it from
// the file's bytes, and Tensors says where each of them went. Model.Start begins a [Generation] in one of its slots; Model.Step
// decodes for any number of them at once, and they may come and go between steps. [Inspect] reads a GGUF file's header in
// Go, before any C sees the file.
//
// The library and its Go bindings (yzma) are ONE pinned pair: the bindings mirror C structs field by field, so a
// library of another release would corrupt memory instead of failing. Open refuses it.
//
// The slots are sequences of one context, each with a buffer of its own as long as the model's context. A slot keeps what
// it has read: a prompt that begins with it is decoded from there. Clear has the buffer overwritten with zeros before
// anything else is decoded. The system messages that many prompts begin with are read once, into a sequence of their own,
// from which slots take them over.
//
// Caveats:
//   - Only the worker process may use this package: a fault in C ends the process. The bindings keep global state, so
//     a process opens one engine.
//   - The package's own import already loads libffi, in every process whose binary links it.
//   - What Next hands to a device may still be under way when it returns, and Synchronize waits for it.
//   - Wrong tensor data is noticed as far as libllama checks it; wrong sizes and counts are refused by Inspect.
//   - Text that looks like a control token (such as <|im_start|>) is read as one wherever it stands, also in what a
//     user wrote: the chat template joins all messages to one text before it is split into tokens.
//   - A model's memory is counted as its tensors and the keys and values of its slots, and of two more, one to
//     clear others with and one for the prefix; scratch buffers come on top.
//   - What a slot has read and what a prompt begins with are compared token by token. A model may split its own answer
//     into other tokens when it reads it as text; the rest is then decoded anew.
package llama
