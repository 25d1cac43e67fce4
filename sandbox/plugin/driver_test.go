//go:build linux

package plugin

import (
	"context"
	"debug/elf"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/value"
	"github.com/catenary-run/catenary/sandbox"
	"github.com/catenary-run/catenary/sandbox/plugin/pluginv1"
	"github.com/catenary-run/catenary/sandbox/sandboxtest/fixture"
	"github.com/google/go-cmp/cmp"
)

// oddManifest returns a manifest of the plugin that misbehaves as args say.
func oddManifest(t *testing.T, args ...string) functions.Manifest {
	t.Helper()
	digest, err := digestOfFile(builds["odd"](t))
	if err != nil {
		t.Fatal(err)
	}
	port := functions.Port{Schema: functions.SchemaFor[string]()}
	return functions.Manifest{Name: "odd", Kind: functions.KindPlugin, Artifact: digest, In: port, Out: port, Args: args}
}

// oddCode prepares and loads it.
func oddCode(t *testing.T, d *Driver, args ...string) sandbox.Code {
	t.Helper()
	m := oddManifest(t, args...)
	img, err := d.Prepare(t.Context(), &m, builds["odd"](t))
	if err != nil {
		t.Fatal(err)
	}
	code, err := d.Load(t.Context(), img)
	if err != nil {
		t.Fatal(err)
	}
	return code
}

