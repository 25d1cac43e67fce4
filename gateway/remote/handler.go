package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"connectrpc.com/connect"
	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/gateway"
	catenaryv1 "github.com/catenary-run/catenary/gateway/catenary/v1"
)

// maxMessage bounds one message either way: an item of the largest output limit that is sensible, and its frame.
const maxMessage = 256<<20 + 64<<10

// Handler serves node to gateways elsewhere.
func Handler(node gateway.Node) gateway.Service {
	path, h := catenaryv1.NewNodeServiceHandler(&handler{node},
		connect.WithReadMaxBytes(maxMessage),
		connect.WithCompression("gzip", nil, nil), // the peers are near: compressing audio costs more than sending it
		connect.WithRecover(func(_ context.Context, _ connect.Spec, _ http.Header, p any) error {
			return gateway.WireError(fmt.Errorf("panic in the node: %v\n%s", p, debug.Stack()))
		}))
	return gateway.Service{Name: catenaryv1.NodeServiceName, Path: path, Handler: h}
}

type handler struct{ node gateway.Node }

type invokeStream = connect.BidiStream[catenaryv1.InvokeRequest, catenaryv1.InvokeResponse]

// Invoke serves one call: its input is read beside it, so that a full edge holds up nothing but the caller.
func (h *handler) Invoke(ctx context.Context, stream *invokeStream) error {
	call, left, err := openCall(stream)
	if err != nil {
		return gateway.WireError(err)
	}
	ctx, end := context.WithCancelCause(functions.Outlasted(ctx, endGrace))
	if left != nil {
		ctx = functions.WithTimeLeft(ctx, time.Duration(*left))
	}
	defer end(nil)
	rep := &reply{stream: stream}
	// A caller that keeps to its credit never finds it full, but for one item larger than that.
	in := functions.NewStream(aheadItems, aheadBytes+maxMessage)
	var reader sync.WaitGroup
	reader.Go(func() { readInput(ctx, stream, in, call.Turns, end) })

	out := functions.SinkFunc(func(_ context.Context, it functions.Item) error {
		if err := rep.send(&catenaryv1.InvokeResponse{Kind: &catenaryv1.InvokeResponse_Item{Item: catenaryv1.NewItem(it)}}); err != nil {
			return gone(ctx, err)
		}
		return nil
	})
	timing, err := h.invoke(ctx, call, newReporting(in, rep), out)
	in.CloseRecv(nil) // what still comes is dropped
	last := &catenaryv1.InvokeEnd{Error: catenaryv1.NewFailure(err), Timing: catenaryv1.NewTiming(call.Step, timing)}
	sendErr := rep.send(&catenaryv1.InvokeResponse{Kind: &catenaryv1.InvokeResponse_End{End: last}})
	// The caller closes its side when it sees the end, and a caller that is gone closes it too: so this wait is short.
	reader.Wait()
	if sendErr != nil {
		return gone(ctx, sendErr)
	}
	return nil
}

// invoke makes the call, and tells meanwhile how long the function waits.
func (h *handler) invoke(ctx context.Context, call functions.Call, in *reporting, out functions.Sink) (functions.Timing, error) {
	var telling sync.WaitGroup
	defer telling.Wait()
	ended := make(chan struct{})
	defer close(ended) // also when the node panics
	telling.Go(func() { functions.TellWaits(ended, in.waits.Changed, in.waits.Waits, in.rep.tellWaits) })
	return h.node.Invoke(ctx, call, in, out)
}

