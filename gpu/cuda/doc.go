// Package cuda is the device side of parking models: NVIDIA's driver, loaded at run time (no cgo, no header, no link), and
// the memory of unmodified engines, which a model can lose and get back at the same addresses.
//
// [Open] finds the [Driver]; its [Device] has streams, events, modules and virtual memory. A [Master] is host memory with
// a model's bytes, which outlives the process and is pinned once. A [Space] holds all device memory of the engines: Attach
// puts it between an engine's library and CUDA, Enter says what the memory is for, SetRecipe where the weights come from,
// Park takes the memory away, and Wake brings it back. [Checkpoints] suspend whole foreign processes.
//
// How Attach works: a library calls functions of others through slots that the loader fills in. Those of the few calls
// that give and take device memory get Go functions, which do the same with the driver's virtual memory: addresses are
// reserved apart from the memory behind them. So addresses outlive a park, and whatever holds one stays valid: tensors,
// graphs that an engine has captured, workspaces that it gave to cuBLAS.
//
// Threads: every method may be called from any goroutine, unless its type says otherwise. A call that needs the device's
// context has it on its thread while it lasts, and leaves the thread as it was. Between Enter and leave the goroutine
// stays on its thread, by which the engine's allocations are told apart; an engine that allocates on a thread of its own
// is noticed, and its model not parked. Functions that C calls run on C's thread; OnPressure's function is called there
// without any lock.
//
// Locks: a model's move (resident), which lasts as long as its blocks change, is taken before the space's mu. The driver is
// never called under mu.
//
// Who owns what: the caller closes what it opened, the device last. A block belongs to the engine that allocated
// it; a recipe's bytes belong to the caller and must stay.
//
// Caveats:
//   - Park waits for nothing. Work of the model that is still under way touches memory that is gone, which ends the process:
//     the caller synchronizes the model's streams before leave.
//   - An engine does not know that its keys and values are gone after a wake, and has to be told (llama's Model.Reset).
//   - After most errors of CUDA the process can do no more; only [ErrNoRoom] is harmless. The worker ends then.
//   - One device for each process: memory is taken from the space's, whatever device an engine has made current.
//   - What the driver itself takes (code, contexts, captured graphs) stays on the device while a model is parked.
//   - It has run on the fake of package cudatest only, with the real engine: times, numbers, and whether a driver pins
//     memory of this kind, are for a device to show.
//   - Memory is not shared with other processes or devices: no IPC, no peer access.
package cuda
