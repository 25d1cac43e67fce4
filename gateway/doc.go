// Package gateway is the doors of Catenary: it takes requests, turns them into runs, and turns what runs yield into
// replies.
//
// A [Server] has one port for all of it: the Connect services of catenary.v1 (so gRPC and gRPC-Web too, with
// reflection and health), a URL per chain (POST /chains/NAME, with Server-Sent Events if the caller asks for them, and
// WebSockets), blobs (/blobs/HEX), /healthz, /readyz and /metrics. [Config] bounds everything, [Deps] is what it needs: a catalogue, blobs, and a [Node] that runs functions.
// [Listen] opens the port, on loopback unless told otherwise. Package gateway/remote has a Node that is another process.
//
// A chain's alias is resolved once, when a run begins; the run stays with the graph that it found. Deploy moves an
// alias only when the node has prepared everything behind it.
//
// Three doors are for streams: Stream (stream.go), Server-Sent Events (sse.go) and WebSockets (socket.go). Each turns what
// its caller sends into the input of a run (see intake), beside which it writes what the run yields, one message at a time;
// so a slow caller holds the run, and a full run its caller. A line bounds how long a write may stand still. A caller that
// goes away ends the run's context, with why as its cause.
//
// Errors: what stops a call before its run begins is a Connect error. How a run ended is the last message of a stream, and
// a Connect error of Run. Every one carries a Failure (code, sentence, chain, step, retryable). errors.go has the only
// mapping. What no sentinel names is shown as an id; its text is in the log.
//
// Caveats:
//   - Only requests without an Origin, or with the server's own, are served, and on loopback only those whose Host is
//     a loopback name: so no page of another site reaches the server through a browser, by DNS rebinding either.
//   - Blobs in results are held in memory, bounded in bytes and age; who wants to keep one fetches it in time.
//   - A plain reply that fails after its first byte is cut off: the connection is aborted, so that no client can take a
//     part for the whole. Stream reports the failure instead.
//   - The caller of Stream closes its side when it has seen the end; its messages are read for two seconds until then.
//   - An interruption is heard behind the items that were sent before it, of which intakeItems wait at most.
package gateway