// openCall receives the call, and how many nanoseconds it has left by limits that the caller keeps; nil if there are none.
func openCall(stream *invokeStream) (functions.Call, *int64, error) {
	first, err := stream.Receive()
	if errors.Is(err, io.EOF) {
		return functions.Call{}, nil, fmt.Errorf("%w: the stream ended before the call", functions.ErrInvalid)
	}
	if err != nil {
		return functions.Call{}, nil, err
	}
	m := first.GetCall()
	if m == nil {
		return functions.Call{}, nil, fmt.Errorf("%w: the first message must be call", functions.ErrInvalid)
	}
	call := functions.Call{Chain: m.Chain, Step: m.Step, Run: m.Run, Caller: m.Caller}
	if m.Turns {
		call.Turns = functions.NewTurns()
	}
	if call.Ref, err = m.Ref.Functions(); err != nil {
		return call, nil, err
	}
	if call.Priority, err = functions.ParsePriority(m.Priority); err != nil {
		return call, nil, err
	}
	call.Models, err = catenaryv1.Refs(m.Models)
	return call, m.TimeLeft, err
}

// readInput passes the caller's items on to in, until the caller closes its side. It goes on reading when nobody takes
// the items any more: only so does it see the end.
func readInput(ctx context.Context, stream *invokeStream, in *functions.Stream, turns *functions.Turns, end context.CancelCauseFunc) {
	for {
		m, err := stream.Receive()
		if err != nil { // after an end of the input this changes nothing
			class := functions.ErrUnavailable
			if connect.CodeOf(err) == connect.CodeResourceExhausted {
				class = functions.ErrMemoryLimit // one item is larger than any may be
			}
			in.CloseSend(fmt.Errorf("%w: the input broke off: %w", class, err))
			return
		}
		switch k := m.Kind.(type) {
		case *catenaryv1.InvokeRequest_Item:
			it, err := k.Item.Functions()
			if err == nil {
				err = in.Send(ctx, it)
			}
			if err != nil {
				in.CloseSend(err)
			}
		case *catenaryv1.InvokeRequest_End:
			in.CloseSend(k.End.GetError().Err())
		case *catenaryv1.InvokeRequest_Over:
			if turns != nil {
				turns.Advance(k.Over)
			}
		case *catenaryv1.InvokeRequest_Cancel:
			end(k.Cancel.Err())
		default:
			in.CloseSend(fmt.Errorf("%w: a message that is none of item, end, over and cancel", functions.ErrInvalid))
		}
	}
}

// gone returns why a message could not be sent: the cause of ctx if it has ended.
func gone(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return fmt.Errorf("%w: the caller is gone: %w", context.Canceled, err)
}

// Wake makes functions and models ready.
func (h *handler) Wake(ctx context.Context, req *catenaryv1.WakeRequest) (*catenaryv1.WakeResponse, error) {
	fns, models, err := both(req.Functions, req.Models)
	if err == nil {
		err = h.node.Wake(ctx, fns, models)
	}
	if err != nil {
		return nil, gateway.WireError(err)
	}
	return &catenaryv1.WakeResponse{}, nil
}

// Prepare makes the versions of a deploy fit to be called.
func (h *handler) Prepare(ctx context.Context, req *catenaryv1.PrepareRequest) (*catenaryv1.PrepareResponse, error) {
	fns, models, err := both(req.Functions, req.Models)
	if err != nil {
		return nil, gateway.WireError(err)
	}
	prepared, err := h.node.Prepare(ctx, fns, models)
	if err != nil {
		return nil, gateway.WireError(err)
	}
	resp := &catenaryv1.PrepareResponse{}
	for _, p := range prepared {
		resp.Functions = append(resp.Functions, &catenaryv1.FunctionStatus{
			Name: p.Ref.Name, Digest: string(p.Ref.Digest), Captured: p.Captured, Why: p.Why,
		})
	}
	return resp, nil
}

// NodePools returns what the node holds.
func (h *handler) NodePools(ctx context.Context, _ *catenaryv1.PoolsRequest) (*catenaryv1.PoolsResponse, error) {
	pools, err := h.node.Pools(ctx)
	if err != nil {
		return nil, gateway.WireError(err)
	}
	return pools.Message(), nil
}

func both(fns, models []*catenaryv1.Ref) ([]functions.Ref, []functions.Ref, error) {
	f, err := catenaryv1.Refs(fns)
	if err != nil {
		return nil, nil, err
	}
	m, err := catenaryv1.Refs(models)
	return f, m, err
}
