package value

import (
	"fmt"
	"regexp"
	"strconv"

	"github.com/catenary-run/catenary/functions"
)

// path is a place in a value, linked from the inside out, so that it costs nothing until an error names it. A nil path
// is the value itself.
type path struct {
	up    *path
	key   string
	index int // if key is empty and it is not a property
	prop  bool
}

func (p *path) property(key string) *path { return &path{up: p, key: key, prop: true} }
func (p *path) element(index int) *path   { return &path{up: p, index: index} }

var plainKey = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]{0,63}$`)

// String returns the place in the form value.items[3].id; unusual names are quoted, long ones are cut.
func (p *path) String() string {
	switch {
	case p == nil:
		return "value"
	case !p.prop:
		return p.up.String() + "[" + strconv.Itoa(p.index) + "]"
	case plainKey.MatchString(p.key):
		return p.up.String() + "." + p.key
	}
	return p.up.String() + "[" + quote(p.key) + "]"
}

func (p *path) fault(format string, args ...any) error {
	return fmt.Errorf("%w: %s: "+format, append([]any{functions.ErrInvalid, p}, args...)...)
}

// quote returns s in quotes, cut to what fits a message.
func quote(s string) string {
	const most = 64
	if len(s) > most {
		return strconv.Quote(s[:most]) + "..."
	}
	return strconv.Quote(s)
}
