// Package cudatest is a fake CUDA for tests: libcuda, libcudart and libcublas in C, compiled with gcc or clang when they are first
// needed. A real engine library runs on it: its kernels compute nothing, but every pointer that one is given is looked at.
//
// [Load] compiles and loads it and returns the [Fake], which sets the device up, makes calls fail, and counts.
//
// Device memory is pages of this process: an address that has been unmapped faults when it is touched. Work of a stream
// waits until somebody waits for it, so that memory which is given back too early is noticed. A kernel marks the start of
// each buffer that it may write to; what is read back to the host without such a mark, and without a copy, counts as
// stale.
//
// Caveats:
//   - It proves addresses, bytes and lifetimes; never numbers or time.
//   - Pointers inside structs that a kernel takes by value are not seen, nor the matrices of batched products.
//   - A process has one fake, and a device that was lost stays lost: such tests start a process of their own.
package cudatest
