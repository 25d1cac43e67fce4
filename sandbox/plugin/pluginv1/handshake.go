package pluginv1

import "time"

// What go-plugin's handshake must agree on. The cookie is no secret: it only tells a plugin that somebody started it
// by hand.
const (
	ProtocolVersion = 1
	CookieKey       = "CATENARY_PLUGIN"
	CookieValue     = "catenary.plugin.v1"
	// PluginName is the name under which go-plugin knows the service on both sides. It is not on the wire.
	PluginName = "function"
	// CallHeader names a call of Handle, so that End can't meet another one.
	CallHeader = "catenary-call"
	// LeftHeader says how many milliseconds the call has at least, by its deadline and its limits. It is not there if
	// nothing limits the call.
	LeftHeader = "catenary-left"
)

// EndGrace is how long an implementation may take to return when its call ends, before it is hung up on: as long as that
// of a WASM function. The deadline of Handle is so much later than the call's.
const EndGrace = 100 * time.Millisecond

// MemEnv is the environment variable that tells a plugin its memory limit in bytes.
const MemEnv = "CATENARY_MEM_BYTES"
