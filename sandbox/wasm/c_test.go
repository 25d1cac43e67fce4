package wasm

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/internal/testkit"
	"github.com/catenary-run/catenary/sandbox"
)

// loadC builds a guest written in C with the header of the ABI, and loads it. Its sides are streams of any value.
func loadC(t *testing.T, file string, edit func(*functions.Manifest)) sandbox.Code {
	t.Helper()
	artifact := filepath.Join(t.TempDir(), "guest.wasm")
	testkit.ClangWASM(t, file, artifact)
	b, err := os.ReadFile(artifact)
	check(t, err)
	side := functions.Port{Schema: &functions.Schema{}, Stream: true}
	m := functions.Manifest{Name: "c", Kind: functions.KindWASM, Artifact: functions.DigestOf(b), In: side, Out: side}
	if edit != nil {
		edit(&m)
	}
	code, img := load(t, newDriver(t), &m, artifact)
	if !img.Captured || img.Why != "" {
		t.Fatalf("captured: %v, %s", img.Captured, img.Why)
	}
	return code
}

// beginC starts a call.
func beginC(t *testing.T, inst sandbox.Instance, host functions.Host) *duplexCall {
	t.Helper()
	return beginItem(t, inst, host, functions.Item{Value: encodeValue(t, "first")})
}

// wantsValue waits for the next item.
func (d *duplexCall) wantsValue(want any) {
	d.t.Helper()
	ctx, cancel := patient(d.t)
	defer cancel()
	it, err := d.out.Recv(ctx)
	if err != nil {
		d.t.Fatalf("no item came: %v", err)
	}
	if !bytes.Equal(it.Value, encodeValue(d.t, want)) {
		d.t.Fatalf("got %x, want %v", it.Value, want)
	}
}

func TestC_Echo(t *testing.T) {
	code := loadC(t, "examples/functions/c/echo.c", nil)
	for range 2 {
		d := beginC(t, newInstance(t, code), newDuplexHost())
		d.wantsValue("first")
		large := bytes.Repeat([]byte("x"), 1<<20) // more than its first buffer
		for _, v := range []any{"second", large, uint64(3)} {
			d.send(functions.Item{Value: encodeValue(t, v)})
			d.wantsValue(v)
		}
		d.in.CloseSend(nil)
		if err := d.ended(); err != nil {
			t.Fatal(err)
		}
	}
}

// The example that polls gets items while the model is silent, tokens while the caller is, and timeouts while both are.
func TestC_PollsTwoDescriptors(t *testing.T) {
	tokens := make(chan string)
	host := newDuplexHost()
	host.recv = tokensFrom(tokens)
	inst := newInstance(t, loadC(t, "examples/functions/c/both.c", func(m *functions.Manifest) {
		m.Encoding, m.Uses.Models = "json", []string{"llm"}
	}))
	d := beginC(t, inst, host)
	d.wantsValue("first")
	for range 3 {
		host.logged(t, "tick")
		d.send(functions.Item{Value: encodeValue(t, "more")})
		d.wantsValue("more")
		host.logged(t, "tick")
		tokens <- "word"
		d.wantsValue(functions.Token{Text: "word"})
	}
	close(tokens)
	host.logged(t, "tick") // the end of one is not that of the other
	d.in.CloseSend(nil)
	if err := d.ended(); err != nil {
		t.Fatal(err)
	}
	check(t, inst.Reset(t.Context()))

	// And the end of a call reaches it in poll.
	why := errors.New("the caller hung up")
	host = newDuplexHost()
	host.recv = tokensFrom(make(chan string))
	d = beginC(t, inst, host)
	d.wantsValue("first")
	untilParked(t, 1)
	d.end(why)
	if err := d.ended(); !errors.Is(err, why) {
		t.Errorf("got %v, want the cause of the context", err)
	}
	if n := host.open.Load(); n != 0 {
		t.Errorf("%d generations are open", n)
	}
	check(t, inst.Reset(t.Context()))
}

// read and write move the bytes of items: a read stays in its item, and tells an item without bytes from the end.
func TestC_ReadAndWrite(t *testing.T) {
	inst := newInstance(t, loadC(t, "sandbox/wasm/testdata/c/bytes.c", nil))
	d := beginItem(t, inst, newDuplexHost(), functions.Item{Value: []byte("123456789")})
	d.wantsValue([]byte("1234"))
	d.wantsValue([]byte("5678"))
	d.wantsValue([]byte("9"))
	d.send(functions.Item{})
	d.send(functions.Item{Value: []byte("abcd")})
	d.wantsValue([]byte("abcd"))
	d.send(functions.Item{Value: []byte("e")})
	d.wantsValue([]byte("e"))
	d.in.CloseSend(nil)
	if err := d.ended(); err != nil {
		t.Error(err)
	}
}

// What docs/abi.md says, asked by a guest.
func TestC_Probe(t *testing.T) {
	inst := newInstance(t, loadC(t, "sandbox/wasm/testdata/c/probe.c", func(m *functions.Manifest) {
		m.Uses.Models = []string{"llm"}
	}))
	host := newDuplexHost()
	host.turns.End(9)
	in := functions.NewStream(0, 0)
	check(t, in.Send(t.Context(), functions.Item{Value: encodeValue(t, "first"), Seq: 4, Turn: 5, Time: time.Unix(6, 7)}))
	var served sync.WaitGroup
	defer served.Wait()
	busy := make(chan struct{})
	served.Go(func() {
		defer close(busy)
		host.logged(t, "empty")
		_ = in.Send(t.Context(), functions.Item{})
		host.logged(t, "end")
		in.CloseSend(nil)
		host.logged(t, "busy")
	})
	var got []functions.Item
	err := inst.Serve(t.Context(), in, functions.SinkFunc(func(_ context.Context, it functions.Item) error {
		<-busy
		got = append(got, it)
		return nil
	}), host)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got[0].Turn != 2 || got[0].Time.UnixNano() != 8 || got[1].Turn != 0 || got[1].Seq != 1 {
		t.Errorf("got %v", got)
	}
}
