package wasm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/value"
	"github.com/catenary-run/catenary/internal/testkit"
	"github.com/catenary-run/catenary/sandbox"
	"github.com/catenary-run/catenary/sandbox/wasm/testdata/duplex/contract"
	"github.com/google/go-cmp/cmp"
)

// duplexHost is a host with a model and turns.
type duplexHost struct {
	turns *functions.Turns
	recv  func(ctx context.Context) (functions.Token, error) // of every generation
	open  atomic.Int64                                       // generations that nobody has closed
	asked atomic.Int64                                       // generations in all
	lines chan string
}

func newDuplexHost() *duplexHost {
	return &duplexHost{
		turns: functions.NewTurns(),
		recv:  func(context.Context) (functions.Token, error) { return functions.Token{}, io.EOF },
		lines: make(chan string, 10_000),
	}
}

func (h *duplexHost) Turns() *functions.Turns { return h.turns }

func (h *duplexHost) Log(_ slog.Level, line string) {
	select {
	case h.lines <- line:
	default: // nobody looks
	}
}

func (h *duplexHost) Generate(context.Context, string, functions.Generation) (functions.Tokens, error) {
	h.asked.Add(1)
	h.open.Add(1)
	return &duplexTokens{host: h}, nil
}

// patient returns a context under which a test waits for what has to come. It then fails with what it missed, rather than
// hang.
func patient(t *testing.T) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(t.Context(), time.Minute, errors.New("the test has waited for a minute"))
}

// logged waits until the guest has logged a line.
func (h *duplexHost) logged(t *testing.T, want string) string {
	t.Helper()
	ctx, cancel := patient(t)
	defer cancel()
	for {
		select {
		case line := <-h.lines:
			if strings.HasPrefix(line, want) {
				return line
			}
		case <-ctx.Done():
			t.Fatalf("the guest did not log %q: %v", want, context.Cause(ctx))
		}
	}
}

type duplexTokens struct {
	host *duplexHost
	once sync.Once
}

func (t *duplexTokens) Recv(ctx context.Context) (functions.Token, error) { return t.host.recv(ctx) }

func (t *duplexTokens) Close() error {
	t.once.Do(func() { t.host.open.Add(-1) })
	return nil
}

// tokensFrom makes the model answer with what comes from a channel.
func tokensFrom(c <-chan string) func(context.Context) (functions.Token, error) {
	return func(ctx context.Context) (functions.Token, error) {
		select {
		case text, ok := <-c:
			if !ok {
				return functions.Token{}, io.EOF
			}
			return functions.Token{Text: text}, nil
		case <-ctx.Done():
			return functions.Token{}, context.Cause(ctx)
		}
	}
}

// loadDuplex loads the guest that does several things at once; edit may be nil.
func loadDuplex(t testing.TB, edit func(*functions.Manifest)) sandbox.Code {
	t.Helper()
	artifact, m := buildGuest(t, "duplex")
	contractOf(t, &m, contract.Func)
	m.Uses.Models = []string{"llm"}
	m.Sample = encodeValue(t, contract.In{Do: contract.Echo})
	if edit != nil {
		edit(&m)
	}
	dir := build(t, "duplex", func(dir string) { check(t, os.Mkdir(dir, 0o700)) }) // compiled once for all tests
	code, img := load(t, goDriverIn(t, dir, nil), &m, artifact)
	if img.Why != "" {
		t.Fatalf("the image: %s", img.Why)
	}
	return code
}

