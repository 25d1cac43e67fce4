package sdk

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var greet = MustDefine("greet", func(s *Steps, name Val[string]) Val[string] {
	return Call(s, NewFunc[string, string]("hello"), name)
})

func TestMain_Describes(t *testing.T) {
	var out, talk bytes.Buffer
	if code := run(true, []AnyChain{greet}, &out, &talk); code != 0 || talk.Len() > 0 {
		t.Fatalf("code %d, %s", code, &talk)
	}
	var got Description
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	want, err := greet.Describe()
	if err != nil {
		t.Fatal(err)
	}
	want.Spec = want.Spec.WithPositions(nil) // they are not part of a spec in JSON
	if diff := cmp.Diff(got, Description{Chains: []ChainDescription{want}}); diff != "" {
		t.Errorf("got- want+\n%s", diff)
	}
	if strings.Count(out.String(), "\n") != 1 {
		t.Errorf("not one line: %q", &out)
	}
}

func TestMain_RunByHandSaysHowToDeploy(t *testing.T) {
	var out, talk bytes.Buffer
	code := run(false, []AnyChain{greet}, &out, &talk)
	if code != 2 || out.Len() > 0 || !strings.Contains(talk.String(), "name: greet") || !strings.Contains(talk.String(), "catenary deploy") {
		t.Errorf("code %d, %q, %q", code, &out, &talk)
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestMain_Fails(t *testing.T) {
	var talk bytes.Buffer
	if code := run(true, []AnyChain{Chain[int, int]{}}, io.Discard, &talk); code != 1 || !strings.Contains(talk.String(), "sdk.Define") {
		t.Errorf("zero chain: code %d, %s", code, &talk)
	}
	talk.Reset()
	if code := run(true, []AnyChain{greet}, brokenWriter{}, &talk); code != 1 || !strings.Contains(talk.String(), io.ErrClosedPipe.Error()) {
		t.Errorf("broken output: code %d, %s", code, &talk)
	}
}

func TestFunc_Describe(t *testing.T) {
	d, err := NewFunc[string, Stream[int]]("count").Describe()
	if err != nil || d.Name != "count" || d.In.Stream || d.In.Schema.Type != "string" || !d.Out.Stream || d.Out.Schema.Type != "integer" {
		t.Errorf("got %+v, %v", d, err)
	}
	if _, err := NewFunc[chan int, int]("odd").Describe(); err == nil || !strings.Contains(err.Error(), "function odd: input") {
		t.Errorf("got %v, want an error of the input", err)
	}
	if _, err := NewFunc[int, Stream[Stream[int]]]("deep").Describe(); err == nil || !strings.Contains(err.Error(), "function deep: output") {
		t.Errorf("got %v, want an error of the output", err)
	}
}

func TestDescribing(t *testing.T) {
	for v, want := range map[string]bool{"1": true, "": false, "0": false} {
		t.Setenv(DescribeEnv, v)
		if got := Describing(); got != want {
			t.Errorf("%s=%q: got %v", DescribeEnv, v, got)
		}
	}
}
