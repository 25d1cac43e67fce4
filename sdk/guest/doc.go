// Package guest serves a function of package sdk from WASM.
//
// The program of a function is
//
//	func init() { guest.Serve(voice.Sorry, sorry) }
//
//	func main() {}
//
// built with GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared, which `catenary build` does. A module built so is a
// library: Go runs its init funcs when it starts and never its main. What init does, and what package variables hold,
// is done once at deploy and is part of the function's image. So is what the calls with the manifest's sample leave in
// package variables.
//
// [Serve] is for a function that does one thing after the other. One that hears its caller while a model speaks, or sends
// while it waits, is served by [ServeDuplex]: there a wait parks its goroutine alone, and costs some tens of
// microseconds where one of Serve costs less than one.
//
// On other platforms both describe the function if CATENARY_DESCRIBE is 1, and do nothing otherwise but say how to
// build it, so that the package's tests run.
//
// Caveats:
//   - A module serves one function.
//   - Under Serve every wait inside the SDK (an input, an output, a model) blocks all goroutines of the guest. time.Sleep
//     does not.
//   - Under Serve a context of sdk.TurnContext does not end with its turn; what a model is asked for under it does.
//   - Under ServeDuplex the call's context ends when the call is cancelled, and so does every wait of the SDK: return then.
//     context.Cause says why. After a tenth of a second the guest is stopped where it is. Under Serve it is stopped at
//     once and its context never ends: to wait for that alone is a deadlock. Under both the context has the call's deadline.
//   - Under ServeDuplex a goroutine that never waits keeps the others from running, as ever in a guest, which has one
//     thread. One that yields does not, but what comes from outside is seen up to half a second late while no goroutine
//     waits.
//   - At most 64 descriptors are open at once, and 4 generations. One that can't begin now is an error that wraps
//     functions.ErrUnavailable.
//   - Goroutines end with the call: the instance is put back to its image, or thrown away.
//   - Random numbers of crypto/rand and of the functions of math/rand and math/rand/v2 are new in every call. A generator
//     that init makes with a seed of its own is part of the image, and gives the same numbers in each.
//   - Among cases that are ready, select goes through the same choices in every call: the runtime's own generator for that
//     is part of the image. Spread load by math/rand.
//   - Clocks go on from where the image was taken: time since init is not what passed since the deploy. The wall clock is
//     right.
//   - Under Serve the collector runs late, since most calls end before: when the heap is nine times what is live, and 32 MiB
//     at least. Under ServeDuplex it runs at Go's own pace. See debug.SetGCPercent to have it otherwise.
package guest
