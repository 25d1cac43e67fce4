package coldstart

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/catenary-run/catenary/functions"
)

func TestEvict(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	parked := func(v string, bytes int64, used int) unused {
		return unused{Version: functions.Digest(v), Code: bytes, Used: at(used)}
	}
	three := []unused{parked("a", 10, 3), parked("b", 10, 1), parked("c", 10, 2)}
	hot := unused{Version: "hot", Idle: []idleInstance{{at(1), 5}, {at(4), 5}}, Code: 20, Used: at(3)}
	for _, tt := range []struct {
		name         string
		budget, used int64
		all          []unused
		want         []eviction
	}{
		{"enough", 100, 100, three, nil},
		{"the oldest code", 100, 101, three, []eviction{{"b", 0, true}}},
		{"no more than needed", 100, 110, three, []eviction{{"b", 0, true}}},
		{"then the next", 100, 111, three, []eviction{{"b", 0, true}, {"c", 0, true}}},
		{"all that there is", 0, 1000, three, []eviction{{"b", 0, true}, {"c", 0, true}, {"a", 0, true}}},
		{"the oldest instance", 100, 105, []unused{hot, parked("a", 10, 2)}, []eviction{{"hot", 1, false}}},
		{"the next may be another's", 100, 106, []unused{hot, parked("a", 10, 2)}, []eviction{{"hot", 1, false}, {"a", 0, true}}},
		{"code after its instances", 100, 116, []unused{hot, parked("a", 10, 2)}, []eviction{{"hot", 2, false}, {"a", 0, true}}},
		{"and then", 100, 121, []unused{hot, parked("a", 10, 2)}, []eviction{{"hot", 2, true}, {"a", 0, true}}},
		{"code that is needed stays", 0, 100, []unused{{Version: "x", Idle: []idleInstance{{at(1), 5}}, Used: at(1)}}, []eviction{{"x", 1, false}}},
		{"an instance of no size goes for its code", 0, 100, []unused{{Version: "x", Idle: []idleInstance{{at(1), 0}}, Code: 5, Used: at(1)}}, []eviction{{"x", 1, true}}},
		{"what frees nothing stays", 0, 100, []unused{{Version: "x", Idle: []idleInstance{{at(1), 0}}}, {Version: "y"}}, nil},
	} {
		if diff := cmp.Diff(tt.want, evict(tt.budget, tt.used, tt.all)); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
}

// TestEvict_Properties: what is unused never stays above the budget; the least recently used goes, and no more than needed.
func TestEvict_Properties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		when := rapid.Custom(func(t *rapid.T) time.Time { return time.Unix(rapid.Int64Range(0, 20).Draw(t, "time"), 0) })
		bytes := rapid.Int64Range(0, 50)
		inUse := rapid.Int64Range(0, 200).Draw(t, "in use")
		var all []unused
		free := int64(0)
		for i := range rapid.IntRange(0, 6).Draw(t, "versions") {
			u := unused{Version: functions.Digest(rune('a' + i)), Code: bytes.Draw(t, "code"), Used: when.Draw(t, "used")}
			for _, since := range rapid.SliceOfN(when, 0, 3).Draw(t, "idle") {
				u.Idle = append(u.Idle, idleInstance{since, bytes.Draw(t, "bytes")})
			}
			slices.SortFunc(u.Idle, func(a, b idleInstance) int { return a.Since.Compare(b.Since) })
			all = append(all, u)
			free += u.Code
			for _, inst := range u.Idle {
				free += inst.Bytes
			}
		}
		used, budget := inUse+free, rapid.Int64Range(0, 400).Draw(t, "budget")
		gone := map[functions.Digest]eviction{}
		for _, e := range evict(budget, used, all) {
			if _, twice := gone[e.Version]; twice {
				t.Fatalf("%s is there twice", e.Version)
			}
			gone[e.Version] = e
		}

		var newest time.Time // of what goes
		var last int64       // the most that one part of those used last frees
		took := func(at time.Time, bytes int64) {
			if at.After(newest) {
				newest, last = at, 0
			}
			if at.Equal(newest) {
				last = max(last, bytes)
			}
			used -= bytes
		}
		oldest := time.Unix(1000, 0) // of what stays and would free something
		stays := func(at time.Time, bytes int64) {
			if bytes > 0 && at.Before(oldest) {
				oldest = at
			}
		}
		for _, u := range all {
			e := gone[u.Version]
			if e.Instances > len(u.Idle) || e.Code && e.Instances < len(u.Idle) {
				t.Fatalf("%+v of %+v: too many instances, or too few for the code to go", e, u)
			}
			codeAt := u.Used
			for i, inst := range u.Idle {
				codeAt = later(codeAt, inst.Since)
				if i < e.Instances {
					if inst.Bytes > 0 {
						took(inst.Since, inst.Bytes)
					}
				} else {
					stays(inst.Since, inst.Bytes)
				}
			}
			if e.Code {
				took(codeAt, u.Code)
			} else {
				stays(codeAt, u.Code)
			}
		}
		if used > budget && used > inUse {
			t.Fatalf("%d bytes are left of a budget of %d, %d of them unused", used, budget, used-inUse)
		}
		if len(gone) > 0 && used+last <= budget {
			t.Fatalf("%v is more than needed", gone)
		}
		if oldest.Before(newest) {
			t.Fatalf("what was used at %v stays, and what was used at %v goes", oldest, newest)
		}
	})
}

