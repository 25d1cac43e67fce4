package project

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/sdk"
)

var placeholder = regexp.MustCompile(`\{([a-z_][a-z0-9_]*)(\|file)?\}`)

// commandContract derives the types of a WASI command that no Go package describes: an object with a string for each
// {field} and a blob for each {field|file} of its arguments; out by its media type.
func commandContract(fn Function) (sdk.FuncDescription, error) {
	if fn.Kind != functions.KindWASI || fn.Out == nil {
		return sdk.FuncDescription{}, fmt.Errorf("%w: the types of this artifact are not known: name it in a chain in Go, or build it from a Go package", functions.ErrInvalid)
	}
	in := &functions.Schema{Type: "object", Properties: map[string]*functions.Schema{}}
	for _, arg := range fn.Args {
		for _, match := range placeholder.FindAllStringSubmatch(arg, -1) {
			name, file := match[1], match[2] != ""
			if name == "out" && !file {
				continue
			}
			p := &functions.Schema{Type: "string"}
			if file {
				p = functions.SchemaFor[functions.Blob]()
			}
			in.Properties[name] = p
			in.Required = append(in.Required, name)
		}
	}
	slices.Sort(in.Required)
	in.Required = slices.Compact(in.Required)
	out := functions.SchemaFor[functions.Blob]()
	switch {
	case fn.Out.Type == "audio/wav":
		out = functions.SchemaFor[functions.Audio]()
	case strings.HasPrefix(fn.Out.Type, "text/"):
		out = &functions.Schema{Type: "string"}
	case fn.Out.Type == "application/json":
		out = &functions.Schema{}
	}
	return sdk.FuncDescription{Name: fn.Name, In: functions.Port{Schema: in}, Out: functions.Port{Schema: out}}, nil
}
