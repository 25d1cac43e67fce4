package cuda

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/catenary-run/catenary/gpu/cuda/cudatest"
)

const (
	schedules   = 1000
	modelNames  = "abc"
	scheduleEnv = "CATENARY_CUDA_SCHEDULE" // which one a process begins with
)

// TestEngine_RandomSchedules: a thousand of load, call, park, wake, evict, free and crash. The device has room for two of
// the three models. The engine runs in a process that some schedules crash; the next one finds the master that the test
// holds.
func TestEngine_RandomSchedules(t *testing.T) {
	if from := os.Getenv(scheduleEnv); from != "" {
		n, err := strconv.Atoi(from)
		if err != nil {
			t.Fatal(err)
		}
		runSchedules(t, n)
		return
	}
	t.Parallel()
	master := tinyMaster(t)
	defer master.Close()
	crashes := 0
	for next := 0; next < schedules; {
		done, crashed, err := scheduleProcess(t, master, next)
		if err != nil {
			t.Fatalf("after schedule %d: %v", done, err)
		}
		next = done + 1
		if crashed {
			crashes++
		}
	}
	if crashes == 0 {
		t.Error("no schedule had a crash")
	}
	t.Logf("%d schedules, %d crashes", schedules, crashes)
}

// scheduleProcess runs schedules from next on, until they are done or one crashes as it wants to. It returns the last one
// that was begun.
func scheduleProcess(t *testing.T, master *Master, next int) (last int, crashed bool, err error) {
	cmd := again(t, scheduleEnv+"="+strconv.Itoa(next))
	cmd.ExtraFiles = []*os.File{master.File()} // descriptor 3
	var talk, stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, false, err
	}
	if err := cmd.Start(); err != nil {
		return 0, false, err
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		fmt.Fprintln(&talk, lines.Text())
		if n, ok := strings.CutPrefix(lines.Text(), "schedule "); ok {
			if last, err = strconv.Atoi(n); err != nil {
				return 0, false, err
			}
		}
		crashed = crashed || lines.Text() == "crash"
	}
	if err := cmd.Wait(); crashed != (err != nil) {
		return last, crashed, fmt.Errorf("crash wanted: %v, but %v\n%s%s", crashed, err, talk.String(), stderr.String())
	}
	return last, crashed, nil
}

// runSchedules is the process with the engine.
func runSchedules(t *testing.T, next int) {
	master, err := OpenMaster(os.NewFile(3, "master"))
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, master)
	one := held(r.Footprint(r.load("a").name))
	r.fake.SetMemory(uint64(2*one + one/2))
	r.OnPressure(func(need int64, by Tag) bool { return r.evict(by.Model) })
	for ; next < schedules; next++ {
		fmt.Printf("schedule %d\n", next)
		s := &schedule{rig: r, rand: rand.New(rand.NewPCG(5, uint64(next)))}
		for range 2 + s.rand.IntN(5) {
			s.step()
		}
		s.check()
	}
}

// evict parks the first model that has memory and can be, other than one.
func (r *rig) evict(except string) bool {
	for _, name := range slices.Sorted(maps.Keys(r.models)) {
		if name == except {
			continue
		}
		if n, err := r.Park(name, All); err == nil && n > 0 {
			return true
		}
	}
	return false
}

// schedule is a few random steps.
type schedule struct {
	*rig
	rand *rand.Rand
}

func (s *schedule) step() {
	name := string(modelNames[s.rand.IntN(len(modelNames))])
	m := s.models[name]
	if m == nil {
		s.load(name)
		return
	}
	switch roll := s.rand.IntN(1000); {
	case roll < 400:
		s.wakeUp(m)
		m.tokens(1 + s.rand.IntN(6))
	case roll < 600:
		m.park(All)
	case roll < 650: // a part, and perhaps another later
		m.park(Kind(1 + s.rand.IntN(int(All))))
	case roll < 800:
		s.wakeUp(m)
	case roll < 860:
		s.beside(m)
	case roll < 930:
		s.fail(m)
	case roll < 997:
		m.free()
	default:
		s.crash(m)
	}
}

// wakeUp wakes a model, and parks others if there is no room.
func (s *schedule) wakeUp(m *model) {
	for {
		used := s.fake.Used()
		_, err := s.Wake(m.name, All)
		if err == nil {
			s.must(s.Verify(m.name))
			return
		}
		if got := s.fake.Used(); got != used || !errors.Is(err, ErrNoRoom) || !s.evict(m.name) {
			s.t.Fatalf("wake %s: %v; %d bytes are in use, before %d", m.name, err, got, used)
		}
	}
}

// beside parks and wakes another model while m decodes.
func (s *schedule) beside(m *model) {
	for _, name := range slices.Sorted(maps.Keys(s.models)) {
		other := s.models[name]
		if other == m {
			continue
		}
		for s.evict(m.name) { // there is room for two only
		}
		s.wakeUp(m)
		s.wakeUp(other)
		s.crowded = true
		done := make(chan struct{})
		go func() {
			defer close(done)
			m.tokens(10)
		}()
		for range 2 {
			other.park(All)
			other.wake(All)
		}
		<-done
		s.crowded = false
		other.tokens(1)
		return
	}
}

// fail has a call of a wake or of a park fail, after which the model is what it was.
func (s *schedule) fail(m *model) {
	if !s.isParked(m.name) {
		s.fake.Fail("cuMemUnmap", 0, 999)
		if _, err := s.Park(m.name, All); err == nil || s.isParked(m.name) {
			s.t.Fatalf("park %s: %v", m.name, err)
		}
		s.must(s.Verify(m.name))
		return
	}
	calls := []string{"cuMemCreate", "cuMemMap", "cuMemSetAccess", "cuStreamSynchronize"}
	m.park(All)
	for s.evict(m.name) { // so that it is not for lack of room
	}
	s.fake.Fail(calls[s.rand.IntN(len(calls))], 0, 999)
	used := s.fake.Used()
	if _, err := s.Wake(m.name, All); err == nil || s.fake.Used() != used {
		s.t.Fatalf("wake %s: %v; %d bytes are in use, before %d", m.name, err, s.fake.Used(), used)
	}
}

// crash ends the process as an engine does that meets an error of CUDA.
func (s *schedule) crash(m *model) {
	s.wakeUp(m)
	fmt.Println("crash")
	s.fake.Lose(cudatest.DeviceUnavailable)
	m.tokens(1)
}

// check looks at everything that a schedule may have left.
func (s *schedule) check() {
	s.clean()
	var mapped int64
	for _, name := range slices.Sorted(maps.Keys(s.models)) {
		for _, h := range s.Footprint(name) {
			mapped += h.Mapped
		}
		if s.isParked(name) {
			continue
		}
		s.must(s.Verify(name))
	}
	if used := int64(s.fake.Used()); used != mapped {
		s.t.Fatalf("%d bytes are in use, and the blocks explain %d", used, mapped)
	}
}
