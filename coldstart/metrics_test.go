package coldstart

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/sandbox"
)

func TestMetrics(t *testing.T) {
	driver := &fake{start: 50 * ms, work: time.Second, codeBytes: 100, instBytes: 10}
	driver.onStart = func(_ *functions.Manifest, n int) error {
		if n == 2 {
			return errors.New("no such library")
		}
		return nil
	}
	reg := prometheus.NewRegistry()
	run(t, driver, func(c *Config) { c.MaxInstances = 1 }, func(t *testing.T, n *node) {
		var err error
		if n.metrics, err = newMetrics(reg, n.Pools); err != nil {
			t.Fatal(err)
		}
		ref := n.function("speak", nil)
		n.call(t, ref)
		time.Sleep(time.Hour)
		if _, err := n.try(t.Context(), ref); err == nil {
			t.Fatal("the start did not fail")
		}
		done := make(chan struct{})
		for range 2 {
			go func() { n.call(t, ref); done <- struct{}{} }()
		}
		time.Sleep(60 * ms)
		want := `
# HELP catenary_coldstart_instances Instances that are there.
# TYPE catenary_coldstart_instances gauge
catenary_coldstart_instances 1
# HELP catenary_coldstart_instances_busy Instances that serve a call.
# TYPE catenary_coldstart_instances_busy gauge
catenary_coldstart_instances_busy 1
# HELP catenary_coldstart_mem_bytes Memory that code and instances hold.
# TYPE catenary_coldstart_mem_bytes gauge
catenary_coldstart_mem_bytes 110
# HELP catenary_coldstart_queue_depth Calls that wait for an instance.
# TYPE catenary_coldstart_queue_depth gauge
catenary_coldstart_queue_depth 1
# HELP catenary_coldstart_starts_total Starts of instances.
# TYPE catenary_coldstart_starts_total counter
catenary_coldstart_starts_total{kind="wasm",result="failed"} 1
catenary_coldstart_starts_total{kind="wasm",result="ok"} 2
# HELP catenary_coldstart_stops_total Instances that were closed.
# TYPE catenary_coldstart_stops_total counter
catenary_coldstart_stops_total{kind="wasm",reason="idle"} 1
`
		if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "catenary_coldstart_instances", "catenary_coldstart_instances_busy",
			"catenary_coldstart_mem_bytes", "catenary_coldstart_queue_depth", "catenary_coldstart_starts_total", "catenary_coldstart_stops_total"); err != nil {
			t.Error(err)
		}
		<-done
		<-done
	})
	if _, err := newMetrics(reg, nil); err == nil {
		t.Error("two pools on one registry must be an error")
	}
}

func TestStatus(t *testing.T) {
	driver := &fake{prepare: 20 * ms, start: 50 * ms, work: time.Second, codeBytes: 100, instBytes: 10}
	run(t, driver, func(c *Config) { c.MaxInstances = 1 }, func(t *testing.T, n *node) {
		if diff := cmp.Diff([]PoolStatus{}, n.Status()); diff != "" {
			t.Error(diff)
		}
		ref := n.function("speak", nil)
		done := make(chan struct{})
		for range 3 {
			go func() { n.call(t, ref); done <- struct{}{} }()
		}
		synctest.Wait()
		want := []PoolStatus{{Name: "speak", Version: ref.Digest, Tier: Cold, Queued: 3}}
		if diff := cmp.Diff(want, n.Status()); diff != "" {
			t.Error("while it is prepared:", diff)
		}
		time.Sleep(100 * ms)
		want = []PoolStatus{{
			Name: "speak", Kind: functions.KindWASM, Version: ref.Digest, Tier: Hot, Instances: 1, Busy: 1, Queued: 2,
			MemBytes: 110, WakeTime: 70 * ms, Why: "a fake has none",
		}}
		if diff := cmp.Diff(want, n.Status()); diff != "" {
			t.Error("while it serves:", diff)
		}
		for range 3 {
			<-done
		}
	})
}

// rude is a driver that panics where it is told to.
type rude struct {
	*fake
	at string
}

type rudeCode struct {
	sandbox.Code
	at string
}

type rudeInstance struct {
	sandbox.Instance
	at string
}

func (r *rude) Load(ctx context.Context, img *sandbox.Image) (sandbox.Code, error) {
	blow(r.at, "load")
	code, err := r.fake.Load(ctx, img)
	return rudeCode{code, r.at}, err
}

func (c rudeCode) New(ctx context.Context) (sandbox.Instance, error) {
	blow(c.at, "new")
	inst, err := c.Code.New(ctx)
	return rudeInstance{inst, c.at}, err
}

func (c rudeCode) Close() error {
	err := c.Code.Close()
	blow(c.at, "close code")
	return err
}

func (i rudeInstance) Reset(ctx context.Context) error {
	blow(i.at, "reset")
	return i.Instance.Reset(ctx)
}

func (i rudeInstance) Close() error {
	err := i.Instance.Close()
	blow(i.at, "close")
	return err
}

func blow(at, here string) {
	if at == here {
		panic("a fault in the driver")
	}
}

// TestPools_DriverPanics: a fault in a driver costs a call at most, never the node.
func TestPools_DriverPanics(t *testing.T) {
	for at, fails := range map[string]bool{"load": true, "new": true, "reset": false, "close": false, "close code": false} {
		t.Run(at, func(t *testing.T) {
			driver := &fake{}
			run(t, driver, nil, func(t *testing.T, n *node) {
				n.drivers[functions.KindWASM] = &rude{driver, at}
				ref := n.function("speak", nil)
				for range 2 {
					if _, err := n.try(t.Context(), ref); (err != nil) != fails || fails && !errors.Is(err, functions.ErrColdStart) {
						t.Errorf("got %v, want an error: %v", err, fails)
					}
				}
			})
		})
	}
}
