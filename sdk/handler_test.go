package sdk_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/value"
	"github.com/catenary-run/catenary/sdk"
	"github.com/google/go-cmp/cmp"
)

// items returns the encoded values as a source, which ends with stop if it is not nil.
func items(t *testing.T, stop error, values ...any) functions.Source {
	t.Helper()
	s := functions.NewStream(len(values)+1, 0)
	for _, v := range values {
		b, err := value.Encode(v)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Send(t.Context(), functions.Item{Value: b}); err != nil {
			t.Fatal(err)
		}
	}
	s.CloseSend(stop)
	return s
}

// collector is a sink that refuses after some items.
type collector struct {
	items []functions.Item
	room  int
	err   error
}

func (c *collector) Send(_ context.Context, it functions.Item) error {
	if len(c.items) == c.room {
		return c.err
	}
	c.items = append(c.items, it)
	return nil
}

func (c *collector) ints(t *testing.T) []int {
	t.Helper()
	var all []int
	for _, it := range c.items {
		var n int
		if err := value.Decode(it.Value, &n); err != nil {
			t.Fatal(err)
		}
		all = append(all, n)
	}
	return all
}

// call calls impl with ints as input and returns the ints that it sent.
func call[I, O any](t *testing.T, impl func(context.Context, I) (O, error), in functions.Source, out *collector) ([]int, error) {
	t.Helper()
	err := sdk.NewHandler(value.Codec{}, sdk.NewFunc[I, O]("f"), impl)(t.Context(), in, out)
	return out.ints(t), err
}

var (
	errImpl = errors.New("impl failed")
	errIn   = errors.New("writer failed")
	errOut  = errors.New("reader gone")
)

func roomy() *collector { return &collector{room: 1 << 20} }

func TestHandler_OneValueEachWay(t *testing.T) {
	double := func(_ context.Context, n int) (int, error) { return 2 * n, nil }
	for name, tc := range map[string]struct {
		impl func(context.Context, int) (int, error)
		in   functions.Source
		out  *collector
		want []int
		is   error
		text string
	}{
		"plain":        {double, items(t, nil, 4), roomy(), []int{8}, nil, ""},
		"impl fails":   {func(context.Context, int) (int, error) { return 1, errImpl }, items(t, nil, 4), roomy(), nil, errImpl, ""},
		"nothing came": {double, items(t, nil), roomy(), nil, functions.ErrInvalid, "function f: input: invalid: no value came"},
		"writer fails": {double, items(t, errIn), roomy(), nil, errIn, "function f: input"},
		"wrong type":   {double, items(t, nil, "four"), roomy(), nil, functions.ErrInvalid, "function f: input: invalid: value does not fit int"},
		"reader gone":  {double, items(t, nil, 4), &collector{err: errOut}, nil, errOut, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := call(t, tc.impl, tc.in, tc.out)
			if diff := cmp.Diff(got, tc.want); diff != "" || !errors.Is(err, tc.is) || tc.is != nil && !strings.Contains(err.Error(), tc.text) {
				t.Errorf("got %v, %v; want %v, %v with %q", got, err, tc.want, tc.is, tc.text)
			}
		})
	}
}

func TestHandler_SendsAStream(t *testing.T) {
	countTo := func(n int, stop error) func(context.Context, int) (sdk.Stream[int], error) {
		return func(context.Context, int) (sdk.Stream[int], error) {
			return func(yield func(int, error) bool) {
				for i := range n {
					if !yield(i, nil) {
						return
					}
				}
				if stop != nil {
					yield(7, stop)
				}
			}, nil
		}
	}
	stubborn := func(context.Context, int) (sdk.Stream[int], error) {
		return func(yield func(int, error) bool) {
			yield(1, nil)
			yield(2, errImpl)
			yield(3, nil)
			yield(4, errIn)
		}, nil
	}
	for name, tc := range map[string]struct {
		impl func(context.Context, int) (sdk.Stream[int], error)
		out  *collector
		want []int
		is   error
	}{
		"all":                    {countTo(3, nil), roomy(), []int{0, 1, 2}, nil},
		"none":                   {countTo(0, nil), roomy(), nil, nil},
		"nil":                    {func(context.Context, int) (sdk.Stream[int], error) { return nil, nil }, roomy(), nil, nil},
		"error before":           {func(context.Context, int) (sdk.Stream[int], error) { return nil, errImpl }, roomy(), nil, errImpl},
		"error in the middle":    {countTo(2, errImpl), roomy(), []int{0, 1}, errImpl},
		"reader gone":            {countTo(5, errImpl), &collector{room: 2, err: errOut}, []int{0, 1}, errOut},
		"goes on after an error": {stubborn, roomy(), []int{1}, errImpl},
		"of a sequence": {func(context.Context, int) (sdk.Stream[int], error) {
			return sdk.StreamOf(slices.Values([]int{5, 6})), nil
		}, roomy(), []int{5, 6}, nil},
		"of a sequence, gone": {func(context.Context, int) (sdk.Stream[int], error) {
			return sdk.StreamOf(slices.Values([]int{5, 6})), nil
		}, &collector{room: 1, err: errOut}, []int{5}, errOut},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := call(t, tc.impl, items(t, nil, 0), tc.out)
			if diff := cmp.Diff(got, tc.want); diff != "" || !errors.Is(err, tc.is) {
				t.Errorf("got %v, %v; want %v, %v", got, err, tc.want, tc.is)
			}
		})
	}
}

