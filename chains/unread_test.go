package chains_test

import (
	"strings"
	"testing"

	"github.com/catenary-run/catenary/chains"
	"github.com/catenary-run/catenary/chains/specfile"
	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/sdk"
)

// TestUnread_OneRule: a step that nobody reads is refused in Go and in YAML, in the same words.
func TestUnread_OneRule(t *testing.T) {
	polish := sdk.NewFunc[string, string]("polish")
	_, inGo := sdk.Define("idle", func(s *sdk.Steps, in sdk.Val[string]) sdk.Val[string] {
		sdk.Call(s, polish, in, sdk.As("first"))
		return sdk.Call(s, polish, in, sdk.As("second"))
	})
	c, err := specfile.Parse("idle.yaml", []byte("chain: idle\nsteps:\n  - {call: polish, name: first}\n  - {call: polish, name: second, from: in}\n"))
	if err != nil {
		t.Fatal(err)
	}
	text := functions.Port{Schema: functions.SchemaFor[string]()}
	fns := map[string]*functions.Manifest{"polish": {Name: "polish", Kind: functions.KindWASM, Artifact: functions.DigestOf(nil), In: text, Out: text}}
	g, err := chains.NewGraph(c, fns, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, inYAML := chains.Compile(g, fns)
	const want = `: invalid: nobody reads what step "first" yields; read its output, or remove the step`
	for begins, err := range map[string]error{"define chain idle: chains/unread_test.go:": inGo, "chain idle: idle.yaml:3:5": inYAML} {
		if err == nil || !strings.HasPrefix(err.Error(), begins) || !strings.HasSuffix(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("got %v, want %s...%s", err, begins, want)
		}
	}
}
