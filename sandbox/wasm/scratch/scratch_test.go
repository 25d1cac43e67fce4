package scratch

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func create(t *testing.T, n *Node, path string, folder bool) *Node {
	t.Helper()
	made, err := n.Create(path, folder)
	if err != nil {
		t.Fatalf("create %s: %v", path, err)
	}
	return made
}

func write(t *testing.T, n *Node, data string, at int64) {
	t.Helper()
	if _, err := n.WriteAt([]byte(data), at); err != nil {
		t.Fatalf("write: %v", err)
	}
}

// tree returns an FS with a/b/f, a/g and h.
func tree(t *testing.T) *FS {
	t.Helper()
	f := New(1 << 20)
	create(t, f.Root(), "a", true)
	create(t, f.Root(), "a/b", true)
	write(t, create(t, f.Root(), "a/b/f", false), "eff", 0)
	write(t, create(t, f.Root(), "a/g", false), "gee", 0)
	write(t, create(t, f.Root(), "h", false), "aitch", 0)
	return f
}

func TestFind(t *testing.T) {
	f := tree(t)
	for _, test := range []struct {
		path string
		want string // content, or "/" for a folder
		err  error
	}{
		{"h", "aitch", nil},
		{"./h", "aitch", nil},
		{"a//b/./f", "eff", nil},
		{"a/b/../g", "gee", nil},
		{"a/", "/", nil},
		{".", "/", nil},
		{"a/..", "/", nil},
		{"", "", fs.ErrNotExist},
		{"x", "", fs.ErrNotExist},
		{"x/y", "", fs.ErrNotExist},
		{"h/", "", ErrNotFolder},
		{"h/x", "", ErrNotFolder},
		{"..", "", ErrOutside},
		{"a/../../h", "", ErrOutside},
		{"/h", "", ErrOutside},
		{"a\x00", "", fs.ErrInvalid},
		{strings.Repeat("n", 256), "", ErrName},
		{strings.Repeat("./", 2500), "", ErrName},
	} {
		got, err := f.Root().Find(test.path)
		if !errors.Is(err, test.err) {
			t.Errorf("%q: error %v, want %v", test.path, err, test.err)
			continue
		}
		if err != nil {
			continue
		}
		if got.IsFolder() != (test.want == "/") || !got.IsFolder() && string(got.Bytes()) != test.want {
			t.Errorf("%q: found %q", test.path, got.Bytes())
		}
	}
	folder, err := f.Root().Find("a")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := folder.Find("../h"); !errors.Is(err, ErrOutside) {
		t.Errorf("a folder's descriptor reaches above it: %v", err)
	}
}

func TestWriteAt_GrowsWithZeroes(t *testing.T) {
	f := New(1 << 20)
	n := create(t, f.Root(), "f", false)
	write(t, n, "end", 5)
	write(t, n, "x", 0)
	if diff := cmp.Diff("x\x00\x00\x00\x00end", string(n.Bytes())); diff != "" {
		t.Error(diff)
	}
	if err := n.Resize(2); err != nil {
		t.Fatal(err)
	}
	if err := n.Resize(4); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("x\x00\x00\x00", string(n.Bytes())); diff != "" {
		t.Error("what was cut came back: " + diff)
	}
}

func TestLimit(t *testing.T) {
	f := New(nodeBytes + 100)
	n := create(t, f.Root(), "f", false)
	write(t, n, strings.Repeat("x", 100), 0)
	if f.Refused() {
		t.Error("refused what fits")
	}
	for name, try := range map[string]func() error{
		"one byte more": func() error { _, err := n.WriteAt([]byte("x"), 100); return err },
		"far away":      func() error { _, err := n.WriteAt([]byte("x"), 1<<62); return err },
		"another file":  func() error { _, err := f.Root().Create("g", false); return err },
		"resize":        func() error { return n.Resize(1 << 62) },
	} {
		if err := try(); !errors.Is(err, ErrFull) {
			t.Errorf("%s: got %v, want ErrFull", name, err)
		}
		if !f.Refused() {
			t.Errorf("%s: not remembered", name)
		}
		f.refused = false
	}
	if n.Size() != 100 {
		t.Errorf("a refused write changed the file: %d bytes", n.Size())
	}
}

