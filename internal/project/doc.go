// Package project turns a folder with a catenary.yaml into what a deploy sends.
//
// [Parse] reads the file into a [File]: functions, models and chains, by name and path. [Build] runs each Go package once
// to have it describe itself, compiles it, and leaves a [Bundle] under DIR/.catenary: manifests, models, chains, and their
// bytes in blobs/HEX. [Open] reads a bundle again.
//
// Caveats:
//   - Build runs code of the project, on this machine, with the rights of whoever calls it. Deploy and the server do not.
//   - Paths in catenary.yaml are relative to its folder. No path gets into a bundle.
package project
