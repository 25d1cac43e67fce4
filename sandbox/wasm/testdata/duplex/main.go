// Command duplex is a guest that does several things at once.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/sandbox/wasm/testdata/duplex/contract"
	"github.com/catenary-run/catenary/sdk"
	"github.com/catenary-run/catenary/sdk/guest"
)

type (
	in  = contract.In
	out = contract.Out
)

func init() { guest.ServeDuplex(contract.Func, serve) }

func main() {}

// call is one call.
type call struct {
	ctx context.Context
	in  *sdk.Receiver[in]
	out *sdk.Sender[out]
	n   int
}

func serve(ctx context.Context, r *sdk.Receiver[in], s *sdk.Sender[out]) error {
	first, err := r.Recv(ctx)
	if err == io.EOF {
		return nil
	}
	if err != nil {
		return err
	}
	c := &call{ctx, r, s, first.Value.N}
	switch first.Value.Do {
	case contract.Echo:
		return c.echo(first)
	case contract.Mix:
		return c.mix(1)
	case contract.Random:
		return c.mix(c.n)
	case contract.Gosched:
		return c.busy(func(got func() bool) {
			for !got() {
				runtime.Gosched()
			}
		})
	case contract.PingPong:
		return c.busy(pingPong)
	case contract.Wait:
		return c.wait(c.n)
	case contract.Counts:
		for n := 1; n <= c.n; n++ {
			if err := c.wait(n); err != nil {
				return err
			}
		}
		return nil
	case contract.Turn:
		ctx, cancel := sdk.TurnContext(ctx, uint64(c.n))
		defer cancel()
		return c.generate(ctx)
	case contract.Last:
		return c.generate(ctx)
	case contract.Park:
		if at, ok := ctx.Deadline(); ok {
			c.log("has seconds: " + strconv.Itoa(int(time.Until(at).Seconds())))
		}
		c.log("parks")
		_, err := r.Recv(ctx)
		if err == io.EOF {
			return err
		}
		<-ctx.Done()
		cause := context.Cause(ctx)
		c.log(fmt.Sprintf("cause: %v, deadline %t", cause, errors.Is(cause, context.DeadlineExceeded)))
		c.log("told: " + err.Error())
		return err
	case contract.Deaf:
		c.log("parks")
		_, err := r.Recv(ctx)
		for {
			c.log("told: " + err.Error())
			time.Sleep(time.Millisecond)
		}
	case contract.Crash:
		go func() {
			time.Sleep(time.Millisecond)
			panic("enough")
		}()
		_, err := r.Recv(ctx)
		return err
	case contract.Fill:
		return c.fill()
	case contract.Leave:
		return c.leave()
	case contract.Left:
		return c.left()
	case contract.Big:
		return c.big()
	case contract.TwoFiles:
		return c.twoFiles()
	case contract.Blob:
		return c.blobs()
	case contract.Held:
		return c.held(first)
	}
	return fmt.Errorf("%w: no behaviour %q", functions.ErrInvalid, first.Value.Do)
}

func (c *call) log(line string) { sdk.Log(c.ctx, 0, line) }

func (c *call) send(o out) error { return c.out.Send(c.ctx, sdk.Msg[out]{Value: o}) }

