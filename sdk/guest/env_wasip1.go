package guest

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"syscall"
	"time"
	"unsafe"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/value"
	"github.com/catenary-run/catenary/sandbox/wasm/abi"
	"github.com/catenary-run/catenary/sdk"
)

//go:wasmimport catenary_v1 item_recv
//go:noescape
func itemRecv(fd int32, buf unsafe.Pointer, n uint32) int64

//go:wasmimport catenary_v1 item_send
//go:noescape
func itemSend(fd int32, buf unsafe.Pointer, n uint32) uint32

//go:wasmimport catenary_v1 item_info
//go:noescape
func itemInfo(fd int32, buf unsafe.Pointer) uint32

//go:wasmimport catenary_v1 item_mark
func itemMark(fd int32, turn, ns int64) uint32

//go:wasmimport catenary_v1 open
//go:noescape
func hostOpen(req unsafe.Pointer, n uint32) int32

//go:wasmimport catenary_v1 deadline
//go:noescape
func hostDeadline() int64

//go:wasmimport catenary_v1 cause
//go:noescape
func hostCause(buf unsafe.Pointer, n uint32) int64

//go:wasmimport catenary_v1 log
//go:noescape
func hostLog(level int32, buf unsafe.Pointer, n uint32)

//go:wasmimport catenary_v1 fail
//go:noescape
func hostFail(buf unsafe.Pointer, n uint32)

func ptr[T string | []byte](b T) unsafe.Pointer {
	switch b := any(b).(type) {
	case string:
		return unsafe.Pointer(unsafe.StringData(b))
	case []byte:
		return unsafe.Pointer(unsafe.SliceData(b))
	}
	return nil
}

// hostError says what the host could not do. The host knows why, and adds it when the call fails for that reason.
type hostError struct {
	what  string
	errno uint32
}

func (e *hostError) Error() string {
	if e.errno == 0 {
		return e.what + " failed"
	}
	return fmt.Sprintf("%s failed (errno %d)", e.what, e.errno)
}

// Unwrap returns the sentinel that the errno stands for, or nil.
func (e *hostError) Unwrap() error {
	switch e.errno {
	case abi.Access:
		return functions.ErrDenied
	case abi.NoEnt:
		return functions.ErrNotFound
	case abi.Intr:
		return functions.ErrInterrupted
	case abi.Canceled:
		return context.Canceled
	case abi.Busy:
		return functions.ErrUnavailable
	}
	return nil
}

// stdItem is the size of the first buffer; most items fit.
const stdItem = 4 << 10

// buffer is what items of one descriptor are received into. It is used again for the next one: whoever reads an item
// decodes it first, which copies. A new one for each would write to fresh memory all the time, and that is dear in an
// instance that shares its pages with an image.
type buffer []byte

// recv returns what item_recv does, with an item of any size in the buffer.
func (b *buffer) recv(fd int32) int64 {
	if *b == nil {
		*b = make([]byte, stdItem)
	}
	n := itemRecv(fd, ptr([]byte(*b)), uint32(len(*b)))
	if n > int64(len(*b)) {
		*b = make([]byte, n)
		n = itemRecv(fd, ptr([]byte(*b)), uint32(n))
	}
	return n
}

// next returns the next item of a descriptor that blocks, until the buffer is used again, and io.EOF after the last one.
func (b *buffer) next(fd int32, what string) ([]byte, error) {
	switch n := b.recv(fd); {
	case n == abi.RecvEnd:
		return nil, io.EOF
	case n < 0:
		return nil, recvFailed(fd, what)
	default:
		return (*b)[:n], nil
	}
}

// recvFailed says why nothing was received.
func recvFailed(fd int32, what string) error {
	var info [abi.InfoBytes]byte
	return &hostError{what, itemInfo(fd, unsafe.Pointer(&info))}
}

// itemOf returns what was received last from the input as an item.
func itemOf(fd int32, v []byte) (functions.Item, error) {
	var info struct {
		seq, turn uint64
		ns        int64
	}
	if errno := itemInfo(fd, unsafe.Pointer(&info)); errno != abi.Success {
		return functions.Item{}, &hostError{"look at an item of the input", errno}
	}
	it := functions.Item{Value: v, Seq: info.seq, Turn: info.turn}
	if info.ns != 0 {
		it.Time = time.Unix(0, info.ns)
	}
	return it, nil
}

// mark sets the turn and the time of what is sent next, or the turn of what is asked.
func mark(fd int32, turn uint64, at time.Time) error {
	ns := int64(0)
	if !at.IsZero() {
		ns = at.UnixNano()
	}
	if errno := itemMark(fd, int64(turn), ns); errno != abi.Success {
		return &hostError{"mark an item", errno}
	}
	return nil
}

func send(fd int32, item []byte, what string) error {
	if errno := itemSend(fd, ptr(item), uint32(len(item))); errno != abi.Success {
		return &hostError{what, errno}
	}
	return nil
}

