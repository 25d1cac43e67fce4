package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/value"
	"github.com/catenary-run/catenary/sandbox"
	"github.com/catenary-run/catenary/sandbox/wasm"
)

// in and out are the types of the guest; see ./guest.
type in struct {
	N int `json:"n"`
}

type out struct {
	N       int `json:"n"`
	Entries int `json:"entries"`
}

// guestSpec says how one guest starts.
type guestSpec struct {
	name    string
	sleep   time.Duration
	entries int
	image   string
}

// buildGuest compiles the guest into dir and returns its file and manifest.
func buildGuest(ctx context.Context, dir string, s guestSpec) (string, *functions.Manifest, error) {
	file := filepath.Join(dir, s.name+".wasm")
	flags := fmt.Sprintf("-s -w -X main.name=%s -X main.sleepMS=%d -X main.entries=%d", s.name, s.sleep.Milliseconds(), s.entries)
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildmode=c-shared", "-ldflags", flags, "-o", file, "./internal/bench/guest")
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0")
	if msg, err := cmd.CombinedOutput(); err != nil {
		return "", nil, fmt.Errorf("build %s: %w\n%s", s.name, err, msg)
	}
	artifact, err := os.ReadFile(file)
	if err != nil {
		return "", nil, err
	}
	sample, err := value.Encode(in{1})
	if err != nil {
		return "", nil, err
	}
	return file, &functions.Manifest{
		Name: s.name, Kind: functions.KindWASM, Artifact: functions.DigestOf(artifact), Image: s.image, Sample: sample,
		In: functions.Port{Schema: functions.SchemaFor[in]()}, Out: functions.Port{Schema: functions.SchemaFor[out]()},
		Limits: functions.Limits{MemBytes: 256 << 20, Time: 30 * time.Second},
	}, nil
}

// newDriver returns a WASM driver on a folder.
func newDriver(dir string) (*wasm.Driver, error) {
	return wasm.New(wasm.Config{Dir: dir, Log: slog.New(slog.DiscardHandler)})
}

// answer runs one call on an instance and checks what it returns.
func answer(ctx context.Context, inst sandbox.Instance) error {
	v, err := value.Encode(in{1})
	if err != nil {
		return err
	}
	var got out
	sink := functions.SinkFunc(func(_ context.Context, it functions.Item) error { return value.Decode(it.Value, &got) })
	if err := inst.Serve(ctx, functions.Items(functions.Item{Value: v}), sink, noHost{}); err != nil {
		return err
	}
	if got.N != 2 {
		return fmt.Errorf("the guest answered %+v", got)
	}
	return nil
}

// noHost has no models and drops what is logged.
type noHost struct{}

func (noHost) Turns() *functions.Turns { return nil }

func (noHost) Generate(context.Context, string, functions.Generation) (functions.Tokens, error) {
	return nil, functions.ErrDenied
}

func (noHost) Log(slog.Level, string) {}
