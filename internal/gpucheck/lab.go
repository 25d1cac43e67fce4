package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/gpu/cuda"
	"github.com/catenary-run/catenary/internal/samples"
)

//go:embed kernels.ptx
var kernels []byte

const (
	threads   = 256  // of a block
	maxBlocks = 4096 // of a launch: enough for every device there is, each thread takes many words
	wordBytes = 8
	warm      = 2    // rounds before those that count
	poison    = 0xEE // what memory is full of before something must overwrite it
)

// lab is the device with what all checks need. One goroutine uses it, but where a method says otherwise.
type lab struct {
	options
	ctl    *cuda.Driver
	device *cuda.Device
	space  *cuda.Space
	stream *cuda.Stream
	module *cuda.Module

	pattern, compare, spin *cuda.Kernel

	scrap cuda.Addr // wordBytes that are never parked: what kernels count to
	huge  bool      // masters were made of huge pages
	lost  error     // why the device can't be used any more
}

// open returns an error wrapping [functions.ErrNoDevice] if there is none.
func open(o options) (*lab, error) {
	l := &lab{options: o}
	var err error
	if l.ctl, err = cuda.Open(o.driver); err != nil {
		return nil, err
	}
	if l.device, err = l.ctl.Device(o.device); err != nil {
		return nil, err
	}
	if l.space, err = cuda.NewSpace(l.device); err != nil {
		return nil, err
	}
	if l.stream, err = l.device.NewStream(); err != nil {
		return nil, err
	}
	if l.module, err = l.device.LoadModule(kernels); err != nil {
		return nil, err
	}
	for name, k := range map[string]**cuda.Kernel{"pattern": &l.pattern, "compare": &l.compare, "spin": &l.spin} {
		if *k, err = l.module.Kernel(name); err != nil {
			return nil, err
		}
	}
	l.scrap, err = l.device.Allocate(wordBytes)
	return l, err
}

func (l *lab) close() error {
	return errors.Join(l.device.Free(l.scrap), l.module.Close(), l.stream.Close(), l.device.Close())
}

// check is some arms that take turns.
type check struct {
	name string
	doc  string
	run  func(ctx context.Context, rec *recorder) error
}

func (l *lab) checks() []check {
	var all []check
	for _, n := range l.sizes {
		all = append(all, check{"wake " + sizeName(n), "a model from its pinned master, against a bare copy and against a process that the driver restores",
			func(ctx context.Context, rec *recorder) error { return l.checkWake(ctx, rec, n) }})
	}
	small, middle := l.sizes[0], l.sizes[len(l.sizes)/2]
	return append(all,
		check{"stall", "steps of 0.1 ms on another stream while a model of " + sizeName(middle) + " wakes and is parked",
			func(ctx context.Context, rec *recorder) error { return l.checkStall(ctx, rec, middle) }},
		check{"graph", "a graph that was captured before the model was ever parked, " + sizeName(small),
			func(ctx context.Context, rec *recorder) error { return l.checkGraph(ctx, rec, small) }},
		check{"cycles", fmt.Sprintf("%d times parked and woken, %s", l.cycles, sizeName(small)),
			func(ctx context.Context, rec *recorder) error { return l.checkCycles(ctx, rec, small) }},
	)
}

// rounds calls do some times to get warm, with a recorder that is thrown away, and then as often as was asked for.
func (l *lab) rounds(ctx context.Context, rec *recorder, do func(*recorder) error) error {
	return samples.Rounds(warm, l.repeats, rec, &recorder{}, func(to *recorder) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return do(to)
	})
}

// launch hands in a kernel that goes over size bytes.
func (l *lab) launch(k *cuda.Kernel, at cuda.Addr, size int64, rest ...uint64) error {
	words := uint64(size) / wordBytes
	blocks := min(maxBlocks, (words+threads-1)/threads)
	return k.Launch(l.stream, uint32(blocks), threads, append([]uint64{uint64(at), words}, rest...)...)
}

// count hands in what compares the bytes with the pattern; counted returns what came of it.
func (l *lab) count(at cuda.Addr, size int64, seed uint64) error {
	return l.launch(l.compare, at, size, seed, uint64(l.scrap))
}

// counted waits for the stream, and returns an error wrapping [errWrongBytes] if words differed since the last
// resetCount.
func (l *lab) counted(what string) error {
	n, err := l.scrapValue()
	if err == nil && n > 0 {
		err = fmt.Errorf("%w: %s: %d words of 8 bytes are not what they should be", errWrongBytes, what, n)
	}
	return err
}

var errWrongBytes = errors.New("wrong bytes")

func (l *lab) resetCount() error { return l.stream.Fill(l.scrap, 0, wordBytes) }

func (l *lab) scrapValue() (uint64, error) {
	got := make([]byte, wordBytes)
	err := errors.Join(l.stream.Read(got, l.scrap), l.stream.Synchronize())
	return byteOrder.Uint64(got), err
}

// verify compares the bytes with the pattern now.
func (l *lab) verify(what string, at cuda.Addr, size int64, seed uint64) error {
	return errors.Join(l.resetCount(), l.count(at, size, seed), l.counted(what))
}

// timed returns how long f took.
func timed(f func() error) (time.Duration, error) {
	began := time.Now()
	err := f()
	return time.Since(began), err
}

// sizes is the flag: what models have, in bytes, the smallest first.
type sizes []int64

// units are those of sizes, the longer suffixes first.
var units = []struct {
	suffix string
	bytes  int64
}{{"MiB", 1 << 20}, {"GiB", 1 << 30}, {"MB", 1e6}, {"GB", 1e9}}

func (s *sizes) String() string {
	var names []string
	for _, n := range *s {
		names = append(names, sizeName(n))
	}
	return strings.Join(names, ",")
}

// Set returns an error wrapping [functions.ErrInvalid] if a size has no unit or the sizes do not rise.
func (s *sizes) Set(text string) error {
	*s = nil
	var last int64
	for part := range strings.SplitSeq(text, ",") {
		n, err := parseSize(part)
		if err != nil {
			return err
		}
		if n <= last {
			return fmt.Errorf("%w: sizes begin with the smallest: %s", functions.ErrInvalid, text)
		}
		*s, last = append(*s, n), n
	}
	return nil
}

func parseSize(text string) (int64, error) {
	for _, u := range units {
		number, ok := strings.CutSuffix(text, u.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(number, 10, 20) // a million of any unit is more than there is
		if err != nil || n == 0 {
			break
		}
		return int64(n) * u.bytes, nil
	}
	return 0, fmt.Errorf("%w: size %q: want a number and MB, GB, MiB or GiB", functions.ErrInvalid, text)
}

// sizeName is n in the largest unit that it is a whole number of.
func sizeName(n int64) string {
	for _, u := range []int{3, 1, 2, 0} {
		if n%units[u].bytes == 0 {
			return strconv.FormatInt(n/units[u].bytes, 10) + units[u].suffix
		}
	}
	return strconv.FormatInt(n, 10) + "B"
}
