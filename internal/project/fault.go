package project

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/internal/strictyaml"
	"github.com/catenary-run/catenary/sdk"
)

// faults makes the errors about one entry, each at the place of the key that is to be changed.
type faults struct {
	subject string // such as "model llm"
	places  strictyaml.Places
}

func (f faults) at(key string, err error) []error {
	text := strings.TrimPrefix(err.Error(), functions.ErrInvalid.Error()+": ")
	return []error{&strictyaml.Fault{Place: f.places.Of(key), Message: f.subject + ": " + text, Err: err}}
}

// whole returns what is wrong with the entry as a whole: err joins it, and names the entry already.
func (f faults) whole(err error) (all []error) {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{strictyaml.At(f.places.Of(""), err)}
	}
	for _, err := range joined.Unwrap() {
		all = append(all, strictyaml.At(f.places.Of(""), err))
	}
	return all
}

// unreadable says what to do about a path that can't be read.
func unreadable(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %w; paths are relative to the folder of %s", functions.ErrNotFound, err, FileName)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: %w; give yourself the right to read it", functions.ErrDenied, err)
	}
	return err
}

func names(fns []sdk.FuncDescription) string {
	var all []string
	for _, f := range fns {
		all = append(all, f.Name)
	}
	return list("function", all)
}

// list names all of a kind, or says that there is none.
func list(what string, all []string) string {
	if len(all) == 0 {
		return "no " + what
	}
	return strings.Join(all, ", ")
}
