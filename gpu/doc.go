// Package gpu is the runtime that all callers of a node share for models: it holds each model once, lends its slots to
// several calls at a time, and keeps it awake only while it is used. The serving process itself loads no engine; a child process
// per device does (package gpu/worker), which this package starts, watches and brings back. CPU is a device like any
// other, and the only one so far. A server that speaks OpenAI's API, an endpoint, is a device, too: its worker is the server,
// and endpoint.go takes the calls of the worker's protocol for it (package gpu/openai).
//
// A [Runtime] answers Generate, EndSession, Wake, Prepare and Status; its Run does all work in the background. A [Source] tells it
// what a reference stands for. A [ModelStatus] is what a person sees of one model.
//
// Each model has a bounded queue. Who is next in it is decided by package gpu/queue, from the device time that the worker
// measures: callers get equal shares, and each is served by priority and then in the order of its calls. A call that
// can't finish before its deadline is refused with the wait that is predicted.
//
// What to do next with a model is decided by a pure function (decide.go) from what is seen: start the worker, load, wake,
// lend, park, unload. The loop in run.go only does it, one action per model at a time, so a model is loaded once for
// however many callers wait for it. Before a model is served, Prepare tries it in a worker of its own, so that a file that
// crashes the engine is refused and disturbs nobody.
//
// A slot is a place for one conversation. The worker decodes those of one model together, a token or a part of a prompt of
// each at a time, as many of one caller as of another. The last free slot is kept for a caller that was seen lately and has none.
//
// A generation that names a session has a slot that keeps what it has read (slot.go): the session's next one decodes only
// what is new in its prompt. A slot that waits for its session is taken when others need one, the least lately used
// first; then the session reads its prompt anew. EndSession frees the slot. What a slot has read is cleared before any
// other call has it.
//
// The tokens of an answer flow by credit: the worker decodes no more than 32 ahead of the reader, whose Recv grants more.
//
// Who owns what: Run's goroutine alone decides; mu guards the state that it and the callers share, and is never held
// while something is waited for. A lease of a slot belongs to the tokens that Generate returns: it ends with the
// answer, with Close, or with the caller's context, whichever is first. The worker's process, socket and folder belong to the
// goroutine that started it.
//
// Whether there is an engine is looked up before a worker is started, and by Status and Unavailable: Config.Engine tells
// what shows in the files, a worker the rest. A worker without an engine ends at once, and the next call may try another.
//
// An endpoint may have a command, which is the node's own configuration (serving.go): then its server is started by need,
// as a worker is. It is parked, asleep by its own means or stopped, while none of its models is used, and ends when the last
// of them is unloaded.
//
// An endpoint is checked before its models count as awake. One that answers nobody is given up: its models are unavailable,
// calls are told why at once, and one of them looks again, at growing intervals. Its key is read for each request, and is
// part of no model, message or log.
//
// Caveats:
//   - Generate and Wake wait for Run; without it they end with their context.
//   - When the worker dies, each call in flight ends with one error wrapping functions.ErrUnavailable, all models are
//     cold, what sessions had is gone, and the next call starts a new worker; workers that die one after the other without
//     a whole answer are started at growing intervals.
//   - A slow reader holds its slot, though not the decoder. When all slots are held like that, others wait in the queue.
//   - A cancelled call frees its lease at once. In the worker its token ends first, and a next call of that slot waits.
//   - A call that hangs inside the engine's C code holds its model until the worker is ended from outside.
package gpu
