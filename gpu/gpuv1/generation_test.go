package gpuv1

import (
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/catenary-run/catenary/functions"
)

// TestGenerationsCross: all that a function can ask of a model crosses, and the caller as well.
func TestGenerationsCross(t *testing.T) {
	want := functions.Generation{
		Messages: []functions.Message{{Role: "system", Content: "be brief"}, {Role: "user", Content: "hello"}}, MaxTokens: 7, Temperature: 0.5,
		TopK: 40, TopP: 0.9, MinP: 0.1, Repetition: 1.1, Seed: 3, Stop: []string{"end", "."},
	}
	v := reflect.ValueOf(want)
	for i := range v.NumField() {
		if f := v.Type().Field(i); f.Tag.Get("json") != "-" && v.Field(i).IsZero() {
			t.Errorf("%s is not in this test", f.Name)
		}
	}
	x := NewGenerateRequest(want)
	if diff := cmp.Diff(want, x.Generation()); diff != "" {
		t.Errorf("(-asked +came)\n%s", diff)
	}
	if got := NewGenerateRequest(functions.Generation{Caller: "ann"}).GetCaller(); got != "ann" {
		t.Errorf("the caller is %q", got)
	}
}
