package sandboxtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/sandbox"
	"github.com/catenary-run/catenary/sandbox/sandboxtest/fixture"
)

// StreamConfig says what RunStreams runs and what it may expect.
type StreamConfig struct {
	// Driver makes a driver. Dir is an empty folder for its files.
	Driver func(t *testing.T, dir string) sandbox.Driver
	// Build makes the artifact of the full-duplex fixture and returns its file and a manifest for it.
	Build func(t *testing.T) (artifact string, m functions.Manifest)
	// Generate is true if functions of this driver can use models.
	Generate bool
	// Ahead is how many items of 64 KiB may be under way between the function and the sink, beyond the one that it
	// holds.
	Ahead int
}

// RunStreams runs the suite of functions that read their input and send their output at a pace of their own.
func RunStreams(t *testing.T, cfg StreamConfig) {
	before := usage()
	s := &streams{StreamConfig: cfg}
	driver := cfg.Driver(t, t.TempDir())
	artifact, m := cfg.Build(t)
	m.Limits.OutBytes = 1 << 20
	if cfg.Generate {
		m.Uses.Models = []string{"llm"}
	}
	img, err := driver.Prepare(t.Context(), &m, artifact)
	if err != nil {
		t.Fatalf("prepare: %v", err)
	}
	code, err := driver.Load(t.Context(), img)
	if err != nil {
		t.Fatalf("load: %v", err)
	}
	for _, test := range []struct {
		name string
		run  func(*testing.T, sandbox.Code)
	}{
		{"AnswersAtOnce", s.testAnswersAtOnce},
		{"Blobs", s.testBlobs},
		{"LimitOfAnItem", s.testLimit},
		{"BackPressure", s.testBackPressure},
		{"ReturnsEarly", s.testReturnsEarly},
		{"SourceFails", s.testSourceFails},
		{"Fails", s.testFails},
		{"Interrupt", s.testInterrupt},
		{"Waits", s.testWaits},
		{"Cancel", s.testCancel},
		{"Cause", s.testCause},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, code) })
	}
	if err := code.Close(); err != nil {
		t.Errorf("close code: %v", err)
	}
	before.check(t)
}

type streams struct{ StreamConfig }

// running is a call of the fixture that goes on.
type running struct {
	t      *testing.T
	in     *functions.Stream
	out    *functions.Stream
	cancel context.CancelCauseFunc
}

func newRunning(t *testing.T) *running {
	return &running{t: t, in: functions.NewStream(0, 0), out: functions.NewStream(0, 0)}
}

func serveStream(t *testing.T, inst sandbox.Instance, host functions.Host) *running {
	t.Helper()
	r := newRunning(t)
	r.serve(inst, r.in, host)
	return r
}

// serve begins the call, whose input comes by in.
func (r *running) serve(inst sandbox.Instance, in functions.Source, host functions.Host) {
	r.serveUnder(r.t.Context(), inst, in, host)
}

func (r *running) serveUnder(ctx context.Context, inst sandbox.Instance, in functions.Source, host functions.Host) {
	ctx, cancel := context.WithCancelCause(ctx)
	r.cancel = cancel
	var served sync.WaitGroup
	r.t.Cleanup(func() {
		cancel(nil)
		served.Wait()
	})
	served.Go(func() { r.out.CloseSend(inst.Serve(ctx, in, r.out, host)) })
}

func (r *running) send(in fixture.In, it functions.Item) {
	r.t.Helper()
	it.Value = encode(r.t, in)
	if err := r.in.Send(r.t.Context(), it); err != nil {
		r.t.Fatal(err)
	}
}

func (r *running) next() (fixture.Out, functions.Item) {
	r.t.Helper()
	it, err := r.out.Recv(r.t.Context())
	if err != nil {
		r.t.Fatalf("no item came: %v", err)
	}
	return decode(r.t, it), it
}

// end returns how the call ended. No further item may come.
func (r *running) end() error {
	r.t.Helper()
	it, err := r.out.Recv(r.t.Context())
	switch err {
	case nil:
		r.t.Fatalf("an item came: %x", it.Value)
	case io.EOF:
		return nil
	}
	return err
}

