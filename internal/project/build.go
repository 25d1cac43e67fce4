package project

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/catenary-run/catenary/chains/specfile"
	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/value"
	"github.com/catenary-run/catenary/internal/strictyaml"
	"github.com/catenary-run/catenary/sdk"
)

// Build builds the project at dir and leaves its bundle in DIR/.catenary. It needs Go for functions and chains that are Go
// packages, and tells progress on talk. Equal sources give an equal bundle. Its error joins the faults of all parts, each
// with the place in catenary.yaml, or in a chain's file, that is to be changed. A build that fails, or is killed, leaves no
// bundle: a deploy would send what the project was before.
func Build(ctx context.Context, dir string, talk io.Writer) (*Bundle, error) {
	if err := forget(dir); err != nil {
		return nil, err
	}
	file, err := Load(dir)
	if err != nil {
		return nil, err
	}
	b := &builder{dir: dir, talk: talk, bundle: &Bundle{blobs: filepath.Join(dir, Folder, "blobs")}, contracts: map[string]sdk.FuncDescription{}}
	if err := os.MkdirAll(b.bundle.blobs, 0o755); err != nil {
		return nil, err
	}
	if b.work, err = os.MkdirTemp("", "catenary-build-"); err != nil {
		return nil, err
	}
	defer os.RemoveAll(b.work)
	if err := b.build(ctx, file); err != nil {
		return nil, err
	}
	return b.bundle, b.bundle.save(dir)
}

type builder struct {
	dir, work string
	talk      io.Writer
	bundle    *Bundle
	contracts map[string]sdk.FuncDescription // of functions, by name: from their own programs and from chains in Go
}

func (b *builder) build(ctx context.Context, file *File) error {
	var parts []func() []error
	// Chains come first: those in Go know the types of functions that can't describe themselves.
	for _, c := range file.Chains {
		parts = append(parts, func() []error { return b.chain(ctx, c) })
	}
	for _, m := range file.Models {
		parts = append(parts, func() []error { return b.model(m) })
	}
	for _, fn := range file.Functions {
		parts = append(parts, func() []error { return b.function(ctx, fn) })
	}
	var all []error
	for _, do := range parts {
		all = append(all, do()...)
		if ctx.Err() != nil {
			return context.Cause(ctx) // what that made fail is no fault of the project
		}
	}
	return errors.Join(all...)
}

func (b *builder) chain(ctx context.Context, c Chain) []error {
	fault := faults{"chain " + c.Name, c.Places}
	if c.File != "" {
		path := b.path(c.File)
		data, err := os.ReadFile(path)
		if err != nil {
			return fault.at("file", unreadable(err))
		}
		s, err := specfile.Parse(path, data)
		if err != nil {
			return []error{err} // its faults have places in that file
		}
		if s.Name != c.Name {
			fault.places = strictyaml.Places{"": s.Pos}
			return fault.at("", fmt.Errorf("%w: the chain in this file is called %q; give it the name that %s has", functions.ErrInvalid, s.Name, c.Places.Of("name")))
		}
		b.bundle.Chains = append(b.bundle.Chains, sdk.ChainDescription{Spec: s, Positions: s.Positions()})
		return nil
	}
	d, err := b.describe(ctx, b.path(c.Package))
	if err != nil {
		return fault.at("package", err)
	}
	i := slices.IndexFunc(d.Chains, func(d sdk.ChainDescription) bool { return d.Spec.Name == c.Name })
	if i < 0 {
		var passed []string
		for _, d := range d.Chains {
			passed = append(passed, d.Spec.Name)
		}
		return fault.at("name", fmt.Errorf("%w: package %s passes %s to sdk.Main; rename one of them", functions.ErrNotFound, c.Package, list("chain", passed)))
	}
	b.bundle.Chains = append(b.bundle.Chains, d.Chains[i])
	for _, f := range d.Chains[i].Uses {
		b.contracts[f.Name] = f
	}
	return nil
}

func (b *builder) model(m Model) []error {
	fault := faults{"model " + m.Name, m.Places}
	model := functions.Model{Name: m.Name, Engine: m.Engine, URL: m.URL, Served: m.Model, Context: m.Context, Idle: time.Duration(m.Idle)}
	if m.File != "" {
		var err error
		if model.File, model.Size, err = b.addFile(m.File); err != nil {
			return fault.at("file", err)
		}
	}
	if err := model.Validate(); err != nil {
		return fault.whole(err)
	}
	b.bundle.Models = append(b.bundle.Models, model)
	return nil
}

