package gateway

import (
	"errors"
	"testing"

	"github.com/catenary-run/catenary/functions"
	"github.com/google/go-cmp/cmp"
)

func TestPools_Deployed(t *testing.T) {
	mem := newMemory()
	deploy := func(alias string, kind functions.RecordKind, data []byte) functions.Digest {
		t.Helper()
		d := must(mem.PutRecord(t.Context(), kind, data))
		must(mem.SetAlias(t.Context(), alias, d, 0))
		return d
	}
	function := func(name string) functions.Digest {
		m := functions.Manifest{Name: name, Kind: functions.KindWASM}
		return deploy("function/"+name, functions.RecordManifest, m.Canonical())
	}
	model := func(name string) functions.Digest {
		m := functions.Model{Name: name, Engine: "llama"}
		return deploy("model/"+name, functions.RecordModel, m.Canonical())
	}
	asleep, known, llm, big := function("asleep"), function("known"), model("llm"), model("big")
	old := functions.DigestOf([]byte("an old version"))

	live := Pools{
		Functions: []FunctionPool{
			{Name: "known", Digest: known, Tier: "cold", Why: "kept"},
			{Name: "replaced", Digest: old, Tier: "cold"},
			{Name: "replaced-busy", Digest: old, Tier: "cold", Queued: 1},
			{Name: "replaced-hot", Digest: old, Tier: "hot"},
		},
		Models: []ModelPool{{Name: "llm", Digest: llm, Device: "cpu", Tier: "hot"}},
	}
	want := Pools{
		Functions: []FunctionPool{
			{Name: "asleep", Kind: functions.KindWASM, Digest: asleep, Tier: "cold"},
			{Name: "known", Digest: known, Tier: "cold", Why: "kept"},
			{Name: "replaced-busy", Digest: old, Tier: "cold", Queued: 1},
			{Name: "replaced-hot", Digest: old, Tier: "hot"},
		},
		Models: []ModelPool{{Name: "big", Digest: big, Tier: "cold"}, {Name: "llm", Digest: llm, Device: "cpu", Tier: "hot"}},
	}
	got, err := live.Deployed(t.Context(), mem, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("got- want+\n%s", diff)
	}
	want.Models[0].Tier, want.Models[0].Why = "unavailable", "no library"
	if got, err = live.Deployed(t.Context(), mem, errors.New("no\nlibrary")); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("without an engine: got- want+\n%s", diff)
	}

	must(mem.SetAlias(t.Context(), "function/lost", functions.DigestOf([]byte("lost")), 0))
	if _, err := live.Deployed(t.Context(), mem, nil); !errors.Is(err, functions.ErrNotFound) {
		t.Errorf("a record that is lost: got %v, want %v", err, functions.ErrNotFound)
	}
}
