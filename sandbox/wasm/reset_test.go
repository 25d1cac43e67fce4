package wasm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/value"
	"github.com/catenary-run/catenary/internal/testkit"
	"github.com/catenary-run/catenary/sandbox"
	"github.com/catenary-run/catenary/sandbox/sandboxtest/fixture"
	"github.com/catenary-run/catenary/sandbox/wasm/testdata/counter/contract"
)

// state is what two instances of one image have in common before their calls.
type state struct {
	code *code
	mem  []byte // without the random states
}

func imageOf(t testing.TB, c sandbox.Code) *state {
	t.Helper()
	s := &state{code: c.(*code)}
	fresh, err := s.code.image.NewMemory(s.code.program.limits.MemBytes)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fresh.Free)
	s.mem = s.withoutSeeds(fresh.Reallocate(0))
	return s
}

// withoutSeeds returns a copy of mem in which what a reseed writes is zero.
func (s *state) withoutSeeds(mem []byte) []byte {
	mem = bytes.Clone(mem)
	for _, at := range s.code.image.Meta().Seeds {
		clear(mem[at+256 : at+300])
	}
	return mem
}

// differs says how an instance that waits for a call differs from the image.
func (s *state) differs(inst sandbox.Instance) error {
	g := inst.(*instance).guest
	if own, said := g.mem.PrivateBytes(), inst.MemBytes(); own != said {
		return fmt.Errorf("it says that it has %d bytes of memory for itself, and has %d", said, own)
	}
	if !bytes.Equal(s.withoutSeeds(g.mem.Bytes()), s.mem) {
		return errors.New("its memory differs from the image")
	}
	meta := s.code.image.Meta()
	for i, global := range g.globals {
		if global.Get() != meta.Globals[i] {
			return fmt.Errorf("its global %s is %d, in the image %d", meta.GlobalNames[i], global.Get(), meta.Globals[i])
		}
	}
	if g.nextFD != s.code.prepared.NextFD {
		return fmt.Errorf("its next descriptor is %d, in the image %d", g.nextFD, s.code.prepared.NextFD)
	}
	return nil
}

// newInstance returns an instance that ends with the test.
func newInstance(t testing.TB, code sandbox.Code) sandbox.Instance {
	t.Helper()
	inst, err := code.New(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { inst.Close() })
	return inst
}

// serveOn runs one call on an instance.
func serveOn(t testing.TB, inst sandbox.Instance, in any, blobs ...functions.Attachment) ([]functions.Item, error) {
	t.Helper()
	v, err := value.Encode(in)
	if err != nil {
		t.Fatal(err)
	}
	var items []functions.Item
	err = inst.Serve(t.Context(), functions.Items(functions.Item{Value: v, Blobs: blobs}),
		functions.SinkFunc(func(_ context.Context, it functions.Item) error {
			items = append(items, it)
			return nil
		}), discardHost())
	return items, err
}

// loadFixture loads the conformance suite's function.
func loadFixture(t testing.TB) sandbox.Code {
	t.Helper()
	artifact, m := buildGuest(t, "fixture")
	contractOf(t, &m, fixture.Func)
	var err error
	if m.Sample, err = value.Encode(fixture.In{Do: fixture.Echo, Text: "sample"}); err != nil {
		t.Fatal(err)
	}
	code, _ := load(t, goDriver(t, nil), &m, artifact)
	return code
}

// randomCall is one call of the property test: what it asks, and where it is cut off.
type randomCall struct {
	in       fixture.In
	blob     []byte
	cancelAt int // item at which the caller goes away; -1 for never
	cancelIn time.Duration
}