func newInstance(t *testing.T, code sandbox.Code) *instance {
	t.Helper()
	inst, err := code.New(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := inst.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return inst.(*instance)
}

// testHost keeps what is logged.
type testHost struct {
	lines chan string
}

func newHost() *testHost { return &testHost{lines: make(chan string, 1000)} }

func (*testHost) Turns() *functions.Turns { return nil }

func (h *testHost) Generate(context.Context, string, functions.Generation) (functions.Tokens, error) {
	return nil, functions.ErrDenied
}

func (h *testHost) Log(_ slog.Level, line string) { h.lines <- line }

// ask serves one call.
func ask(ctx context.Context, inst sandbox.Instance, host functions.Host, do string) (answer string, err error) {
	in, err := value.Encode(do)
	if err != nil {
		return "", err
	}
	err = inst.Serve(ctx, functions.Items(functions.Item{Value: in}), functions.SinkFunc(func(_ context.Context, it functions.Item) error {
		return value.Decode(it.Value, &answer)
	}), host)
	return answer, err
}

// gone waits until a process has ended. The guard bounds how long a failing test takes.
func gone(t *testing.T, pid int) {
	t.Helper()
	for range 500 {
		if err := syscall.Kill(pid, 0); errors.Is(err, syscall.ESRCH) {
			return
		}
		// An orphan that nobody reaps, as in a container without an init, is dead all the same.
		if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err != nil || strings.Contains(string(b), ") Z ") {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("process %d still runs", pid)
}

// nothingLeft fails the test if a socket folder is left.
func nothingLeft(t *testing.T, d *Driver) {
	t.Helper()
	entries, err := os.ReadDir(d.instances)
	if err != nil || len(entries) > 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

func TestConfinement(t *testing.T) {
	t.Setenv("SECRET", "swordfish")
	leak := filepath.Join(t.TempDir(), "leak")
	if err := os.WriteFile(leak, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	fd, err := syscall.Open(leak, syscall.O_RDONLY, 0) // as somebody who starts the node may leave it one
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	d := newDriver(t, t.TempDir(), nil)
	inst := newInstance(t, oddCode(t, d, "seen", "arg two"))
	answer, err := ask(t.Context(), inst, newHost(), "see")
	if err != nil {
		t.Fatal(err)
	}
	var seen map[string]string
	if err := json.Unmarshal([]byte(answer), &seen); err != nil {
		t.Fatal(err)
	}
	data := functions.DefaultLimits.MemBytes + memAllowance
	want := map[string]string{
		"args": "seen arg two", "leader": "true", "NoNewPrivs": "1", "files": "1", "leaked": "no",
		"Max core file size": "0 0 bytes", "Max data size": fmt.Sprintf("%d %d bytes", data, data),
		"Max open files": "1024 1024 files",
	}
	if os.Geteuid() == 0 {
		id := fmt.Sprint(userBase + inst.proc.pid)
		want["Uid"] = strings.Join([]string{id, id, id, id}, " ")
		want["Gid"] = want["Uid"]
		want["Groups"] = ""
		want["CapEff"], want["CapPrm"], want["CapAmb"] = "0000000000000000", "0000000000000000", "0000000000000000"
		want["Max processes"] = "512 512 processes"
	}
	if d.clone != 0 {
		want["NSpid"] = fmt.Sprintf("%d 1", inst.proc.pid)
	}
	for name, w := range want {
		if got := seen[name]; got != w {
			t.Errorf("%s: %q, want %q", name, got, w)
		}
	}
	for name := range strings.FieldsSeq(seen["env"]) {
		if !strings.HasPrefix(name, "PLUGIN_") && !strings.HasPrefix(name, "CATENARY_") && name != tempEnv {
			t.Errorf("the plugin sees the variable %s", name)
		}
	}
	info, err := os.Stat(filepath.Join(inst.launch.spec.dir))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o700 {
		t.Errorf("the socket folder has mode %v, want 0700", info.Mode())
	}
}

func TestStartFails(t *testing.T) {
	for _, tt := range []struct{ mode, says string }{
		{"exit", "exit status 3; its last words: first line | the tea is cold"},
		{"hang", "not ready within 2s; its last words: waiting for the kettle"},
		{"garbage", "good morning"},
		{"tcp", "not on a unix socket"},
		{"elsewhere", "not on a unix socket"},
		{"netrpc", "netrpc"},
		{"version", "99"},
		{"start-error", "the model is not installed"},
	} {
		t.Run(tt.mode, func(t *testing.T) {
			t.Parallel()
			d := newDriver(t, t.TempDir(), func(c *Config) {
				c.StartTimeout = time.Hour
				if tt.mode == "hang" {
					c.StartTimeout = 2 * time.Second
				}
			})
			m := oddManifest(t, tt.mode)
			_, err := d.Prepare(t.Context(), &m, builds["odd"](t))
			if functions.CodeOf(err) != functions.CodeOf(functions.ErrColdStart) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %v, want functions.ErrColdStart that says %q", err, tt.says)
			}
			nothingLeft(t, d)
		})
	}
	t.Run("cancelled", func(t *testing.T) {
		d := newDriver(t, t.TempDir(), nil)
		m := oddManifest(t, "hang")
		why := errors.New("nobody waits any more")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(100*time.Millisecond, func() { cancel(why) })
		if _, err := d.Prepare(ctx, &m, builds["odd"](t)); !errors.Is(err, why) {
			t.Errorf("got %v, want the cause of the context", err)
		}
		nothingLeft(t, d)
	})
	t.Run("no such command", func(t *testing.T) {
		d := newDriver(t, t.TempDir(), func(c *Config) { c.Confine = []string{filepath.Join(t.TempDir(), "catenary"), "confine"} })
		m := oddManifest(t)
		if _, err := d.Prepare(t.Context(), &m, builds["odd"](t)); !errors.Is(err, functions.ErrColdStart) {
			t.Errorf("got %v, want functions.ErrColdStart", err)
		}
		nothingLeft(t, d)
	})
}

func TestPrepareRefuses(t *testing.T) {
	program, err := os.ReadFile(builds["odd"](t))
	if err != nil {
		t.Fatal(err)
	}
	change := func(at int, v uint16) []byte {
		b := slices.Clone(program)
		binary.LittleEndian.PutUint16(b[at:], v)
		return b
	}
	other := map[string]elf.Machine{"amd64": elf.EM_AARCH64, "arm64": elf.EM_X86_64}
	d := newDriver(t, t.TempDir(), nil)
	for _, tt := range []struct {
		name string
		file []byte
		says string
	}{
		{"script", []byte("#!/bin/sh\necho hello\n"), "script"},
		{"text", []byte("hello"), "no ELF"},
		{"empty", nil, "no ELF"},
		{"cut", program[:1000], "no ELF"},
		{"other machine", change(18, uint16(other[arch()])), "GOARCH=" + arch()},
		{"object file", change(16, uint16(elf.ET_REL)), "not an executable"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "artifact")
			if err := os.WriteFile(path, tt.file, 0o600); err != nil {
				t.Fatal(err)
			}
			m := oddManifest(t)
			m.Artifact = functions.DigestOf(tt.file)
			if _, err := d.Prepare(t.Context(), &m, path); !errors.Is(err, functions.ErrInvalid) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %v, want functions.ErrInvalid that says %q", err, tt.says)
			}
		})
	}
	for _, tt := range []struct {
		name string
		edit func(*functions.Manifest)
		says string
	}{
		{"name", func(m *functions.Manifest) { m.Name = "even" }, `"odd"`},
		{"input", func(m *functions.Manifest) { m.In.Schema = functions.SchemaFor[int]() }, "input"},
		{"output", func(m *functions.Manifest) { m.Out.Schema = functions.SchemaFor[int]() }, "output"},
		{"stream", func(m *functions.Manifest) { m.Out.Stream = true }, "stream"},
		{"kind", func(m *functions.Manifest) { m.Kind = functions.KindWASM }, "wasm"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := oddManifest(t)
			tt.edit(&m)
			if _, err := d.Prepare(t.Context(), &m, builds["odd"](t)); !errors.Is(err, functions.ErrInvalid) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %v, want functions.ErrInvalid that says %q", err, tt.says)
			}
		})
	}
	nothingLeft(t, d)
}

