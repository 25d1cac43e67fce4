package coldstart

import "testing"

// TestPool_TakeSkipsTheDead: a call that comes before the watch has seen a death must not get the dead.
func TestPool_TakeSkipsTheDead(t *testing.T) {
	closed := make(chan struct{})
	close(closed)
	alive, dead, mortal := &instance{}, &instance{done: closed}, &instance{done: make(chan struct{})}
	pl := &pool{busy: map[*instance]struct{}{}, ready: []*instance{alive, mortal, dead}}
	for i, want := range []*instance{mortal, alive, nil} {
		if got := pl.take(); got != want {
			t.Fatalf("take %d: got %p, want %p", i, got, want)
		}
	}
	if !pl.unready(dead) {
		t.Error("the dead one is not left to its watch")
	}
}
