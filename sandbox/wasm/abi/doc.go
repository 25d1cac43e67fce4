// Package abi holds the constants that a host and a guest of catenary_v1 share. docs/abi.md describes the ABI.
//
// A guest is a WASI preview 1 reactor with the exports _initialize, memory and catenary_call(in, out i32) i32, which
// returns one of the results above: for all but CallOK the reason was given to fail. Its arguments are the descriptors
// of its input and its output. It may export catenary_prepare(mem_bytes i64): the host calls it before it captures the
// instance, so that the guest can tidy up. It imports from module catenary_v1:
//
//	item_recv(fd, buf, cap i32) i64     n >= 0: an item of n bytes; n > cap: it is not taken, come again with n bytes
//	item_send(fd, buf, len i32) i32     0, or an errno of WASI
//	open(req, len i32) i32              a descriptor, or a negative errno
//	log(level, buf, len i32)            level -4 debug, 0 info, 4 warn, 8 error
//	fail(buf, len i32)                  why the call fails; the first one counts
//
// All block until they can do what they are asked. When the call's context ends, or its input or output fails, they
// don't return: the host ends the call. Descriptors are closed by fd_close. On the input and the output an item is one
// value in the encoding of the manifest. Requests to open are text:
//
//	model:NAME      send one generation request, then receive tokens until the end
//	blob:DIGEST     receive the blob in pieces of at most cap bytes until the end; with cap 0, learn how much is left
//	newblob:TYPE    send pieces, then receive once: the reference {blob, type, size} of the blob made of them
package abi
