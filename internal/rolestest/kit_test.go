package rolestest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/catenary-run/catenary/internal/testkit"
	"github.com/catenary-run/catenary/sdk/client"
)

func TestMain(m *testing.M) {
	code := m.Run()
	for _, p := range []*source{hello, drip} {
		os.RemoveAll(p.dir)
	}
	testkit.RemoveCatenary()
	os.Exit(code)
}

// source is a project that `catenary build` has built, once for all tests.
type source struct {
	from string // below the root
	dir  string // a copy, with absolute paths
	once sync.Once
}

var (
	hello = &source{from: "examples/hello"}
	drip  = &source{from: "internal/rolestest/testdata/project"}
)

// built returns the folder of the project.
func (p *source) built(t *testing.T) string {
	t.Helper()
	p.once.Do(func() {
		from := filepath.Join(testkit.Root(t), filepath.FromSlash(p.from))
		var err error
		if p.dir, err = os.MkdirTemp("", "catenary-roles-"); err != nil {
			t.Fatal(err)
		}
		p.copy(t, from, "catenary.yaml", func(s string) string {
			s = strings.ReplaceAll(s, "ROOT", testkit.Root(t))
			s = strings.ReplaceAll(s, "source: greet", "source: "+from+"/greet")
			return strings.ReplaceAll(s, "package: call", "package: "+from+"/call")
		})
		if p == drip {
			for _, chain := range []string{"drip.yaml", "relay.yaml"} {
				p.copy(t, from, chain, func(s string) string { return s })
			}
		}
		testkit.Run(t, 0, "build", p.dir)
	})
	if p.dir == "" {
		t.Fatal("the project could not be built; see the first test that needed it")
	}
	return p.dir
}

func (p *source) copy(t *testing.T, from, name string, change func(string) string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(from, name))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(p.dir, name), []byte(change(string(b))), 0o644); err != nil {
		t.Fatal(err)
	}
}

// deploy sends the project to the server, as a person does.
func (p *source) deploy(t *testing.T, s *testkit.Server) {
	t.Helper()
	testkit.Run(t, 0, "deploy", "--server", s.URL, p.built(t))
}

// serveAt starts a server at the address of one that has ended.
func serveAt(t *testing.T, gone *testkit.Server, flags ...string) *testkit.Server {
	t.Helper()
	addr := strings.TrimPrefix(gone.URL, "http://")
	return testkit.ServeCmd(t, exec.Command(testkit.Catenary(t), append([]string{"serve", "--addr", addr}, flags...)...))
}

func connect(t *testing.T, s *testkit.Server) *client.Client {
	t.Helper()
	c, err := client.New(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// ask runs a chain and returns its answer as JSON.
func ask(t *testing.T, s *testkit.Server, chain, in string) string {
	t.Helper()
	got, err := tryAsk(t, s, chain, in)
	if err != nil {
		t.Fatalf("chain %s on %s: %v", chain, s.URL, err)
	}
	return got
}

func tryAsk(t *testing.T, s *testkit.Server, chain, in string) (string, error) {
	t.Helper()
	got, err := connect(t, s).RunJSON(t.Context(), chain, []byte(in))
	if err != nil {
		return "", err
	}
	return string(got.JSON), nil
}

// settled waits until no call is in a pool of the server.
func settled(t *testing.T, s *testkit.Server) {
	t.Helper()
	c := connect(t, s)
	testkit.Eventually(t, "every instance to be free", func() bool {
		pools, err := c.Pools(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range pools.Functions {
			if f.Busy+f.Queued > 0 {
				return false
			}
		}
		return len(pools.Functions) > 0
	})
}
