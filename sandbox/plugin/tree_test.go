//go:build linux

package plugin

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/catenary-run/catenary/functions"
	"golang.org/x/sys/unix"
)

// TestDescendants ends an instance whose process has left another one behind, in a session of its own. Without a
// namespace it is found by its user; without root there is none.
func TestDescendants(t *testing.T) {
	for _, plain := range []bool{false, true} {
		d := newDriver(t, t.TempDir(), nil)
		if plain {
			d.clone = 0
		}
		if d.clone == 0 && os.Geteuid() != 0 {
			t.Logf("nothing holds descendants here: no namespace, no user of their own")
			continue
		}
		for _, args := range [][]string{nil, {"grandchild"}} {
			inst, err := oddCode(t, d, args...).New(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			answer, err := ask(t.Context(), inst, newHost(), "grandchild")
			if err != nil {
				t.Fatal(err)
			}
			pids := tree(inst.(*instance).proc.pid)
			if want := 2 + len(args); len(pids) != want {
				t.Errorf("plain %v: processes %v, want %d, the plugin and its child %s with them", plain, pids, want, answer)
			}
			if err := inst.Close(); err != nil {
				t.Error(err)
			}
			for _, pid := range pids {
				gone(t, pid)
			}
		}
		nothingLeft(t, d)
	}
}

// TestDescendantsOfDead kills the process, whose child has a session of its own.
func TestDescendantsOfDead(t *testing.T) {
	d := newDriver(t, t.TempDir(), nil)
	if d.clone == 0 && os.Geteuid() != 0 {
		return // as above
	}
	inst := newInstance(t, oddCode(t, d, "grandchild"))
	pids := tree(inst.proc.pid)
	if err := syscall.Kill(inst.proc.pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-inst.Done()
	if len(pids) != 2 {
		t.Errorf("processes %v, want the plugin and its child", pids)
	}
	for _, pid := range pids {
		gone(t, pid)
	}
}

// copyFile copies an executable to where everybody may execute it.
func copyFile(t *testing.T, to, from string) string {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(to, b, 0o755), os.Chmod(to, 0o755)); err != nil {
		t.Fatal(err)
	}
	return to
}

// TestNodeKilled kills a node and looks whether its plugin and the plugin's child, which ignores signals and has a
// session of its own, go with it.
func TestNodeKilled(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name  string
		user  uint32 // 0: this one
		clone uint   // what it gets where the kernel allows it
		args  []string
	}{
		{name: "root", clone: unix.CLONE_NEWPID},
		{name: "another user", user: nobody, clone: unix.CLONE_NEWPID | unix.CLONE_NEWUSER},
		{name: "no namespace", args: []string{"plain"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if os.Geteuid() != 0 {
				tt.user = 0 // we are another user
			}
			// Not t.TempDir: nobody else may enter that.
			dir, err := os.MkdirTemp("", "catenary-node-")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.RemoveAll(dir) })
			data := filepath.Join(dir, "data")
			if err := errors.Join(os.Chmod(dir, 0o755), os.Mkdir(data, 0o700), os.Chown(data, owner(tt.user), -1)); err != nil {
				t.Fatal(err)
			}
			odd := copyFile(t, filepath.Join(dir, "odd"), builds["odd"](t))
			cmd := exec.Command(copyFile(t, filepath.Join(dir, "node"), self), append([]string{"host", data, odd}, tt.args...)...)
			cmd.Stderr = t.Output()
			if tt.user != 0 {
				cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: tt.user, Gid: tt.user}}
			}
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			var clone uint
			var plugin, child int
			_, scanErr := fmt.Fscan(out, &clone, &plugin, &child)
			if err := cmd.Process.Kill(); err != nil {
				t.Error(err)
			}
			_, _ = io.Copy(io.Discard, out)
			_ = cmd.Wait() // it was killed
			if scanErr != nil {
				t.Fatalf("the node did not start its plugin: %v", scanErr)
			}
			gone(t, plugin)
			if clone == 0 {
				t.Logf("no namespace, so the child is on its own")
				if err := syscall.Kill(child, syscall.SIGKILL); err != nil {
					t.Errorf("kill the child: %v", err)
				}
			} else if os.Geteuid() == 0 && clone != tt.clone {
				t.Errorf("flags of clone %#x, want %#x", clone, tt.clone)
			}
			if clone == 0 && tt.user == 0 && len(tt.args) == 0 && mayAdminister(t) {
				t.Error("no namespace, though this process may make one")
			}
			gone(t, child)
			left, err := os.ReadDir(filepath.Join(data, "instances"))
			if err != nil || len(left) != 1 {
				t.Fatalf("%d socket folders are left, %v; the killed node could not remove its own", len(left), err)
			}
			nothingLeft(t, newDriver(t, data, nil)) // the next one does
		})
	}
}

