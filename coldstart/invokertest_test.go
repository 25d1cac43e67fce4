package coldstart_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/catenary-run/catenary/coldstart"
	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/invokertest"
	"github.com/catenary-run/catenary/sandbox"
)

// TestPools_AreAnInvoker runs the suite that a node elsewhere passes, too.
func TestPools_AreAnInvoker(t *testing.T) {
	invokertest.Run(t, func(t *testing.T, s invokertest.Setup) functions.Invoker {
		all := &inProcess{woken: s.Woken, fns: map[functions.Digest]invokertest.Function{}}
		for _, f := range s.Functions {
			all.fns[f.Manifest.Digest()] = f
		}
		config := coldstart.DefaultConfig()
		config.Spare = 0 // the suite counts what a wake starts
		pools, err := coldstart.New(config, coldstart.Deps{Drivers: []sandbox.Driver{all}, Manifests: all, Artifacts: all})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- pools.Run(ctx) }() // joined by the cleanup
		t.Cleanup(func() {
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("Run: %v", err)
			}
		})
		return pools
	})
}

// inProcess is a driver whose instances are functions in Go, and the catalogue that has them.
type inProcess struct {
	woken func(functions.Ref)
	fns   map[functions.Digest]invokertest.Function
}

func (d *inProcess) Manifest(_ context.Context, ref functions.Ref) (*functions.Manifest, error) {
	f, ok := d.fns[ref.Digest]
	if !ok {
		return nil, fmt.Errorf("%w: function %s", functions.ErrNotFound, ref)
	}
	return f.Manifest, nil
}

func (d *inProcess) Path(_ context.Context, digest functions.Digest) (string, error) {
	return digest.Hex(), nil
}

func (d *inProcess) Kinds() []functions.Kind { return []functions.Kind{functions.KindWASM} }

func (d *inProcess) Prepare(_ context.Context, m *functions.Manifest, artifact string) (*sandbox.Image, error) {
	return &sandbox.Image{Manifest: m, Version: m.Digest(), Artifact: artifact, Why: "a function in Go has no image"}, nil
}

func (d *inProcess) Load(_ context.Context, img *sandbox.Image) (sandbox.Code, error) {
	return &goCode{d, d.fns[img.Version]}, nil
}

type goCode struct {
	driver *inProcess
	fn     invokertest.Function
}

func (c *goCode) New(context.Context) (sandbox.Instance, error) {
	if c.driver.woken != nil {
		c.driver.woken(c.fn.Manifest.Ref())
	}
	return &goInstance{c.fn}, nil
}

func (c *goCode) MemBytes() int64 { return 0 }

func (c *goCode) Close() error { return nil }

type goInstance struct{ fn invokertest.Function }

func (i *goInstance) ID() string { return i.fn.Manifest.Name }

func (i *goInstance) Serve(ctx context.Context, in functions.Source, out functions.Sink, host functions.Host) error {
	return i.fn.Serve(invokertest.WithTurns(ctx, host.Turns()), in, out)
}

func (i *goInstance) Reset(context.Context) error { return nil }

func (i *goInstance) MemBytes() int64 { return 0 }

func (i *goInstance) Done() <-chan struct{} { return nil }

func (i *goInstance) Close() error { return nil }

// Verify implements functions.Blobs: nothing here is ever damaged.
func (*inProcess) Verify(context.Context, functions.Digest) (bool, error) { return false, nil }
