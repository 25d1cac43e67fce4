// Package remote is a node in another process.
//
// [New] returns the gateway's half, a [Node] that is a gateway.Node over Connect's NodeService on HTTP/2 without TLS.
// [Handler] is the node's half: it serves any gateway.Node. Items stream both ways, and turns that are over are told
// at once: the caller sends no more items than the function has room for (see credit), so that none stands before the news. A deadline crosses as the time left, a failure as functions.Failure, so that errors.Is answers the
// same on both sides.
//
// Caveats:
//   - When a caller cancels, Invoke returns at once and the node ends its call a moment later, when it hears of it.
//   - Between a writer and a reader lie, beside the edge's own bound, what HTTP/2 buffers: some megabytes.
//   - A node that dies under a call, or can't be reached, is functions.ErrUnavailable, which is retryable.
//   - There is no authentication yet: a node listens on loopback, or on a network of its own.
package remote