// TestChangedArtifact changes the executable copy behind the driver's back.
func TestChangedArtifact(t *testing.T) {
	d := newDriver(t, t.TempDir(), nil)
	m := oddManifest(t)
	copied, stored := d.program(m.Artifact), filepath.Join(t.TempDir(), "blob")
	whole, err := os.ReadFile(builds["odd"](t))
	if err != nil {
		t.Fatal(err)
	}
	write := func(path string, b []byte) {
		t.Helper()
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(stored, whole)
	img, err := d.Prepare(t.Context(), &m, stored)
	if err != nil {
		t.Fatal(err)
	}
	code, err := d.Load(t.Context(), img)
	if err != nil {
		t.Fatal(err)
	}
	flipped := slices.Clone(whole)
	flipped[len(flipped)/2] ^= 1
	for _, tt := range []struct {
		name   string
		change func()
	}{
		{"one bit", func() { write(copied, flipped) }},
		{"another program", func() { write(copied, []byte("#!/bin/sh\n")) }},
		{"gone", func() { _ = os.Remove(copied) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.change()
			newInstance(t, code)
			if got, err := digestOfFile(copied); err != nil || got != m.Artifact {
				t.Errorf("the copy has digest %s, %v; want that of the artifact", got, err)
			}
		})
	}

	write(copied, flipped)
	write(stored, flipped)
	for range 2 {
		_, err := code.New(t.Context())
		if !errors.Is(err, functions.ErrColdStart) || functions.Retryable(err) || !strings.Contains(err.Error(), m.Artifact.Hex()) {
			t.Errorf("both changed: got %v (retryable: %v), want a start that is refused for good and names the blob", err, functions.Retryable(err))
		}
	}
	if got, err := digestOfFile(copied); err != nil || got != functions.DigestOf(flipped) {
		t.Errorf("a damaged blob was copied: %s, %v", got, err)
	}
	nothingLeft(t, d)
	write(stored, whole)
	newInstance(t, code) // what is good again is found

	if err := os.Remove(copied); err != nil {
		t.Fatal(err)
	}
	if code, err = d.Load(t.Context(), img); err != nil {
		t.Fatal(err) // to load it again makes it anew
	}
	newInstance(t, code)
}

// TestDeath ends the process under a call.
func TestDeath(t *testing.T) {
	d := newDriver(t, t.TempDir(), nil)
	code := oddCode(t, d)
	for _, tt := range []struct {
		name, do string
		kill     syscall.Signal
		want     error
		says     string
	}{
		{"killed from outside", "wait for ever", syscall.SIGKILL, functions.ErrUnavailable, "signal: killed"},
		{"exit", "exit", 0, functions.ErrTrap, "exit status 7"},
		{"signal of its own", "abort", 0, functions.ErrTrap, "ended during the call"},
		{"panic in a goroutine", "panic elsewhere", 0, functions.ErrTrap, "panic: a goroutine fell"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inst, host := newInstance(t, code), newHost()
			var killer sync.WaitGroup
			if tt.kill != 0 {
				killer.Go(func() {
					<-host.lines // it is in the call
					if err := syscall.Kill(inst.proc.pid, tt.kill); err != nil {
						t.Error(err)
					}
				})
			}
			_, err := ask(t.Context(), inst, host, tt.do)
			killer.Wait()
			if !errors.Is(err, tt.want) || functions.CodeOf(err) != functions.CodeOf(tt.want) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %v, want %v that says %q", err, tt.want, tt.says)
			}
			<-inst.Done()
			if err := inst.Reset(t.Context()); !errors.Is(err, sandbox.ErrSpent) {
				t.Errorf("reset: got %v, want sandbox.ErrSpent", err)
			}
			if _, err := ask(t.Context(), inst, host, "pid"); !functions.Retryable(err) {
				t.Errorf("a call after that: got %v, want an error that says to try again", err)
			}
		})
	}
	t.Run("between calls", func(t *testing.T) {
		inst := newInstance(t, code)
		if err := syscall.Kill(inst.proc.pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		<-inst.Done()
		if _, err := ask(t.Context(), inst, newHost(), "pid"); !errors.Is(err, functions.ErrUnavailable) {
			t.Errorf("got %v, want functions.ErrUnavailable", err)
		}
	})
	if answer, err := ask(t.Context(), newInstance(t, code), newHost(), "pid"); err != nil || answer == "" {
		t.Errorf("the next instance: %q, %v", answer, err)
	}
}

