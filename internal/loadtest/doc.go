// Package loadtest has no code of its own: its tests run many streams at once through real guests, plugins and a real
// model, with callers who hang up, interrupt, fail and run out of time, and look whether anything is left of them.
//
// They are bounded. CATENARY_SOAK=1, which `make soak` sets, makes them as large as the promises say.
package loadtest
