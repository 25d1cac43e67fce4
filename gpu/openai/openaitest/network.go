package openaitest

import (
	"context"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
)

// Network is one address, in memory. Nothing is buffered on the way: who writes waits for the reader.
type Network struct {
	conns chan net.Conn
	up    atomic.Bool
	// Dialled counts the connections.
	Dialled atomic.Int64
}

// NewNetwork returns a network on which nobody listens yet.
func NewNetwork() *Network { return &Network{conns: make(chan net.Conn)} }

// Serve serves h until stop is called, which cuts all connections. Then another may serve.
func (n *Network) Serve(h http.Handler) (stop func()) {
	server := &http.Server{Handler: h}
	lis := &listener{conns: n.conns, closed: make(chan struct{})}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(lis) // it ends with Close
	}()
	n.up.Store(true)
	return func() {
		n.up.Store(false)
		_ = server.Close()
		<-ended
	}
}

// Dial connects to whoever serves, as a net.Dialer does.
func (n *Network) Dial(ctx context.Context, _, _ string) (net.Conn, error) {
	n.Dialled.Add(1)
	if !n.up.Load() {
		return nil, &net.OpError{Op: "dial", Net: "memory", Err: syscall.ECONNREFUSED}
	}
	near, far := net.Pipe()
	select {
	case n.conns <- far:
		return near, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

type listener struct {
	conns  <-chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *listener) Addr() net.Addr { return &net.UnixAddr{Net: "memory"} }
