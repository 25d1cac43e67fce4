package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/alecthomas/kong"
)

type versionCmd struct{}

// Run prints the version that the build recorded, and what it was built with.
func (c *versionCmd) Run(e *env) error { return printVersion(e.stdout) }

// versionFlag is --version: what the command of that name does.
type versionFlag bool

// BeforeReset is called by kong as soon as it sees the flag, so that no command is asked for.
func (versionFlag) BeforeReset(app *kong.Kong) error {
	if err := printVersion(app.Stdout); err != nil {
		return err
	}
	app.Exit(exitOK)
	return nil
}

func printVersion(w io.Writer) error {
	version := "unknown"
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		version = info.Main.Version
	}
	_, err := fmt.Fprintf(w, "catenary %s %s %s/%s\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}