func encodeValue(t testing.TB, v any) []byte {
	t.Helper()
	b, err := value.Encode(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// duplexCall is a call that runs.
type duplexCall struct {
	t       *testing.T
	in, out *functions.Stream
	end     context.CancelCauseFunc
}

// begin starts a call on inst with a first item that says what to do.
func begin(t *testing.T, inst sandbox.Instance, host functions.Host, first contract.In) *duplexCall {
	t.Helper()
	return beginItem(t, inst, host, functions.Item{Value: encodeValue(t, first)})
}

// beginItem is begin with a whole item.
func beginItem(t *testing.T, inst sandbox.Instance, host functions.Host, first functions.Item) *duplexCall {
	t.Helper()
	return beginUnder(t, t.Context(), inst, host, first)
}

// beginUnder is begin with a context to run under.
func beginUnder(t *testing.T, ctx context.Context, inst sandbox.Instance, host functions.Host, first functions.Item) *duplexCall {
	t.Helper()
	ctx, cancel := context.WithCancelCause(ctx)
	d := &duplexCall{t, functions.NewStream(0, 0), functions.NewStream(0, 0), cancel}
	var served sync.WaitGroup
	t.Cleanup(func() {
		cancel(nil)
		served.Wait()
	})
	served.Go(func() { d.out.CloseSend(inst.Serve(ctx, d.in, d.out, host)) })
	d.send(first)
	return d
}

func (d *duplexCall) send(it functions.Item) {
	d.t.Helper()
	ctx, cancel := patient(d.t)
	defer cancel()
	if err := d.in.Send(ctx, it); err != nil {
		d.t.Fatalf("an item was not taken: %v", err)
	}
}

func (d *duplexCall) sendIn(in contract.In) {
	d.t.Helper()
	d.send(functions.Item{Value: encodeValue(d.t, in)})
}

// next waits for the next item.
func (d *duplexCall) next() (contract.Out, functions.Item) {
	d.t.Helper()
	ctx, cancel := patient(d.t)
	defer cancel()
	it, err := d.out.Recv(ctx)
	if err != nil {
		d.t.Fatalf("no item came: %v", err)
	}
	var out contract.Out
	if err := value.Decode(it.Value, &out); err != nil {
		d.t.Fatal(err)
	}
	return out, it
}

func (d *duplexCall) wants(want contract.Out) {
	d.t.Helper()
	got, _ := d.next()
	if diff := cmp.Diff(want, got); diff != "" {
		d.t.Fatal(diff)
	}
}

// ended waits for the end of the call.
func (d *duplexCall) ended() error {
	d.t.Helper()
	ctx, cancel := patient(d.t)
	defer cancel()
	it, err := d.out.Recv(ctx)
	if err == nil {
		d.t.Fatalf("an item came: %q", it.Value)
	}
	if err == io.EOF {
		return nil
	}
	return err
}

// A guest hears its input, a model and its ticker while each of them is silent, and sends meanwhile.
func TestDuplex_ManyThingsAtOnce(t *testing.T) {
	tokens := make(chan string)
	host := newDuplexHost()
	host.recv = tokensFrom(tokens)
	inst := newInstance(t, loadDuplex(t, nil))
	d := begin(t, inst, host, contract.In{Do: contract.Mix})
	for i := range 5 {
		host.logged(t, "tick") // neither items nor tokens
		d.sendIn(contract.In{N: i})
		d.wants(contract.Out{What: "item", N: i})
		host.logged(t, "tick")
		tokens <- "word"
		d.wants(contract.Out{What: "token", Data: []byte("word")})
	}
	d.in.CloseSend(nil)
	tokens <- "last"
	d.wants(contract.Out{What: "token", Data: []byte("last")})
	close(tokens)
	if out, _ := d.next(); out.What != "ticks" || out.N < 10 {
		t.Errorf("got %v, want at least the 10 ticks that were logged", out)
	}
	if err := d.ended(); err != nil {
		t.Error(err)
	}
	if n := host.open.Load(); n != 0 {
		t.Errorf("%d generations are open", n)
	}
	if err := inst.Reset(t.Context()); err != nil {
		t.Error(err)
	}
}

// Go asks the host what is ready only when no goroutine can run. A guest in which one always can gets its items all the
// same.
func TestDuplex_GuestThatIsAlwaysBusy(t *testing.T) {
	code := loadDuplex(t, nil)
	for _, do := range []string{contract.Gosched, contract.PingPong} {
		t.Run(do, func(t *testing.T) {
			host := newDuplexHost()
			d := begin(t, newInstance(t, code), host, contract.In{Do: do})
			host.logged(t, "busy")
			d.sendIn(contract.In{})
			if out, _ := d.next(); out.What != "got" {
				t.Errorf("got %v", out)
			}
			if err := d.ended(); err != nil {
				t.Error(err)
			}
		})
	}
}

// roundGate holds the model's tokens back until the guest says that all its goroutines wait. It stays open until all have
// theirs: a goroutine's question may come to the host a little after the guest has said that it waits.
type roundGate struct {
	mu   sync.Mutex
	open chan struct{}
}

func newRoundGate() *roundGate { return &roundGate{open: make(chan struct{})} }

func (g *roundGate) recv(ctx context.Context) (functions.Token, error) {
	g.mu.Lock()
	open := g.open
	g.mu.Unlock()
	select {
	case <-open:
		return functions.Token{Text: "word"}, nil
	case <-ctx.Done():
		return functions.Token{}, context.Cause(ctx)
	}
}

func (g *roundGate) lift() {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.open)
}

func (g *roundGate) lower() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open = make(chan struct{})
}