// Each item is answered before the next one comes, with its turn and time.
func (s *streams) testAnswersAtOnce(t *testing.T, code sandbox.Code) {
	r := serveStream(t, start(t, code), &streamHost{})
	at := time.Unix(1_700_000_000, 1)
	for i := range 100 {
		it := functions.Item{Turn: uint64(i / 10)}
		if i%2 == 0 {
			it.Time = at.Add(time.Duration(i))
		}
		r.send(fixture.In{Do: fixture.Echo, N: i}, it)
		out, got := r.next()
		if out.N != i || got.Seq != uint64(i) || got.Turn != it.Turn || !got.Time.Equal(it.Time) {
			t.Fatalf("item %d: got number %d, seq %d, turn %d, time %v", i, out.N, got.Seq, got.Turn, got.Time)
		}
	}
	r.in.CloseSend(nil)
	if err := r.end(); err != nil {
		t.Error(err)
	}
}

// A blob travels with the item that refers to it.
func (s *streams) testBlobs(t *testing.T, code sandbox.Code) {
	r := serveStream(t, start(t, code), &streamHost{})
	for i := range 10 {
		text := fmt.Sprint("blob ", i)
		r.send(fixture.In{Do: fixture.Blob, Text: text}, functions.Item{})
		for _, n := range []int{1, 0} {
			out, it := r.next()
			if want := fmt.Sprint(text, " ", n); out.N != n || len(it.Blobs) != 1 || string(it.Blobs[0].Data) != want || it.Blobs[0].Digest != out.Blob.Digest {
				t.Fatalf("item %d: number %d with %v, want %q", i, out.N, it.Blobs, want)
			}
		}
		// And the bytes of one that came with an item are there.
		att := functions.Attach("text/plain", []byte(text))
		r.send(fixture.In{Do: fixture.Read, Blob: &att.Blob}, functions.Item{Blobs: []functions.Attachment{att}})
		if out, _ := r.next(); out.Text != text {
			t.Fatalf("item %d: its blob has the text %q", i, out.Text)
		}
	}
	r.in.CloseSend(nil)
	if err := r.end(); err != nil {
		t.Error(err)
	}
}

// What a stream may yield is limited by the item.
func (s *streams) testLimit(t *testing.T, code sandbox.Code) {
	r := serveStream(t, start(t, code), &streamHost{})
	const n = 8 // together they are far above it
	r.send(fixture.In{Do: fixture.Count, N: n, Bytes: 900 << 10}, functions.Item{})
	for range n {
		r.next()
	}
	r.send(fixture.In{Do: fixture.Count, N: 1, Bytes: 1100 << 10}, functions.Item{})
	if err := r.end(); !errors.Is(err, functions.ErrOutputLimit) {
		t.Errorf("got %v, want functions.ErrOutputLimit", err)
	}
}

func (s *streams) testBackPressure(t *testing.T, code sandbox.Code) {
	const n = 100
	host := &streamHost{}
	in := functions.NewStream(0, 0)
	if err := in.Send(t.Context(), functions.Item{Value: encode(t, fixture.In{Do: fixture.Count, N: n, Bytes: 64 << 10})}); err != nil {
		t.Fatal(err)
	}
	in.CloseSend(nil)
	accepted := 0
	err := start(t, code).Serve(t.Context(), in, functions.SinkFunc(func(context.Context, functions.Item) error {
		if accepted == 3 {
			time.Sleep(300 * time.Millisecond) // time to run ahead, for a function that nobody holds
		}
		if sent, _ := host.count(fixture.SentLine); sent > accepted+1+s.Ahead {
			return fmt.Errorf("the function has sent %d items when %d were accepted", sent, accepted)
		}
		accepted++
		return nil
	}), host)
	if err != nil || accepted != n {
		t.Errorf("%d items, error %v, want %d", accepted, err, n)
	}
}

// A function may be done before its input is.
func (s *streams) testReturnsEarly(t *testing.T, code sandbox.Code) {
	r := serveStream(t, start(t, code), &streamHost{})
	r.send(fixture.In{Do: fixture.Echo, N: 1}, functions.Item{})
	r.next()
	r.send(fixture.In{Do: fixture.Stop}, functions.Item{})
	if err := r.end(); err != nil {
		t.Error(err)
	}
}

func (s *streams) testSourceFails(t *testing.T, code sandbox.Code) {
	broken := errors.New("writer failed")
	r := serveStream(t, start(t, code), &streamHost{})
	r.send(fixture.In{Do: fixture.Echo, N: 1}, functions.Item{})
	r.next()
	r.in.CloseSend(broken)
	if err := r.end(); !errors.Is(err, broken) {
		t.Errorf("got %v, want the source's own error", err)
	}
}