var drawCall = rapid.Custom(func(t *rapid.T) randomCall {
	r := randomCall{cancelAt: -1}
	r.in = fixture.In{
		Do: rapid.SampledFrom([]string{
			fixture.Echo, fixture.Echo, fixture.Count, fixture.Count, fixture.Remember, fixture.Blob, fixture.Fail, fixture.FailLate,
			fixture.Invalid, fixture.Empty, fixture.Log, fixture.Generate, fixture.Spin, fixture.Sleep, fixture.Crash, "unknown",
		}).Draw(t, "do"),
		Text:  rapid.StringN(0, 200, 2000).Draw(t, "text"),
		N:     rapid.IntRange(0, 40).Draw(t, "n"),
		Bytes: rapid.SampledFrom([]int{0, 10, 1000, 100_000}).Draw(t, "bytes"),
		Model: "llm",
	}
	if r.in.Do == fixture.Echo && rapid.Bool().Draw(t, "with a blob") {
		r.blob = rapid.SliceOfN(rapid.Byte(), 0, 50_000).Draw(t, "blob")
	}
	switch {
	case r.in.Do == fixture.Spin || r.in.Do == fixture.Sleep:
		r.cancelIn = time.Duration(rapid.IntRange(1, 2000).Draw(t, "µs until the cancel")) * time.Microsecond
	case rapid.IntRange(0, 3).Draw(t, "a quarter is cancelled") == 0:
		r.cancelAt = rapid.IntRange(0, 40).Draw(t, "cancel at")
	}
	return r
})

func (r randomCall) run(t testing.TB, inst sandbox.Instance) error {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if r.cancelIn > 0 {
		defer time.AfterFunc(r.cancelIn, cancel).Stop()
	}
	in := r.in
	var blobs []functions.Attachment
	if r.blob != nil {
		blobs = append(blobs, functions.Attach("x/y", r.blob))
		in.Blob = &blobs[0].Blob
	}
	v, err := value.Encode(in)
	if err != nil {
		t.Fatal(err)
	}
	return inst.Serve(ctx, functions.Items(functions.Item{Value: v, Blobs: blobs}), functions.SinkFunc(func(_ context.Context, it functions.Item) error {
		if it.Seq == uint64(r.cancelAt) {
			cancel()
		}
		return nil
	}), discardHost())
}

// After any call that an instance survives, it is byte for byte what the image is: memory, globals, descriptors. Only
// what trapped or grew may be thrown away.
func TestReset_Property(t *testing.T) {
	code := loadFixture(t)
	image := imageOf(t, code)
	calls, resets := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		inst, err := code.New(t.Context())
		if err != nil {
			rt.Fatal(err)
		}
		defer func() { inst.Close() }()
		for _, call := range rapid.SliceOfN(drawCall, 1, 6).Draw(rt, "calls") {
			err := call.run(t, inst)
			calls++
			g := inst.(*instance).guest
			switch reset := inst.Reset(t.Context()); {
			case reset == nil:
				resets++
				if err := image.differs(inst); err != nil {
					rt.Fatal(err)
				}
			case !errors.Is(reset, sandbox.ErrSpent):
				rt.Fatalf("reset: %v", reset)
			case !errors.Is(err, functions.ErrTrap) && !g.mem.Grown():
				rt.Fatalf("a call that ended with %v has used the instance up: %v", err, reset)
			default:
				inst.Close()
				if inst, err = code.New(t.Context()); err != nil {
					rt.Fatal(err)
				}
			}
		}
	})
	if resets < calls/2 {
		t.Errorf("%d resets in %d calls", resets, calls)
	}
	t.Logf("%d calls, %d resets", calls, resets)
}

// One instance serves a thousand calls, and to each it is its first.
func TestReset_EveryCallIsTheFirst(t *testing.T) {
	artifact, m := counter(t)
	code, _ := load(t, goDriver(t, nil), m, artifact)
	inst := newInstance(t, code)
	seen := map[uint64]bool{}
	orders := map[string]bool{}
	var age time.Duration
	const n = 1000
	for i := range n {
		items, err := serveOn(t, inst, contract.In{})
		if err != nil {
			t.Fatal(err)
		}
		var out contract.Out
		if err := value.Decode(items[0].Value, &out); err != nil {
			t.Fatal(err)
		}
		if out.Calls != 1 || out.Starts != 1 {
			t.Fatalf("call %d finds %d calls and %d starts", i, out.Calls, out.Starts)
		}
		if out.Age <= age {
			t.Fatalf("the clock ran backwards: %s since the start, and %s in the call before", out.Age, age)
		}
		age = out.Age
		for k, r := range out.Randoms {
			if seen[r] {
				t.Fatalf("call %d: random source %d repeats a number", i, k)
			}
			seen[r] = true
		}
		orders[out.MapOrder] = true
		if err := inst.Reset(t.Context()); err != nil {
			t.Fatalf("reset %d: %v", i, err)
		}
	}
	if len(orders) < 32 { // Go begins a range over this map at one of 64 places
		t.Errorf("%d orders of a map in %d calls", len(orders), n)
	}
}

