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
// On other platforms [Serve] describes the function if CATENARY_DESCRIBE is 1, and does nothing otherwise but say how to
// build it, so that the package's tests run.
//
// Caveats:
//   - A module serves one function.
//   - Every wait inside the SDK (an input, an output, a model) blocks all goroutines of the guest. time.Sleep does not.
//   - Goroutines end with the call: the instance is put back to its image, or thrown away.
//   - Random numbers of crypto/rand and of the functions of math/rand and math/rand/v2 are new in every call. A generator
//     that init makes with a seed of its own is part of the image, and gives the same numbers in each.
//   - Clocks go on from where the image was taken: time since init is not what passed since the deploy. The wall clock is
//     right.
//   - The host has the collector run late, since the instance ends soon; see debug.SetGCPercent to have it otherwise.
package guest
