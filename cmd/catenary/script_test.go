package main

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/catenary-run/catenary/internal/testkit"
)

// The command line, as scripts in testdata/script. All share one server, whose URL is where the command looks for it.
// What they deploy has names of its own.
func TestScript(t *testing.T) {
	t.Parallel()
	s := serve(t)
	root := testkit.Root(t)
	t.Run("scripts", func(t *testing.T) { // ends when the scripts have, which run side by side
		testscript.Run(t, testscript.Params{
			Dir:                "testdata/script",
			RequireUniqueNames: true,
			Setup: func(e *testscript.Env) error {
				e.Setenv("PATH", filepath.Dir(testkit.Catenary(t))+string(os.PathListSeparator)+os.Getenv("PATH"))
				e.Setenv("CATENARY_SERVER", s.URL)
				e.Setenv("SERVER", s.URL)
				e.Setenv("ROOT", root)
				e.Setenv("HOME", os.Getenv("HOME")) // of Go's caches
				for _, name := range []string{"GOCACHE", "GOMODCACHE", "GOPATH", "GOFLAGS", "GOPROXY"} {
					if v, set := os.LookupEnv(name); set {
						e.Setenv(name, v)
					}
				}
				return nil
			},
			Cmds: map[string]func(*testscript.TestScript, bool, []string){
				"exit":     wantExit,
				"keys":     wantKeys,
				"fillroot": fillRoot,
			},
		})
	})
}

// wantExit runs the command and wants its exit code: exit CODE ARG...
func wantExit(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: exit CODE ARG...")
	}
	err := ts.Exec("catenary", args[1:]...)
	got := "0"
	if err != nil {
		got = strings.TrimPrefix(err.Error(), "exit status ")
	}
	if got != args[0] {
		ts.Fatalf("exit code %s, want %s", got, args[0])
	}
}

// wantKeys wants the JSON objects in a list to have exactly these keys: keys PATH KEY..., where PATH is where the list is
// in the standard output of the last command, "." for the whole.
func wantKeys(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: keys PATH KEY...")
	}
	list := json.RawMessage(ts.ReadFile("stdout"))
	if args[0] != "." {
		var whole map[string]json.RawMessage
		ts.Check(json.Unmarshal(list, &whole))
		list = whole[args[0]]
	}
	var objects []map[string]any
	ts.Check(json.Unmarshal(list, &objects))
	if len(objects) == 0 {
		ts.Fatalf("there is nothing in the list %s", args[0])
	}
	want := slices.Sorted(slices.Values(args[1:]))
	for _, o := range objects {
		if got := slices.Sorted(maps.Keys(o)); !slices.Equal(got, want) {
			ts.Fatalf("%s: keys %v, want %v", o["name"], got, want)
		}
	}
}

// fillRoot puts the repository's root in for ROOT in files: fillroot FILE...
func fillRoot(ts *testscript.TestScript, _ bool, args []string) {
	for _, name := range args {
		path := ts.MkAbs(name)
		text := strings.ReplaceAll(ts.ReadFile(name), "ROOT", ts.Getenv("ROOT"))
		ts.Check(os.WriteFile(path, []byte(text), 0o644))
	}
}
