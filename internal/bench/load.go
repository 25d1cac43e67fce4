package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"time"

	"github.com/tetratelabs/wazero/api"

	"github.com/catenary-run/catenary/coldstart"
	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/value"
	"github.com/catenary-run/catenary/sandbox/wasm/abi"
)

const (
	loadRounds = 40
	loadBlock  = 50 // calls of one arm in a row
	loadPool   = 2  // instances
)

// record is a typed struct of 1 KB; see ./echo.
type record struct {
	ID      int               `json:"id"`
	Name    string            `json:"name"`
	Score   float64           `json:"score"`
	Tags    []string          `json:"tags"`
	Words   []recordWord      `json:"words"`
	Options map[string]string `json:"options"`
}

type recordWord struct {
	Text  string  `json:"text"`
	Start float64 `json:"start"`
	End   float64 `json:"end"`
	Known bool    `json:"known"`
}

func newRecord() record {
	r := record{
		ID: 4711, Name: "a record of about one kilobyte", Score: 0.375,
		Tags: []string{"speech", "english", "short"}, Options: map[string]string{"voice": "slt", "rate": "16000", "format": "wav"},
	}
	for i := range 23 {
		at := float64(i) / 4
		r.Words = append(r.Words, recordWord{Text: strings.Repeat("word", 1+i%3), Start: at, End: at + 0.25, Known: i%2 == 0})
	}
	return r
}

// benchLoad measures calls back to back with a typed struct of 1 KB that the guest decodes and sends back: a pool of
// two instances that are reset; the same guest never reset; and a guest that does the same in JSON by encoding/json.
func benchLoad(ctx context.Context, rec *recorder) error {
	dir, err := os.MkdirTemp("", "catenary-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	cbor, err := value.Encode(newRecord())
	if err != nil {
		return err
	}
	text, err := json.Marshal(newRecord())
	if err != nil {
		return err
	}
	textValue, err := value.Encode(text)
	if err != nil {
		return err
	}
	rec.Add("the struct as CBOR", "B", float64(len(cbor)))
	rec.Add("the struct as JSON", "B", float64(len(text)))
	rig, err := newHopRig(ctx, dir, func(c *coldstart.Config) { c.MaxInstances, c.Spare = loadPool, loadPool })
	if err != nil {
		return err
	}
	defer rig.stop()
	var arms []loadArm
	for _, guest := range []struct {
		name, mode string
		in         []byte
	}{{"CBOR", "record", cbor}, {"encoding/json", "json", textValue}} {
		m, err := rig.echo(ctx, "wasm", guest.mode)
		if err != nil {
			return err
		}
		ref := m.Ref()
		want, err := answerOf(guest.mode, guest.in)
		if err != nil {
			return err
		}
		check := func(got []byte) error {
			v, err := answerOf(guest.mode, got)
			if err == nil && !reflect.DeepEqual(v, want) {
				err = fmt.Errorf("another record came back: %+v", v)
			}
			return err
		}
		arms = append(arms, loadArm{guest.name + ", reset, pool of 2", func(ctx context.Context) error {
			var got []byte
			out := functions.SinkFunc(func(_ context.Context, it functions.Item) error { got = it.Value; return nil })
			if _, err := rig.pools.Invoke(ctx, functions.Call{Ref: ref}, functions.Items(functions.Item{Value: guest.in}), out); err != nil {
				return err
			}
			return check(got)
		}})
		p, err := newPlain(ctx, rig.has.files[m.Artifact], filepath.Join(dir, guest.mode+"-plain"))
		if err != nil {
			return err
		}
		defer p.rt.Close(ctx)
		p.in = guest.in
		mod, err := p.start(ctx)
		if err != nil {
			return err
		}
		arms = append(arms, loadArm{guest.name + ", never reset", func(ctx context.Context) error { return p.again(ctx, mod, check) }})
	}
	err = rec.rounds(1, loadRounds, func(to *recorder) error {
		for _, a := range arms {
			if err := a.block(ctx, to); err != nil {
				return fmt.Errorf("%s: %w", a.name, err)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, unit := range []string{"a call alone", "back to back, per call"} {
		rec.ratio("CBOR, "+unit+": reset / never reset", "CBOR, reset, pool of 2: "+unit, "CBOR, never reset: "+unit)
		rec.ratio("CBOR / encoding/json, "+unit+", reset", "CBOR, reset, pool of 2: "+unit, "encoding/json, reset, pool of 2: "+unit)
		rec.ratio("CBOR / encoding/json, "+unit+", never reset", "CBOR, never reset: "+unit, "encoding/json, never reset: "+unit)
	}
	return nil
}

// answerOf returns the record in what a guest of a mode takes or gives.
func answerOf(mode string, v []byte) (r record, err error) {
	if mode != "json" {
		return r, value.Decode(v, &r)
	}
	var text []byte
	if err := value.Decode(v, &text); err != nil {
		return r, err
	}
	return r, json.Unmarshal(text, &r)
}

// again runs one more call on an instance.
func (p *plain) again(ctx context.Context, m api.Module, check func([]byte) error) error {
	defer delete(p.taken, m)
	res, err := m.ExportedFunction(abi.Call).Call(ctx, abi.FirstFD, abi.FirstFD+1)
	if err != nil {
		return err
	}
	if res[0] != 0 {
		return fmt.Errorf("the guest failed with code %d", res[0])
	}
	return check(p.out)
}

// loadArm is one way to make a call.
type loadArm struct {
	name string
	call func(context.Context) error
}

// block makes calls with a pause before each, for what goes on off the reply's path, and then as many back to back.
func (a loadArm) block(ctx context.Context, rec *recorder) error {
	for range loadBlock {
		time.Sleep(200 * time.Microsecond)
		start := time.Now()
		if err := a.call(ctx); err != nil {
			return err
		}
		rec.Add(a.name+": a call alone", "us", float64(time.Since(start))/1e3)
	}
	start := time.Now()
	for range loadBlock {
		if err := a.call(ctx); err != nil {
			return err
		}
	}
	rec.Add(a.name+": back to back, per call", "us", float64(time.Since(start))/1e3/loadBlock)
	return nil
}