// Go's runtime crashes when exactly 128 goroutines begin to wait at once. The host lets no guest come near that.
func TestDuplex_WaitersAreBounded(t *testing.T) {
	const most = 64 - 3 // beside input, output and turns
	code := loadDuplex(t, nil)
	round := func(d *duplexCall, g *roundGate, n int) {
		t.Helper()
		waiting := min(n, most)
		d.wants(contract.Out{What: "waiting", N: waiting})
		g.lift()
		d.wants(contract.Out{What: "tokens", N: waiting})
		g.lower()
		d.wants(contract.Out{What: "refused", N: n - waiting})
	}
	for _, n := range []int{127, 128, 129} {
		host, g := newDuplexHost(), newRoundGate()
		host.recv = g.recv
		d := begin(t, newInstance(t, code), host, contract.In{Do: contract.Wait, N: n})
		round(d, g, n)
		if err := d.ended(); err != nil {
			t.Errorf("%d: %v", n, err)
		}
	}
	host, g := newDuplexHost(), newRoundGate()
	host.recv = g.recv
	d := begin(t, newInstance(t, code), host, contract.In{Do: contract.Counts, N: most + 2})
	for n := 1; n <= most+2; n++ {
		round(d, g, n)
	}
	if err := d.ended(); err != nil {
		t.Error(err)
	}
}

// untilParked waits until n guests wait in poll_oneoff.
func untilParked(t *testing.T, n int) {
	t.Helper()
	stacks := make([]byte, 8<<20)
	testkit.Eventually(t, "guests to wait in poll_oneoff", func() bool {
		return strings.Count(string(stacks[:runtime.Stack(stacks, true)]), "(*poll).wait(") >= n
	})
}

