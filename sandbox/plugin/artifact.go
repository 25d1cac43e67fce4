package plugin

import (
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/catenary-run/catenary/functions"
)

// machines pairs Go's names with those of ELF, for the machines that Catenary is built for.
var machines = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}

// checkELF returns an error wrapping functions.ErrInvalid unless r is an executable for this machine.
func checkELF(r io.ReaderAt) error {
	magic := make([]byte, 2)
	if n, _ := r.ReadAt(magic, 0); n == 2 && string(magic) == "#!" {
		return fmt.Errorf("%w: the artifact is a script; a plugin has to be one ELF executable", functions.ErrInvalid)
	}
	f, err := elf.NewFile(r)
	if err != nil {
		return fmt.Errorf("%w: the artifact is no ELF executable: %w", functions.ErrInvalid, err)
	}
	if f.Type != elf.ET_EXEC && f.Type != elf.ET_DYN {
		return fmt.Errorf("%w: the artifact is an ELF file of type %s, not an executable", functions.ErrInvalid, f.Type)
	}
	if want := machines[runtime.GOARCH]; f.Machine != want {
		return fmt.Errorf("%w: the artifact is built for %s, this node is %s: build it with GOARCH=%s", functions.ErrInvalid, f.Machine, want, runtime.GOARCH)
	}
	return nil
}

// program returns the file of the executable copy of an artifact.
func (d *Driver) program(artifact functions.Digest) string {
	return filepath.Join(d.artifacts, artifact.Hex())
}

// keep returns the executable copy of an artifact, made and checked if it is not there yet. It is a copy because blobs
// are not executable, and readable by others because a plugin's own user has to execute it; the folder keeps others
// away from it. Confine compares its digest again at each start.
func (d *Driver) keep(artifact string, want functions.Digest) (string, error) {
	if _, err := functions.ParseDigest(string(want)); err != nil {
		return "", err
	}
	program := d.program(want)
	if got, err := digestOfFile(program); err == nil && got == want {
		// The caller's file must be the same one, even though it is not needed.
		if got, err := digestOfFile(artifact); err == nil && got == want {
			return program, nil
		}
	}
	src, err := os.Open(artifact)
	if err != nil {
		return "", err
	}
	defer src.Close()
	got, _, err := functions.DigestFrom(src)
	if err != nil {
		return "", err
	}
	if got != want {
		return "", fmt.Errorf("%w: the artifact has digest %s, the manifest says %s", functions.ErrInvalid, got.Short(), want.Short())
	}
	if err := checkELF(src); err != nil {
		return "", err
	}
	if _, err := src.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	return program, writeFile(program, 0o555, func(w io.Writer) error {
		_, err := io.Copy(w, src)
		return err
	})
}

// renew makes the executable copy of an artifact anew if it is not what it was, and reports whether it has. What it can't
// make stays so until somebody does something about it, so its error, which wraps functions.ErrColdStart, is not
// retryable.
func (d *Driver) renew(m *functions.Manifest, artifact string) (bool, error) {
	if got, err := digestOfFile(d.program(m.Artifact)); err == nil && got == m.Artifact {
		return false, nil
	}
	if _, err := d.keep(artifact, m.Artifact); err != nil {
		return false, &functions.Failure{
			Code: functions.CodeOf(functions.ErrColdStart),
			Message: fmt.Sprintf("%v: plugin %s: its executable copy was changed, and the store's blob is of no use for a new one: %v; delete %s from this node's blobs and deploy the function again",
				functions.ErrColdStart, m.Name, err, m.Artifact.Hex()),
		}
	}
	d.cfg.Log.Warn("the executable copy of a plugin was changed: it is made anew from the store", "func", m.Name, "artifact", m.Artifact.Short())
	return true, nil
}

func digestOfFile(path string) (functions.Digest, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	d, _, err := functions.DigestFrom(f)
	return d, err
}

// writeFile makes a file whole or not at all.
func writeFile(path string, mode fs.FileMode, write func(io.Writer) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "new-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	if err := errors.Join(write(f), f.Chmod(mode), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// descriptionVersion is that of the form in which descriptions are kept. It counts up when there is more to ask for: what
// was kept in an older form is asked for again.
const descriptionVersion = 2

// description is what a plugin said that it serves.
type description struct {
	Version   int               `json:"version"`
	Name      string            `json:"name"`
	In        *functions.Schema `json:"in"`
	Out       *functions.Schema `json:"out"`
	InStream  bool              `json:"in_stream"`
	OutStream bool              `json:"out_stream"`
	Turns     bool              `json:"turns"`
}

// check returns an error wrapping functions.ErrInvalid that names the difference unless the plugin serves what the
// manifest says.
func (s *description) check(m *functions.Manifest) error {
	differ := func(format string, args ...any) error {
		return fmt.Errorf("%w: function %s: the plugin differs from its manifest: "+format+"; build it again",
			append([]any{functions.ErrInvalid, m.Name}, args...)...)
	}
	if s.Name != m.Name {
		return differ("it serves %q", s.Name)
	}
	if err := m.In.Schema.AssignableTo(s.In); err != nil {
		return differ("input: %w", err)
	}
	if err := s.Out.AssignableTo(m.Out.Schema); err != nil {
		return differ("output: %w", err)
	}
	for _, side := range []struct {
		what       string
		said, want bool
	}{
		{"it takes a stream", s.InStream, m.In.Stream},
		{"it sends a stream", s.OutStream, m.Out.Stream},
		{"it opens turns", s.Turns, m.Turns},
	} {
		if side.said != side.want {
			return differ("%s: %v, the manifest: %v", side.what, side.said, side.want)
		}
	}
	return nil
}

// descriptionFile names where the answer of a program with arguments is kept, beside the program.
func descriptionFile(program string, args []string) string {
	b, err := json.Marshal(args)
	if err != nil {
		panic("plugin: " + err.Error()) // strings always have a form
	}
	return program + "-" + functions.DigestOf(b).Short() + ".json"
}

// described returns what a program said before. It returns an error wrapping os.ErrNotExist if it was not asked.
func (d *Driver) described(program string, args []string) (*description, error) {
	b, err := os.ReadFile(descriptionFile(program, args))
	if err != nil {
		return nil, err
	}
	var said description
	if err := json.Unmarshal(b, &said); err != nil || said.Version != descriptionVersion || said.In == nil || said.Out == nil {
		return nil, os.ErrNotExist // a file of another version of this program
	}
	return &said, nil
}

func (d *Driver) remember(program string, args []string, said *description) error {
	b, err := json.Marshal(said)
	if err != nil {
		return err
	}
	return writeFile(descriptionFile(program, args), 0o600, func(w io.Writer) error {
		_, err := w.Write(b)
		return err
	})
}
