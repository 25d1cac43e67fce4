package wasm

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/value"
)

func TestPrepare_RefusesModules(t *testing.T) {
	trap := asmFunc{sig: ":", code: unreachable}
	call := asmFunc{export: "catenary_call", sig: "ii:i", code: i32(0)}
	for _, test := range []struct {
		name string
		mod  *asm
		edit func(*functions.Manifest)
		want error
		says string
	}{
		{"unknown import", &asm{imports: []asmImport{{"env", "emscripten_resize_heap", "i:i"}}, funcs: []asmFunc{call}}, nil, functions.ErrInvalid, "env.emscripten_resize_heap"},
		{"unknown WASI function", &asm{imports: []asmImport{{"wasi_snapshot_preview1", "fd_teleport", "i:i"}}, funcs: []asmFunc{call}}, nil, functions.ErrInvalid, "fd_teleport"},
		{"wrong signature", &asm{imports: []asmImport{{"catenary_v1", "item_recv", "ii:I"}}, funcs: []asmFunc{call}}, nil, functions.ErrInvalid, "signature"},
		{"the fuel", &asm{imports: []asmImport{{"catenary_fuel", "yield", ":"}}, funcs: []asmFunc{call}}, nil, functions.ErrInvalid, "catenary_fuel"},
		{"no memory", &asm{noMem: true, funcs: []asmFunc{call}}, nil, functions.ErrInvalid, "memory"},
		{"memory by another name", &asm{memName: "mem", funcs: []asmFunc{call}}, nil, functions.ErrInvalid, "memory"},
		{"nothing to call", &asm{funcs: []asmFunc{trap}}, nil, functions.ErrInvalid, "catenary_call"},
		{"a command as a reactor", &asm{funcs: []asmFunc{{export: "_start", sig: ":"}}}, nil, functions.ErrInvalid, "kind is wasi"},
		{"wrong export", &asm{funcs: []asmFunc{{export: "catenary_call", sig: "i:i", code: i32(0)}}}, nil, functions.ErrInvalid, "catenary_call"},
		{"too much memory", &asm{memMin: 64, funcs: []asmFunc{call}}, func(m *functions.Manifest) { m.Limits.MemBytes = 1 << 20 }, functions.ErrInvalid, "limits.mem"},
		{"_initialize that traps", &asm{funcs: []asmFunc{call, {export: "_initialize", sig: ":", code: unreachable}}}, nil, functions.ErrColdStart, "unreachable"},
		{"_initialize without end", &asm{funcs: []asmFunc{call, {export: "_initialize", sig: ":", code: forever}}}, func(m *functions.Manifest) { m.Limits.Time = 20 * time.Millisecond }, functions.ErrColdStart, "time limit"},
		{"_initialize that exits", &asm{imports: v1, funcs: []asmFunc{call, {export: "_initialize", sig: ":", code: join(i32(0), callFn(fnExit))}}}, nil, functions.ErrColdStart, "exit status 0"},
	} {
		t.Run(test.name, func(t *testing.T) {
			artifact, m := test.mod.write(t)
			if test.edit != nil {
				test.edit(m)
			}
			_, err := newDriver(t).Prepare(t.Context(), m, artifact)
			if !errors.Is(err, test.want) || err != nil && !strings.Contains(err.Error(), test.says) {
				t.Errorf("got %v, want %v that says %q", err, test.want, test.says)
			}
		})
	}
}

func TestPrepare_StartSection(t *testing.T) {
	artifact, m := (&asm{funcs: []asmFunc{
		{export: "catenary_call", sig: "ii:i", code: i32(0)},
		{sig: ":", code: unreachable},
	}, start: 1}).write(t)
	if _, err := newDriver(t).Prepare(t.Context(), m, artifact); !errors.Is(err, functions.ErrColdStart) {
		t.Errorf("got %v, want functions.ErrColdStart", err)
	}
}

