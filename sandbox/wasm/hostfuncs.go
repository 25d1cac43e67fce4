package wasm

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/sandbox"
	"github.com/catenary-run/catenary/sandbox/wasm/abi"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// hostFunc is an import of ours: its parameters and results as letters (i for i32, I for i64, a colon between them),
// and what it does. run gets the call that the guest serves, the guest's memory as it is now, and the stack: parameters
// in, the result out.
type hostFunc struct {
	sig string
	run func(c *call, mem guestMemory, stack []uint64)
}

// imports returns the functions that a guest can import, by module and name.
func imports() map[string]map[string]hostFunc {
	return map[string]map[string]hostFunc{
		abi.Module:     catenaryFuncs,
		wasiModule:     wasiFuncs,
		abi.FuelModule: {abi.FuelYield: {":", func(c *call, _ guestMemory, _ []uint64) { c.check() }}},
	}
}

func (f hostFunc) types() (params, results []api.ValueType) {
	in, out, _ := strings.Cut(f.sig, ":")
	return valueTypes(in), valueTypes(out)
}

func valueTypes(letters string) []api.ValueType {
	types := make([]api.ValueType, len(letters))
	for i, l := range letters {
		types[i] = api.ValueTypeI32
		if l == 'I' {
			types[i] = api.ValueTypeI64
		}
	}
	return types
}

// checkImports returns an error wrapping functions.ErrInvalid for the first import of mod that is not one of ours.
func checkImports(m *functions.Manifest, mod wazero.CompiledModule) error {
	known := imports()
	for _, def := range mod.ImportedFunctions() {
		module, name, _ := def.Import()
		f, ok := known[module][name]
		if !ok {
			return fmt.Errorf("%w: function %s: the module imports %s.%s, which is not there: functions of %s and %s can be imported",
				functions.ErrInvalid, m.Name, module, name, wasiModule, abi.Module)
		}
		params, results := f.types()
		if !slices.Equal(def.ParamTypes(), params) || !slices.Equal(def.ResultTypes(), results) {
			return fmt.Errorf("%w: function %s: the module imports %s.%s with another signature than it has", functions.ErrInvalid, m.Name, module, name)
		}
	}
	return nil
}

// bindImports gives rt the host functions that mod imports, and no others: each costs time to compile.
func bindImports(ctx context.Context, rt wazero.Runtime, mod wazero.CompiledModule) error {
	known := imports()
	builders := map[string]wazero.HostModuleBuilder{}
	bound := map[string]bool{}
	for _, def := range mod.ImportedFunctions() {
		module, name, _ := def.Import()
		if bound[module+"\x00"+name] {
			continue // a module may import a function twice
		}
		bound[module+"\x00"+name] = true
		f := known[module][name]
		b := builders[module]
		if b == nil {
			b = rt.NewHostModuleBuilder(module)
		}
		params, results := f.types()
		builders[module] = b.NewFunctionBuilder().WithGoModuleFunction(f.bind(), params, results).Export(name)
	}
	for module, b := range builders {
		if _, err := b.Instantiate(ctx); err != nil {
			return fmt.Errorf("host module %s: %w", module, err)
		}
	}
	return nil
}

func (f hostFunc) bind() api.GoModuleFunc {
	return func(ctx context.Context, mod api.Module, stack []uint64) {
		c := callOf(ctx)
		f.run(c, guestMemory{c, mod.Memory()}, stack)
	}
}

type callKey struct{}

// withCall returns the context under which a guest is entered: host functions find the call in it.
func withCall(ctx context.Context, c *call) context.Context {
	return context.WithValue(ctx, callKey{}, c)
}

func callOf(ctx context.Context) *call { return ctx.Value(callKey{}).(*call) }

// guestMemory reads and writes a guest's memory. What it returns are views, valid inside one host function. An address
// outside ends the call: no sane guest passes one.
type guestMemory struct {
	c   *call
	mem api.Memory
}

func (m guestMemory) view(ptr, n uint32) []byte {
	if n == 0 {
		return nil
	}
	b, ok := m.mem.Read(ptr, n)
	if !ok {
		m.c.abort(fmt.Errorf("%w: the guest passed %d bytes at %#x to the host, which are not in its memory", functions.ErrTrap, n, ptr))
	}
	return b
}

func (m guestMemory) putU32(ptr, v uint32) { binary.LittleEndian.PutUint32(m.view(ptr, 4), v) }
func (m guestMemory) putU64(ptr uint32, v uint64) {
	binary.LittleEndian.PutUint64(m.view(ptr, 8), v)
}

