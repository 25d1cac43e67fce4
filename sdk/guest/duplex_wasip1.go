package guest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"
	"weak"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/value"
	"github.com/catenary-run/catenary/sandbox/wasm/abi"
	"github.com/catenary-run/catenary/sdk"
)

// ServeDuplex serves f by an implementation that reads its input and sends its output at a pace of its own. It is called
// once, from an init func of the program. All goroutines of the implementation go on while one waits.
func ServeDuplex[I, O any](f sdk.Func[sdk.Stream[I], sdk.Stream[O]], impl sdk.Duplex[I, O]) {
	serve(function{call: duplex(sdk.NewDuplexHandler(value.Codec{}, f, impl)), duplex: true})
}

// duplex serves a call whose waits are Go's: the call's own descriptors do not block, and neither do those of env.
func duplex(handle sdk.Handler) func(in, out int32) error {
	return func(in, out int32) (err error) {
		ctx, cancel := context.WithCancelCause(callContext{context.Background()})
		defer cancel(nil)
		env := &duplexEnv{cancel: cancel, turns: functions.NewTurns()}
		src, err := env.wait(in)
		if err != nil {
			return err
		}
		defer src.close()
		sink, err := env.wait(out)
		if err != nil {
			return err
		}
		defer sink.close()
		stop, err := env.followTurns()
		if err != nil {
			return err
		}
		defer stop()
		return handle(sdk.WithEnv(ctx, env), duplexSource{src}, duplexSink{sink})
	}
}

// duplexEnv is env for a guest that does not block.
type duplexEnv struct {
	env
	cancel context.CancelCauseFunc // the call, when the host says that it ends
	turns  *functions.Turns
}

func (e *duplexEnv) Turns() *functions.Turns { return e.turns }

// followTurns learns from the host which turns are over, until stop is called.
func (e *duplexEnv) followTurns() (stop func(), err error) {
	fd, err := open(abi.OpenTurns, "open the turns")
	if err != nil {
		return nil, err
	}
	d, err := e.wait(fd)
	if err != nil {
		return nil, err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			b, err := d.recv(context.Background(), "receive the turns")
			if err != nil {
				return // it is closed, or the call ends
			}
			var first uint64
			if value.Decode(b, &first) == nil {
				e.turns.Advance(first)
			}
		}
	}()
	return func() {
		d.close()
		<-done
	}, nil
}

func (e *duplexEnv) Generate(ctx context.Context, model string, req functions.Generation) (functions.Tokens, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	what := "generate with model " + model
	fd, err := open(abi.OpenModel+model, what)
	if err != nil {
		return nil, err
	}
	d, err := e.wait(fd)
	if err != nil {
		return nil, err
	}
	if err := ask(fd, ctx, req, what); err != nil {
		d.close()
		return nil, err
	}
	return &duplexTokens{d, what}, nil
}

// duplexTokens is an answer as it comes.
type duplexTokens struct {
	d    *descriptor
	what string
}

func (t *duplexTokens) Recv(ctx context.Context) (tok functions.Token, err error) {
	b, err := t.d.recv(ctx, t.what)
	if err != nil {
		return tok, err
	}
	return tok, value.Decode(b, &tok)
}

func (t *duplexTokens) Close() error {
	t.d.close()
	return nil
}

// duplexSource is the call's input.
type duplexSource struct{ d *descriptor }

func (s duplexSource) Recv(ctx context.Context) (functions.Item, error) {
	b, err := s.d.recv(ctx, "receive from the input")
	if err != nil {
		return functions.Item{}, err
	}
	return itemOf(s.d.fd, b)
}

// duplexSink is the call's output.
type duplexSink struct{ d *descriptor }

func (s duplexSink) Send(ctx context.Context, it functions.Item) error {
	if err := mark(s.d.fd, it.Turn, it.Time); err != nil {
		return err
	}
	return s.d.send(ctx, it.Value, "send to the output")
}

// descriptor is one of the host's that does not block: Go's poller parks the goroutine that waits for it. There is one
// os.File for each, since the poller finds what belongs to a file by its number alone.
type descriptor struct {
	env         *duplexEnv
	fd          int32
	file        *os.File
	read, write side
	buf         buffer // of what is received
}