// TestMemory_Properties plays random calls against pools with a random budget: whenever all has settled nothing unused is
// above the budget, no call has lost its instance, and no instance is started for nobody again and again.
func TestMemory_Properties(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rapid.Check(struct{ *testing.T }{t}, func(t *rapid.T) { // not as a *testing.T, which knows its deadline by the real clock
			driver := &fake{spent: rapid.Bool().Draw(t, "spent"), codeBytes: rapid.Int64Range(0, 30).Draw(t, "code"), instBytes: rapid.Int64Range(0, 20).Draw(t, "instance")}
			driver.onServe = func(ctx context.Context, inst *fakeInstance, in functions.Source, out functions.Sink, _ functions.Host) error {
				time.Sleep(10 * time.Second)
				select {
				case <-inst.closed:
					return errors.New("its instance was closed under it")
				default:
					return inst.echo(ctx, in, out)
				}
			}
			n, stop := start(t, driver, func(c *Config) {
				c.MaxInstances, c.MemBytes = 3, rapid.Int64Range(1, 150).Draw(t, "budget")
			})
			defer stop()
			var refs []functions.Ref
			for i := range 4 {
				change := plugin
				if i > 0 {
					change = nil
				}
				refs = append(refs, n.function(fmt.Sprintf("f%d", i), change))
			}
			var calls sync.WaitGroup
			defer calls.Wait()
			var mu sync.Mutex // guards failed
			var failed []error
			for range rapid.IntRange(1, 30).Draw(t, "events") {
				ref := rapid.SampledFrom(refs).Draw(t, "function")
				switch rapid.IntRange(0, 3).Draw(t, "event") {
				case 0, 1:
					calls.Go(func() {
						if _, err := n.try(context.Background(), ref); err != nil {
							mu.Lock()
							defer mu.Unlock()
							failed = append(failed, err)
						}
					})
				case 2:
					if err := n.Wake(context.Background(), []functions.Ref{ref}, nil); err != nil {
						t.Fatal(err)
					}
				case 3:
					time.Sleep(time.Duration(rapid.IntRange(1, 400).Draw(t, "seconds")) * time.Second)
				}
				n.settled(t)
			}
			calls.Wait()
			n.settled(t)
			starts := driver.counts().starts
			time.Sleep(time.Hour)
			n.settled(t)
			if again := driver.counts().starts - starts; again > 0 {
				t.Fatalf("%d instances were started for nobody", again)
			}
			if len(failed) > 0 {
				t.Fatal(errors.Join(failed...))
			}
		})
	})
}

// settled fails the test if the books are wrong, or more is kept than the budget allows.
func (n *node) settled(t *rapid.T) {
	synctest.Wait()
	n.mu.Lock()
	defer n.mu.Unlock()
	var held, unused int64
	for _, pl := range n.pools {
		held += pl.memBytes()
		unused += pl.unusedBytes()
	}
	if held != n.held || unused != n.unused {
		t.Fatalf("the books have %d bytes, %d of them unused; there are %d and %d", n.held, n.unused, held, unused)
	}
	if held > n.config.MemBytes && unused > 0 {
		t.Fatalf("%d bytes are held, above the budget of %d, though %d are unused", held, n.config.MemBytes, unused)
	}
}