// The end of a call reaches its guest as an error of all that it waits for. One that returns is as fit as before, and so
// is one that has to be stopped.
func TestDuplex_Cancel(t *testing.T) {
	code := loadDuplex(t, nil)
	for _, test := range []struct {
		do     string
		rounds int
	}{{contract.Park, 20}, {contract.Deaf, 3}} {
		t.Run(test.do, func(t *testing.T) {
			inst := newInstance(t, code)
			image := imageOf(t, code)
			for range test.rounds {
				host, why := newDuplexHost(), errors.New("the caller hung up")
				d := begin(t, inst, host, contract.In{Do: test.do})
				host.logged(t, "parks") // it has its first item, so what it waits for next is the second
				untilParked(t, 1)
				d.end(why)
				// By the input, or by the turns, whose reader may run first and ends its context.
				if line := host.logged(t, "told: "); !strings.Contains(line, "(errno 11)") && line != "told: the call was ended" {
					t.Errorf("the guest is told %q, want errno 11", line)
				}
				if err := d.ended(); !errors.Is(err, why) {
					t.Fatalf("got %v, want the cause of the context", err)
				}
				if err := inst.Reset(t.Context()); err != nil {
					t.Fatal(err)
				}
				if err := image.differs(inst); err != nil {
					t.Fatal(err)
				}
				d = begin(t, inst, newDuplexHost(), contract.In{Do: contract.Echo, N: 7})
				d.wants(contract.Out{N: 7})
				d.in.CloseSend(nil)
				if err := d.ended(); err != nil {
					t.Fatal(err)
				}
				if err := inst.Reset(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// A guest knows how much time it has, and why its call ends: the context that it got says so.
func TestDuplex_DeadlineAndCause(t *testing.T) {
	inst := newInstance(t, loadDuplex(t, nil))
	for cause, want := range map[error]string{
		fmt.Errorf("%w: the caller's limit", context.DeadlineExceeded): "cause: context deadline exceeded: the caller's limit, deadline true",
		fmt.Errorf("%w: the caller hung up", context.Canceled):         "cause: context canceled: the caller hung up, deadline false",
		errors.New("open /secret: no such file"):                       "cause: the call was ended, deadline false",
	} {
		limit, cancel := context.WithTimeout(t.Context(), 2*time.Hour)
		host := newDuplexHost()
		d := beginUnder(t, limit, inst, host, functions.Item{Value: encodeValue(t, contract.In{Do: contract.Park})})
		var seconds int
		if _, err := fmt.Sscanf(host.logged(t, "has seconds: "), "has seconds: %d", &seconds); err != nil || seconds < 3600 || seconds > 7200 {
			t.Errorf("it has %d s left, %v", seconds, err)
		}
		host.logged(t, "parks")
		d.end(cause)
		if got := host.logged(t, "cause: "); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if err := d.ended(); err != cause {
			t.Errorf("got %v, want the cause", err)
		}
		check(t, inst.Reset(t.Context()))
		cancel()
	}
}

// What fails ends the call, whatever the guest waits for.
func TestDuplex_EdgesThatFail(t *testing.T) {
	code := loadDuplex(t, nil)
	t.Run("input", func(t *testing.T) {
		host, why := newDuplexHost(), errors.New("the writer failed")
		host.recv = tokensFrom(make(chan string))
		d := begin(t, newInstance(t, code), host, contract.In{Do: contract.Last})           // it reads no further item
		testkit.Eventually(t, "a generation", func() bool { return host.asked.Load() > 0 }) // it has its first item
		untilParked(t, 1)
		d.in.CloseSend(why)
		if err := d.ended(); !errors.Is(err, why) {
			t.Errorf("got %v, want the source's own error", err)
		}
	})
	t.Run("output", func(t *testing.T) {
		host, why := newDuplexHost(), errors.New("the reader is gone")
		host.recv = tokensFrom(make(chan string))
		in := functions.NewStream(0, 0)
		for _, first := range []contract.In{{Do: contract.Mix}, {N: 1}} {
			check(t, in.Send(t.Context(), functions.Item{Value: encodeValue(t, first)}))
		}
		// It fails while the guest waits: for an item, a token and room in the output.
		err := newInstance(t, code).Serve(t.Context(), in, functions.SinkFunc(func(context.Context, functions.Item) error {
			untilParked(t, 1)
			return why
		}), host)
		if !errors.Is(err, why) {
			t.Errorf("got %v, want the sink's own error", err)
		}
	})
}

// A guest that has trapped is thrown away, whatever else of it was waiting.
func TestDuplex_TrapWhileItWaits(t *testing.T) {
	inst := newInstance(t, loadDuplex(t, nil))
	d := begin(t, inst, newDuplexHost(), contract.In{Do: contract.Crash})
	if err := d.ended(); !errors.Is(err, functions.ErrTrap) || !strings.Contains(err.Error(), "enough") {
		t.Errorf("got %v, want functions.ErrTrap", err)
	}
	if err := inst.Reset(t.Context()); !errors.Is(err, sandbox.ErrSpent) {
		t.Errorf("reset: got %v, want sandbox.ErrSpent", err)
	}
}

// A reader that is slow holds the guest's sends, and nothing else of it.
func TestDuplex_BackPressure(t *testing.T) {
	const n = 20
	host := newDuplexHost()
	inst := newInstance(t, loadDuplex(t, nil))
	in := functions.NewStream(0, 0)
	check(t, in.Send(t.Context(), functions.Item{Value: encodeValue(t, contract.In{Do: contract.Fill, N: n})}))
	accepted, sent := 0, 0
	err := inst.Serve(t.Context(), in, functions.SinkFunc(func(ctx context.Context, _ functions.Item) error {
		if accepted < 3 {
			for ticks := 0; ticks < 5; {
				select {
				case line := <-host.lines:
					switch line {
					case "tick":
						ticks++
					case "sent":
						sent++
					}
				case <-ctx.Done():
					return context.Cause(ctx)
				}
			}
			if sent > accepted+1 {
				t.Errorf("%d items are sent when %d were accepted", sent, accepted)
			}
		}
		accepted++
		return nil
	}), host)
	if err != nil {
		t.Error(err)
	}
	if accepted != n+1 {
		t.Errorf("%d items, want %d", accepted, n+1)
	}
}

// A function that has no sample is reset all the same, after a call that has filled its heap too: prepare has made what Go
// keeps beside the heap, and the collector runs before the heap has to grow.
func TestDuplex_ResetWithoutASample(t *testing.T) {
	inst := newInstance(t, loadDuplex(t, func(m *functions.Manifest) { m.Sample = nil }))
	mem := inst.(*instance).guest.mem
	size := len(mem.Bytes())
	for _, items := range []int{1, 100, 5000, 1} {
		d := begin(t, inst, newDuplexHost(), contract.In{Do: contract.Echo})
		d.wants(contract.Out{})
		for i := range items {
			d.sendIn(contract.In{N: i, Data: make([]byte, 640)})
			d.next()
		}
		d.in.CloseSend(nil)
		if err := d.ended(); err != nil {
			t.Fatal(err)
		}
		if err := inst.Reset(t.Context()); err != nil {
			t.Fatalf("after %d items, for which its memory has grown from %d to %d bytes: %v", items, size, len(mem.Bytes()), err)
		}
	}
}