// What a call kept, read or logged is out of the next one's reach.
func TestReset_NothingIsLeft(t *testing.T) {
	code := loadFixture(t)
	inst := newInstance(t, code)
	secret := functions.Attach("x/y", []byte("the secret of this call"))
	if _, err := serveOn(t, inst, fixture.In{Do: fixture.Echo, Text: "another secret", Blob: &secret.Blob}, secret); err != nil {
		t.Fatal(err)
	}
	mem := inst.(*instance).guest.mem
	for _, text := range []string{"the secret of this call", "another secret"} {
		if !bytes.Contains(mem.Bytes(), []byte(text)) {
			t.Fatalf("%q is not in the memory before the reset: the test sees nothing", text)
		}
	}
	if err := inst.Reset(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"the secret of this call", "another secret"} {
		if bytes.Contains(mem.Bytes(), []byte(text)) {
			t.Errorf("%q is still there", text)
		}
	}
	if _, err := serveOn(t, inst, fixture.In{Do: fixture.Echo, Blob: &secret.Blob}); err == nil {
		t.Error("the blob of the last call can be opened")
	}
}

func TestReset_WhatIsSpent(t *testing.T) {
	grow := reactor(i32(1), growMemory, drop, echo())
	for _, test := range []struct {
		name string
		mod  *asm
		edit func(*functions.Manifest)
		says string // empty if the instance can be reset
	}{
		{name: "answered", mod: reactor(echo())},
		{name: "failed", mod: reactor(i32(1))},
		{name: "out of time", mod: reactor(forever), edit: func(m *functions.Manifest) { m.Limits.Time = 20 * time.Millisecond }},
		{name: "too much output", mod: reactor(echo()), edit: func(m *functions.Manifest) { m.Limits.OutBytes = 1 }},
		{name: "was refused memory", mod: reactor(i32(1000), growMemory, drop, echo()), edit: memLimit},
		{name: "grew", mod: grow, says: "grown"},
		{name: "trapped", mod: reactor(unreachable), says: "trapped"},
		{name: "passed a bad pointer", mod: reactor(get(1), i32(65530), i32(32), callFn(fnSend)), says: "trapped"},
		{name: "exited", mod: reactor(i32(0), callFn(fnExit), unreachable), says: "trapped"},
		{name: "overflowed its stack", mod: reactor(get(0), get(1), callFn(fnFirst)), says: "trapped"},
		{name: "has no image", mod: reactor(echo()), edit: func(m *functions.Manifest) { m.Image = "off" }, says: "image"},
	} {
		t.Run(test.name, func(t *testing.T) {
			artifact, m := test.mod.write(t)
			if test.edit != nil {
				test.edit(m)
			}
			code, _ := load(t, newDriver(t), m, artifact)
			inst := newInstance(t, code)
			if err := inst.Reset(t.Context()); err != nil {
				t.Fatalf("reset of a fresh instance: %v", err)
			}
			for range 3 {
				_, first := serveOn(t, inst, "value")
				if _, err := serveOn(t, inst, "value"); !errors.Is(err, sandbox.ErrSpent) {
					t.Fatalf("a second call without a reset: got %v, want sandbox.ErrSpent", err)
				}
				err := inst.Reset(t.Context())
				if test.says == "" && err != nil {
					t.Fatalf("after %v: %v", first, err)
				}
				if test.says != "" {
					if !errors.Is(err, sandbox.ErrSpent) || !strings.Contains(err.Error(), test.says) {
						t.Fatalf("after %v: got %v, want sandbox.ErrSpent that says %q", first, err, test.says)
					}
					return
				}
				if err := inst.Reset(t.Context()); err != nil {
					t.Fatalf("a second reset: %v", err)
				}
				if err := imageOf(t, code).differs(inst); err != nil {
					t.Error(err)
				}
			}
			inst.Close()
			if err := inst.Reset(t.Context()); !errors.Is(err, sandbox.ErrSpent) {
				t.Errorf("reset of a closed instance: got %v, want sandbox.ErrSpent", err)
			}
		})
	}
}

