package invokertest_test

import (
	"context"
	"errors"
	"testing"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/invokertest"
)

func TestLocal(t *testing.T) {
	invokertest.Run(t, func(_ *testing.T, s invokertest.Setup) functions.Invoker { return invokertest.NewLocal(s) })
}

func TestLocal_PanicIsATrap(t *testing.T) {
	f := invokertest.New("panics", func(context.Context, functions.Source, functions.Sink) error { panic("oh") })
	_, err := invokertest.NewLocal(invokertest.Setup{Functions: []invokertest.Function{f}}).Invoke(t.Context(),
		functions.Call{Ref: f.Manifest.Ref()}, functions.Items(), nil)
	if !errors.Is(err, functions.ErrTrap) {
		t.Errorf("got %v, want %v", err, functions.ErrTrap)
	}
}