func TestGuest_Outcomes(t *testing.T) {
	ok := i32(0)
	reason := join(i32(dataAt), i32(11), callFn(fnFail))
	for _, test := range []struct {
		name string
		mod  *asm
		edit func(*functions.Manifest)
		want error
		says string
	}{
		{name: "echo", mod: reactor(echo())},
		{name: "no value", mod: reactor(ok), want: functions.ErrFunction, says: "no value"},
		{name: "two values", mod: reactor(echo(), drop, get(1), i32(4096), get(2), callFn(fnSend)), want: functions.ErrFunction, says: "second value"},
		{name: "an empty value", mod: reactor(get(1), i32(0), i32(0), callFn(fnSend)), want: functions.ErrFunction},
		{name: "failed", mod: reactor(reason, i32(1)), want: functions.ErrFunction, says: "out of milk"},
		{name: "the first reason counts", mod: reactor(reason, i32(0), i32(5), callFn(fnFail), i32(1)), want: functions.ErrFunction, says: "out of milk"},
		{name: "failed without a reason", mod: reactor(i32(1)), want: functions.ErrFunction, says: "no reason"},
		{name: "invalid", mod: reactor(reason, i32(2)), want: functions.ErrInvalid, says: "out of milk"},
		{name: "the host failed", mod: reactor(i32(dataAt+16), i32(9), callFn(fnOpen), drop, i32(3)), want: functions.ErrDenied, says: "llm"},
		{name: "the host did not fail", mod: reactor(i32(3)), want: functions.ErrFunction},
		{name: "unknown result", mod: reactor(i32(77)), want: functions.ErrFunction},
		{name: "trap", mod: reactor(unreachable), want: functions.ErrTrap, says: "unreachable"},
		{name: "exit", mod: reactor(i32(0), callFn(fnExit), unreachable), want: functions.ErrTrap, says: "exit status 0"},
		{name: "bad pointer to receive", mod: reactor(get(0), i32(-16), i32(32), callFn(fnRecv), drop, ok), want: functions.ErrTrap, says: "not in its memory"},
		{name: "bad pointer to send", mod: reactor(get(1), i32(65530), i32(32), callFn(fnSend)), want: functions.ErrTrap, says: "not in its memory"},
		{name: "send without a descriptor", mod: reactor(i32(99), i32(0), i32(1), callFn(fnSend)), want: functions.ErrFunction},
		{name: "send to the input", mod: reactor(get(0), i32(0), i32(1), callFn(fnSend)), want: functions.ErrFunction},
		{name: "endless recursion", mod: reactor(get(0), get(1), callFn(fnFirst)), want: functions.ErrTrap, says: "stack"},
		{name: "refused memory, failed", mod: reactor(i32(1000), growMemory, drop, i32(1)), want: functions.ErrMemoryLimit, edit: memLimit},
		{name: "refused memory, trapped", mod: reactor(i32(1000), growMemory, drop, unreachable), want: functions.ErrMemoryLimit, edit: memLimit},
		{name: "refused memory, did without", mod: reactor(i32(1000), growMemory, drop, echo()), edit: memLimit},
		{name: "memory within the limit", mod: reactor(i32(8), growMemory, drop, echo()), edit: memLimit},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.mod.data = "out of milk\x00\x00\x00\x00\x00model:llm"
			artifact, m := test.mod.write(t)
			if test.edit != nil {
				test.edit(m)
			}
			code, img := load(t, newDriver(t), m, artifact)
			if !img.Captured {
				t.Errorf("not captured: %s", img.Why)
			}
			_, err := serve(t, code, "value")
			if !errors.Is(err, test.want) || err != nil && !strings.Contains(err.Error(), test.says) {
				t.Errorf("got %v, want %v that says %q", err, test.want, test.says)
			}
			if functions.CodeOf(err) != functions.CodeOf(test.want) {
				t.Errorf("code %s, want %s", functions.CodeOf(err), functions.CodeOf(test.want))
			}
		})
	}
}

func memLimit(m *functions.Manifest) { m.Limits.MemBytes = 1 << 20 }

func TestGuest_DescriptorsAreNeverUsedTwice(t *testing.T) {
	// It opens and closes a thousand times and traps unless each number is above the last, which it keeps in its
	// memory: the image knows those of the warm-up.
	mod := reactor(
		i32(0), []byte{0x28, 2, 0}, set(2), // last = memory[0]
		i32(1000), set(3),
		[]byte{0x03, 0x40}, // loop
		i32(dataAt), i32(11), callFn(fnOpen), set(4),
		get(4), get(2), []byte{0x4c, 0x04, 0x40}, unreachable, []byte{0x0b}, // if new <= last: unreachable
		get(4), callFn(fnClose), []byte{0x04, 0x40}, unreachable, []byte{0x0b},
		get(4), set(2),
		get(3), i32(1), []byte{0x6b, 0x22}, []byte{3}, []byte{0x0d, 0}, // br_if while --n
		[]byte{0x0b},
		i32(0), get(2), []byte{0x36, 2, 0},
		echo())
	mod.data = "newblob:x/y"
	artifact, m := mod.write(t)
	m.Sample = []byte{0xf6}
	code, img := load(t, newDriver(t), m, artifact)
	if img.Why != "" {
		t.Errorf("the warm-up did not go well: %s", img.Why)
	}
	if _, err := serve(t, code, "value"); err != nil {
		t.Error(err)
	}

	// And one that never closes is told so.
	greedy := reactor([]byte{0x03, 0x40}, i32(dataAt), i32(11), callFn(fnOpen), i32(0), []byte{0x4a, 0x0d, 0, 0x0b}, i32(1))
	greedy.data = "newblob:x/y"
	artifact, m = greedy.write(t)
	code, _ = load(t, newDriver(t), m, artifact)
	if _, err := serve(t, code, "value"); !errors.Is(err, functions.ErrFunction) {
		t.Errorf("got %v, want functions.ErrFunction", err)
	}
}

