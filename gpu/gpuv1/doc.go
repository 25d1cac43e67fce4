// Package gpuv1 is the protocol between the serving process and the worker of one device: gpu.proto and the code
// generated from it, and, in errors.go, how an error of package functions crosses it.
//
// The worker answers a failed call with [StatusOf]; the runtime turns it back with [ErrorOf], after which errors.Is
// answers the same on both sides.
package gpuv1
