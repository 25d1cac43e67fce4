package project

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/sdk"
)

// commandContract derives the types of a WASI command that no Go package describes: in by its arguments, out by its media
// type.
func commandContract(fn Function, in *functions.Schema) (sdk.FuncDescription, error) {
	if fn.Kind != functions.KindWASI || fn.Out == nil {
		return sdk.FuncDescription{}, fmt.Errorf("%w: the types of this artifact are not known: name it in a chain in Go, or build it from a Go package", functions.ErrInvalid)
	}
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

// argsSchema returns the type of the input that the arguments take: an object with a string for each {field}, or a blob
// if all that is said of it is {field|file}; with {it} instead, the string or the blob itself.
func argsSchema(args []string) (*functions.Schema, error) {
	fields := map[string]*functions.Schema{}
	for i, arg := range args {
		parts, err := functions.ArgParts(arg)
		if err != nil {
			return nil, fmt.Errorf("%w: argument %d, %q: %w", functions.ErrInvalid, i, arg, err)
		}
		for _, p := range parts {
			switch {
			case !p.Named || p.Field == "out" && p.How == "":
			case p.Field == "":
				return nil, fmt.Errorf("%w: argument %d, %q: {} names no field", functions.ErrInvalid, i, arg)
			case p.How == "":
				fields[p.Field] = &functions.Schema{Type: "string"} // which can be a file, too
			case fields[p.Field] == nil:
				fields[p.Field] = functions.SchemaFor[functions.Blob]()
			}
		}
	}
	names := slices.Sorted(maps.Keys(fields))
	if whole := fields["it"]; whole != nil {
		if len(fields) > 1 {
			return nil, fmt.Errorf("%w: {it} is the whole input, so there can't be fields beside it: %s", functions.ErrInvalid, strings.Join(names, ", "))
		}
		return whole, nil
	}
	return &functions.Schema{Type: "object", Properties: fields, Required: names}, nil
}