func (s *streams) testFails(t *testing.T, code sandbox.Code) {
	r := serveStream(t, start(t, code), &streamHost{})
	r.send(fixture.In{Do: fixture.Echo, N: 1}, functions.Item{})
	r.send(fixture.In{Do: fixture.Fail, Text: "the moon is full"}, functions.Item{})
	r.next() // what was sent before has arrived
	if err := r.end(); !errors.Is(err, functions.ErrFunction) || !strings.Contains(err.Error(), "the moon is full") {
		t.Errorf("got %v, want functions.ErrFunction with its text", err)
	}
}

// The end of a turn reaches a function that waits, and the call goes on.
func (s *streams) testInterrupt(t *testing.T, code sandbox.Code) {
	models := []string{""}
	if s.Generate {
		models = append(models, "llm")
	}
	for _, model := range models {
		t.Run("model "+model, func(t *testing.T) {
			host := &streamHost{turns: functions.NewTurns()}
			r := serveStream(t, start(t, code), host)
			for turn := range 5 {
				r.send(fixture.In{Do: fixture.Turn, N: turn, Model: model}, functions.Item{Turn: uint64(turn)})
				host.await(t, fixture.Ready)
				host.turns.End(uint64(turn))
				if out, it := r.next(); out.Text != "interrupted" || out.N != turn || it.Turn != uint64(turn)+1 {
					t.Fatalf("turn %d: got %v of turn %d", turn, out, it.Turn)
				}
			}
			r.send(fixture.In{Do: fixture.Turn, N: 2, Model: model}, functions.Item{Turn: 5}) // that is over already
			if out, _ := r.next(); out.Text != "interrupted" {
				t.Errorf("got %v", out)
			}
			r.in.CloseSend(nil)
			if err := r.end(); err != nil {
				t.Error(err)
			}
			if n := host.waiting.Load(); n != 0 {
				t.Errorf("%d generations go on", n)
			}
		})
	}
}

// The input learns when the function waits for it and when it is at work, however far ahead of the function it is read.
func (s *streams) testWaits(t *testing.T, code sandbox.Code) {
	host := &streamHost{}
	r := newRunning(t)
	in := &awaited{Stream: r.in}
	r.serve(start(t, code), in, host)
	in.await(t, "the function to wait for its first item", func(w functions.Waits) bool { return w.Now })
	r.send(fixture.In{Do: fixture.Echo}, functions.Item{})
	r.next()
	in.await(t, "the function to wait again", func(w functions.Waits) bool { return w.Now && w.Total > 0 })
	r.send(fixture.In{Do: fixture.Work}, functions.Item{})
	host.await(t, fixture.Ready)
	in.await(t, "the function to be at work", func(w functions.Waits) bool { return !w.Now })
}

// awaited is an input that keeps what it is told.
type awaited struct {
	*functions.Stream
	waits functions.KnownWaits
}

// Ahead implements functions.Awaited.
func (a *awaited) Ahead() (report func(functions.Waits)) { return a.waits.Report }

func (a *awaited) await(t *testing.T, what string, is func(functions.Waits) bool) {
	t.Helper()
	eventually(t, what, func() bool { return is(a.waits.Waits()) })
}

