package functions

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"
)

// Kind says how a function runs.
type Kind string

// The kinds of function.
const (
	KindWASM   Kind = "wasm"   // a reactor that speaks catenary_v1
	KindWASI   Kind = "wasi"   // an unmodified WASI preview 1 command
	KindPlugin Kind = "plugin" // a process that speaks the plugin protocol
)

// Limits of one call. Zero takes the default.
type Limits struct {
	MemBytes int64 `json:"mem_bytes,omitempty"`
	// Time is the longest that a call may take. A call with a stream on either side may take any time by default.
	Time time.Duration `json:"time_ns,omitempty"`
	// Idle is the longest that a call with a stream as its input may go without an item, in or out. By default there
	// is no such limit.
	Idle time.Duration `json:"idle_ns,omitempty"`
	// OutBytes is the most that a call may yield; of a call with a stream as its input, the most in one item.
	OutBytes int64 `json:"out_bytes,omitempty"`
}

// DefaultLimits apply where a manifest sets none.
var DefaultLimits = Limits{MemBytes: 512 << 20, Time: 60 * time.Second, OutBytes: 64 << 20}

// WithDefaults fills in what is zero.
func (l Limits) WithDefaults() Limits {
	if l.MemBytes == 0 {
		l.MemBytes = DefaultLimits.MemBytes
	}
	if l.Time == 0 {
		l.Time = DefaultLimits.Time
	}
	if l.OutBytes == 0 {
		l.OutBytes = DefaultLimits.OutBytes
	}
	return l
}

// CallLimits returns what holds for one call of the function, with defaults. A Time or Idle of zero is no limit.
func (m *Manifest) CallLimits() Limits {
	l := m.Limits.WithDefaults()
	if m.In.Stream || m.Out.Stream {
		l.Time = m.Limits.Time
	}
	return l
}

// Port is one side of a function.
type Port struct {
	Schema *Schema `json:"schema"`
	// Stream is true if the side carries any number of items; otherwise it carries exactly one.
	Stream bool `json:"stream,omitempty"`
}

// CommandOutput says where a WASI command leaves its result: exactly one of File and Stdout.
type CommandOutput struct {
	File   string `json:"file,omitempty"` // in the scratch folder
	Stdout bool   `json:"stdout,omitempty"`
	// Type is the media type of the result. If the output schema is a blob or audio the bytes become one; otherwise
	// they must be JSON that fits the schema, or text for a string.
	Type string `json:"type,omitempty"`
}

// Uses is what a function may reach while it runs.
type Uses struct {
	Models []string `json:"models,omitempty"`
}

// Manifest describes one version of a function. Its digest (see [Manifest.Digest]) is the version.
type Manifest struct {
	Name     string `json:"name"`
	Kind     Kind   `json:"kind"`
	Artifact Digest `json:"artifact"`
	In       Port   `json:"in"`
	Out      Port   `json:"out"`
	// Args of a WASI command. {field} stands for a field of the input, {field|file} for the path of a scratch file
	// that holds it; {out} for the path of the output file. A plugin gets them as they are.
	Args   []string       `json:"args,omitempty"`
	Output *CommandOutput `json:"output,omitempty"`
	Limits Limits         `json:"limits,omitzero"`
	// Idle is how long an unused instance is kept; zero takes the server's default.
	Idle time.Duration `json:"idle_ns,omitempty"`
	// Image is "auto" or "off". Off means that start-up runs for each instance.
	Image string `json:"image,omitempty"`
	Uses  Uses   `json:"uses,omitzero"`
	// Turns is true if the function opens turns: what it yields may belong to the turn after the newest one. Only a
	// function between two streams can, and one step of a chain at most.
	Turns bool `json:"turns,omitempty"`
	// Sample is a CBOR input with which the function is warmed before its image is taken.
	Sample []byte `json:"sample,omitempty"`
	// Encoding of values inside the function: "cbor" (default) or "json".
	Encoding string `json:"encoding,omitempty"`
}

// The engines of a model.
const (
	EngineLlama  = "llama"  // a file, which the node's own worker loads
	EngineOpenAI = "openai" // a server that speaks OpenAI's API
)

// Model describes weights that the GPU runtime holds once for all callers, or a model that a server holds for it.
type Model struct {
	Name   string `json:"name"`
	Engine string `json:"engine"`
	File   Digest `json:"file,omitempty"` // of llama
	Size   int64  `json:"size,omitempty"`
	// URL of the server's API, such as http://127.0.0.1:8000/v1, and the name that the server has for the model. What is
	// secret, or a node's own affair, is not here: keys, and how a server is started.
	URL    string `json:"url,omitempty"`
	Served string `json:"model,omitempty"`
	// Context is the length of the model's context in tokens.
	Context int `json:"context,omitempty"`
	// Idle is how long the model stays on the device unused; zero takes the server's default.
	Idle time.Duration `json:"idle_ns,omitempty"`
}

// Ref is a name pinned to one version: Digest is that of a Manifest or of a Model.
type Ref struct {
	Name   string `json:"name"`
	Digest Digest `json:"digest"`
}

func (r Ref) String() string { return r.Name + "@" + r.Digest.Short() }

