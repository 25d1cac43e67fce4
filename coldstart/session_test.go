package coldstart

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/catenary-run/catenary/functions"
	"github.com/google/go-cmp/cmp"
)

// streams makes a function take and give streams, with the use of a model.
func streams(m *functions.Manifest) {
	m.In.Stream, m.Out.Stream, m.Uses.Models = true, true, []string{"llm"}
}

// TestSession_SharesWhatItsModelHasRead: all generations of a call that lasts are of one session, which ends with it; no
// other call has the same one, and a call of one value has none.
func TestSession_SharesWhatItsModelHasRead(t *testing.T) {
	ask := func(ctx context.Context, _ *fakeInstance, _ functions.Source, _ functions.Sink, host functions.Host) error {
		for range 2 {
			// What a function says of its session does not count.
			if _, err := host.Generate(ctx, "llm", functions.Generation{Session: "another's"}); err != nil {
				return err
			}
		}
		return nil
	}
	run(t, &fake{onServe: ask}, nil, func(t *testing.T, n *node) {
		llm := functions.Ref{Name: "llm", Digest: functions.DigestOf([]byte("llm"))}
		call := func(ref functions.Ref) {
			t.Helper()
			_, err := n.Invoke(t.Context(), functions.Call{Ref: ref, Run: "r", Step: "s", Models: []functions.Ref{llm}}, functions.Items(), functions.SinkFunc(nil))
			if err != nil {
				t.Fatal(err)
			}
		}
		talk := n.function("talk", streams)
		call(talk)
		call(talk)
		call(n.function("say", func(m *functions.Manifest) { m.Uses.Models = []string{"llm"} }))
		if diff := cmp.Diff([]string{"r/s/1", "r/s/1", "r/s/2", "r/s/2", "", ""}, n.models.sessions); diff != "" {
			t.Errorf("sessions of the generations (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{"r/s/1", "r/s/2"}, n.models.over); diff != "" {
			t.Errorf("sessions that ended (-want +got):\n%s", diff)
		}
		if n.models.open != 0 {
			t.Errorf("%d generations are open", n.models.open)
		}
	})
}

// echo sends on what comes.
func echo(ctx context.Context, _ *fakeInstance, in functions.Source, out functions.Sink, _ functions.Host) error {
	for {
		it, err := in.Recv(ctx)
		if err == io.EOF {
			return nil
		}
		if err == nil {
			err = out.Send(ctx, it)
		}
		if err != nil {
			return err
		}
	}
}

// TestSession_HoldsItsInstance: an instance is held until its stream ends, not until it begins, and more sessions than
// there are cores go on side by side.
func TestSession_HoldsItsInstance(t *testing.T) {
	driver := &fake{onServe: echo}
	run(t, driver, func(c *Config) { c.MaxSessions, c.MaxInstances = 20, 1 }, func(t *testing.T, n *node) {
		talk := n.function("talk", streams)
		ends := make([]*functions.Stream, 21)
		done := make(chan error, len(ends))
		for i := range ends {
			ends[i] = functions.NewStream(0, 0)
			go func() {
				_, err := n.Invoke(t.Context(), functions.Call{Ref: talk}, ends[i], functions.SinkFunc(func(context.Context, functions.Item) error { return nil }))
				done <- err
			}()
			synctest.Wait()
			if err := ends[i].Send(t.Context(), functions.Item{Value: []byte("x")}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Hour) // a session may last
		st := n.Status()[0]
		if st.Busy != 20 || st.Queued != 1 {
			t.Errorf("%d instances are busy and %d calls wait, want 20 and 1", st.Busy, st.Queued)
		}
		for _, end := range ends {
			end.CloseSend(nil)
		}
		for range ends {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
}

// TestSession_IdleLimit: the time between items is limited if the function says so, and nothing else is.
func TestSession_IdleLimit(t *testing.T) {
	driver := &fake{onServe: echo}
	run(t, driver, nil, func(t *testing.T, n *node) {
		ref := n.function("talk", func(m *functions.Manifest) {
			streams(m)
			m.Limits.Idle = time.Minute
		})
		in := functions.NewStream(0, 0)
		go func() {
			for range 100 {
				time.Sleep(59 * time.Second)
				if err := in.Send(context.Background(), functions.Item{Value: []byte("x")}); err != nil {
					t.Error(err)
				}
			}
		}()
		began, got := time.Now(), 0
		_, err := n.Invoke(t.Context(), functions.Call{Ref: ref}, in, functions.SinkFunc(func(context.Context, functions.Item) error { got++; return nil }))
		if !errors.Is(err, functions.ErrIdleLimit) || errors.Is(err, functions.ErrTimeLimit) {
			t.Errorf("got %v", err)
		}
		if took := time.Since(began); got != 100 || took != 100*59*time.Second+time.Minute {
			t.Errorf("it ended after %d items and %s", got, took)
		}
	})
}

// TestSession_LimitOfOneThatSaysNothing: a function that stops when its limit ends it has not ended well, though it says so.
func TestSession_LimitOfOneThatSaysNothing(t *testing.T) {
	stops := func(ctx context.Context, _ *fakeInstance, _ functions.Source, _ functions.Sink, _ functions.Host) error {
		<-ctx.Done()
		return nil
	}
	run(t, &fake{onServe: stops}, nil, func(t *testing.T, n *node) {
		ref := n.function("talk", func(m *functions.Manifest) {
			streams(m)
			m.Limits.Idle = time.Minute
		})
		if _, err := n.Invoke(t.Context(), functions.Call{Ref: ref}, functions.NewStream(0, 0), functions.SinkFunc(nil)); !errors.Is(err, functions.ErrIdleLimit) {
			t.Errorf("got %v, want %v", err, functions.ErrIdleLimit)
		}
	})
}

// TestSpare_NextCallFindsAnInstance: while an instance is made fit again the next call has another one, and waits for
// nothing.
func TestSpare_NextCallFindsAnInstance(t *testing.T) {
	driver := &fake{start: time.Second, onReset: func() error { time.Sleep(time.Second); return nil }}
	run(t, driver, func(c *Config) { c.Spare = 2 }, func(t *testing.T, n *node) {
		ref := n.function("f", nil)
		n.call(t, ref)
		time.Sleep(10 * time.Second) // the spare ones are there
		for i := range 2 {
			if timing := n.call(t, ref); timing.Wake+timing.Queue != 0 {
				t.Errorf("call %d in a row waited: %+v", i, timing)
			}
		}
		time.Sleep(10 * time.Second)
		if c := driver.counts(); c.live < 2 || c.live > 3 || c.starts != c.live {
			t.Errorf("%d instances are there after %d starts, want two spare ones, and one if it was seen to be in use", c.live, c.starts)
		}
	})
}
