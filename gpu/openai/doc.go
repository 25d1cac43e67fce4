// Package openai asks models that a server of its own holds, through the chat completions that OpenAI's API, vLLM, SGLang,
// llama-server and others speak. It knows one server by its URL; who starts that server, and who may use it when, is
// package gpu's.
//
// A [Client] checks whether the server is ready, and asks it. An [Answer] is a reply as it comes: Server-Sent Events
// (events.go), which are read as they are asked for, so that a slow reader holds the server by TCP. [Client.Sleep] and
// [Client.WakeUp] are vLLM's sleep mode.
//
// Errors are those of package functions (errors.go): what the caller did wrong is [functions.ErrInvalid], a full server
// [functions.ErrQueueFull], everything else [functions.ErrUnavailable], retryable only if the same call may succeed. The
// server's own text is in them, in one short line, without the key. All that a server sends has a limit, and so has its
// silence.
//
// Caveats:
//   - A server may take a request and never say so: a call that fails may have been computed.
//   - A key is read for each request, so that a new one is taken at once.
//   - Redirects are not followed: they would take a prompt to where nobody sent it.
package openai
