// Package abi holds the constants that a host and a guest of catenary_v1 share. docs/abi.md describes the ABI, and
// catenary.h beside this file is the same for C.
//
// A guest is a WASI preview 1 reactor with the exports _initialize, memory and catenary_call(in, out i32) i32, which
// returns one of the results above: for all but CallOK the reason was given to fail. Its arguments are the descriptors
// of its input and its output. It may export catenary_prepare(mem_bytes i64): the host calls it before it captures the
// instance, so that the guest can tidy up. It imports from module catenary_v1:
//
//	item_recv(fd, buf, cap i32) i64     n >= 0: an item of n bytes; n > cap: it is not taken, come again with n bytes
//	item_send(fd, buf, len i32) i32     0, or an errno of WASI
//	item_info(fd, buf i32) i32          seq, turn and time of the item received last, or why there was none
//	item_mark(fd i32, turn, time i64) i32  turn and time of the next item sent, or the turn of a generation
//	open(req, len i32) i32              a descriptor, or a negative errno
//	log(level, buf, len i32)            level -4 debug, 0 info, 4 warn, 8 error
//	fail(buf, len i32)                  why the call fails; the first one counts
//
// item_recv and item_send block until they can do what they are asked, unless the guest has set the descriptor
// non-blocking, by fd_fdstat_set_flags; then it waits in poll_oneoff, for many at once. When the call's context ends, or
// its input or output fails, a guest that blocks is stopped there. One with a non-blocking descriptor gets Canceled from
// all of them, and some time to return. Descriptors are closed by fd_close. On the input and the output an item is one
// value in the encoding of the manifest. Requests to open are text:
//
//	model:NAME      send one generation request, then receive tokens until the end
//	blob:DIGEST     receive the blob in pieces of at most cap bytes until the end; with cap 0, learn how much is left
//	newblob:TYPE    send pieces, then receive once: the reference {blob, type, size} of the blob made of them
//	turns:          receive the first turn that is not over, a number, whenever it changes
package abi