func open(request, what string) (int32, error) {
	fd := hostOpen(ptr(request), uint32(len(request)))
	if fd < 0 {
		return 0, &hostError{what, uint32(-fd)}
	}
	return fd, nil
}

// edges are the call's input and output.
type edges struct {
	in, out int32
	buf     buffer
	turn    uint64 // of the item that was received last; so is what is sent, unless the host is told
	time    time.Time
}

// Recv implements functions.Source.
func (e *edges) Recv(context.Context) (functions.Item, error) {
	b, err := e.buf.next(e.in, "receive from the input")
	if err != nil {
		return functions.Item{}, err
	}
	it, err := itemOf(e.in, b)
	e.turn, e.time = it.Turn, it.Time
	return it, err
}

// Send implements functions.Sink.
func (e *edges) Send(_ context.Context, it functions.Item) error {
	if it.Turn != e.turn || !it.Time.Equal(e.time) {
		if err := mark(e.out, it.Turn, it.Time); err != nil {
			return err
		}
	}
	return send(e.out, it.Value, "send to the output")
}

// callContext is a call's context as far as the host knows it: it asks only when somebody wants to know.
type callContext struct{ context.Context }

// Deadline implements context.Context.
func (callContext) Deadline() (time.Time, bool) {
	left := hostDeadline()
	if left == abi.NoDeadline {
		return time.Time{}, false
	}
	return time.Now().Add(time.Duration(left)), true
}

// causeOfEnd returns why the host ends the call, as an error that wraps the sentinel of its code.
func causeOfEnd() error {
	f := functions.Failure{Code: functions.CodeOf(context.Canceled), Message: "the call was ended"}
	buf := make([]byte, stdItem)
	n := hostCause(ptr(buf), uint32(len(buf)))
	if n > int64(len(buf)) {
		buf = make([]byte, n)
		n = hostCause(ptr(buf), uint32(n))
	}
	if n > 0 {
		_ = value.Decode(buf[:n], &f) // what can't be read leaves what is true of every end
	}
	return &f
}

// env is what the host offers, as sdk.Env.
type env struct{}

func (env) Log(level slog.Level, line string) { hostLog(int32(level), ptr(line), uint32(len(line))) }

func (env) Turns() *functions.Turns { return nil }

func (env) ReadBlob(_ context.Context, b functions.Blob) ([]byte, error) {
	what := "read of blob " + b.Digest.Short()
	fd, err := open(abi.OpenBlob+string(b.Digest), what)
	if err != nil {
		return nil, err
	}
	defer syscall.Close(int(fd))
	left := itemRecv(fd, nil, 0)
	if left == abi.RecvEnd {
		return nil, nil
	}
	if left < 0 {
		return nil, &hostError{what: what}
	}
	data := make([]byte, left)
	for at := 0; at < len(data); {
		n := itemRecv(fd, ptr(data[at:]), uint32(len(data)-at))
		if n <= 0 {
			return nil, &hostError{what: what}
		}
		at += int(n)
	}
	return data, nil
}

func (env) WriteBlob(_ context.Context, mediaType string, data []byte) (b functions.Blob, err error) {
	what := "write of a blob of type " + mediaType
	fd, err := open(abi.NewBlob+mediaType, what)
	if err != nil {
		return b, err
	}
	defer syscall.Close(int(fd))
	if len(data) > 0 {
		if err := send(fd, data, what); err != nil {
			return b, err
		}
	}
	var buf buffer
	ref, err := buf.next(fd, what)
	if err != nil {
		return b, err
	}
	return b, value.Decode(ref, &b)
}

func (env) Generate(ctx context.Context, model string, req functions.Generation) (functions.Tokens, error) {
	what := "generate with model " + model
	fd, err := open(abi.OpenModel+model, what)
	if err != nil {
		return nil, err
	}
	if err := ask(fd, ctx, req, what); err != nil {
		syscall.Close(int(fd))
		return nil, err
	}
	return &tokens{fd: fd, what: what}, nil
}

// ask sends a request to a model, of the turn that ctx belongs to.
func ask(fd int32, ctx context.Context, req functions.Generation, what string) error {
	b, err := value.Encode(req)
	if err != nil {
		return err
	}
	if turn, ok := sdk.TurnOf(ctx); ok {
		if err := mark(fd, turn, time.Time{}); err != nil {
			return err
		}
	}
	return send(fd, b, what)
}

// tokens is an answer as it comes.
type tokens struct {
	fd     int32
	what   string
	buf    buffer
	closed bool
}

func (t *tokens) Recv(context.Context) (tok functions.Token, err error) {
	if t.closed {
		return tok, functions.ErrClosed
	}
	b, err := t.buf.next(t.fd, t.what)
	if err != nil {
		return tok, err
	}
	return tok, value.Decode(b, &tok)
}

func (t *tokens) Close() error {
	if t.closed {
		return nil
	}
	t.closed = true
	return syscall.Close(int(t.fd))
}