func (c *call) echo(m sdk.Msg[in]) error {
	for {
		err := c.out.Send(c.ctx, sdk.Msg[out]{Value: out{N: m.Value.N, Data: m.Value.Data}, Turn: m.Turn, Time: m.Time})
		if err != nil {
			return err
		}
		if m, err = c.in.Recv(c.ctx); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// mix is what full duplex is for: an input, models, an output and time, in one select.
func (c *call) mix(models int) error {
	ctx, cancel := context.WithCancel(c.ctx)
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	fromInput, fromModels := make(chan out), make(chan out)
	failed := make(chan error, models+2)
	put := func(to chan out, o out) bool {
		select {
		case to <- o:
			return true
		case <-ctx.Done():
			return false
		}
	}
	all.Go(func() {
		defer close(fromInput)
		for {
			m, err := c.in.Recv(ctx)
			if err == io.EOF || ctx.Err() != nil {
				return
			}
			if err != nil {
				failed <- err
				return
			}
			if !put(fromInput, out{What: "item", N: m.Value.N}) {
				return
			}
		}
	})
	var asking sync.WaitGroup
	for range models {
		asking.Add(1)
		all.Go(func() {
			defer asking.Done()
			toks, err := sdk.Generate(ctx, "llm", functions.Generation{})
			if err != nil {
				failed <- err
				return
			}
			defer toks.Close()
			for {
				tok, err := toks.Recv(ctx)
				if err == io.EOF || ctx.Err() != nil {
					return
				}
				if err != nil {
					failed <- err
					return
				}
				if !put(fromModels, out{What: "token", Data: []byte(tok.Text)}) {
					return
				}
			}
		})
	}
	all.Go(func() {
		asking.Wait()
		close(fromModels)
	})
	ready := make(chan out, 1)
	all.Go(func() {
		defer cancel()
		for o := range ready {
			if err := c.send(o); err != nil {
				failed <- err
				return
			}
		}
		failed <- nil
	})
	ticks := 0
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	items, tokens := fromInput, fromModels // nil when they have ended
	for items != nil || tokens != nil {
		select {
		case o, ok := <-items:
			if !ok {
				items = nil
			} else if !put(ready, o) {
				items = nil
			}
		case o, ok := <-tokens:
			if !ok {
				tokens = nil
			} else if !put(ready, o) {
				tokens = nil
			}
		case <-tick.C:
			ticks++
			c.log("tick")
		case err := <-failed:
			close(ready)
			return err
		}
	}
	put(ready, out{What: "ticks", N: ticks})
	close(ready)
	return <-failed
}

// busy waits for an item while other never rests, and says how long that went on.
func (c *call) busy(other func(got func() bool)) error {
	var got atomic.Bool
	var err error
	var reader sync.WaitGroup
	reader.Go(func() {
		_, err = c.in.Recv(c.ctx)
		got.Store(true)
	})
	turns := 0
	other(func() bool {
		if turns++; turns == 1000 {
			c.log("busy") // the reader waits by now
		}
		return got.Load()
	})
	reader.Wait()
	if err != nil {
		return err
	}
	return c.send(out{What: "got", N: turns})
}

func pingPong(got func() bool) {
	a, b := make(chan int), make(chan int)
	go func() {
		for v := range a {
			b <- v
		}
		close(b)
	}()
	for !got() {
		a <- 1
		<-b
	}
	close(a)
}

// wait has n goroutines begin to wait at once, and tells how many got a token, and how many no descriptor.
func (c *call) wait(n int) error {
	var tokens, refused atomic.Int64
	var all sync.WaitGroup
	var unexpected atomic.Pointer[error]
	for range n {
		toks, err := sdk.Generate(c.ctx, "llm", functions.Generation{})
		if err != nil {
			refused.Add(1)
			continue
		}
		all.Go(func() {
			defer toks.Close()
			if _, err := toks.Recv(c.ctx); err != nil {
				unexpected.Store(&err)
				return
			}
			tokens.Add(1)
		})
	}
	all.Go(func() { // it lets all of them wait before there is a token
		time.Sleep(time.Millisecond)
		if err := c.send(out{What: "waiting", N: n - int(refused.Load())}); err != nil {
			unexpected.Store(&err)
		}
	})
	all.Wait()
	if err := unexpected.Load(); err != nil {
		return *err
	}
	if err := c.send(out{What: "tokens", N: int(tokens.Load())}); err != nil {
		return err
	}
	return c.send(out{What: "refused", N: int(refused.Load())})
}

func (c *call) generate(ctx context.Context) error {
	toks, err := sdk.Generate(ctx, "llm", functions.Generation{})
	for err == nil {
		var tok functions.Token
		if tok, err = toks.Recv(ctx); err == nil {
			err = c.send(out{What: "token", Data: []byte(tok.Text)})
		}
	}
	switch {
	case errors.Is(err, sdk.ErrInterrupted):
		return c.send(out{What: "interrupted"})
	case err == io.EOF:
		return c.send(out{What: "end"})
	}
	return err
}

func (c *call) fill() error {
	sent := make(chan error, 1)
	go func() {
		for i := range c.n {
			if err := c.send(out{N: i}); err != nil {
				sent <- err
				return
			}
			c.log("sent")
		}
		sent <- nil
	}()
	ticks := 0
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-sent:
			if err != nil {
				return err
			}
			return c.send(out{What: "ticks", N: ticks})
		case <-tick.C:
			ticks++
			c.log("tick")
		}
	}
}

