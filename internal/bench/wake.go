package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/catenary-run/catenary/functions"
)

// slowEntries makes the guest's start-up take about 100 ms here.
const slowEntries = 36000

const (
	parkedRounds = 200
	coldRounds   = 30
)

// benchWake measures how soon a guest with 100 ms of start-up answers: parked, where code and image are in memory, and
// cold, in a new process that has only files.
func benchWake(ctx context.Context, rec *recorder) error {
	dir, err := os.MkdirTemp("", "catenary-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	file, m, err := buildGuest(ctx, dir, guestSpec{name: "slow", entries: slowEntries})
	if err != nil {
		return err
	}
	if err := parked(ctx, rec, dir, file, m); err != nil {
		return err
	}
	if err := cold(ctx, rec, dir, file, m); err != nil {
		return err
	}
	rec.ratio("parked: plain wazero / catenary", "parked: plain wazero", "parked: catenary")
	rec.ratio("cold: plain wazero / catenary", "cold: plain wazero", "cold: catenary")
	return nil
}

func parked(ctx context.Context, rec *recorder, dir, file string, m *functions.Manifest) error {
	driver, err := newDriver(filepath.Join(dir, "catenary"))
	if err != nil {
		return err
	}
	img, err := driver.Prepare(ctx, m, file)
	if err != nil {
		return err
	}
	if !img.Captured {
		return fmt.Errorf("no image was taken: %s", img.Why)
	}
	code, err := driver.Load(ctx, img)
	if err != nil {
		return err
	}
	defer code.Close()
	base, err := newPlain(ctx, file, filepath.Join(dir, "plain"))
	if err != nil {
		return err
	}
	defer base.rt.Close(ctx)
	for i := range parkedRounds {
		start := time.Now()
		inst, err := code.New(ctx)
		if err != nil {
			return err
		}
		ready := time.Since(start)
		if err := answer(ctx, inst); err != nil {
			return err
		}
		rec.Took("parked: catenary", time.Since(start))
		rec.Took("parked: catenary, instance ready", ready)
		inst.Close()
		if i%10 != 0 { // the other arm takes some hundred times longer
			continue
		}
		start = time.Now()
		mod, err := base.start(ctx)
		if err != nil {
			return err
		}
		rec.Took("parked: plain wazero, start-up done", time.Since(start))
		if err := base.answer(ctx, mod); err != nil {
			return err
		}
		rec.Took("parked: plain wazero", time.Since(start))
		mod.Close(ctx)
	}
	return nil
}

// childArg marks a process that measures a cold start: it is the bench itself, started anew.
const childArg = "cold-start-in-a-new-process"

// coldOrder is what such a process is told.
type coldOrder struct {
	Arm      string
	Dir      string
	File     string
	Manifest *functions.Manifest
}

// cold measures from the start of a process to its answer; code is on disk in both arms.
func cold(ctx context.Context, rec *recorder, dir, file string, m *functions.Manifest) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	for range coldRounds {
		for _, arm := range []string{"catenary", "plain wazero", "process alone"} {
			order, err := json.Marshal(coldOrder{arm, dir, file, m})
			if err != nil {
				return err
			}
			cmd := exec.CommandContext(ctx, self, childArg)
			cmd.Stdin, cmd.Stderr = bytes.NewReader(order), os.Stderr
			start := time.Now()
			if err := cmd.Run(); err != nil {
				return fmt.Errorf("%s: %w", arm, err)
			}
			rec.Took("cold: "+arm, time.Since(start))
		}
	}
	return nil
}

// child is the process that cold starts: it ends as soon as the guest has answered.
func child(ctx context.Context) error {
	var o coldOrder
	if err := json.NewDecoder(os.Stdin).Decode(&o); err != nil {
		return err
	}
	switch o.Arm {
	case "catenary":
		driver, err := newDriver(filepath.Join(o.Dir, "catenary"))
		if err != nil {
			return err
		}
		img, err := driver.Prepare(ctx, o.Manifest, o.File)
		if err != nil {
			return err
		}
		code, err := driver.Load(ctx, img)
		if err != nil {
			return err
		}
		inst, err := code.New(ctx)
		if err != nil {
			return err
		}
		return answer(ctx, inst)
	case "plain wazero":
		p, err := newPlain(ctx, o.File, filepath.Join(o.Dir, "plain"))
		if err != nil {
			return err
		}
		mod, err := p.start(ctx)
		if err != nil {
			return err
		}
		return p.answer(ctx, mod)
	}
	return nil
}
