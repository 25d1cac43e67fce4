package gateway

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/catenary-run/catenary/functions"
	catenaryv1 "github.com/catenary-run/catenary/gateway/catenary/v1"
)

// maxCaller is the longest name of a caller, in bytes: an address for mail, or a digest in hex.
const maxCaller = 128

type callerKey struct{}

// withCaller returns the context of a request with the caller that it names. The error wraps functions.ErrInvalid if that
// is no name, or if there are two: what stands before the server has to replace what its own callers say.
func withCaller(r *http.Request) (context.Context, error) {
	names := r.Header.Values(catenaryv1.CallerHeader)
	if len(names) == 0 {
		return r.Context(), nil
	}
	name := names[0]
	switch {
	case len(names) > 1:
		return nil, fmt.Errorf("%w: header %s is there %d times; once is enough", functions.ErrInvalid, catenaryv1.CallerHeader, len(names))
	case name == "" || len(name) > maxCaller || strings.ContainsFunc(name, func(c rune) bool { return c <= ' ' || c > '~' }):
		return nil, fmt.Errorf("%w: header %s: %q is not a name of 1 to %d characters of ASCII without blanks", functions.ErrInvalid, catenaryv1.CallerHeader, clip(name), maxCaller)
	}
	return context.WithValue(r.Context(), callerKey{}, name), nil
}

// callerOf returns the caller that the request named; empty for nobody.
func callerOf(ctx context.Context) string {
	name, _ := ctx.Value(callerKey{}).(string)
	return name
}
