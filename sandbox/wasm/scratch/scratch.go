package scratch

import (
	"errors"
	"io/fs"
	"maps"
	"slices"
	"strings"
)

// What an operation can fail with, besides fs.ErrNotExist, fs.ErrExist and fs.ErrInvalid.
var (
	ErrIsFolder  = errors.New("is a folder")
	ErrNotFolder = errors.New("not a folder")
	ErrNotEmpty  = errors.New("folder is not empty")
	ErrOutside   = errors.New("path leads out of the scratch folder")
	ErrFull      = errors.New("scratch folder is full")
	ErrName      = errors.New("name is too long")
)

const (
	// nodeBytes is what a file or folder counts beside its content, so that many empty ones meet the limit as well.
	nodeBytes = 256
	maxName   = 255
	maxPath   = 4096
	maxDepth  = 64 // of folders in folders
)

// FS is a tree of files and folders in memory.
type FS struct {
	root    *Node
	limit   int64
	used    int64
	nodes   uint64
	refused bool
}

// New returns an empty tree that takes limit bytes.
func New(limit int64) *FS {
	f := &FS{limit: limit}
	f.root = f.node(true)
	return f
}

// Root returns the folder that all others are in.
func (f *FS) Root() *Node { return f.root }

// UsedBytes returns what the tree holds.
func (f *FS) UsedBytes() int64 { return f.used }

// Refused reports whether anything was ever refused since it did not fit.
func (f *FS) Refused() bool { return f.refused }

// Place puts a file with data into the root folder, beyond the limit if need be, and keeps data: it must not be changed.
func (f *FS) Place(name string, data []byte) {
	n := f.node(false)
	n.data = slices.Clip(data) // a write that grows it copies it first
	n.shared = true
	f.used += nodeBytes
	f.root.entries[name] = n
}

func (f *FS) node(folder bool) *Node {
	f.nodes++
	n := &Node{fs: f, id: f.nodes}
	if folder {
		n.entries = map[string]*Node{}
	}
	return n
}

// take accounts for n more bytes, or fewer. It refuses what does not fit.
func (f *FS) take(n int64) error {
	if n > f.limit-f.used {
		f.refused = true
		return ErrFull
	}
	f.used += n
	return nil
}

// Node is a file or a folder.
type Node struct {
	fs      *FS
	id      uint64
	data    []byte
	entries map[string]*Node // of a folder
	shared  bool             // data is not ours to change, and does not count
	removed bool             // it has no name any more
	holders int              // open descriptors
}

// ID is the node's number, unique in its tree.
func (n *Node) ID() uint64 { return n.id }

// IsFolder reports whether n is a folder.
func (n *Node) IsFolder() bool { return n.entries != nil }

// Size returns the bytes of a file.
func (n *Node) Size() int64 { return int64(len(n.data)) }

// Bytes returns the content of a file. It must not be changed, and is valid until the next write.
func (n *Node) Bytes() []byte { return n.data }

// Names returns the names in a folder, sorted.
func (n *Node) Names() []string { return slices.Sorted(maps.Keys(n.entries)) }

// ReadAt copies from a file. It returns 0 at and behind its end.
func (n *Node) ReadAt(p []byte, at int64) int {
	if at < 0 || at >= int64(len(n.data)) {
		return 0
	}
	return copy(p, n.data[at:])
}

// WriteAt copies into a file, which grows as far as needed, with zeroes in between.
func (n *Node) WriteAt(p []byte, at int64) (int, error) {
	if at < 0 {
		return 0, fs.ErrInvalid
	}
	if len(p) == 0 {
		return 0, nil
	}
	if at > n.fs.limit { // so that the sum below can't overflow
		n.fs.refused = true
		return 0, ErrFull
	}
	if err := n.own(); err != nil {
		return 0, err
	}
	if end := at + int64(len(p)); end > int64(len(n.data)) {
		if err := n.Resize(end); err != nil {
			return 0, err
		}
	}
	return copy(n.data[at:], p), nil
}

// Resize cuts a file, or lengthens it with zeroes.
func (n *Node) Resize(size int64) error {
	if size < 0 {
		return fs.ErrInvalid
	}
	if n.shared && size == 0 {
		n.data, n.shared = nil, false
		return nil
	}
	if err := n.own(); err != nil {
		return err
	}
	old := int64(len(n.data))
	if err := n.fs.take(size - old); err != nil {
		return err
	}
	if size <= old {
		clear(n.data[size:])
		n.data = n.data[:size]
		return nil
	}
	n.data = slices.Grow(n.data, int(size-old))[:size]
	clear(n.data[old:])
	return nil
}

// own makes a placed file the command's own before it is changed.
func (n *Node) own() error {
	if !n.shared {
		return nil
	}
	if err := n.fs.take(n.Size()); err != nil {
		return err
	}
	n.data, n.shared = slices.Clone(n.data), false
	return nil
}

// Hold keeps the node's content alive for an open descriptor, even when its name goes. Each Hold has one Release.
func (n *Node) Hold() { n.holders++ }

// Release undoes a Hold.
func (n *Node) Release() {
	n.holders--
	n.free()
}

