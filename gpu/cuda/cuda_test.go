package cuda

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/gpu/cuda/cudatest"
)

const mib = 1 << 20

// openDevice returns the fake's device, which nobody closes.
func openDevice(t *testing.T) (*Device, *cudatest.Fake) {
	t.Helper()
	fake := cudatest.Load(t)
	fake.SetMemory(80 << 30)
	driver, err := Open(fake.Dir)
	if err != nil {
		t.Fatal(err)
	}
	d, err := driver.Device(0)
	if err != nil {
		t.Fatal(err)
	}
	return d, fake
}

// testDevice is openDevice for as long as the test lasts.
func testDevice(t *testing.T) (*Device, *cudatest.Fake) {
	t.Helper()
	d, fake := openDevice(t)
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d, fake
}

// inProcess runs the test that calls it in a process of its own, in which it returns false.
func inProcess(t *testing.T) (parent bool) {
	t.Helper()
	cmd := ownProcess(t)
	if cmd == nil {
		return false
	}
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS") {
		t.Errorf("in its process: %v\n%s", err, out)
	}
	return true
}

// processDies is inProcess for a test whose process must end by an abort, after it wrote want.
func processDies(t *testing.T, want string) (parent bool) {
	t.Helper()
	cmd := ownProcess(t)
	if cmd == nil {
		return false
	}
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "SIGABRT") || !strings.Contains(string(out), want) {
		t.Errorf("its process: %v, want an abort with %q\n%s", err, want, out)
	}
	return true
}

// ownProcess returns the command that runs the test in a process of its own, or nil in that process.
func ownProcess(t *testing.T) *exec.Cmd {
	const mark = "CATENARY_CUDA_TEST"
	if os.Getenv(mark) == t.Name() {
		return nil
	}
	t.Parallel()
	return again(t, mark+"="+t.Name())
}

// again returns the command that runs the test once more, with a setting.
func again(t *testing.T, env string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	// What a process leaves behind that dies goes with the folder; and it dies without calling a debugger.
	cmd.Env = append(os.Environ(), env, "TMPDIR="+t.TempDir(), "GGML_NO_BACKTRACE=1")
	return cmd
}

func TestOpen_NoDriver(t *testing.T) {
	_, err := Open(t.TempDir())
	if !errors.Is(err, functions.ErrNoDevice) || !strings.Contains(err.Error(), library) {
		t.Errorf("no library: got %v, want ErrNoDevice with its name", err)
	}
}

func TestOpen_TooOld(t *testing.T) {
	fake := cudatest.Load(t)
	fake.SetVersion(11080)
	defer fake.SetVersion(13000)
	_, err := Open(fake.Dir)
	if !errors.Is(err, functions.ErrNoDevice) || !strings.Contains(err.Error(), "11.8") {
		t.Errorf("got %v, want ErrNoDevice with both versions", err)
	}
	// A library of that name that lacks the calls.
	found, err := filepath.Glob("/lib/*/libm.so.6")
	if err != nil || len(found) == 0 {
		t.Fatalf("no libm: %v", err)
	}
	dir := t.TempDir()
	if err := os.Symlink(found[0], filepath.Join(dir, library)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); !errors.Is(err, functions.ErrNoDevice) || !strings.Contains(err.Error(), "lacks cuInit") {
		t.Errorf("another library: got %v, want ErrNoDevice with what is missing", err)
	}
}

func TestOpen_DriverDoesNotStart(t *testing.T) {
	fake := cudatest.Load(t)
	fake.Fail("cuInit", 0, 100)
	_, err := Open(fake.Dir)
	if !errors.Is(err, functions.ErrNoDevice) || !strings.Contains(err.Error(), "cuInit") {
		t.Errorf("got %v, want ErrNoDevice with the call", err)
	}
}

func TestFacts(t *testing.T) {
	d, _ := testDevice(t)
	all, err := d.driver.Devices()
	if err != nil || len(all) != 1 {
		t.Fatalf("devices: %v, %v", all, err)
	}
	want := Facts{Name: "Fake device", UUID: "GPU-00010203-0405-0607-0809-0a0b0c0d0e0f", Bus: "0000:01:00.0", MemBytes: 80 << 30,
		Major: 9, Multiprocessors: 132, VirtualMemory: true}
	if all[0] != want || d.Facts != want {
		t.Errorf("got %+v, want %+v", all[0], want)
	}
	if _, err := d.driver.Device(1); !errors.Is(err, functions.ErrNoDevice) {
		t.Errorf("device 1: got %v, want ErrNoDevice", err)
	}
	if d.driver.Version() != 13000 {
		t.Errorf("version %d", d.driver.Version())
	}
}

