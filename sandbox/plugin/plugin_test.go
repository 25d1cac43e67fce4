//go:build linux

package plugin

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/internal/testkit"
	"github.com/catenary-run/catenary/sandbox"
	"github.com/catenary-run/catenary/sandbox/sandboxtest"
	"github.com/catenary-run/catenary/sandbox/sandboxtest/fixture"
)

// TestMain makes this test's program stand in for catenary: started with the argument confine it is the subcommand,
// with host it is a node that holds one plugin until it is killed.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "confine":
			fmt.Fprintln(os.Stderr, Confine(os.Args[2:]))
			os.Exit(1)
		case "host":
			fmt.Fprintln(os.Stderr, host(os.Args[2], os.Args[3], len(os.Args) > 4))
			os.Exit(1)
		}
	}
	code := m.Run()
	for _, dir := range buildDirs {
		os.RemoveAll(dir)
	}
	os.Exit(code)
}

// host starts a plugin that starts a child, prints the flags of its namespace and the process ids of both, and waits. It
// returns only if it could not. With plain it takes no namespace.
func host(dir, artifact string, plain bool) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	d, err := New(Config{Dir: dir, Confine: []string{self, "confine"}})
	if err != nil {
		return err
	}
	if plain {
		d.clone = 0
	}
	port := functions.Port{Schema: functions.SchemaFor[string]()}
	m := &functions.Manifest{Name: "odd", Kind: functions.KindPlugin, In: port, Out: port}
	if m.Artifact, err = digestOfFile(artifact); err != nil {
		return err
	}
	img, err := d.Prepare(context.Background(), m, artifact)
	if err != nil {
		return err
	}
	code, err := d.Load(context.Background(), img)
	if err != nil {
		return err
	}
	inst, err := code.New(context.Background())
	if err != nil {
		return err
	}
	// Not as it starts: Prepare starts one as well, whose child would be left where there is no namespace.
	if _, err := ask(context.Background(), inst, newHost(), "grandchild"); err != nil {
		return err
	}
	pids := tree(inst.(*instance).proc.pid)
	if len(pids) != 2 {
		return fmt.Errorf("processes %v, want the plugin and its child", pids)
	}
	fmt.Println(d.clone, pids[0], pids[1])
	select {}
}

// command returns this program with arguments for TestMain.
func command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Stderr = t.Output()
	return cmd
}

func arch() string { return runtime.GOARCH }

// newDriver returns a driver whose subcommand is this program.
func newDriver(t testing.TB, dir string, edit func(*Config)) *Driver {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{Dir: dir, Confine: []string{self, "confine"}}
	if edit != nil {
		edit(&cfg)
	}
	d, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// builds holds the test's plugins, each built once.
var builds = map[string]func(testing.TB) string{"fixture": build("fixture"), "odd": build("odd"), "relay": build("relay")}

var buildDirs []string // removed by TestMain

func build(name string) func(testing.TB) string {
	var once sync.Once
	var out string
	return func(t testing.TB) string {
		once.Do(func() {
			dir, err := os.MkdirTemp("", "catenary-plugin-")
			if err != nil {
				t.Fatal(err)
			}
			buildDirs = append(buildDirs, dir)
			out = filepath.Join(dir, name)
			testkit.GoBuild(t, "sandbox/plugin/testdata/"+name, out, nil)
		})
		return out
	}
}

func fixtureManifest(t testing.TB, artifact string) functions.Manifest {
	t.Helper()
	digest, err := digestOfFile(artifact)
	if err != nil {
		t.Fatal(err)
	}
	in, out, err := fixture.Func.Ports()
	if err != nil {
		t.Fatal(err)
	}
	return functions.Manifest{Name: fixture.Func.Name(), Kind: functions.KindPlugin, Artifact: digest, In: in, Out: out}
}

func TestConformance(t *testing.T) {
	sandboxtest.Run(t, sandboxtest.Config{
		Driver: func(t *testing.T, dir string) sandbox.Driver {
			return newDriver(t, dir, func(c *Config) { c.Log = slog.New(slog.NewTextHandler(t.Output(), nil)) })
		},
		Build: func(t *testing.T) (string, functions.Manifest) {
			artifact := builds["fixture"](t)
			return artifact, fixtureManifest(t, artifact)
		},
		MemBytes: 64 << 20,
		Ahead:    12,
	})
}
