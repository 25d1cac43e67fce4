// Package image keeps what a started guest leaves - its memory, its globals, where its random states lie - in one file,
// and makes copy-on-write memories of it.
//
// [Write] captures; [Open] reads the file once, checks it and holds its bytes for all instances as an [Image].
// [Image.NewMemory] makes a [Memory] for one instance: it comes up with the image's bytes, and what the instance writes
// is its own; [Memory.Reset] takes that back. [NewPlainMemory] makes one without an image, for the start that will be
// captured and for functions that can't be. A Memory is what wazero wants as a LinearMemory. [FindSeeds] and [Reseed]
// see to it that two instances of one image don't draw the same random numbers, nor two calls of one instance.
//
// On Linux an Image is a memfd, sealed so that nobody can change or shorten it, and a Memory is a private mapping of it
// at the head of a reservation of address space: making one costs some microseconds, whatever its size, and untouched
// pages are shared by all. The file is copied into the memfd and not mapped itself: whoever truncated a mapped file
// would kill this process. Elsewhere a Memory is a plain copy.
//
// A reset asks the kernel which pages are the memory's own (PAGEMAP_SCAN since Linux 6.7, before it the table of pages in
// /proc), writes the image's bytes over those that calls write again and again, and gives the others back. Where the
// kernel tells nothing it gives all of them back.
//
// Caveats:
//   - An image is a cache. It is trusted like the binary itself: its checksum finds damage, not malice.
//   - Everything that the guest read at its start, secrets too, is in the image. The file is for its owner alone.
//   - A Memory never moves, so views of it live until Free. Whoever frees it must know that the guest has stopped.
//   - A guest's descriptors are not in the image, and neither is anything that the host holds for it.
//   - A memory takes two mappings of the kernel's vm.max_map_count, an image one more, and two descriptors.
//   - A memory that has grown can't be reset: it can't shrink, and the guest's allocator would grow it again each time.
package image