var nameRE = regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`)

// CheckName returns an error wrapping [ErrInvalid] unless name is a letter followed by at most 62 letters, digits and
// hyphens, all lower case. What says what the name is of.
func CheckName(what, name string) error {
	if !nameRE.MatchString(name) {
		return fmt.Errorf("%w: %s name %q: use a lower-case letter, then letters, digits and hyphens, at most 63 in all", ErrInvalid, what, shorten(name))
	}
	return nil
}

// Digest returns the version: the digest of the manifest's canonical JSON.
func (m *Manifest) Digest() Digest { return DigestOf(m.Canonical()) }

// Canonical returns the manifest as JSON with sorted keys of maps and fields in the order of the struct.
func (m *Manifest) Canonical() []byte { return canonical(m) }

// Ref returns the manifest's name and version.
func (m *Manifest) Ref() Ref { return Ref{m.Name, m.Digest()} }

// Digest returns the version of the model: the digest of its canonical JSON.
func (m *Model) Digest() Digest { return DigestOf(m.Canonical()) }

// Canonical returns the model as JSON.
func (m *Model) Canonical() []byte { return canonical(m) }

// Ref returns the model's name and version.
func (m *Model) Ref() Ref { return Ref{m.Name, m.Digest()} }

func canonical(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("functions: " + err.Error()) // only plain data is passed
	}
	return b
}

// Validate returns all faults of the manifest joined, each wrapping [ErrInvalid].
func (m *Manifest) Validate() error {
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("%w: function %q: "+format, append([]any{ErrInvalid, m.Name}, args...)...))
	}
	if err := CheckName("function", m.Name); err != nil {
		faults = append(faults, err)
	}
	if !slices.Contains([]Kind{KindWASM, KindWASI, KindPlugin}, m.Kind) {
		fault("kind %q is none of wasm, wasi, plugin", m.Kind)
	}
	if _, err := ParseDigest(string(m.Artifact)); err != nil {
		fault("artifact: %v", err)
	}
	for _, p := range []struct {
		name string
		port Port
	}{{"in", m.In}, {"out", m.Out}} {
		if p.port.Schema == nil {
			fault("%s has no schema", p.name)
		} else if err := p.port.Schema.Validate(); err != nil {
			fault("%s: %v", p.name, err)
		}
	}
	switch m.Kind {
	case KindWASI:
		if m.Output == nil || (m.Output.File == "") == !m.Output.Stdout {
			fault("a wasi command needs out: {file: NAME} or out: {stdout: true}")
		}
		if m.In.Stream || m.Out.Stream {
			fault("a wasi command takes one value and gives one, no streams")
		}
	default:
		if m.Output != nil {
			fault("out belongs to kind wasi only")
		}
		if m.Kind == KindPlugin && len(m.Uses.Models) > 0 {
			fault("a plugin can't use models yet; use kind wasm")
		}
	}
	if l := m.Limits; l.MemBytes < 0 || l.Time < 0 || l.Idle < 0 || l.OutBytes < 0 || m.Idle < 0 {
		fault("limits and idle must not be negative")
	}
	if m.Limits.Idle > 0 && !m.In.Stream {
		fault("limits.idle is the time between items, and the input is not a stream; use limits.time")
	}
	if m.Turns && !(m.In.Stream && m.Out.Stream) {
		fault("only a function from a stream to a stream can open turns")
	}
	if !slices.Contains([]string{"", "auto", "off"}, m.Image) {
		fault("image %q is neither auto nor off", m.Image)
	}
	if !slices.Contains([]string{"", "cbor", "json"}, m.Encoding) {
		fault("encoding %q is neither cbor nor json", m.Encoding)
	}
	for _, name := range m.Uses.Models {
		if err := CheckName("model", name); err != nil {
			fault("uses: %v", err)
		}
	}
	return errors.Join(faults...)
}

// Validate returns all faults of the model joined, each wrapping [ErrInvalid].
func (m *Model) Validate() error {
	var faults []error
	if err := CheckName("model", m.Name); err != nil {
		faults = append(faults, err)
	}
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("%w: model %q: "+format, append([]any{ErrInvalid, m.Name}, args...)...))
	}
	switch m.Engine {
	case EngineLlama:
		if _, err := ParseDigest(string(m.File)); err != nil {
			fault("file: %v", err)
		}
		if m.URL != "" || m.Served != "" {
			fault("url and model belong to engine openai only")
		}
	case EngineOpenAI:
		if err := CheckURL(m.URL); err != nil {
			fault("%v", err)
		}
		if m.Served == "" || len(m.Served) > maxServed {
			fault("model is the name that the server has for it: 1 to %d bytes", maxServed)
		}
		if m.File != "" || m.Size != 0 || m.Context != 0 {
			fault("file, size and context belong to engine llama only")
		}
	default:
		fault("engine %q is unknown; use llama or openai", m.Engine)
	}
	if m.Size < 0 || m.Context < 0 || m.Idle < 0 {
		fault("size, context and idle must not be negative")
	}
	return errors.Join(faults...)
}

// maxServed bounds a server's name for a model, which may be a path.
const maxServed = 512

// urlRE leaves no place for what could be secret. Package net/url would know more, and every guest would link it.
var urlRE = regexp.MustCompile(`^https?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(/[A-Za-z0-9._~%-]+)*$`)

// maxURL bounds a URL.
const maxURL = 512

// CheckURL returns an error wrapping [ErrInvalid] unless text is the URL of an API: http or https, a host, perhaps a path, and
// nothing else.
func CheckURL(text string) error {
	if len(text) > maxURL || !urlRE.MatchString(text) {
		return fmt.Errorf("%w: url: write it as http://HOST:PORT/v1, without user, query or a slash at its end", ErrInvalid) // text is not repeated
	}
	return nil
}