// wait makes fd a descriptor that does not block. It closes fd if it fails.
func (e *duplexEnv) wait(fd int32) (*descriptor, error) {
	err := syscall.SetNonblock(int(fd), true)
	if err != nil {
		syscall.Close(int(fd))
		return nil, fmt.Errorf("descriptor %d: %w", fd, err)
	}
	file := os.NewFile(uintptr(fd), "item")
	conn, err := file.SyscallConn()
	if err != nil {
		file.Close()
		return nil, err
	}
	return &descriptor{
		env: e, fd: fd, file: file,
		read:  side{file: file, setDeadline: (*os.File).SetReadDeadline, park: conn.Read},
		write: side{file: file, setDeadline: (*os.File).SetWriteDeadline, park: conn.Write},
	}, nil
}

// close frees it. Who waits for it gets functions.ErrClosed.
func (d *descriptor) close() {
	d.read.follow(context.Background())
	d.write.follow(context.Background())
	d.file.Close() // a second time is told, and is no fault
}

// side is where one goroutine at a time waits for a descriptor.
type side struct {
	file        *os.File
	setDeadline func(*os.File, time.Time) error
	park        func(func(fd uintptr) bool) error

	deadline time.Time // that who waits has set last

	mu     sync.Mutex      // guards the fields below
	ctx    context.Context // whose end wakes who waits
	forget func() bool     // ctx
}

// How long a goroutine waits before it looks for itself whether it can go on. Go asks the host what is ready only when
// no goroutine can run; but timers go off in between, too. So a guest that always computes gets its items by them. They
// wake an idle one as well, ever more rarely.
const (
	firstLook = 5 * time.Millisecond
	lastLook  = 500 * time.Millisecond
)

// until calls try until it has an answer, and lets other goroutines go on meanwhile.
func (s *side) until(ctx context.Context, try func() bool) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if try() {
		return nil
	}
	s.follow(ctx)
	for look := firstLook; ; look = min(2*look, lastLook) {
		if err := s.lookIn(look); err != nil {
			return closedError(err)
		}
		if ctx.Err() != nil { // it may have ended before the deadline was set
			return context.Cause(ctx)
		}
		done := false
		err := s.park(func(uintptr) bool {
			done = try()
			return done
		})
		switch {
		case done:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return closedError(err)
		}
		s.deadline = time.Time{}
	}
}

// follow has the end of ctx wake who waits. Most waits have the context of the one before, and to follow another one takes
// longer than a short wait. A descriptor that is forgotten must be found by the collector, so ctx does not keep it.
func (s *side) follow(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx == ctx {
		return
	}
	if s.forget != nil {
		s.forget()
	}
	file, setDeadline := weak.Make(s.file), s.setDeadline
	s.ctx, s.forget = ctx, context.AfterFunc(ctx, func() {
		if f := file.Value(); f != nil {
			setDeadline(f, time.Unix(1, 0))
		}
	})
}

// lookIn sets the deadline, unless the one that was set is nearly as good: that, too, takes longer than a short wait.
func (s *side) lookIn(look time.Duration) error {
	now := time.Now()
	if left := s.deadline.Sub(now); left >= look/4 && left <= look {
		return nil
	}
	s.deadline = now.Add(look)
	return s.setDeadline(s.file, s.deadline)
}

func closedError(err error) error {
	if errors.Is(err, os.ErrClosed) {
		return functions.ErrClosed
	}
	return err
}

// recv returns the next item, until it is called again, and io.EOF after the last one.
func (d *descriptor) recv(ctx context.Context, what string) ([]byte, error) {
	var n int64
	err := d.read.until(ctx, func() bool {
		n = d.buf.recv(d.fd)
		return n != abi.RecvAgain
	})
	switch {
	case err != nil:
		return nil, err
	case n == abi.RecvEnd:
		return nil, io.EOF
	case n < 0:
		return nil, d.failed(recvFailed(d.fd, what))
	}
	return d.buf[:n], nil
}

func (d *descriptor) send(ctx context.Context, item []byte, what string) error {
	var errno uint32
	err := d.write.until(ctx, func() bool {
		errno = itemSend(d.fd, ptr(item), uint32(len(item)))
		return errno != abi.Again
	})
	if err == nil && errno != abi.Success {
		err = d.failed(&hostError{what, errno})
	}
	return err
}

// failed returns err, after which the call's context ends if the call does, with the host's cause.
func (d *descriptor) failed(err error) error {
	if errors.Is(err, context.Canceled) {
		d.env.cancel(causeOfEnd())
	}
	return err
}