// A command ends each of its calls in proc_exit, and starts anew in the next.
func TestReset_Command(t *testing.T) {
	const fnWrite, fnExit = 0, 1
	// It traps unless it runs for the first time, prints "hello", and exits.
	mod := &asm{
		imports: []asmImport{{wasiModule, "fd_write", "iiii:i"}, {wasiModule, "proc_exit", "i:"}},
		funcs: []asmFunc{{export: "_start", sig: ":", code: join(
			i32(0), []byte{0x28, 2, 0}, []byte{0x04, 0x40}, unreachable, []byte{0x0b}, // if memory[0] != 0: unreachable
			i32(0), i32(1), []byte{0x36, 2, 0},
			i32(8), i32(dataAt), []byte{0x36, 2, 0}, i32(12), i32(5), []byte{0x36, 2, 0},
			i32(1), i32(8), i32(1), i32(16), callFn(fnWrite), drop,
			i32(0), callFn(fnExit), unreachable)}},
		data: "hello",
	}
	artifact, m := mod.write(t)
	m.Kind, m.Out.Schema, m.Output = functions.KindWASI, functions.SchemaFor[string](), &functions.CommandOutput{Stdout: true}
	code, img := load(t, newDriver(t), m, artifact)
	if !img.Captured {
		t.Fatalf("not captured: %s", img.Why)
	}
	image := imageOf(t, code)
	inst := newInstance(t, code)
	for i := range 5 {
		items, err := serveOn(t, inst, "input")
		if err != nil || len(items) != 1 || string(items[0].Value) != "\x65hello" {
			t.Fatalf("call %d: got %v, error %v", i, items, err)
		}
		if err := inst.Reset(t.Context()); err != nil {
			t.Fatalf("reset %d: %v", i, err)
		}
		if err := image.differs(inst); err != nil {
			t.Error(err)
		}
	}
}

// flite takes its memory from the host while it speaks, so an instance of it is spent after each call.
func TestReset_CommandThatGrows(t *testing.T) {
	artifact := testkit.FliteWASM(t)
	code, _ := load(t, goDriver(t, nil), fliteManifest(t, artifact), artifact)
	inst := newInstance(t, code)
	if _, err := serveOn(t, inst, map[string]string{"text": "The answer is five."}); err != nil {
		t.Fatal(err)
	}
	if err := inst.Reset(t.Context()); !errors.Is(err, sandbox.ErrSpent) {
		t.Errorf("got %v, want sandbox.ErrSpent", err)
	}
}

// Close may come while a call runs, and then nothing is reset.
func TestReset_AfterCloseInACall(t *testing.T) {
	code := loadFixture(t)
	inst := newInstance(t, code)
	v, err := value.Encode(fixture.In{Do: fixture.Count, N: 100})
	if err != nil {
		t.Fatal(err)
	}
	closed := make(chan error, 1)
	err = inst.Serve(t.Context(), functions.Items(functions.Item{Value: v}), functions.SinkFunc(func(ctx context.Context, it functions.Item) error {
		if it.Seq == 3 {
			go func() { closed <- inst.Close() }()
			<-ctx.Done()
		}
		return nil
	}), discardHost())
	if !errors.Is(err, functions.ErrClosed) {
		t.Errorf("got %v, want functions.ErrClosed", err)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if err := inst.Reset(t.Context()); !errors.Is(err, sandbox.ErrSpent) {
		t.Errorf("got %v, want sandbox.ErrSpent", err)
	}
}