// left is how the goroutine of an earlier call ended.
var left atomic.Pointer[error]

// leave returns while a goroutine waits for a descriptor that nobody closes.
func (c *call) leave() error {
	f, err := openTurns()
	if err != nil {
		return err
	}
	go func() {
		_, err := f.Read(make([]byte, 8))
		left.Store(&err)
	}()
	runtime.Gosched()
	return c.send(out{What: contract.Leave})
}

func (c *call) left() error {
	for range 1000 {
		if err := left.Load(); err != nil {
			return c.send(out{What: "left", Data: []byte((*err).Error())})
		}
		time.Sleep(time.Millisecond)
	}
	return c.send(out{What: "left", Data: []byte("still there")})
}

// big sends items back while other descriptors come and go, forgotten for the collector to close.
func (c *call) big() error {
	for {
		m, err := c.in.Recv(c.ctx)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		for range c.n {
			toks, err := sdk.Generate(c.ctx, "llm", functions.Generation{})
			if err != nil {
				return err
			}
			if _, err := toks.Recv(c.ctx); err != nil {
				return err
			}
		}
		runtime.GC()
		if err := c.out.Send(c.ctx, sdk.Msg[out]{Value: out{N: m.Value.N, Data: m.Value.Data}}); err != nil {
			return err
		}
	}
}

//go:wasmimport catenary_v1 open
//go:noescape
func hostOpen(req unsafe.Pointer, n uint32) int32

// openTurns opens the turns once more, beside the SDK.
func openTurns() (*os.File, error) {
	const request = "turns:"
	fd := hostOpen(unsafe.Pointer(unsafe.StringData(request)), uint32(len(request)))
	if fd < 0 {
		return nil, syscall.Errno(-fd)
	}
	if err := syscall.SetNonblock(int(fd), true); err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "turns"), nil
}

// twoFiles shows what becomes of a descriptor with two os.Files: the collector closes it with the one that was
// forgotten, under the one that is in use.
func (c *call) twoFiles() error {
	used, err := openTurns()
	if err != nil {
		return err
	}
	fd := int(used.Fd())
	if err := syscall.SetNonblock(fd, true); err != nil { // Fd has changed that
		return err
	}
	forget(fd)
	closed := 0
	for range 100 {
		runtime.GC()
		time.Sleep(time.Millisecond) // finalizers have a goroutine of their own
		if syscall.SetNonblock(fd, true) == syscall.EBADF {
			closed = 1
			break
		}
	}
	_, err = used.Read(make([]byte, 8))
	return c.send(out{What: "closed", N: closed, Data: []byte(fmt.Sprint(err))})
}

//go:noinline
func forget(fd int) { os.NewFile(uintptr(fd), "forgotten") }

func (c *call) blobs() error {
	var mu sync.Mutex
	var all sync.WaitGroup
	var failed error
	note := func(err error) {
		mu.Lock()
		defer mu.Unlock()
		failed = errors.Join(failed, err)
	}
	for i := 0; ; i++ {
		m, err := c.in.Recv(c.ctx)
		if err == io.EOF {
			all.Wait()
			return failed
		}
		if err != nil {
			return err
		}
		all.Go(func() {
			b, err := sdk.NewBlob(c.ctx, "x/y", m.Value.Data)
			if err != nil {
				note(err)
				return
			}
			if m.Value.N > 0 { // later than those that are made after it
				time.Sleep(time.Duration(m.Value.N) * time.Millisecond)
			}
			note(c.send(out{N: i, Blob: &b}))
		})
	}
}

// held reads, for each item, the blob of the first item and its own.
func (c *call) held(first sdk.Msg[in]) error {
	for {
		m, err := c.in.Recv(c.ctx)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		readable := 0
		for _, b := range []*sdk.Blob{first.Value.Blob, m.Value.Blob} {
			if _, err := sdk.ReadBlob(c.ctx, *b); err == nil {
				readable++
			} else if !errors.Is(err, functions.ErrNotFound) {
				return err
			}
		}
		if err := c.send(out{N: readable, Blob: m.Value.Blob}); err != nil {
			return err
		}
	}
}