func TestErrorNamesTheCallAndTheCode(t *testing.T) {
	d, fake := testDevice(t)
	fake.SetMemory(2 * mib)
	_, err := d.Create(4 * mib)
	var failed *Error
	if !errors.As(err, &failed) || failed.Call != "cuMemCreate" || failed.Name != "CUDA_ERROR_OUT_OF_MEMORY" || failed.Code != 2 {
		t.Errorf("got %+v", failed)
	}
	if !errors.Is(err, ErrNoRoom) || !errors.Is(err, functions.ErrMemoryLimit) {
		t.Errorf("%v is no lack of room", err)
	}
	fake.Fail("cuMemCreate", 0, 999)
	if _, err := d.Create(2 * mib); err == nil || errors.Is(err, ErrNoRoom) || err.Error() != "cuMemCreate: unknown error (999)" {
		t.Errorf("got %v", err)
	}
}

// TestAnyThread: calls work on threads that have never seen the device, and leave nothing behind on them.
func TestAnyThread(t *testing.T) {
	d, fake := testDevice(t)
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			s, err := d.NewStream()
			if err != nil {
				t.Error(err)
				return
			}
			if err := errors.Join(s.Synchronize(), s.Close(), d.Synchronize()); err != nil {
				t.Error(err)
			}
			if _, _, err := d.Memory(); err != nil {
				t.Error(err)
			}
			if n := fake.Contexts(); n != 0 {
				t.Errorf("%d contexts are left on the thread", n)
			}
		})
	}
	all.Wait()
}

func TestVirtualMemory(t *testing.T) {
	d, fake := testDevice(t)
	size, err := d.Granularity()
	if err != nil {
		t.Fatal(err)
	}
	before := fake.Used()
	at, err := d.Reserve(size)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the same address, with other memory
		p, err := d.Create(size)
		if err != nil {
			t.Fatal(err)
		}
		if got := fake.State(uintptr(at)); got != cudatest.Gone {
			t.Errorf("before the mapping: state %d", got)
		}
		if err := errors.Join(d.Map(at, size, p), d.SetAccess(at, size)); err != nil {
			t.Fatal(err)
		}
		if got := fake.State(uintptr(at)); got != cudatest.Usable {
			t.Errorf("mapped: state %d", got)
		}
		if err := d.Unreserve(at, size); err == nil {
			t.Error("a range that is mapped was given back")
		}
		if err := errors.Join(d.Release(p), d.Unmap(at, size)); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Unreserve(at, size); err != nil {
		t.Error(err)
	}
	if got := fake.Used(); got != before {
		t.Errorf("%d bytes are left", got-before)
	}
}

// mapped returns device memory that goes with the test.
func mapped(t *testing.T, d *Device, size int64) Addr {
	t.Helper()
	at, err := d.Reserve(size)
	if err != nil {
		t.Fatal(err)
	}
	p, err := d.Create(size)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(d.Map(at, size, p), d.SetAccess(at, size), d.Release(p)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(d.Unmap(at, size), d.Unreserve(at, size)); err != nil {
			t.Error(err)
		}
	})
	return at
}