// TestReset uses one process for several calls, one of them cancelled.
func TestReset(t *testing.T) {
	code := oddCode(t, newDriver(t, t.TempDir(), nil))
	cancelled := func(inst sandbox.Instance, do string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if _, err := ask(ctx, inst, newHost(), do); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want context.DeadlineExceeded", err)
		}
	}
	inst := newInstance(t, code)
	for range 3 {
		if pid, err := ask(t.Context(), inst, newHost(), "pid"); err != nil || pid != fmt.Sprint(inst.proc.pid) {
			t.Fatalf("process %s, %v, want %d", pid, err, inst.proc.pid)
		}
		cancelled(inst, "wait")
		if err := inst.Reset(t.Context()); err != nil {
			t.Fatalf("reset after a call that ended when it was told: %v", err)
		}
	}
	cancelled(inst, "wait for ever")
	if err := inst.Reset(t.Context()); !errors.Is(err, sandbox.ErrSpent) {
		t.Errorf("reset after a call that goes on: got %v, want sandbox.ErrSpent", err)
	}
	<-inst.Done()
}

// TestSharedFolder starts a second driver on a folder that is in use.
func TestSharedFolder(t *testing.T) {
	dir := t.TempDir()
	inst := newInstance(t, oddCode(t, newDriver(t, dir, nil)))
	newDriver(t, dir, nil)
	if _, err := os.Stat(inst.folder.path); err != nil {
		t.Errorf("the folder of a live instance was removed: %v", err)
	}
	if _, err := ask(t.Context(), inst, newHost(), "pid"); err != nil {
		t.Error(err)
	}
}

// TestLongPath puts the sockets deeper than the 108 bytes of a socket's address.
func TestLongPath(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long/", 30))
	if _, err := ask(t.Context(), newInstance(t, oddCode(t, newDriver(t, dir, nil))), newHost(), "pid"); err != nil {
		t.Error(err)
	}
}

func TestNewChecksItsConfig(t *testing.T) {
	for _, cfg := range []Config{
		{}, {Dir: t.TempDir()}, {Confine: []string{"x"}}, {Dir: t.TempDir(), Confine: []string{"x"}, StartTimeout: -1},
	} {
		if _, err := New(cfg); !errors.Is(err, functions.ErrInvalid) {
			t.Errorf("%+v: got %v, want functions.ErrInvalid", cfg, err)
		}
	}
}

// TestOutput holds a plugin to its output: one value, with the blobs that it names.
func TestOutput(t *testing.T) {
	blob := functions.Attach("text/plain", []byte("tea"))
	wire := func(digest functions.Digest) *pluginv1.Item {
		return &pluginv1.Item{Value: []byte{0xf6}, Turn: 5, TimeUnixNanos: 7, Blobs: []*pluginv1.Blob{{Digest: string(digest), Type: "text/plain", Data: []byte("tea")}}}
	}
	got, err := fromWire(wire(blob.Digest), 3)
	if err != nil {
		t.Fatal(err)
	}
	want := functions.Item{Value: []byte{0xf6}, Turn: 5, Seq: 3, Time: time.Unix(0, 7), Blobs: []functions.Attachment{blob}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for name, m := range map[string]*pluginv1.Item{
		"other bytes": wire(functions.DigestOf(nil)), "no digest": wire(""), "no value": {},
	} {
		if _, err := fromWire(m, 0); !errors.Is(err, functions.ErrFunction) {
			t.Errorf("%s: got %v, want functions.ErrFunction", name, err)
		}
	}
	// The fixture sends a stream. Nothing but a manifest that was not compared with it can say otherwise.
	d := newDriver(t, t.TempDir(), nil)
	m := fixtureManifest(t, builds["fixture"](t))
	m.Out.Stream = false
	program, err := d.keep(builds["fixture"](t), m.Artifact)
	if err != nil {
		t.Fatal(err)
	}
	for _, in := range []fixture.In{{Do: fixture.Empty}, {Do: fixture.Count, N: 2}} {
		v, err := value.Encode(in)
		if err != nil {
			t.Fatal(err)
		}
		sent := 0
		err = newInstance(t, &code{driver: d, manifest: &m, program: program}).Serve(t.Context(), functions.Items(functions.Item{Value: v}),
			functions.SinkFunc(func(context.Context, functions.Item) error { sent++; return nil }), newHost())
		if !errors.Is(err, functions.ErrFunction) || !strings.Contains(err.Error(), "one value") || sent > 1 {
			t.Errorf("%+v: got %v after %d items, want functions.ErrFunction", in, err, sent)
		}
	}
}
