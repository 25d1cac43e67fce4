package specfile

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/catenary-run/catenary/functions"
)

// Fault is one thing that is wrong with a file. Parse returns them joined; errors.As finds the first.
type Fault struct {
	File      string
	Line, Col int // from 1; 0 if the place is not known
	Message   string
}

func (f *Fault) Error() string { return position(f.File, f.Line, f.Col) + ": " + f.Message }

// Unwrap returns [functions.ErrInvalid].
func (f *Fault) Unwrap() error { return functions.ErrInvalid }

// position returns file:line:col, as far as it is known.
func position(file string, line, col int) string {
	switch {
	case line <= 0:
		return file
	case col <= 0:
		return fmt.Sprintf("%s:%d", file, line)
	}
	return fmt.Sprintf("%s:%d:%d", file, line, col)
}

func (p *parser) fault(n *yaml.Node, format string, args ...any) {
	p.faultAt(n.Line, n.Column, format, args...)
}

func (p *parser) faultAt(line, col int, format string, args ...any) {
	if len(p.faults) < maxFaults {
		p.faults = append(p.faults, &Fault{p.file, line, col, fmt.Sprintf(format, args...)})
	}
}

// syntax reports what the YAML library says.
func (p *parser) syntax(err error) {
	var load *yaml.LoadError
	if !errors.As(err, &load) {
		p.faultAt(1, 1, "%v", err)
		return
	}
	msg := load.Message
	if load.ContextMsg != "" {
		msg = load.ContextMsg + ": " + msg
	}
	p.faultAt(max(1, load.Mark.Line), max(1, load.Mark.Column), "%s", msg)
}

// err returns all faults in the order of the file.
func (p *parser) err() error {
	slices.SortStableFunc(p.faults, func(a, b *Fault) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Col - b.Col
	})
	errs := make([]error, len(p.faults))
	for i, f := range p.faults {
		errs[i] = f
	}
	if len(errs) == maxFaults {
		errs = append(errs, fmt.Errorf("%s: and perhaps more", p.file))
	}
	return errors.Join(errs...)
}

// cut shortens what is quoted in a message.
func cut(s string) string {
	if len(s) > 60 {
		s = strings.ToValidUTF8(s[:60], "") + "..."
	}
	return s
}