func TestGuest_SpeaksJSON(t *testing.T) {
	type pair struct {
		A int    `json:"a"`
		B []byte `json:"b"`
	}
	artifact, m := reactor(echo()).write(t)
	m.In.Schema, m.Out.Schema = functions.SchemaFor[pair](), functions.SchemaFor[pair]()
	m.Encoding = "json"
	code, _ := load(t, newDriver(t), m, artifact)
	items, err := serve(t, code, pair{A: 7, B: []byte{0xff}})
	if err != nil {
		t.Fatal(err)
	}
	var got pair
	if err := value.Decode(items[0].Value, &got); err != nil || got.A != 7 || string(got.B) != "\xff" {
		t.Errorf("got %v, error %v", got, err)
	}

	// What it sends has to be JSON of its schema.
	bad := reactor(get(1), i32(dataAt), i32(5), callFn(fnSend))
	bad.data = "{\"a\":"
	artifact, m = bad.write(t)
	m.In.Schema, m.Out.Schema, m.Encoding = functions.SchemaFor[pair](), functions.SchemaFor[pair](), "json"
	code, _ = load(t, newDriver(t), m, artifact)
	if _, err := serve(t, code, pair{B: []byte{}}); functions.CodeOf(err) != functions.CodeOf(functions.ErrFunction) {
		t.Errorf("got %v, want functions.ErrFunction", err)
	}
}

func TestGuest_PassesBlobsOn(t *testing.T) {
	artifact, m := reactor(echo()).write(t)
	m.In.Schema, m.Out.Schema = functions.SchemaFor[functions.Blob](), functions.SchemaFor[functions.Blob]()
	code, _ := load(t, newDriver(t), m, artifact)
	att := functions.Attach("x/y", []byte("bytes"))
	other := functions.Attach("x/y", []byte("not passed on"))
	items, err := serve(t, code, att.Blob, att, other)
	if err != nil {
		t.Fatal(err)
	}
	if len(items[0].Blobs) != 1 || string(items[0].Blobs[0].Data) != "bytes" {
		t.Errorf("blobs %v, want the one that the value refers to", items[0].Blobs)
	}
}

func TestGuest_ThatCannotBeCaptured(t *testing.T) {
	for _, kind := range []functions.Kind{functions.KindWASM, functions.KindWASI} {
		t.Run(string(kind), func(t *testing.T) {
			mod := reactor(tableGrow, echo())
			if kind == functions.KindWASI {
				mod = &asm{funcs: []asmFunc{{export: "_start", sig: ":", code: tableGrow}}}
			}
			mod.table, mod.data = true, "data"
			artifact, m := mod.write(t)
			m.Kind = kind
			if kind == functions.KindWASI {
				m.Out.Schema = functions.SchemaFor[string]()
				m.Output = &functions.CommandOutput{Stdout: true}
			}
			code, img := load(t, newDriver(t), m, artifact)
			if img.Captured || !strings.Contains(img.Why, "table") {
				t.Errorf("captured %v, why %q", img.Captured, img.Why)
			}
			for range 2 {
				if _, err := serve(t, code, "value"); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestPrepare_WarmUpThatTraps(t *testing.T) {
	artifact, m := reactor(unreachable).write(t)
	var err error
	if m.Sample, err = value.Encode("sample"); err != nil {
		t.Fatal(err)
	}
	_, img := load(t, newDriver(t), m, artifact)
	if !img.Captured || !strings.Contains(img.Why, "warm-up failed") {
		t.Errorf("captured %v, why %q: want the image of a cold guest", img.Captured, img.Why)
	}
}

func TestGuest_TokensThatFail(t *testing.T) {
	// open model:llm, send a request, receive from it: result 3 with the host's own error.
	mod := reactor(
		i32(dataAt), i32(9), callFn(fnOpen), set(2),
		get(2), i32(dataAt+16), i32(1), callFn(fnSend), drop,
		i32(3))
	mod.data = "model:llm\x00\x00\x00\x00\x00\x00\x00\xa0" // the request is an empty map
	artifact, m := mod.write(t)
	m.Uses.Models = []string{"llm"}
	code, _ := load(t, newDriver(t), m, artifact)
	inst, err := code.New(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer inst.Close()
	host := discardHost()
	host.err = functions.ErrUnavailable
	err = inst.Serve(t.Context(), functions.Items(functions.Item{Value: []byte{0xf6}}),
		functions.SinkFunc(func(context.Context, functions.Item) error { return nil }), host)
	if !errors.Is(err, functions.ErrUnavailable) || !functions.Retryable(err) {
		t.Errorf("got %v, want the host's error, which can be retried", err)
	}
}
