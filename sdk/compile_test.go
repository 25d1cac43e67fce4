package sdk_test

import (
	"bytes"
	"errors"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// exported returns the importer of what the packages of the test data import, made of the compiler's own export files.
func exported(t *testing.T, fset *token.FileSet) types.Importer {
	t.Helper()
	var talk bytes.Buffer
	cmd := exec.Command("go", "list", "-deps", "-export", "-f", "{{if .Export}}{{.ImportPath}} {{.Export}}{{end}}", ".", "../functions/value")
	cmd.Stderr = &talk
	list, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &talk)
	}
	files := map[string]string{}
	for line := range strings.Lines(string(list)) {
		path, file, _ := strings.Cut(strings.TrimSpace(line), " ")
		files[path] = file
	}
	return importer.ForCompiler(fset, "gc", func(path string) (io.ReadCloser, error) {
		if files[path] == "" {
			return nil, errors.New("not among the dependencies")
		}
		return os.Open(files[path])
	})
}

// wants returns what the comments of f say must be wrong, by line.
func wants(fset *token.FileSet, f *ast.File) map[int]string {
	all := map[int]string{}
	for _, group := range f.Comments {
		for _, c := range group.List {
			if want, ok := strings.CutPrefix(c.Text, "// want: "); ok {
				all[fset.Position(c.Pos()).Line] = want
			}
		}
	}
	return all
}

func TestWrongWiringDoesNotCompile(t *testing.T) {
	fset := token.NewFileSet()
	imp := exported(t, fset)
	names, err := filepath.Glob("testdata/compile/*.go")
	if err != nil {
		t.Fatal(err)
	}
	parse := func(name string) *ast.File {
		f, err := parser.ParseFile(fset, name, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	contracts := parse("testdata/compile/contracts.go")
	checked, total := 0, 0
	for _, name := range names {
		if filepath.Base(name) == "contracts.go" {
			continue
		}
		checked++
		t.Run(filepath.Base(name), func(t *testing.T) {
			f := parse(name)
			want := wants(fset, f)
			total += len(want)
			if control := filepath.Base(name) == "right.go"; control != (len(want) == 0) {
				t.Fatalf("the file says %d times what must be wrong", len(want))
			}
			got := map[int]string{}
			conf := types.Config{Importer: imp, Error: func(err error) {
				te, ok := errors.AsType[types.Error](err)
				if !ok {
					t.Fatal(err)
				}
				pos := fset.Position(te.Pos)
				if pos.Filename != name {
					t.Errorf("%s: %s", pos, te.Msg)
				}
				got[pos.Line] += te.Msg + "\n"
			}}
			_, _ = conf.Check("compile", fset, []*ast.File{contracts, f}, nil) // its error is the first of those above
			for line, fragment := range want {
				if !strings.Contains(got[line], fragment) {
					t.Errorf("%s:%d: the compiler says %q, want %q", name, line, got[line], fragment)
				}
				delete(got, line)
			}
			for line, msg := range got {
				t.Errorf("%s:%d: unexpected: %s", name, line, msg)
			}
		})
	}
	if checked < 5 || total < 15 {
		t.Errorf("only %d files with %d wrong lines were found", checked, total)
	}
}
