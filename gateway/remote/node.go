package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"
	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/gateway"
	catenaryv1 "github.com/catenary-run/catenary/gateway/catenary/v1"
)

// maxReason bounds what is read of why a node is not ready.
const maxReason = 1 << 10

// Node is a node in another process. It may be used from many goroutines.
type Node struct {
	url    string // for people, without a password
	ready  string // the URL that Ping asks
	http   *http.Client
	client catenaryv1.NodeServiceClient
}

var _ gateway.Node = (*Node)(nil)

// New returns the node at a URL such as http://10.0.0.7:8372. It does not connect yet. The client must speak HTTP/2; nil
// takes one of its own. It returns an error wrapping functions.ErrInvalid if the URL is not one.
func New(nodeURL string, client *http.Client) (*Node, error) {
	u, err := url.Parse(nodeURL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("%w: node %q is not a URL such as http://HOST:PORT", functions.ErrInvalid, nodeURL)
	}
	if client == nil {
		client = catenaryv1.NewHTTPClient(nil)
	}
	// Sent bytes are not compressed: the peers are near.
	opts := []connect.ClientOption{connect.WithReadMaxBytes(maxMessage), connect.WithAcceptCompression("gzip", nil, nil)}
	return &Node{url: u.Redacted(), ready: strings.TrimRight(nodeURL, "/") + "/readyz", http: client, client: catenaryv1.NewNodeServiceClient(client, nodeURL, opts...)}, nil
}

// String returns the node's URL, for people.
func (n *Node) String() string { return n.url }

// Ping returns an error wrapping functions.ErrUnavailable, with the node's own words if it has any, unless the node is
// there and ready.
func (n *Node) Ping(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, n.ready, nil)
	if err != nil {
		return err
	}
	resp, err := n.http.Do(req)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		return fmt.Errorf("%w: %w", functions.ErrUnavailable, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	says, _ := io.ReadAll(io.LimitReader(resp.Body, maxReason)) // what is lost is detail
	return fmt.Errorf("%w: it answers %s: %s", functions.ErrUnavailable, resp.Status, strings.TrimSpace(string(says)))
}

// Invoke calls a function on the node.
func (n *Node) Invoke(ctx context.Context, call functions.Call, in functions.Source, out functions.Sink) (functions.Timing, error) {
	begin := time.Now()
	timing, err := n.invoke(ctx, call, in, out)
	if timing.Total == 0 { // the call never came back: all that is known is how long it took here
		timing.Total = time.Since(begin)
	}
	return timing, err
}

func (n *Node) invoke(parent context.Context, call functions.Call, in functions.Source, out functions.Sink) (functions.Timing, error) {
	ctx, cancel := functions.Outlast(parent, endGrace)
	defer cancel()
	stream, err := n.client.Invoke(ctx)
	if err != nil {
		return functions.Timing{}, n.failure(parent, err)
	}
	// While a send waits for the node, net/http does not see that the context has ended, but it sees this.
	closed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(closed)
		_ = stream.CloseResponse()
	})
	sending, stopSending := context.WithCancel(parent)
	defer stopSending()
	s := &sender{stream: stream, waited: functions.Ahead(in)}
	told := make(chan struct{})
	var hangUp *time.Timer
	untold := context.AfterFunc(parent, func() {
		defer close(told)
		hangUp = time.AfterFunc(endGrace, cancel)
		s.cancel(context.Cause(parent))
	})
	var sender sync.WaitGroup
	sender.Go(func() {
		if !s.call(parent, call) {
			return
		}
		if call.Turns != nil {
			sender.Go(func() { s.turns(sending, call.Turns) })
		}
		s.input(sending, in)
	})

	end, err := n.receive(parent, stream, out, s)
	if err != nil {
		cancel() // the node hears of it as a reset, and a send that waits for it returns
	}
	stopSending()
	sender.Wait()
	_ = stream.CloseRequest() // the node waits for this
	for err == nil {          // a stream that is read to its end leaves the connection as it was
		if _, e := stream.Receive(); e != nil {
			break
		}
	}
	if !untold() {
		<-told
		hangUp.Stop()
	}
	if stop() {
		_ = stream.CloseResponse()
	} else {
		<-closed
	}
	if err != nil {
		return functions.Timing{}, err
	}
	if err = end.GetError().Err(); err != nil && parent.Err() != nil {
		err = context.Cause(parent)
	}
	return end.GetTiming().Functions(), err
}