// A function hears why its call ends, in its context, and how long it may take.
func (s *streams) testCause(t *testing.T, code sandbox.Code) {
	inst := start(t, code)
	for cause, want := range map[error]string{
		fmt.Errorf("%w: the caller hung up", context.Canceled):         "the caller hung up, deadline false",
		fmt.Errorf("%w: the caller's limit", context.DeadlineExceeded): "the caller's limit, deadline true",
		errors.New("open /a/secret: no such file"):                     "the call was ended, deadline false",
	} {
		host := &streamHost{}
		r := serveStream(t, inst, host)
		r.send(fixture.In{Do: fixture.Work}, functions.Item{})
		host.await(t, fixture.Ready)
		r.cancel(cause)
		if err := r.end(); err != cause {
			t.Errorf("got %v, want the cause", err)
		}
		if n, _ := host.count(fixture.Ended); n != 1 {
			t.Errorf("%v: the function logs %v", cause, host.lines)
		} else if n, _ := host.count(want); n != 1 {
			t.Errorf("%v: the function logs %v, want %q", cause, host.lines, want)
		}
		if err := inst.Reset(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	// Whatever the function makes of it, the call has not ended well.
	host, gone := &streamHost{}, errors.New("the caller is gone")
	r := serveStream(t, inst, host)
	r.send(fixture.In{Do: fixture.Leave}, functions.Item{})
	host.await(t, fixture.Ready)
	r.cancel(gone)
	if err := r.end(); err != gone {
		t.Errorf("a function that says nothing: got %v, want the cause", err)
	}
	if err := inst.Reset(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 5 { // a deadline that passes by itself: whoever notices it first
		limit := fmt.Errorf("%w: the caller's limit", context.DeadlineExceeded)
		ctx, cancel := context.WithTimeoutCause(t.Context(), 300*time.Millisecond, limit)
		host := &streamHost{}
		r := newRunning(t)
		r.serveUnder(ctx, inst, r.in, host)
		r.send(fixture.In{Do: fixture.Work}, functions.Item{})
		if err := r.end(); err != limit {
			t.Errorf("got %v, want the cause", err)
		}
		if n, _ := host.count("the caller's limit, deadline true"); n != 1 {
			t.Errorf("the function logs %v", host.lines)
		}
		if err := inst.Reset(t.Context()); err != nil {
			t.Fatal(err)
		}
		cancel()
	}
}

// A call can be cut off while it waits for an item, a model or its reader; then the instance is fit for another one, or
// says that it is not.
func (s *streams) testCancel(t *testing.T, code sandbox.Code) {
	for _, do := range []fixture.In{{Do: fixture.Echo}, {Do: fixture.Turn}, {Do: fixture.Turn, Model: "llm"}, {Do: fixture.Count, N: 1 << 20, Bytes: 64 << 10}} {
		if do.Model != "" && !s.Generate {
			continue
		}
		t.Run(do.Do+do.Model, func(t *testing.T) {
			host := &streamHost{turns: functions.NewTurns()}
			why := errors.New("the caller hung up")
			inst := start(t, code)
			r := serveStream(t, inst, host)
			r.send(do, functions.Item{})
			switch do.Do {
			case fixture.Turn:
				host.await(t, fixture.Ready)
			default:
				r.next()
			}
			r.cancel(why)
			var err error
			for err == nil { // what was sent before
				_, err = r.out.Recv(t.Context())
			}
			if !errors.Is(err, why) {
				t.Fatalf("got %v, want the cause of the context", err)
			}
			if n := host.waiting.Load(); n != 0 {
				t.Errorf("%d generations go on", n)
			}
			if err := inst.Reset(t.Context()); err != nil {
				if !errors.Is(err, sandbox.ErrSpent) {
					t.Errorf("reset: %v", err)
				}
				return
			}
			r = serveStream(t, inst, &streamHost{})
			r.send(fixture.In{Do: fixture.Echo, N: 7}, functions.Item{})
			if out, _ := r.next(); out.N != 7 {
				t.Errorf("the next call: got %v", out)
			}
			r.in.CloseSend(nil)
			if err := r.end(); err != nil {
				t.Errorf("the next call: %v", err)
			}
		})
	}
}

// streamHost is a host whose turns end and whose model never says anything.
type streamHost struct {
	host
	turns   *functions.Turns
	waiting atomic.Int64 // generations that nobody has closed
	seen    int          // lines that await has seen
}

func (h *streamHost) Turns() *functions.Turns { return h.turns }

func (h *streamHost) Generate(context.Context, string, functions.Generation) (functions.Tokens, error) {
	h.waiting.Add(1)
	return &silence{host: h}, nil
}

// await waits until the function has logged the line once more.
func (h *streamHost) await(t *testing.T, line string) {
	t.Helper()
	eventually(t, "the line "+line, func() bool {
		n, _ := h.count(line)
		return n > h.seen
	})
	h.seen, _ = h.count(line)
}

// silence is an answer that does not come.
type silence struct {
	host *streamHost
	once sync.Once
}

func (s *silence) Recv(ctx context.Context) (functions.Token, error) {
	<-ctx.Done()
	return functions.Token{}, context.Cause(ctx)
}

func (s *silence) Close() error {
	s.once.Do(func() { s.host.waiting.Add(-1) })
	return nil
}

// eventually waits until ok says so, a minute at most.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.After(time.Minute); !ok(); {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("waited a minute for %s", what)
		}
	}
}
