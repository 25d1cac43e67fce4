package project

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/internal/strictyaml"
)

// FileName is the name of the file that describes a project.
const FileName = "catenary.yaml"

// File is what catenary.yaml says.
type File struct {
	Functions []Function `yaml:"functions"`
	Models    []Model    `yaml:"models"`
	Chains    []Chain    `yaml:"chains"`
}

// Function is one entry of functions. Exactly one of Source and Artifact is set.
type Function struct {
	Name     string         `yaml:"name"`
	Kind     functions.Kind `yaml:"kind"`
	Source   string         `yaml:"source"`   // folder of a Go package
	Artifact string         `yaml:"artifact"` // file
	Args     []string       `yaml:"args"`
	Out      *Output        `yaml:"out"`
	Limits   Limits         `yaml:"limits"`
	Idle     Duration       `yaml:"idle"`
	Image    string         `yaml:"image"`
	Uses     Uses           `yaml:"uses"`
	Encoding string         `yaml:"encoding"`
	Sample   any            `yaml:"sample"`

	Places strictyaml.Places `yaml:",pos"`
}

// Output is where a WASI command leaves its result.
type Output struct {
	File   string `yaml:"file"`
	Stdout bool   `yaml:"stdout"`
	Type   string `yaml:"type"`
}

// Limits of one call of a function.
type Limits struct {
	Mem  Size     `yaml:"mem"`
	Time Duration `yaml:"time"`
	Idle Duration `yaml:"idle"`
	Out  Size     `yaml:"out"`

	Places strictyaml.Places `yaml:",pos"`
}

// Uses is what a function may reach.
type Uses struct {
	Models []string `yaml:"models"`

	Places strictyaml.Places `yaml:",pos"`
}

// Model is one entry of models. Engine llama has a File, openai a URL and the server's name for the Model.
type Model struct {
	Name    string   `yaml:"name"`
	Engine  string   `yaml:"engine"`
	File    string   `yaml:"file"`
	URL     string   `yaml:"url"`
	Model   string   `yaml:"model"`
	Context int      `yaml:"context"`
	Idle    Duration `yaml:"idle"`

	Places strictyaml.Places `yaml:",pos"`
}

// Chain is one entry of chains: a YAML file, or a Go package whose main calls sdk.Main. Exactly one is set.
type Chain struct {
	Name    string `yaml:"name"`
	File    string `yaml:"file"`
	Package string `yaml:"package"`

	Places strictyaml.Places `yaml:",pos"`
}

// Size is a count of bytes, written as a number with B, KiB, MiB or GiB.
type Size int64

// UnmarshalText reads a size.
func (s *Size) UnmarshalText(text []byte) error {
	v, err := ParseSize(string(text))
	*s = Size(v)
	return err
}

// ParseSize reads a size such as 512MiB. A plain number counts bytes.
func ParseSize(text string) (int64, error) {
	digits := strings.TrimRight(text, "KMGiB")
	unit, known := map[string]int64{"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}[text[len(digits):]]
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || !known || n < 0 || n > (1<<62)/unit {
		return 0, fmt.Errorf("%w: size %q: write a number and B, KiB, MiB or GiB, such as 512MiB", functions.ErrInvalid, text)
	}
	return n * unit, nil
}

// Duration is a span of time, written as for time.ParseDuration.
type Duration time.Duration

// UnmarshalText reads a duration.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil || v < 0 {
		return fmt.Errorf("%w: duration %q: write a number and a unit, such as 30s or 5m", functions.ErrInvalid, text)
	}
	*d = Duration(v)
	return nil
}

// Load reads the catenary.yaml of dir.
func Load(dir string) (*File, error) {
	path := filepath.Join(dir, FileName)
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s: there is no %s in this folder; give the folder of a project", functions.ErrNotFound, dir, FileName)
	}
	if err != nil {
		return nil, err
	}
	return Parse(path, data)
}

// Parse reads the text of a catenary.yaml; name is for messages. Unknown and duplicate keys are errors. The error joins
// all faults, each a [*strictyaml.Fault] wrapping functions.ErrInvalid.
func Parse(name string, data []byte) (*File, error) {
	var f File
	if err := strictyaml.Decode(name, data, &f); err != nil {
		return nil, err
	}
	if err := f.validate(); err != nil {
		return nil, err
	}
	return &f, nil
}
