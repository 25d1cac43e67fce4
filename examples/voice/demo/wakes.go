package main

import (
	"context"
	"slices"
	"time"

	"github.com/catenary-run/catenary/sdk/client"
)

// wake is what a run found asleep and woke: a function, whose name is that of its step in the chains of the example, or a
// model.
type wake struct {
	name  string
	model bool
	took  time.Duration
}

func (w wake) label() string {
	if w.model {
		return w.name + " (model)"
	}
	return w.name
}

// awake tells which functions and models of a server are awake, by label, with what their last wake took.
func awake(ctx context.Context, c *client.Client) (map[string]wake, error) {
	pools, err := c.Pools(ctx)
	if err != nil {
		return nil, err
	}
	all := map[string]wake{}
	add := func(w wake, tier string, ms float64) {
		if tier == "hot" {
			w.took = time.Duration(ms * float64(time.Millisecond))
			all[w.label()] = w
		}
	}
	for _, f := range pools.GetFunctions() {
		add(wake{name: f.GetName()}, f.GetTier(), f.GetWakeMs())
	}
	for _, m := range pools.GetModels() {
		add(wake{name: m.GetName(), model: true}, m.GetTier(), m.GetWakeMs())
	}
	return all, nil
}

// woken returns what is awake after a run and was not before, what woke first first.
func woken(before, after map[string]wake) []wake {
	var all []wake
	for label, w := range after {
		if _, was := before[label]; !was {
			all = append(all, w)
		}
	}
	slices.SortFunc(all, func(a, b wake) int { return int(a.took - b.took) })
	return all
}

// wakeOf returns how long the function of a step, or a model, took to wake: 0 if it was awake.
func wakeOf(wakes []wake, name string) time.Duration {
	if i := slices.IndexFunc(wakes, func(w wake) bool { return w.name == name }); i >= 0 {
		return wakes[i].took
	}
	return 0
}

// beside returns what woke without being a step that ran: models, and the branch that was not taken.
func beside(r reply) []wake {
	return slices.DeleteFunc(slices.Clone(r.wakes), func(w wake) bool {
		return !w.model && slices.ContainsFunc(r.timings, func(t client.Timing) bool { return t.Step == w.name })
	})
}
