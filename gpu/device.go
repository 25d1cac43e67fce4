package gpu

import (
	"cmp"
	"context"
)

// device is a place where models live, and its worker: this machine, or a server that speaks OpenAI's API.
type device struct {
	launch func(context.Context) (*worker, error) // starts a worker and returns it once it answers; final
	check  func() error                           // Config.Engine, or nothing; final
	url    string                                 // of the server; final
	slots  int                                    // that a model may have; final

	// The Runtime's mu guards the fields below.
	models  []*model
	phase   phase
	worker  *worker // set while phase is up
	missing error   // why there is no engine, while phase is missing
	name    string  // of the last worker's device
	state   state   // decide's
}

// String says what the worker is, in errors and in the log.
func (d *device) String() string {
	if d.url != "" {
		return "endpoint"
	}
	return "model worker"
}

// absent is the phase of a device whose worker is not there. To wait for an endpoint would help nobody: who calls it
// while it is to be left alone is told at once why it is not there.
func (d *device) absent() phase {
	if d.url != "" {
		return phaseMissing
	}
	return phaseDown
}

// unavailable returns why there is no engine, or nil if there may be one, given what check says.
func (d *device) unavailable(plain error) error {
	switch d.phase {
	case phaseUp:
		return nil // it has one, whatever became of its files
	case phaseMissing:
		return cmp.Or(plain, d.missing)
	}
	return plain
}

// deviceOf returns the device of models with that URL, which is made if there is none; files have no URL. mu is held.
func (r *Runtime) deviceOf(url string) *device {
	for _, d := range r.devices {
		if d.url == url {
			return d
		}
	}
	e := r.cfg.endpoint(url)
	d := &device{
		launch: func(ctx context.Context) (*worker, error) {
			if len(e.Command) > 0 {
				return r.launchServer(ctx, e)
			}
			return r.connect(ctx, e)
		},
		check: func() error { return nil },
		url:   url,
		slots: cmp.Or(e.Slots, r.cfg.Slots),
	}
	r.devices = append(r.devices, d)
	return d
}