// mayAdminister reports whether this process has CAP_SYS_ADMIN.
func mayAdminister(t *testing.T) bool {
	t.Helper()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		t.Fatal(err)
	}
	return data[0].Effective&(1<<unix.CAP_SYS_ADMIN) != 0
}

// owner returns who owns the folder of a node of a user; 0 is this one.
func owner(user uint32) int {
	if user == 0 {
		return os.Geteuid()
	}
	return int(user)
}

// TestMemoryOfChild has a child use what the plugin may not.
func TestMemoryOfChild(t *testing.T) {
	d := newDriver(t, t.TempDir(), nil)
	m := oddManifest(t)
	m.Limits.MemBytes, m.Limits.Time = 96<<20, time.Minute
	img, err := d.Prepare(t.Context(), &m, builds["odd"](t))
	if err != nil {
		t.Fatal(err)
	}
	code, err := d.Load(t.Context(), img)
	if err != nil {
		t.Fatal(err)
	}
	inst := newInstance(t, code)
	if _, err := ask(t.Context(), inst, newHost(), "hoard in a child"); !errors.Is(err, functions.ErrMemoryLimit) {
		t.Errorf("got %v, want functions.ErrMemoryLimit", err)
	}
	<-inst.Done()
	if n := inst.MemBytes(); n != 0 {
		t.Errorf("an instance that has ended has %d bytes", n)
	}
}

// TestSharedMemory has a plugin and its child share memory: it is counted once.
func TestSharedMemory(t *testing.T) {
	const shared = 64 << 20
	inst := newInstance(t, oddCode(t, newDriver(t, t.TempDir(), nil)))
	if answer, err := ask(t.Context(), inst, newHost(), "share with a child"); err != nil || answer != "ready\n" {
		t.Fatalf("%q, %v", answer, err)
	}
	if upper := inst.proc.memory(1 << 40); upper < 2*shared {
		t.Errorf("at first sight %d bytes, want the shared ones twice", upper)
	}
	if _, ok := proportional(inst.proc.pid); !ok {
		t.Log("this kernel does not tell what is shared, or not to us: it counts for each process")
		return
	}
	if exact := inst.proc.memory(0); exact < shared || exact >= 2*shared {
		t.Errorf("%d bytes, want the %d shared ones once, and some", exact, int64(shared))
	}
}

// TestNoNamespace takes the namespace away: what is weaker then is said.
func TestNoNamespace(t *testing.T) {
	d := newDriver(t, t.TempDir(), nil)
	d.clone = 0
	m := oddManifest(t)
	img, err := d.Prepare(t.Context(), &m, builds["odd"](t))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(img.Why, "PID namespace") {
		t.Errorf("the image says %q, nothing of the namespace", img.Why)
	}
	if pid, err := ask(t.Context(), newInstance(t, oddCode(t, d)), newHost(), "pid"); err != nil || pid == "1" {
		t.Errorf("process %s, %v", pid, err)
	}
}
