package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/gpu/gpuv1"
)

// at asks in a slot for a session.
func at(slot int32, session string, req *gpuv1.GenerateRequest) *gpuv1.GenerateRequest {
	req.Slot, req.Session = slot, session
	return req
}

// past returns what the slots of model m hold once nothing moves.
func past(svc *service) []string {
	synctest.Wait()
	return svc.models["m"].model.(*fakeModel).past
}

// TestCallsJoinAndLeaveBetweenSteps: who comes is in the next step, who has all is in no more, and a step is of all who
// are there.
func TestCallsJoinAndLeaveBetweenSteps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := &fakeEngine{tokenTime: time.Second, slots: 4}
		c, stop := serveFake(t, newService(engine, nil))
		load(t, c)
		began := time.Now()
		var wg sync.WaitGroup
		for slot := range int32(3) {
			wg.Go(func() {
				a := ask(t.Context(), t, c, at(slot, "", request("m", fmt.Sprint(slot), 4+slot)))
				if a.err != nil || a.tokens != int(4+slot) {
					t.Errorf("%+v", a)
				}
				// The device's time is shared by those for whom it works.
				if want := time.Second + 2*time.Second/4 + time.Second/3; slot == 0 && (a.worked.Round(time.Microsecond) != want.Round(time.Microsecond) || !slices.Equal(a.batches, []int32{1, 4, 4, 3})) {
					t.Errorf("it worked %v in batches of %v, want %v", a.worked, a.batches, want)
				}
			})
			synctest.Wait()
		}
		wg.Go(func() { // and one that leaves in the middle of a step
			ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
			defer cancel()
			if a := ask(ctx, t, c, at(3, "", request("m", "gone", 100))); !errors.Is(a.err, context.DeadlineExceeded) {
				t.Errorf("%+v", a)
			}
		})
		wg.Wait()
		// The first began alone: by 4, 5 and 6 tokens, and two of the one that left.
		if diff := cmp.Diff([]int{1, 4, 4, 3, 2, 2, 1}, engine.steps); diff != "" {
			t.Errorf("the steps (-want +got)\n%s", diff)
		}
		if took := time.Since(began); took != 7*time.Second {
			t.Errorf("took %v, want the time of the steps", took)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// TestFailedStepEndsAllInIt, and no other: what their slots hold is not known.
func TestFailedStepEndsAllInIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := &fakeEngine{tokenTime: time.Second, slots: 3}
		svc := newService(engine, nil)
		c, stop := serveFake(t, svc)
		load(t, c)
		still := request("m", "still", 100)
		still.Credit = 1
		open(t.Context(), t, c, at(2, "c", still)) // has its token, and room for no other
		synctest.Wait()
		time.Sleep(time.Minute)
		synctest.Wait()
		engine.stepErr = errors.New("llama: out of order")
		var wg sync.WaitGroup
		for slot := range int32(2) {
			wg.Go(func() {
				if a := ask(t.Context(), t, c, at(slot, "a", request("m", "hello", 10))); a.err == nil || !strings.Contains(a.err.Error(), "out of order") {
					t.Errorf("got %v, want the engine's error", a.err)
				}
			})
		}
		wg.Wait()
		if diff := cmp.Diff(past(svc), []string{"", "", "still"}); diff != "" {
			t.Errorf("the slots (-got +want)\n%s", diff)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// TestFloodOfOneCaller: beside a caller with all other slots, an answer takes twice its time alone, and a step at most, on a
// device whose work grows with the batch.
func TestFloodOfOneCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, stop := serveFake(t, newService(&fakeEngine{each: time.Second, slots: 8}, nil))
		load(t, c)
		anns := func() time.Duration {
			req := at(7, "", request("m", "x", 20))
			req.Caller = "ann"
			began := time.Now()
			for stream := open(t.Context(), t, c, req); ; {
				res, err := stream.Recv()
				if err != nil {
					t.Fatal(err)
				}
				if res.GetFinish() != "" { // its slot is cleared behind the step that is under way then
					return time.Since(began)
				}
			}
		}
		alone := anns()
		ctx, end := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for slot := range int32(7) {
			wg.Go(func() {
				for ctx.Err() == nil {
					req := at(slot, "", request("m", "x", 50))
					req.Caller = "flood"
					ask(ctx, t, c, req)
				}
			})
		}
		time.Sleep(10500 * time.Millisecond)
		if beside := anns(); beside > 2*alone+7*time.Second {
			t.Errorf("an answer takes %v beside the flood, %v alone", beside, alone)
		}
		end()
		wg.Wait()
		time.Sleep(time.Minute) // their last step ends
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestOneCallAtATimeInASlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := &fakeEngine{tokenTime: time.Second}
		c, stop := serveFake(t, newService(engine, nil))
		load(t, c)
		began := time.Now()
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				if a := ask(t.Context(), t, c, request("m", "x", 5)); a.err != nil || a.tokens != 5 {
					t.Errorf("%+v", a)
				}
			})
		}
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			defer cancel()
			if a := ask(ctx, t, c, request("m", "x", 5)); !errors.Is(a.err, context.DeadlineExceeded) {
				t.Errorf("the one that left: %+v", a)
			}
		})
		wg.Wait()
		// The one that left may have been the first: one token then is all that it cost.
		if took := time.Since(began); took != 10*time.Second && took != 11*time.Second {
			t.Errorf("took %v, want the two one after the other", took)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestNoCreditStopsOneAndNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := &fakeEngine{tokenTime: time.Second}
		c, stop := serveFake(t, newService(engine, nil))
		load(t, c)
		held := request("m", "x", 100)
		held.Credit = 3
		stream := open(t.Context(), t, c, held)
		time.Sleep(time.Minute)
		if n := engine.tokens.Load(); n != 3 {
			t.Errorf("%d tokens were decoded for a credit of 3", n)
		}
		began := time.Now()
		if a := ask(t.Context(), t, c, at(1, "", request("m", "y", 10))); a.err != nil || a.tokens != 10 {
			t.Errorf("beside it: %+v", a)
		}
		if took := time.Since(began); took != 10*time.Second {
			t.Errorf("beside one without credit ten tokens took %v", took)
		}
		for _, more := range []uint32{1, 4, 0, 2} {
			if err := stream.Send(&gpuv1.GenerateRequest{Credit: more}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute)
		if n := engine.tokens.Load(); n != 3+10+7 {
			t.Errorf("%d tokens were decoded, want 3 and 7 beside 10", n)
		}
		for range 2 { // more than it can use, and more than fits
			if err := stream.Send(&gpuv1.GenerateRequest{Credit: 1<<32 - 1}); err != nil {
				t.Fatal(err)
			}
		}
		tokens := 0
		for {
			res, err := stream.Recv()
			if err != nil {
				t.Fatal(err)
			}
			if tokens++; res.GetFinish() != "" {
				break
			}
		}
		if tokens != 100 {
			t.Errorf("%d tokens came, want 100", tokens)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestSessionKeepsItsSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := &fakeEngine{}
		svc := newService(engine, nil)
		c, stop := serveFake(t, svc)
		load(t, c)
		steps := []struct {
			name   string
			do     func() answer
			reused int32
			want   []string // what the slots hold then
		}{
			{"a session begins", func() answer { return ask(t.Context(), t, c, at(0, "a", request("m", "hello", 2))) }, 0, []string{"hello", ""}},
			{"and goes on", func() answer { return ask(t.Context(), t, c, at(0, "a", request("m", "hello you", 2))) }, 5, []string{"hello you", ""}},
			{"a call without one", func() answer { return ask(t.Context(), t, c, at(1, "", request("m", "hello", 2))) }, 0, []string{"hello you", ""}},
			{"another session takes the slot", func() answer { return ask(t.Context(), t, c, at(0, "b", request("m", "hello you", 2))) }, 0, []string{"hello you", ""}},
			{"the first has another", func() answer { return ask(t.Context(), t, c, at(1, "a", request("m", "hello me", 2))) }, 0, []string{"hello you", "hello me"}},
			{"one that is not there is forgotten", func() (a answer) {
				_, a.err = c.Forget(t.Context(), &gpuv1.ForgetRequest{Id: "m", Slot: 0, Session: "a"})
				return a
			}, 0, []string{"hello you", "hello me"}},
			{"one that is", func() (a answer) {
				_, a.err = c.Forget(t.Context(), &gpuv1.ForgetRequest{Id: "m", Slot: 0, Session: "b"})
				return a
			}, 0, []string{"", "hello me"}},
			{"nobody's is nobody's", func() (a answer) {
				_, a.err = c.Forget(t.Context(), &gpuv1.ForgetRequest{Id: "m", Slot: 1})
				return a
			}, 0, []string{"", "hello me"}},
			{"a call without one in a session's slot", func() answer { return ask(t.Context(), t, c, at(1, "", request("m", "hello me", 2))) }, 0, []string{"", ""}},
		}
		for _, step := range steps {
			a := step.do()
			if a.err != nil || a.reused != step.reused {
				t.Errorf("%s: %+v, want %d tokens reused", step.name, a, step.reused)
			}
			if diff := cmp.Diff(past(svc), step.want); diff != "" {
				t.Errorf("%s: the slots (-got +want)\n%s", step.name, diff)
			}
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestCallerThatGoesAwayKeepsItsSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := &fakeEngine{tokenTime: time.Second}
		svc := newService(engine, nil)
		c, stop := serveFake(t, svc)
		load(t, c)
		for slot, session := range []string{"a", ""} {
			ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
			if a := ask(ctx, t, c, at(int32(slot), session, request("m", "hello", 10))); !errors.Is(a.err, context.DeadlineExceeded) {
				t.Errorf("%+v", a)
			}
			cancel()
			time.Sleep(time.Second)
		}
		if diff := cmp.Diff(past(svc), []string{"hello", ""}); diff != "" {
			t.Errorf("the slots (-got +want)\n%s", diff)
		}
		synctest.Wait()
		// A fault of the engine leaves nothing, whoever's it is: what the slot holds then is not known.
		engine.stepErr = errors.New("llama: out of order")
		if a := ask(t.Context(), t, c, at(0, "a", request("m", "hello", 10))); a.err == nil || !strings.Contains(a.err.Error(), "out of order") {
			t.Errorf("got %v, want the engine's error", a.err)
		}
		synctest.Wait()
		engine.stepErr = nil
		if diff := cmp.Diff(past(svc), []string{"", ""}); diff != "" {
			t.Errorf("after a fault the slots (-got +want)\n%s", diff)
		}
		if a := ask(t.Context(), t, c, at(0, "a", request("m", "hello", 1))); a.err != nil || a.reused != 0 {
			t.Errorf("then: %+v", a)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestParkAndUnloadWaitForTheCallsAndDropTheSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := &fakeEngine{tokenTime: time.Second}
		svc := newService(engine, nil)
		c, stop := serveFake(t, svc)
		load(t, c)
		var wg sync.WaitGroup
		wg.Go(func() {
			if a := ask(t.Context(), t, c, at(1, "a", request("m", "hello", 5))); a.err != nil || a.tokens != 5 {
				t.Errorf("%+v", a)
			}
		})
		time.Sleep(1500 * time.Millisecond)
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.Park(short, &gpuv1.ParkRequest{Id: "m"}); !errors.Is(gpuv1.ErrorOf(short, err), context.DeadlineExceeded) {
			t.Errorf("park during a call: got %v, want its deadline", err)
		}
		if _, err := c.Park(t.Context(), &gpuv1.ParkRequest{Id: "m"}); err != nil {
			t.Error(err)
		}
		wg.Wait()
		if a := ask(t.Context(), t, c, at(1, "b", request("m", "hello", 1))); !errors.Is(a.err, functions.ErrConflict) {
			t.Errorf("parked: %+v, want the model's own error", a)
		}
		if _, err := c.Forget(t.Context(), &gpuv1.ForgetRequest{Id: "m", Slot: 1, Session: "a"}); err != nil {
			t.Errorf("forget of what is gone: %v", err)
		}
		if _, err := c.Wake(t.Context(), &gpuv1.WakeRequest{Id: "m"}); err != nil {
			t.Error(err)
		}
		if a := ask(t.Context(), t, c, at(1, "a", request("m", "hello", 1))); a.err != nil || a.reused != 0 {
			t.Errorf("after park and wake: %+v, want nothing reused", a)
		}
		if _, err := c.Unload(t.Context(), &gpuv1.UnloadRequest{Id: "m"}); err != nil || len(svc.models) != 0 {
			t.Errorf("unload: %v, %d models are left", err, len(svc.models))
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestNoSuchSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, stop := serveFake(t, newService(&fakeEngine{}, nil))
		load(t, c)
		for _, slot := range []int32{-1, 2, 1000} {
			if a := ask(t.Context(), t, c, at(slot, "", request("m", "x", 1))); !errors.Is(a.err, functions.ErrInvalid) {
				t.Errorf("slot %d: got %v, want ErrInvalid", slot, a.err)
			}
		}
		if _, err := c.Forget(t.Context(), &gpuv1.ForgetRequest{Id: "m", Slot: -1, Session: "a"}); !errors.Is(gpuv1.ErrorOf(t.Context(), err), functions.ErrInvalid) {
			t.Errorf("forget: got %v, want ErrInvalid", err)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}