func TestHandler_SendsEachValueAsItComes(t *testing.T) {
	out := roomy()
	_, err := call(t, func(context.Context, int) (sdk.Stream[int], error) {
		return func(yield func(int, error) bool) {
			for i := range 3 {
				if len(out.items) != i {
					t.Errorf("before value %d, %d are sent", i, len(out.items))
				}
				yield(i, nil)
			}
		}, nil
	}, items(t, nil, 0), out)
	if err != nil {
		t.Error(err)
	}
}

func TestHandler_ReceivesAStream(t *testing.T) {
	sum := func(_ context.Context, in sdk.Stream[int]) (int, error) {
		total := 0
		for n, err := range in {
			if err != nil {
				return 0, err
			}
			total += n
		}
		return total, nil
	}
	first := func(_ context.Context, in sdk.Stream[int]) (int, error) {
		for n, err := range in {
			return n, err
		}
		return -1, nil
	}
	for name, tc := range map[string]struct {
		impl func(context.Context, sdk.Stream[int]) (int, error)
		in   functions.Source
		want []int
		is   error
	}{
		"all":          {sum, items(t, nil, 1, 2, 3), []int{6}, nil},
		"none":         {sum, items(t, nil), []int{0}, nil},
		"break":        {first, items(t, errIn, 1, 2, 3), []int{1}, nil},
		"not read":     {func(context.Context, sdk.Stream[int]) (int, error) { return 9, nil }, items(t, errIn), []int{9}, nil},
		"writer fails": {sum, items(t, errIn, 1, 2), nil, errIn},
		"wrong type":   {sum, items(t, nil, 1, "two", 3), nil, functions.ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := call(t, tc.impl, tc.in, roomy())
			if diff := cmp.Diff(got, tc.want); diff != "" || !errors.Is(err, tc.is) {
				t.Errorf("got %v, %v; want %v, %v", got, err, tc.want, tc.is)
			}
		})
	}
}

func TestHandler_StreamEndsAfterItsError(t *testing.T) {
	n := 0
	_, err := call(t, func(_ context.Context, in sdk.Stream[int]) (int, error) {
		for range in {
			n++ // whatever the error
		}
		return 0, nil
	}, items(t, nil, 1, "two", 3), roomy())
	if err != nil || n != 2 {
		t.Errorf("got %d elements, %v; want 2", n, err)
	}
}

func TestHandler_StreamBothWays(t *testing.T) {
	src := items(t, nil, 1, 2, 3)
	got, err := call(t, func(_ context.Context, in sdk.Stream[int]) (sdk.Stream[int], error) {
		return func(yield func(int, error) bool) {
			for n, err := range in {
				if !yield(n*n, err) {
					return
				}
			}
		}, nil
	}, src, &collector{room: 2, err: errOut})
	if diff := cmp.Diff(got, []int{1, 4}); diff != "" || !errors.Is(err, errOut) {
		t.Errorf("got %v, %v; want [1 4], %v", got, err, errOut)
	}
	if _, err := src.Recv(t.Context()); !errors.Is(err, io.EOF) {
		t.Errorf("the input has more than the item that could not be sent: %v", err)
	}
}

func TestHandler_EndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	h := sdk.NewHandler(value.Codec{}, sdk.NewFunc[sdk.Stream[int], int]("f"), func(_ context.Context, in sdk.Stream[int]) (int, error) {
		cancel(errIn)
		for _, err := range in {
			return 0, err
		}
		return 0, nil
	})
	if err := h(ctx, functions.NewStream(0, 0), roomy()); !errors.Is(err, errIn) {
		t.Errorf("got %v, want the cause of the context", err)
	}
}

func TestHandler_RefusesWhatHasNoEncoding(t *testing.T) {
	_, err := call(t, func(context.Context, int) (any, error) { return func() {}, nil }, items(t, nil, 1), roomy())
	if functions.CodeOf(err) != "function" || !strings.HasPrefix(err.Error(), "output: ") {
		t.Errorf("got %v, want that the function is at fault", err)
	}
}