func TestRemove_FreesWhatNobodyHolds(t *testing.T) {
	f := New(1 << 20)
	n := create(t, f.Root(), "f", false)
	n.Hold()
	write(t, n, "content", 0)
	if err := f.Root().Remove("f", false); err != nil {
		t.Fatal(err)
	}
	if string(n.Bytes()) != "content" {
		t.Error("an open file lost its content with its name")
	}
	n.Release()
	if f.UsedBytes() != 0 {
		t.Errorf("%d bytes counted for nothing", f.UsedBytes())
	}
}

func TestPlace_IsCopiedBeforeItIsChanged(t *testing.T) {
	data := []byte("input")
	f := New(1 << 20)
	f.Place("in", data)
	n, err := f.Root().Find("in")
	if err != nil {
		t.Fatal(err)
	}
	write(t, n, "X", 0)
	if string(data) != "input" || string(n.Bytes()) != "Xnput" {
		t.Errorf("placed %q, file %q", data, n.Bytes())
	}
	if err := f.Root().Remove("in", false); err != nil {
		t.Fatal(err)
	}
	if f.UsedBytes() != 0 {
		t.Errorf("%d bytes counted for nothing", f.UsedBytes())
	}
}

func TestRemoveAndRename(t *testing.T) {
	for _, test := range []struct {
		name string
		do   func(root *Node) error
		want error
	}{
		{"remove a full folder", func(r *Node) error { return r.Remove("a", true) }, ErrNotEmpty},
		{"remove a folder as a file", func(r *Node) error { return r.Remove("a", false) }, ErrIsFolder},
		{"remove a file as a folder", func(r *Node) error { return r.Remove("h", true) }, ErrNotFolder},
		{"remove nothing", func(r *Node) error { return r.Remove("x", false) }, fs.ErrNotExist},
		{"remove the root", func(r *Node) error { return r.Remove(".", true) }, fs.ErrInvalid},
		{"rename onto a file", func(r *Node) error { return r.Rename("h", r, "a/g") }, nil},
		{"rename onto itself", func(r *Node) error { return r.Rename("h", r, "./h") }, nil},
		{"rename a folder", func(r *Node) error { return r.Rename("a/b", r, "b") }, nil},
		{"rename a folder into itself", func(r *Node) error { return r.Rename("a", r, "a/b/c") }, fs.ErrInvalid},
		{"rename a file onto a folder", func(r *Node) error { return r.Rename("h", r, "a") }, ErrIsFolder},
		{"rename a folder onto a file", func(r *Node) error { return r.Rename("a", r, "h") }, ErrNotFolder},
		{"rename nothing", func(r *Node) error { return r.Rename("x", r, "y") }, fs.ErrNotExist},
		{"create what is there", func(r *Node) error { _, err := r.Create("a/g", false); return err }, fs.ErrExist},
	} {
		if err := test.do(tree(t).Root()); !errors.Is(err, test.want) {
			t.Errorf("%s: got %v, want %v", test.name, err, test.want)
		}
	}
}

// FuzzPaths runs a script of operations and checks that no path leaves the tree and that the count of bytes is right.
func FuzzPaths(f *testing.F) {
	f.Add("ca;cb/..;wa:hello;ra>b;d../x;c./a/b;d/;Ma;ca/b;da")
	f.Fuzz(func(t *testing.T, script string) {
		fsys := New(4096)
		root := fsys.Root()
		for op := range strings.SplitSeq(script, ";") {
			if op == "" {
				continue
			}
			arg := op[1:]
			switch op[0] {
			case 'c':
				root.Create(arg, false)
			case 'M':
				root.Create(arg, true)
			case 'd':
				root.Remove(arg, false)
			case 'D':
				root.Remove(arg, true)
			case 'r':
				from, to, _ := strings.Cut(arg, ">")
				root.Rename(from, root, to)
			case 'w':
				path, data, _ := strings.Cut(arg, ":")
				if n, err := root.Find(path); err == nil && !n.IsFolder() {
					n.WriteAt([]byte(data), int64(len(path)))
				}
			}
		}
		if got := count(root, 0); got != fsys.UsedBytes() {
			t.Errorf("the tree holds %d bytes and counts %d", got, fsys.UsedBytes())
		}
		if fsys.UsedBytes() > 4096 {
			t.Errorf("%d bytes in a tree of 4096", fsys.UsedBytes())
		}
	})
}

func count(n *Node, depth int) (bytes int64) {
	if depth > maxDepth+2 {
		panic("too deep")
	}
	for _, e := range n.entries {
		bytes += nodeBytes + int64(len(e.data)) + count(e, depth+1)
	}
	return bytes
}