// endGrace is how long a node may take to end a call that it was told to: its functions get a part of that. The deadline
// on the wire is so much later than the call's.
const endGrace = 250 * time.Millisecond

type clientStream = connect.BidiStreamForClientSimple[catenaryv1.InvokeRequest, catenaryv1.InvokeResponse]

// receive passes the node's items on to out until the call's end. What comes after the end of parent is dropped.
func (n *Node) receive(parent context.Context, stream *clientStream, out functions.Sink, s *sender) (*catenaryv1.InvokeEnd, error) {
	for {
		m, err := stream.Receive()
		if err != nil {
			return nil, n.failure(parent, err)
		}
		switch k := m.Kind.(type) {
		case *catenaryv1.InvokeResponse_Item:
			it, err := k.Item.Functions()
			if err != nil {
				return nil, fmt.Errorf("node %s: %w", n.url, err)
			}
			if parent.Err() != nil {
				continue
			}
			if err := out.Send(parent, it); err != nil && parent.Err() == nil {
				return nil, err
			}
		case *catenaryv1.InvokeResponse_Taken:
			s.credit.taken(k.Taken)
		case *catenaryv1.InvokeResponse_Waits:
			s.waited(functions.Waits{Total: time.Duration(k.Waits.TotalNs), Now: k.Waits.Now})
		case *catenaryv1.InvokeResponse_End:
			return k.End, nil
		default:
			return nil, fmt.Errorf("node %s sent a message of a kind that is unknown here; are both of one version?", n.url)
		}
	}
}

// Wake makes functions and models of the node ready.
func (n *Node) Wake(ctx context.Context, fns, models []functions.Ref) error {
	_, err := n.client.Wake(ctx, &catenaryv1.WakeRequest{Functions: catenaryv1.NewRefs(fns), Models: catenaryv1.NewRefs(models)})
	return n.lacks(n.failure(ctx, err))
}

// Prepare makes the versions of a deploy fit to be called on the node.
func (n *Node) Prepare(ctx context.Context, fns, models []functions.Ref) ([]gateway.Prepared, error) {
	resp, err := n.client.Prepare(ctx, &catenaryv1.PrepareRequest{Functions: catenaryv1.NewRefs(fns), Models: catenaryv1.NewRefs(models)})
	if err != nil {
		return nil, n.lacks(n.failure(ctx, err))
	}
	var prepared []gateway.Prepared
	for _, f := range resp.Functions {
		prepared = append(prepared, gateway.Prepared{
			Ref: functions.Ref{Name: f.Name, Digest: functions.Digest(f.Digest)}, Captured: f.Captured, Why: f.Why,
		})
	}
	return prepared, nil
}

// Pools returns what the node holds.
func (n *Node) Pools(ctx context.Context) (gateway.Pools, error) {
	resp, err := n.client.NodePools(ctx, &catenaryv1.PoolsRequest{})
	if err != nil {
		return gateway.Pools{}, n.failure(ctx, err)
	}
	return gateway.PoolsFrom(resp), nil
}

// lacks explains that the node finds no record or blob of what this side has deployed: it looks elsewhere.
func (n *Node) lacks(err error) error {
	if !errors.Is(err, functions.ErrNotFound) {
		return err
	}
	return fmt.Errorf("%w; node %s does not see what is deployed here: start gateway and node with the same --store, "+
		"one redis://HOST:PORT/DB, or one folder if both are on one machine, and deploy again", err, n.url)
}

// failure returns an error of the client in our vocabulary, and nil for nil. It does not wrap Connect's own error: a
// door that saw one would pass it on as it is, without the step that failed.
func (n *Node) failure(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if f := catenaryv1.FailureIn(err); f != nil {
		return f.Err()
	}
	switch connect.CodeOf(err) {
	case connect.CodeDeadlineExceeded: // the node's clock was faster
		return fmt.Errorf("%w: node %s", context.DeadlineExceeded, n.url)
	case connect.CodeResourceExhausted:
		return fmt.Errorf("%w: node %s: %v", functions.ErrOutputLimit, n.url, err)
	case connect.CodeUnimplemented:
		return fmt.Errorf("%w: %s is not a node: %v; start one with catenary serve --role node", functions.ErrInvalid, n.url, err)
	}
	return fmt.Errorf("%w: node %s: %v; call again", functions.ErrUnavailable, n.url, err)
}
