package plugin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/sandbox"
	"github.com/catenary-run/catenary/sandbox/plugin/pluginv1"
	"google.golang.org/grpc"
)

// frameBytes is the allowance of a message for all that is not the values and blobs of its item.
const frameBytes = 64 << 10

// Serve runs one call. The input is sent and the output received side by side.
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
	timed, cancel := context.WithTimeoutCause(call, i.limits.Time, fmt.Errorf("%w: the call took longer than %s", functions.ErrTimeLimit, i.limits.Time))
	defer cancel()
	defer i.proc.logs.during(host.Log)()

	stream, err := i.rpc.Handle(timed, grpc.MaxCallRecvMsgSize(int(min(i.limits.OutBytes, maxMessage)+frameBytes)))
	if err != nil {
		return i.failure(timed, err)
	}
	var helpers sync.WaitGroup
	helpers.Go(func() {
		if err := send(timed, stream, in); err != nil {
			fail(err)
		}
	})
	helpers.Go(func() { i.watchMemory(timed) })
	err = i.receive(timed, stream, out)
	fail(err) // ends the helpers, and the call if out failed
	helpers.Wait()
	return err
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

// send sends the input to its end. It returns nil when the plugin does not read on, since receive tells why.
func send(ctx context.Context, stream handleStream, in functions.Source) error {
	for {
		it, err := in.Recv(ctx)
		if errors.Is(err, io.EOF) {
			_ = stream.CloseSend() // its error is always nil
			return nil
		}
		if err != nil {
			return err
		}
		if err := stream.Send(toWire(it)); err != nil {
			return nil
		}
	}
}

// receive receives the output to its end.
func (i *instance) receive(ctx context.Context, stream handleStream, out functions.Sink) error {
	var seq uint64
	var bytes int64
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
		if i.unary && seq > 0 {
			return fmt.Errorf("%w: the plugin sent a second item, its output is one value", functions.ErrFunction)
		}
		it, err := fromWire(m, seq)
		if err != nil {
			return err
		}
		if bytes += it.Size(); bytes > i.limits.OutBytes {
			return fmt.Errorf("%w: the output is larger than %d bytes", functions.ErrOutputLimit, i.limits.OutBytes)
		}
		if err := out.Send(ctx, it); err != nil {
			return err
		}
		seq++
	}
}

func toWire(it functions.Item) *pluginv1.Item {
	m := &pluginv1.Item{Value: it.Value, Seq: it.Seq, Turn: it.Turn}
	if !it.Time.IsZero() {
		m.TimeUnixNanos = it.Time.UnixNano()
	}
	for _, b := range it.Blobs {
		m.Blobs = append(m.Blobs, &pluginv1.Blob{Digest: string(b.Digest), Type: b.Type, Data: b.Data})
	}
	return m
}

// fromWire returns the item of a message as number seq of the output. It trusts nothing of it.
func fromWire(m *pluginv1.Item, seq uint64) (functions.Item, error) {
	it := functions.Item{Value: m.GetValue(), Seq: seq, Turn: m.GetTurn()}
	if len(it.Value) == 0 {
		return it, fmt.Errorf("%w: the plugin sent an item without a value", functions.ErrFunction)
	}
	if ns := m.GetTimeUnixNanos(); ns != 0 {
		it.Time = time.Unix(0, ns)
	}
	for _, b := range m.GetBlobs() {
		a := functions.Attach(b.GetType(), b.GetData())
		if string(a.Digest) != b.GetDigest() {
			return it, fmt.Errorf("%w: the plugin sent a blob as %.80q whose bytes have digest %s", functions.ErrFunction, b.GetDigest(), a.Digest.Short())
		}
		it.Blobs = append(it.Blobs, a)
	}
	return it, nil
}