func newStream(t *testing.T, d *Device) *Stream {
	t.Helper()
	s, err := d.NewStream()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestStreamsAndEvents(t *testing.T) {
	d, _ := testDevice(t)
	at := mapped(t, d, 2*mib)
	first, second := newStream(t, d), newStream(t, d)
	began, ended := newEvent(t, d), newEvent(t, d)
	src := bytes.Repeat([]byte("weights!"), 1000)
	err := errors.Join(first.Record(began), first.Copy(at, src), first.Fill(at+8, 7, 8), first.Record(ended))
	if err != nil {
		t.Fatal(err)
	}
	if done, err := ended.Done(); done || err != nil {
		t.Errorf("before anybody waited: %v, %v", done, err)
	}
	got := make([]byte, len(src))
	// The second stream reads only when the first has come so far.
	if err := errors.Join(second.Wait(ended), second.Read(got, at), second.Synchronize()); err != nil {
		t.Fatal(err)
	}
	copy(src[8:], "\x07\x07\x07\x07\x07\x07\x07\x07")
	if !bytes.Equal(got, src) {
		t.Error("other bytes came back")
	}
	if done, err := ended.Done(); !done || err != nil {
		t.Errorf("afterwards: %v, %v", done, err)
	}
	took, err := ended.Since(began)
	if err != nil || took != time.Millisecond {
		t.Errorf("took %v, %v", took, err)
	}
	if err := ended.Synchronize(); err != nil {
		t.Error(err)
	}
}

func newEvent(t *testing.T, d *Device) *Event {
	t.Helper()
	e, err := d.NewEvent()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

func TestModule(t *testing.T) {
	d, _ := testDevice(t)
	ptx, err := os.ReadFile("testdata/fill.ptx")
	if err != nil {
		t.Fatal(err)
	}
	m, err := d.LoadModule(ptx)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}()
	if _, err := m.Kernel("none"); err == nil || !strings.Contains(err.Error(), "CUDA_ERROR_NOT_FOUND") {
		t.Errorf("a kernel that is not there: %v", err)
	}
	fill, err := m.Kernel("fill")
	if err != nil {
		t.Fatal(err)
	}
	at, s := mapped(t, d, 2*mib), newStream(t, d)
	got := make([]byte, 12)
	if err := errors.Join(s.Fill(at, 0, 16), fill.Launch(s, 1, 32, uint64(at), 2, 0x01020304), s.Read(got, at), s.Synchronize()); err != nil {
		t.Fatal(err)
	}
	if want := "\x04\x03\x02\x01\x04\x03\x02\x01\x00\x00\x00\x00"; string(got) != want {
		t.Errorf("got %x, want %x", got, want)
	}
	if _, err := d.LoadModule([]byte("no code")); err == nil || !strings.Contains(err.Error(), "cuModuleLoadData: CUDA_ERROR_INVALID_IMAGE") {
		t.Errorf("no code: %v", err)
	}
}

func TestMasterOutlivesItsProcess(t *testing.T) {
	d, _ := testDevice(t)
	m, err := NewMaster("test", 3*mib)
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Bytes()) != 4*mib {
		t.Errorf("%d bytes; whole huge pages are wanted", len(m.Bytes()))
	}
	if err := errors.Join(m.Pin(d), m.Pin(d)); err != nil {
		t.Fatal(err)
	}
	copy(m.Bytes(), "read once")
	fd, err := syscall.Dup(int(m.File().Fd())) // as a child process has it
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := OpenMaster(os.NewFile(uintptr(fd), "test"))
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if !bytes.HasPrefix(again.Bytes(), []byte("read once")) || len(again.Bytes()) != 4*mib {
		t.Errorf("%d bytes, %q", len(again.Bytes()), again.Bytes()[:9])
	}
}

func TestCheckpoints(t *testing.T) {
	d, _ := testDevice(t)
	if n, m := unsafe.Sizeof(lockArgs{}), unsafe.Sizeof(noArgs{}); n != 64 || m != 64 {
		t.Errorf("the arguments have %d and %d bytes, want 64", n, m)
	}
	c, err := d.driver.Checkpoints()
	if err != nil {
		t.Fatal(err)
	}
	pid := os.Getpid()
	at := func(want ProcessState) {
		t.Helper()
		if got, err := c.State(pid); got != want || err != nil {
			t.Errorf("state %d, %v, want %d", got, err, want)
		}
	}
	at(Running)
	if err := c.Checkpoint(pid); err == nil || !strings.Contains(err.Error(), "CUDA_ERROR_ILLEGAL_STATE") {
		t.Errorf("unlocked: %v", err)
	}
	steps := []struct {
		do   func() error
		then ProcessState
	}{
		{func() error { return c.Lock(pid, time.Second) }, Locked},
		{func() error { return c.Checkpoint(pid) }, Checkpointed},
		{func() error { return c.Restore(pid) }, Locked},
		{func() error { return c.Unlock(pid) }, Running},
	}
	for i, s := range steps {
		if err := s.do(); err != nil {
			t.Errorf("step %d: %v", i, err)
		}
		at(s.then)
	}
	d.driver.fn.processLock = nil // as before driver 570
	if _, err := d.driver.Checkpoints(); !errors.Is(err, functions.ErrNoDevice) {
		t.Errorf("an old driver: got %v, want ErrNoDevice", err)
	}
}

func TestLostDevice(t *testing.T) {
	if inProcess(t) {
		return
	}
	d, fake := openDevice(t)
	s, err := d.NewStream()
	if err != nil {
		t.Fatal(err)
	}
	fake.Lose(cudatest.DeviceUnavailable)
	_, _, memory := d.Memory()
	for i, err := range []error{s.Synchronize(), d.Synchronize(), memory, s.Close(), d.Close()} {
		if err == nil || !strings.Contains(err.Error(), "CUDA_ERROR_DEVICE_UNAVAILABLE") {
			t.Errorf("call %d: %v", i, err)
		}
	}
}
