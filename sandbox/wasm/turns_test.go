package wasm

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/sandbox/sandboxtest/fixture"
	"github.com/catenary-run/catenary/sandbox/wasm/testdata/duplex/contract"
)

// Turn and time of an item reach the function, and what it sends has those that it says.
func TestTurns_TravelWithItems(t *testing.T) {
	at := time.Unix(1_700_000_000, 123_456_789)
	d := begin(t, newInstance(t, loadDuplex(t, nil)), newDuplexHost(), contract.In{Do: contract.Echo})
	d.next()
	for turn := range uint64(3) {
		d.send(functions.Item{Value: encodeValue(t, contract.In{N: int(turn)}), Turn: turn, Time: at.Add(time.Duration(turn))})
	}
	d.send(functions.Item{Value: encodeValue(t, contract.In{}), Turn: 1 << 40})
	for turn := range uint64(3) {
		if _, it := d.next(); it.Turn != turn || !it.Time.Equal(at.Add(time.Duration(turn))) || it.Seq != turn+1 {
			t.Errorf("turn %d: got turn %d, time %v, seq %d", turn, it.Turn, it.Time, it.Seq)
		}
	}
	if _, it := d.next(); it.Turn != 1<<40 || !it.Time.IsZero() {
		t.Errorf("got turn %d, time %v, want no time", it.Turn, it.Time)
	}
}

// An iterator's items have those of the item that it received last.
func TestTurns_OfAGuestThatBlocks(t *testing.T) {
	at := time.Unix(1_700_000_000, 5)
	var got []functions.Item
	err := newInstance(t, loadFixture(t)).Serve(t.Context(),
		functions.Items(functions.Item{Value: encodeValue(t, fixture.In{Do: fixture.Count, N: 2}), Turn: 9, Time: at}),
		functions.SinkFunc(func(_ context.Context, it functions.Item) error {
			got = append(got, it)
			return nil
		}), discardHost())
	if err != nil {
		t.Fatal(err)
	}
	for _, it := range got {
		if it.Turn != 9 || !it.Time.Equal(at) {
			t.Errorf("got turn %d, time %v", it.Turn, it.Time)
		}
	}
	if len(got) != 2 {
		t.Errorf("%d items", len(got))
	}
}

// A generation ends with its turn, whether the guest said which one that is or not, and the call goes on.
func TestTurns_EndGenerations(t *testing.T) {
	for _, test := range []struct {
		name  string
		first contract.In
		turn  uint64 // of the first item
		over  []uint64
		opens bool
		want  string
	}{
		{"its own", contract.In{Do: contract.Turn, N: 2}, 0, []uint64{1, 2}, false, "interrupted"},
		{"a later one", contract.In{Do: contract.Turn, N: 2}, 0, []uint64{7}, false, "interrupted"},
		{"an earlier one", contract.In{Do: contract.Turn, N: 2}, 0, []uint64{1}, false, "end"},
		{"that of the last item", contract.In{Do: contract.Last}, 3, []uint64{3}, false, "interrupted"},
		{"none, before the last item's", contract.In{Do: contract.Last}, 3, []uint64{2}, false, "end"},
		{"none, of a function that opens turns", contract.In{Do: contract.Last}, 3, []uint64{3}, true, "end"},
	} {
		t.Run(test.name, func(t *testing.T) {
			code := loadDuplex(t, func(m *functions.Manifest) { m.Turns = test.opens })
			tokens := make(chan string)
			host := newDuplexHost()
			host.recv = tokensFrom(tokens)
			d := beginItem(t, newInstance(t, code), host, functions.Item{Value: encodeValue(t, test.first), Turn: test.turn})
			tokens <- "word"
			d.wants(contract.Out{What: "token", Data: []byte("word")})
			untilParked(t, 1)
			for _, turn := range test.over {
				host.turns.End(turn)
			}
			if test.want == "end" {
				close(tokens)
			}
			d.wants(contract.Out{What: test.want})
			if err := d.ended(); err != nil {
				t.Error(err)
			}
			if n := host.open.Load(); n != 0 {
				t.Errorf("%d generations are open", n)
			}
		})
	}
}

func TestTurns_OverBeforeTheGeneration(t *testing.T) {
	host := newDuplexHost()
	host.turns.End(5)
	d := begin(t, newInstance(t, loadDuplex(t, nil)), host, contract.In{Do: contract.Turn, N: 4})
	d.wants(contract.Out{What: "interrupted"})
	if err := d.ended(); err != nil {
		t.Error(err)
	}
}

// A guest that blocks is in item_recv when its turn ends.
func TestTurns_EndGenerationOfAGuestThatBlocks(t *testing.T) {
	artifact, m := buildGuest(t, "fixture")
	contractOf(t, &m, fixture.Func)
	m.Uses.Models = []string{"llm"}
	code, _ := load(t, goDriver(t, nil), &m, artifact)
	inst := newInstance(t, code)
	host := newDuplexHost()
	host.recv = func(ctx context.Context) (functions.Token, error) {
		host.turns.End(1)
		<-ctx.Done()
		return functions.Token{}, ctx.Err() // a model need not know of causes
	}
	err := inst.Serve(t.Context(), functions.Items(functions.Item{Value: encodeValue(t, fixture.In{Do: fixture.Generate, Model: "llm"}), Turn: 1}),
		functions.SinkFunc(func(context.Context, functions.Item) error { return nil }), host)
	if !errors.Is(err, functions.ErrInterrupted) {
		t.Errorf("got %v, want functions.ErrInterrupted", err)
	}
	if err := inst.Reset(t.Context()); err != nil {
		t.Error(err)
	}
	if n := host.open.Load(); n != 0 {
		t.Errorf("%d generations are open", n)
	}
}