// catenaryFuncs are the functions of catenary_v1.
var catenaryFuncs = map[string]hostFunc{
	"item_recv": {"iii:I", func(c *call, mem guestMemory, s []uint64) {
		n := int64(abi.RecvFailed)
		if st, ok := c.fds[int32(s[0])].(stream); ok {
			*st.part() = nil
			n = c.recv(st, mem.view(uint32(s[1]), uint32(s[2])))
		}
		s[0] = api.EncodeI64(n)
	}},
	"item_send": {"iii:i", func(c *call, mem guestMemory, s []uint64) {
		st, ok := c.fds[int32(s[0])].(stream)
		if !ok {
			s[0] = abi.BadF
			return
		}
		s[0] = uint64(c.send(st, mem.view(uint32(s[1]), uint32(s[2]))))
	}},
	"item_info": {"ii:i", func(c *call, mem guestMemory, s []uint64) {
		st, ok := c.fds[int32(s[0])].(stream)
		if !ok {
			s[0] = abi.BadF
			return
		}
		info, errno := st.info(c)
		if errno == abi.Success {
			info.write(mem.view(uint32(s[1]), abi.InfoBytes))
		}
		s[0] = uint64(errno)
	}},
	"item_mark": {"iII:i", func(c *call, _ guestMemory, s []uint64) {
		st, ok := c.fds[int32(s[0])].(stream)
		switch turn, ns := int64(s[1]), int64(s[2]); {
		case !ok:
			s[0] = abi.BadF
		case turn < 0:
			s[0] = abi.Inval
		default:
			m := mark{set: true, turn: uint64(turn)}
			if ns != 0 {
				m.time = time.Unix(0, ns)
			}
			s[0] = uint64(st.mark(c, m))
		}
	}},
	"open": {"ii:i", func(c *call, mem guestMemory, s []uint64) {
		if uint32(s[1]) > abi.MaxOpenRequest {
			s[0] = api.EncodeI32(-abi.TooBig)
			return
		}
		if c.ended() {
			s[0] = api.EncodeI32(-abi.Canceled)
			return
		}
		s[0] = api.EncodeI32(c.open(string(mem.view(uint32(s[0]), uint32(s[1])))))
	}},
	"deadline": {":I", func(c *call, _ guestMemory, s []uint64) {
		s[0] = api.EncodeI64(abi.NoDeadline)
		if left, limited := functions.TimeLeft(c.ctx); limited {
			s[0] = api.EncodeI64(int64(left))
		}
	}},
	"cause": {"ii:I", func(c *call, mem guestMemory, s []uint64) {
		if !c.ended() {
			s[0] = api.EncodeI64(abi.RecvAgain)
			return
		}
		text, err := c.encode(sandbox.CauseOf(c.ctx))
		if err != nil {
			c.abort(err)
		}
		if len(text) <= int(uint32(s[1])) {
			copy(mem.view(uint32(s[0]), uint32(len(text))), text)
		}
		s[0] = uint64(len(text))
	}},
	"log": {"iii:", func(c *call, mem guestMemory, s []uint64) {
		level := slog.Level(int32(s[0]))
		text := mem.view(uint32(s[1]), uint32(s[2]))
		for len(text) > maxLine {
			c.log.line(level, string(text[:maxLine]))
			text = text[maxLine:]
		}
		c.log.line(level, string(text))
	}},
	"fail": {"ii:", func(c *call, mem guestMemory, s []uint64) {
		if c.failure == "" {
			text := mem.view(uint32(s[0]), min(uint32(s[1]), maxLine))
			c.failure = strings.ToValidUTF8(string(text), "\uFFFD")
			if uint32(s[1]) > maxLine {
				c.failure += " ... (cut)"
			}
		}
	}},
}

// recv receives for the guest, unless its call has ended.
func (c *call) recv(st stream, buf []byte) int64 {
	if c.ended() {
		return st.fail(abi.Canceled)
	}
	return st.recv(c, buf)
}

// send sends a copy of what the guest has given, unless its call has ended or there is no room.
func (c *call) send(st stream, item []byte) uint32 {
	if c.ended() {
		return abi.Canceled
	}
	if errno := st.room(c, int64(len(item))); errno != abi.Success {
		return errno
	}
	return st.send(c, append([]byte{}, item...))
}

// write is the layout of what item_info tells.
func (i itemInfo) write(b []byte) {
	le := binary.LittleEndian
	le.PutUint64(b, i.seq)
	le.PutUint64(b[8:], i.turn)
	ns := int64(0)
	if !i.time.IsZero() {
		ns = i.time.UnixNano()
	}
	le.PutUint64(b[16:], uint64(ns))
}
