package project

import (
	"errors"
	"fmt"
	"slices"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/internal/strictyaml"
)

// errIdle is the fault of limits.idle where nothing comes item by item. Only the types tell, which a build knows.
var errIdle = errors.New("limits.idle is the time between items, and the input is not a stream; use limits.time")

// maxWASMMem is all that an address of 32 bits reaches.
const maxWASMMem = 4 << 30

// validate checks what does not need the file system. A manifest and a model check much of it again, but know no places.
func (f *File) validate() error {
	v := &validator{named: map[string]string{}}
	for _, fn := range f.Functions {
		v.function(fn)
	}
	for _, m := range f.Models {
		v.model(m)
	}
	for _, c := range f.Chains {
		v.chain(c)
	}
	return errors.Join(v.faults...)
}

type validator struct {
	faults []error
	named  map[string]string // places of all names, by what they name and the name
}

func (v *validator) fault(place, format string, args ...any) {
	v.faults = append(v.faults, strictyaml.At(place, fmt.Errorf("%w: "+format, append([]any{functions.ErrInvalid}, args...)...)))
}

// name checks the name of an entry: its form, and that no other has it.
func (v *validator) name(what, name string, at strictyaml.Places) {
	place := at.Of("name")
	if name == "" {
		v.fault(place, "this %s needs a name", what)
		return
	}
	if err := functions.CheckName(what, name); err != nil {
		v.faults = append(v.faults, strictyaml.At(place, err))
		return
	}
	if first := v.named[what+" "+name]; first != "" {
		v.fault(place, "%s %q is there twice: the first is at %s; rename one", what, name, first)
		return
	}
	v.named[what+" "+name] = place
}

func (v *validator) function(fn Function) {
	at := fn.Places
	v.name("function", fn.Name, at)
	fault := func(key, format string, args ...any) {
		v.fault(at.Of(key), "function %q"+format, append([]any{fn.Name}, args...)...)
	}
	switch {
	case fn.Source == "" && fn.Artifact == "":
		fault("", " needs exactly one of source (a Go package) and artifact (a file)")
	case fn.Source != "" && fn.Artifact != "":
		fault("artifact", " needs exactly one of source (a Go package) and artifact (a file)")
	}
	switch fn.Kind {
	case functions.KindWASI:
		switch {
		case fn.Source != "":
			fault("source", ": kind wasi takes an artifact; a Go package is built as kind wasm or plugin")
		case fn.Out == nil || (fn.Out.File == "") == !fn.Out.Stdout:
			fault("out", ": kind wasi needs out: {file: NAME} or out: {stdout: true}")
		}
		if fn.Limits.Idle > 0 {
			v.fault(fn.Limits.Places.Of("idle"), "function %q: %w", fn.Name, errIdle)
		}
	case functions.KindWASM, functions.KindPlugin:
		if fn.Out != nil {
			fault("out", ": out belongs to kind wasi only; remove it")
		}
		if len(fn.Args) > 0 {
			fault("args", ": args belong to kind wasi only; remove them")
		}
		if fn.Kind == functions.KindPlugin && len(fn.Uses.Models) > 0 {
			v.fault(fn.Uses.Places.Of("models"), "function %q: a plugin can't use models yet; use kind wasm", fn.Name)
		}
	case "":
		fault("", " needs a kind: wasm, wasi or plugin")
	default:
		fault("kind", ": kind %q is none of wasm, wasi, plugin", fn.Kind)
	}
	if fn.Kind != functions.KindPlugin && fn.Limits.Mem > maxWASMMem {
		v.fault(fn.Limits.Places.Of("mem"), "function %q: a WebAssembly module has at most 4GiB of memory", fn.Name)
	}
	if !slices.Contains([]string{"", "auto", "off"}, fn.Image) {
		fault("image", ": image %q is neither auto nor off", fn.Image)
	}
	switch {
	case !slices.Contains([]string{"", "cbor", "json"}, fn.Encoding):
		fault("encoding", ": encoding %q is neither cbor nor json", fn.Encoding)
	case fn.Encoding != "" && slices.Contains([]functions.Kind{functions.KindWASI, functions.KindPlugin}, fn.Kind):
		fault("encoding", ": encoding belongs to kind wasm only; remove it")
	case fn.Encoding == "json" && fn.Source != "":
		fault("encoding", ": a Go package reads and writes CBOR; remove encoding, or build the module yourself and name it as artifact")
	}
	for i, name := range fn.Uses.Models {
		if err := functions.CheckName("model", name); err != nil {
			v.faults = append(v.faults, strictyaml.At(fn.Uses.Places.Of(fmt.Sprintf("models/%d", i)), err))
		}
	}
}

func (v *validator) model(m Model) {
	v.name("model", m.Name, m.Places)
	fault := func(key, format string, args ...any) {
		v.fault(m.Places.Of(key), "model %q"+format, append([]any{m.Name}, args...)...)
	}
	switch m.Engine {
	case functions.EngineLlama:
		if m.File == "" {
			fault("file", " needs a file")
		}
		if m.URL != "" {
			fault("url", ": url belongs to engine openai only; remove it")
		}
		if m.Model != "" {
			fault("model", ": model belongs to engine openai only; remove it")
		}
	case functions.EngineOpenAI:
		if m.URL == "" {
			fault("url", " needs a url, such as http://127.0.0.1:8000/v1")
		} else if err := functions.CheckURL(m.URL); err != nil {
			v.faults = append(v.faults, strictyaml.At(m.Places.Of("url"), err))
		}
		if m.Model == "" {
			fault("model", " needs a model: the name that the server has for it")
		}
		if m.File != "" {
			fault("file", ": file belongs to engine llama only; remove it")
		}
		if m.Context != 0 {
			fault("context", ": context belongs to engine llama only: the server sets its own; remove it")
		}
	case "":
		fault("engine", " needs an engine: llama or openai")
	default:
		fault("engine", ": engine %q is unknown; use llama or openai", m.Engine)
	}
	if m.Context < 0 {
		fault("context", ": context counts tokens and can't be negative; leave it out for all that the model was trained for")
	}
}

func (v *validator) chain(c Chain) {
	v.name("chain", c.Name, c.Places)
	switch {
	case c.File == "" && c.Package == "":
		v.fault(c.Places.Of(""), "chain %q needs exactly one of file (YAML) and package (Go)", c.Name)
	case c.File != "" && c.Package != "":
		v.fault(c.Places.Of("package"), "chain %q needs exactly one of file (YAML) and package (Go)", c.Name)
	}
}
