package plugin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/sandbox"
	"github.com/catenary-run/catenary/sandbox/plugin/pluginv1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// frameBytes is the allowance of a message for all that is not the values and blobs of its item.
const frameBytes = 64 << 10

// Serve runs one call. The input is sent and the output received side by side. The call ends with its output, whether
// all of the input has been taken or not.
func (i *instance) Serve(ctx context.Context, in functions.Source, out functions.Sink, host functions.Host) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if i.spent.Load() {
		return fmt.Errorf("%w: %w", functions.ErrUnavailable, sandbox.ErrSpent)
	}
	call, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	if err := i.begin(fail); err != nil {
		return err
	}
	defer i.end()
	if limit := i.limits.Time; limit > 0 {
		ctx, left, stop := functions.WithAllowance(call, limit, fmt.Errorf("%w: the call took longer than %s", functions.ErrTimeLimit, limit))
		defer stop()
		if call = ctx; !i.inStream { // else it may be at work while what it has sent waits
			out = left.Sink(out)
		}
	}
	defer i.proc.logs.during(host.Log)()

	name := strconv.FormatUint(i.calls.Add(1), 10)
	header := []string{pluginv1.CallHeader, name}
	if left, limited := functions.TimeLeft(call); limited {
		header = append(header, pluginv1.LeftHeader, strconv.FormatInt(left.Milliseconds(), 10))
	}
	wire, hangUp := functions.Outlast(metadata.AppendToOutgoingContext(call, header...), pluginv1.EndGrace)
	defer hangUp()
	stream, err := i.rpc.Handle(wire, grpc.MaxCallRecvMsgSize(int(min(i.limits.OutBytes, maxMessage)+frameBytes)))
	if err != nil {
		return i.failure(call, err)
	}
	ended := make(chan struct{}) // by the plugin, and well
	input := newInput(stream, i.notices)
	if i.notices {
		input.report = functions.Ahead(in)
	}
	var helpers sync.WaitGroup
	helpers.Go(func() {
		if err := input.feed(call, in); err != nil {
			fail(err)
		}
	})
	if turns := host.Turns(); turns != nil && i.notices {
		helpers.Go(func() { input.tell(call, turns) })
	}
	helpers.Go(func() { i.watchMemory(call) })
	helpers.Go(func() {
		select {
		case <-call.Done():
			i.tellEnd(name, sandbox.CauseOf(call))
			hangUp()
		case <-ended:
		}
	})
	err = i.receive(call, stream, input, out)
	if err == nil && call.Err() != nil {
		err = context.Cause(call) // it may have ended for that, and not said all
	}
	if err == nil {
		close(ended)
		hangUp()
	}
	fail(err)        // ends the helpers, and the call if out failed
	for err != nil { // an implementation that is sending must not wait for room: it would not hear of the end
		if _, broken := stream.Recv(); broken != nil {
			break
		}
	}
	helpers.Wait()
	return err
}

// tellEnd tells the plugin why a call ends, and waits for that. One that does not listen is hung up on all the same.
func (i *instance) tellEnd(name string, why functions.Failure) {
	select {
	case <-i.proc.done:
		return
	default:
	}
	ctx, cancel := context.WithTimeout(context.Background(), pluginv1.EndGrace)
	defer cancel()
	_, _ = i.rpc.End(ctx, &pluginv1.EndRequest{Call: name, Code: string(why.Code), Message: why.Message})
}

const (
	// watchPeriod is short against the time in which a process can do harm with memory that it must not have, and long
	// against the time that a look takes: some 150 microseconds, more with descendants.
	watchPeriod = 100 * time.Millisecond
	// watchShare bounds what looks at a large tree cost: one of the node's cores, a twentieth of the time.
	watchShare = 20
)

// watchMemory kills the process when it and its descendants have more in memory than its limit. The kernel's limit is
// wider: it counts memory that is reserved but not used, and each process for itself; see memAllowance.
func (i *instance) watchMemory(ctx context.Context) {
	look := time.NewTimer(watchPeriod)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
			began := time.Now()
			if i.proc.memory(i.limits.MemBytes) > i.limits.MemBytes {
				i.overMemory.Store(true)
				i.proc.kill()
				return
			}
			look.Reset(max(watchPeriod, watchShare*time.Since(began)))
		}
	}
}

// maxMessage is what fits into a message of gRPC's.
const maxMessage = 1<<31 - 1 - frameBytes

type handleStream = grpc.BidiStreamingClient[pluginv1.Item, pluginv1.Item]

// receive receives the output to its end.
func (i *instance) receive(ctx context.Context, stream handleStream, input *input, out functions.Sink) error {
	var seq uint64
	var bytes int64 // of the item if the call may go on for ever, else of all so far
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			if i.unary && seq == 0 {
				return fmt.Errorf("%w: the plugin sent no item, its output is one value", functions.ErrFunction)
			}
			return nil
		}
		if err != nil {
			return i.failure(ctx, err)
		}
		if err := input.taken(m.GetTaken()); err != nil {
			return err
		}
		input.waited(m.GetWaits())
		if input.credit != nil && len(m.GetValue()) == 0 && (m.GetTaken() > 0 || m.GetWaits() != nil) {
			continue
		}
		if i.unary && seq > 0 {
			return fmt.Errorf("%w: the plugin sent a second item, its output is one value", functions.ErrFunction)
		}
		it, err := fromWire(m, seq)
		if err != nil {
			return err
		}
		what := "output"
		if i.inStream {
			what, bytes = "item of the output", 0
		}
		if bytes += it.Size(); bytes > i.limits.OutBytes {
			return fmt.Errorf("%w: the %s is larger than %d bytes", functions.ErrOutputLimit, what, i.limits.OutBytes)
		}
		if err := out.Send(ctx, it); err != nil {
			return err
		}
		seq++
	}
}