// free gives back the content of a node that has no name and no holder.
func (n *Node) free() {
	if !n.removed || n.holders > 0 {
		return
	}
	if !n.shared {
		n.fs.used -= int64(len(n.data))
	}
	n.data, n.shared = nil, false
}

// walk resolves all of path but its last part, and returns that with the folder it is in. An empty last part stands
// for the folder itself.
func (n *Node) walk(path string) (*Node, string, error) {
	switch {
	case !n.IsFolder():
		return nil, "", ErrNotFolder
	case path == "":
		return nil, "", fs.ErrNotExist
	case len(path) > maxPath:
		return nil, "", ErrName
	case strings.ContainsRune(path, 0):
		return nil, "", fs.ErrInvalid
	case path[0] == '/':
		return nil, "", ErrOutside
	}
	chain := []*Node{n}
	parts := strings.Split(path, "/")
	for i, part := range parts {
		at := chain[len(chain)-1]
		switch {
		case part == "" || part == ".":
			continue
		case part == "..":
			if len(chain) == 1 {
				return nil, "", ErrOutside
			}
			chain = chain[:len(chain)-1]
			continue
		case len(part) > maxName:
			return nil, "", ErrName
		case isLast(parts[i+1:]):
			return at, part, nil
		}
		next := at.entries[part]
		switch {
		case next == nil:
			return nil, "", fs.ErrNotExist
		case !next.IsFolder():
			return nil, "", ErrNotFolder
		case len(chain) > maxDepth:
			return nil, "", ErrName
		}
		chain = append(chain, next)
	}
	return chain[len(chain)-1], "", nil
}

// isLast reports whether nothing that counts follows, such as the end of "folder/".
func isLast(rest []string) bool {
	return !slices.ContainsFunc(rest, func(s string) bool { return s != "" && s != "." })
}

// Find returns what path names.
func (n *Node) Find(path string) (*Node, error) {
	folder, name, err := n.walk(path)
	if err != nil || name == "" {
		return folder, err
	}
	found := folder.entries[name]
	switch {
	case found == nil:
		return nil, fs.ErrNotExist
	case strings.HasSuffix(path, "/") && !found.IsFolder():
		return nil, ErrNotFolder
	}
	return found, nil
}

// Create makes an empty file or folder that was not there.
func (n *Node) Create(path string, folder bool) (*Node, error) {
	in, name, err := n.walk(path)
	switch {
	case err != nil:
		return nil, err
	case name == "" || in.entries[name] != nil:
		return nil, fs.ErrExist
	case in.removed:
		return nil, fs.ErrNotExist
	case !folder && strings.HasSuffix(path, "/"):
		return nil, ErrIsFolder
	}
	if err := n.fs.take(nodeBytes); err != nil {
		return nil, err
	}
	made := n.fs.node(folder)
	in.entries[name] = made
	return made, nil
}

// Remove takes away a file, or an empty folder if folder is set.
func (n *Node) Remove(path string, folder bool) error {
	in, name, err := n.walk(path)
	if err != nil {
		return err
	}
	if name == "" {
		return fs.ErrInvalid // the folder itself
	}
	found := in.entries[name]
	switch {
	case found == nil:
		return fs.ErrNotExist
	case folder && !found.IsFolder():
		return ErrNotFolder
	case !folder && found.IsFolder():
		return ErrIsFolder
	case len(found.entries) > 0:
		return ErrNotEmpty
	}
	in.drop(name)
	return nil
}

// drop takes name out of the folder n and frees what it held.
func (n *Node) drop(name string) {
	gone := n.entries[name]
	delete(n.entries, name)
	n.fs.used -= nodeBytes
	gone.removed = true
	gone.free()
}

// Rename gives what from names the path to below the folder target, in place of what is there.
func (n *Node) Rename(from string, target *Node, to string) error {
	oldIn, oldName, err := n.walk(from)
	if err != nil {
		return err
	}
	newIn, newName, err := target.walk(to)
	if err != nil {
		return err
	}
	if oldName == "" || newName == "" {
		return fs.ErrInvalid
	}
	moved := oldIn.entries[oldName]
	there := newIn.entries[newName]
	switch {
	case moved == nil:
		return fs.ErrNotExist
	case newIn.removed:
		return fs.ErrNotExist
	case moved == there:
		return nil
	case moved.IsFolder() && moved.holds(newIn):
		return fs.ErrInvalid // into itself
	case there == nil:
	case moved.IsFolder() && !there.IsFolder():
		return ErrNotFolder
	case !moved.IsFolder() && there.IsFolder():
		return ErrIsFolder
	case len(there.entries) > 0:
		return ErrNotEmpty
	}
	if there != nil {
		newIn.drop(newName)
	}
	delete(oldIn.entries, oldName)
	newIn.entries[newName] = moved
	return nil
}

// holds reports whether m is n or somewhere below it.
func (n *Node) holds(m *Node) bool {
	if n == m {
		return true
	}
	for _, e := range n.entries {
		if e.holds(m) {
			return true
		}
	}
	return false
}