func (b *builder) function(ctx context.Context, fn Function) []error {
	fault := faults{"function " + fn.Name, fn.Places}
	start := time.Now()
	m := functions.Manifest{
		Name: fn.Name, Kind: fn.Kind, Args: fn.Args,
		Limits: functions.Limits{MemBytes: int64(fn.Limits.Mem), Time: time.Duration(fn.Limits.Time), OutBytes: int64(fn.Limits.Out), Idle: time.Duration(fn.Limits.Idle)},
		Idle:   time.Duration(fn.Idle), Image: fn.Image, Uses: functions.Uses{Models: fn.Uses.Models}, Encoding: fn.Encoding,
	}
	if fn.Out != nil {
		m.Output = &functions.CommandOutput{File: fn.Out.File, Stdout: fn.Out.Stdout, Type: fn.Out.Type}
	}
	artifact := b.path(fn.Artifact)
	if fn.Source != "" {
		d, err := b.describe(ctx, b.path(fn.Source))
		if err != nil {
			return fault.at("source", err)
		}
		if len(d.Functions) != 1 || d.Functions[0].Name != fn.Name {
			return fault.at("name", fmt.Errorf("%w: package %s serves %s; it must serve this one alone, so rename one of them", functions.ErrInvalid, fn.Source, names(d.Functions)))
		}
		b.contracts[fn.Name] = d.Functions[0]
		if artifact, err = b.compile(ctx, fn); err != nil {
			return fault.at("source", err)
		}
	}
	contract, known := b.contracts[fn.Name]
	if !known {
		in, err := argsSchema(fn.Args)
		if err != nil {
			return fault.at("args", err)
		}
		if contract, err = commandContract(fn, in); err != nil {
			return fault.at("artifact", err)
		}
	}
	m.In, m.Out, m.Turns = contract.In, contract.Out, contract.Turns
	if m.Limits.Idle > 0 && !m.In.Stream {
		return faults{fault.subject, fn.Limits.Places}.at("idle", fmt.Errorf("%w: %w", functions.ErrInvalid, errIdle))
	}
	if fn.Sample != nil {
		var err error
		if m.Sample, err = sample(m.In.Schema, fn.Sample); err != nil {
			return fault.at("sample", err)
		}
	}
	var err error
	if m.Artifact, _, err = b.addFile(artifact); err != nil {
		return fault.at("artifact", err)
	}
	if err := m.Validate(); err != nil {
		return fault.whole(err)
	}
	b.bundle.Manifests = append(b.bundle.Manifests, m)
	fmt.Fprintf(b.talk, "built %s (%s) in %s\n", fn.Name, fn.Kind, time.Since(start).Round(10*time.Millisecond))
	return nil
}

// addFile adds a file that catenary.yaml names, or that a compiler made, to the bundle.
func (b *builder) addFile(path string) (functions.Digest, int64, error) {
	path = b.path(path)
	if info, err := os.Stat(path); err != nil {
		return "", 0, unreadable(err)
	} else if !info.Mode().IsRegular() {
		return "", 0, fmt.Errorf("%w: %s is not a file", functions.ErrInvalid, path)
	} else if info.Size() == 0 {
		return "", 0, fmt.Errorf("%w: %s is empty", functions.ErrInvalid, path)
	}
	digest, size, err := b.bundle.addBlob(path)
	if err != nil {
		return "", 0, unreadable(err)
	}
	return digest, size, nil
}

// sample turns the sample of catenary.yaml into a value of the schema.
func sample(s *functions.Schema, v any) ([]byte, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("%w: sample: %w", functions.ErrInvalid, err)
	}
	b, blobs, err := value.FromJSON(s, text, nil)
	if err != nil {
		return nil, fmt.Errorf("sample: %w", err)
	}
	if len(blobs) > 0 {
		return nil, fmt.Errorf("%w: sample: a sample can't hold blobs", functions.ErrInvalid)
	}
	return b, nil
}

// describe builds a Go package for this machine and has it describe itself.
func (b *builder) describe(ctx context.Context, dir string) (sdk.Description, error) {
	if info, err := os.Stat(dir); err != nil {
		return sdk.Description{}, unreadable(err)
	} else if !info.IsDir() {
		return sdk.Description{}, fmt.Errorf("%w: %s is a file; name the folder of a Go package", functions.ErrInvalid, dir)
	}
	bin := filepath.Join(b.work, "describe")
	if err := b.goBuild(ctx, dir, bin, nil); err != nil {
		return sdk.Description{}, err
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, bin)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), sdk.DescribeEnv+"=1")
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return sdk.Description{}, fmt.Errorf("%w: package %s does not describe itself when it runs with %s=1: %w\n%s", functions.ErrInvalid, dir, sdk.DescribeEnv, err, strings.TrimSpace(stderr.String()))
	}
	// The description is the last line: what the program prints by itself comes before.
	lines := bytes.Split(bytes.TrimSpace(stdout.Bytes()), []byte("\n"))
	var d sdk.Description
	if err := json.Unmarshal(lines[len(lines)-1], &d); err != nil {
		return sdk.Description{}, fmt.Errorf("%w: package %s: its main or init must call guest.Serve, plugin.Serve or sdk.Main, and print nothing after that: %w", functions.ErrInvalid, dir, err)
	}
	return d, nil
}

// compile builds the artifact of a function that is a Go package and returns its file.
func (b *builder) compile(ctx context.Context, fn Function) (string, error) {
	out := filepath.Join(b.work, fn.Name)
	if fn.Kind == functions.KindWASM {
		return out, b.goBuild(ctx, b.path(fn.Source), out, []string{"GOOS=wasip1", "GOARCH=wasm"}, "-buildmode=c-shared")
	}
	return out, b.goBuild(ctx, b.path(fn.Source), out, nil)
}

func (b *builder) goBuild(ctx context.Context, dir, out string, env []string, flags ...string) error {
	args := append([]string{"build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=", "-o", out}, flags...)
	cmd := exec.CommandContext(ctx, "go", append(args, ".")...)
	cmd.Dir = dir
	cmd.Env = append(append(os.Environ(), "CGO_ENABLED=0"), env...)
	msg, err := cmd.CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		return fmt.Errorf("%w: building a Go package needs the go command; install Go from https://go.dev/dl", functions.ErrNotFound)
	}
	if err != nil {
		return fmt.Errorf("%w: go build %s: %w\n%s", functions.ErrInvalid, dir, err, bytes.TrimSpace(msg))
	}
	return nil
}

func (b *builder) path(rel string) string {
	if filepath.IsAbs(rel) {
		return rel
	}
	return filepath.Join(b.dir, filepath.FromSlash(rel))
}
