//go:build linux

package plugin

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/catenary-run/catenary/functions"
	"github.com/google/go-cmp/cmp"
)

func validConfinement() confinement {
	return confinement{
		artifact: "/somewhere/artifact", digest: functions.DigestOf(nil), dir: "/somewhere", data: 1 << 30, parent: 7, clone: 3,
		userBase: userBase, args: []string{"-artifact", "not ours", "--", ""},
	}
}

func TestConfinementArguments(t *testing.T) {
	want := validConfinement()
	got, err := parseConfinement(want.argv())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(confinement{})); diff != "" {
		t.Error(diff)
	}
}

func FuzzParseConfinement(f *testing.F) {
	f.Add(strings.Join(validConfinement().argv(), "\x00"))
	f.Add("-data\x00-1")
	f.Fuzz(func(t *testing.T, joined string) {
		c, err := parseConfinement(strings.Split(joined, "\x00"))
		if err != nil {
			if !errors.Is(err, functions.ErrInvalid) {
				t.Errorf("got %v, want functions.ErrInvalid", err)
			}
			return
		}
		if _, err := parseConfinement(c.argv()); err != nil {
			t.Errorf("%+v can't be written and read again: %v", c, err)
		}
	})
}

// TestConfineRefuses runs the subcommand as somebody who starts it with wrong arguments would.
func TestConfineRefuses(t *testing.T) {
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("#!/bin/sh\necho it ran\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(builds["odd"](t), link); err != nil {
		t.Fatal(err)
	}
	clone, err := findNamespace(t.TempDir())
	if err != nil {
		t.Logf("no namespace to confine in: %v", err)
	}
	good := confinement{artifact: builds["odd"](t), digest: oddManifest(t).Artifact, dir: t.TempDir(), parent: os.Getpid(), args: []string{"exit"}}
	confine := func(t *testing.T, c confinement) (out, stderr string, state *os.ProcessState) {
		t.Helper()
		cmd := command(t, append([]string{"confine"}, c.argv()...)...)
		cmd.SysProcAttr = attributes(c.clone)
		var said bytes.Buffer
		cmd.Stderr = &said
		b, err := cmd.Output()
		if cmd.ProcessState == nil {
			t.Fatal(err)
		}
		return string(b), said.String(), cmd.ProcessState
	}
	for _, tt := range []struct {
		name string
		edit func(*confinement)
		says string
	}{
		{"wrong digest", func(c *confinement) { c.digest = functions.DigestOf(nil) }, "it was changed"},
		{"script", func(c *confinement) { c.artifact, c.digest = script, mustDigest(t, script) }, "scripts are refused"},
		{"link", func(c *confinement) { c.artifact = link }, "too many levels of symbolic links"},
		{"no file", func(c *confinement) { c.artifact += ".missing" }, "no such file"},
		{"no folder", func(c *confinement) { c.dir = filepath.Join(c.dir, "missing") }, "no such file"},
		{"other parent", func(c *confinement) { c.parent = 1 << 30 }, "is gone"},
		{"other parent of a namespace", func(c *confinement) { c.parent, c.clone = 1<<30, clone }, "is gone"},
		{"no arguments", func(c *confinement) { *c = confinement{} }, "invalid"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := good
			c.args = slices.Clone(good.args)
			tt.edit(&c)
			out, stderr, state := confine(t, c)
			if state.ExitCode() != 1 || out != "" || !strings.Contains(stderr, tt.says) {
				t.Errorf("%v, output %q and %q, want exit 1 and %q", state, out, stderr, tt.says)
			}
		})
	}
	for _, flags := range []uint{0, clone} {
		c := good
		c.clone = flags
		if _, stderr, state := confine(t, c); state.ExitCode() != 3 {
			t.Errorf("nothing wrong, flags of clone %#x: %v, %q, want the plugin's own exit status 3", flags, state, stderr)
		}
	}
}

func mustDigest(t *testing.T, path string) functions.Digest {
	t.Helper()
	d, err := digestOfFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestPluginUser(t *testing.T) {
	for _, tt := range []struct {
		name string
		self int
		maps string
		base uint
		one  bool
	}{
		{"not root", 1000, "0 0 4294967295\n", 0, false},
		{"root of the machine", 0, "         0          0 4294967295\n", userBase, false},
		{"root of a container", 0, "0 100000 65536\n", nobody, true},
		{"two ranges", 0, "0 0 65536\n1800000000 1800000000 300000000\n", userBase, false},
		{"unreadable", 0, "x\n", nobody, true},
	} {
		base, one := pluginUser(tt.self, strings.NewReader(tt.maps))
		if base != tt.base || one != tt.one {
			t.Errorf("%s: %d, %v, want %d, %v", tt.name, base, one, tt.base, tt.one)
		}
	}
}

func TestEnvironment(t *testing.T) {
	got := environment([]string{"PATH=/bin", "PLUGIN_CLIENT_CERT=a\nb", "HOME=/root", "CATENARY_PLUGIN=x", "CATENARY_MEM_BYTES=1", "CATENARY_SECRET=y", "LD_PRELOAD=z", "TMPDIR=.", "PLUGIN"})
	if diff := cmp.Diff([]string{"PLUGIN_CLIENT_CERT=a\nb", "CATENARY_PLUGIN=x", "CATENARY_MEM_BYTES=1", "TMPDIR=."}, got); diff != "" {
		t.Error(diff)
	}
}

func TestRunsAs(t *testing.T) {
	status := "Name:\tx\nState:\tS (sleeping)\nUid:\t1900000001\t5\t5\t5\n"
	if !runsAs(status, 1900000001) || runsAs(status, 5) || runsAs("", 0) || runsAs(strings.Replace(status, "S (", "Z (", 1), 1900000001) {
		t.Error("a process is not told by its real user and its state")
	}
}
