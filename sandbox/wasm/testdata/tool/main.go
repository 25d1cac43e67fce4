// Command tool is a WASI command that does what its first argument says.
package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

func main() {
	switch os.Args[1] {
	case "args":
		fmt.Print(strings.Join(os.Args[2:], "|"))
	case "json":
		fmt.Printf("{\"text\": %q}", os.Args[2])
	case "exit":
		fmt.Fprintln(os.Stderr, "I can't go on")
		os.Exit(3)
	case "exit0":
		fmt.Print("done")
		os.Exit(0)
	case "panic":
		panic("I won't go on")
	case "stdin":
		b, err := io.ReadAll(os.Stdin)
		check(err)
		fmt.Print(len(b), len(os.Environ()))
	case "spin":
		for {
		}
	case "sleep":
		time.Sleep(time.Hour)
	case "flood":
		for {
			fmt.Print(strings.Repeat("x", 4096))
		}
	case "fill": // ignores what it is told
		f, err := os.Create(os.Args[2])
		check(err)
		for range 64 {
			f.Write(make([]byte, 1<<20))
		}
	case "grow":
		var all [][]byte
		for {
			all = append(all, make([]byte, 1<<20))
			all[len(all)-1][0] = 1
		}
	case "copy": // from file to file
		b, err := os.ReadFile(os.Args[2])
		check(err)
		check(os.MkdirAll(filepath.Dir(os.Args[3]), 0o755))
		check(os.WriteFile(os.Args[3], append(b, '!'), 0o644))
	case "silent":
	case "files":
		files()
	}
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func want(ok bool, what string, args ...any) {
	if !ok {
		check(fmt.Errorf("wrong: "+what, args...))
	}
}

// files uses all that the scratch folder can do.
func files() {
	check(os.MkdirAll("/scratch/a/b", 0o755))
	f, err := os.OpenFile("/scratch/a/b/f", os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	check(err)
	_, err = f.WriteString("hello world")
	check(err)
	at, err := f.Seek(-5, io.SeekEnd)
	check(err)
	want(at == 6, "seek to %d", at)
	b, err := io.ReadAll(f)
	check(err)
	want(string(b) == "world", "read %q", b)
	_, err = f.WriteAt([]byte("W"), 6)
	check(err)
	_, err = f.ReadAt(b, 6)
	check(err)
	want(string(b) == "World", "read %q", b)
	check(f.Truncate(5))
	info, err := f.Stat()
	check(err)
	want(info.Size() == 5 && info.Mode().IsRegular(), "stat %v", info)
	check(f.Close())

	_, err = os.OpenFile("/scratch/a/b/f", os.O_CREATE|os.O_EXCL, 0o644)
	want(errors.Is(err, fs.ErrExist), "exclusive: %v", err)
	_, err = os.Open("/scratch/none")
	want(errors.Is(err, fs.ErrNotExist), "open: %v", err)
	_, err = os.Open("../../etc/passwd")
	want(err != nil, "out of the folder")

	g, err := os.OpenFile("g", os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644) // relative: the same folder
	check(err)
	for range 3 {
		_, err = g.WriteString("g")
		check(err)
	}
	check(g.Close())
	b, err = os.ReadFile("/scratch/g")
	check(err)
	want(string(b) == "ggg", "append %q", b)

	check(os.Rename("/scratch/a/b/f", "/scratch/h"))
	for i := range 300 { // more than one buffer of entries
		check(os.WriteFile(fmt.Sprintf("/scratch/a/%03d", i), nil, 0o644))
	}
	entries, err := os.ReadDir("/scratch/a")
	check(err)
	want(len(entries) == 301 && entries[0].Name() == "000" && entries[300].IsDir(), "%d entries", len(entries))
	check(os.Remove("/scratch/a/b"))
	check(os.RemoveAll("/scratch/a"))
	_, err = os.Stat("/scratch/a")
	want(errors.Is(err, fs.ErrNotExist), "stat: %v", err)
	b, err = os.ReadFile("/scratch/h")
	check(err)
	want(string(b) == "hello", "renamed %q", b)
	fmt.Print("all is well")
}
