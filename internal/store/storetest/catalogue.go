package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/catenary-run/catenary/functions"
)

func recordComesBack(t *testing.T, open Backend) {
	ctx := t.Context()
	one, two := open(t), open(t)
	data := []byte(`{"name":"speak"}`)
	for range 2 { // the second time changes nothing
		d, err := one.PutRecord(ctx, functions.RecordManifest, data)
		if err != nil {
			t.Fatal(err)
		}
		if want := functions.DigestOf(data); d != want {
			t.Fatalf("got digest %s, want %s", d, want)
		}
	}
	for _, s := range []Store{one, two} {
		got, err := s.Record(ctx, functions.RecordManifest, functions.DigestOf(data))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(data), string(got)); diff != "" {
			t.Fatal(diff)
		}
	}
	if _, err := one.Record(ctx, functions.RecordGraph, functions.DigestOf(data)); !errors.Is(err, functions.ErrNotFound) {
		t.Fatalf("a manifest as a graph: got %v, want ErrNotFound", err)
	}
}

func recordsAreRefused(t *testing.T, open Backend) {
	ctx, s := t.Context(), open(t)
	if _, err := s.PutRecord(ctx, "../manifest", []byte("{}")); !errors.Is(err, functions.ErrInvalid) {
		t.Errorf("unknown kind: got %v, want ErrInvalid", err)
	}
	if _, err := s.PutRecord(ctx, functions.RecordGraph, nil); !errors.Is(err, functions.ErrInvalid) {
		t.Errorf("empty record: got %v, want ErrInvalid", err)
	}
	if _, err := s.Record(ctx, functions.RecordGraph, "../../etc/passwd"); !errors.Is(err, functions.ErrInvalid) {
		t.Errorf("no digest: got %v, want ErrInvalid", err)
	}
	if _, err := s.Record(ctx, "any", digest("x")); !errors.Is(err, functions.ErrInvalid) {
		t.Errorf("read of an unknown kind: got %v, want ErrInvalid", err)
	}
}

func aliasMovesByRevision(t *testing.T, open Backend) {
	ctx := t.Context()
	one, two := open(t), open(t)
	const name = "chain/voice"
	if _, err := one.Alias(ctx, name); !errors.Is(err, functions.ErrNotFound) {
		t.Fatalf("before: got %v, want ErrNotFound", err)
	}
	if _, err := one.SetAlias(ctx, name, digest("a"), 1); !errors.Is(err, functions.ErrConflict) {
		t.Fatalf("revision 1 of nothing: got %v, want ErrConflict", err)
	}
	a, err := one.SetAlias(ctx, name, digest("a"), 0)
	if want := (functions.Alias{Name: name, Digest: digest("a"), Rev: 1}); err != nil || a != want {
		t.Fatalf("got %v, %v; want %v", a, err, want)
	}
	if _, err := two.SetAlias(ctx, name, digest("b"), 0); !errors.Is(err, functions.ErrConflict) {
		t.Fatalf("create again: got %v, want ErrConflict", err)
	}
	if _, err := two.SetAlias(ctx, name, digest("a"), 0); !errors.Is(err, functions.ErrConflict) {
		t.Fatalf("create again with the same digest: got %v, want ErrConflict", err)
	}
	b, err := two.SetAlias(ctx, name, digest("b"), a.Rev)
	if want := (functions.Alias{Name: name, Digest: digest("b"), Rev: 2}); err != nil || b != want {
		t.Fatalf("got %v, %v; want %v", b, err, want)
	}
	if got, err := one.Alias(ctx, name); err != nil || got != b {
		t.Fatalf("got %v, %v; want %v", got, err, b)
	}
}

func aliasesAreRefused(t *testing.T, open Backend) {
	ctx, s := t.Context(), open(t)
	for _, name := range []string{"", "Chain", "a\nb", "chain/\x00", strings.Repeat("a", 201)} {
		if _, err := s.SetAlias(ctx, name, digest("a"), 0); !errors.Is(err, functions.ErrInvalid) {
			t.Errorf("name %.20q: got %v, want ErrInvalid", name, err)
		}
	}
	if _, err := s.SetAlias(ctx, "chain/voice", "sha256:short", 0); !errors.Is(err, functions.ErrInvalid) {
		t.Errorf("no digest: got %v, want ErrInvalid", err)
	}
	if all, err := s.Aliases(ctx, ""); err != nil || len(all) != 0 {
		t.Errorf("got %v, %v; want none", all, err)
	}
}

func aliasesAreSortedByName(t *testing.T, open Backend) {
	ctx, s := t.Context(), open(t)
	for _, name := range []string{"model/llm", "chain/voice", "function/speak", "chain/listen"} {
		if _, err := s.SetAlias(ctx, name, digest(name), 0); err != nil {
			t.Fatal(err)
		}
	}
	for prefix, want := range map[string][]string{
		"":       {"chain/listen", "chain/voice", "function/speak", "model/llm"},
		"chain/": {"chain/listen", "chain/voice"},
		"none":   nil,
	} {
		all, err := s.Aliases(ctx, prefix)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, a := range all {
			got = append(got, a.Name)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("prefix %q: %s", prefix, diff)
		}
	}
}

// oneWinnerPerRevision has many writers, through two stores, move one alias from each revision to the next.
func oneWinnerPerRevision(t *testing.T, open Backend) {
	const writers, revisions = 8, 10
	ctx := t.Context()
	stores := []Store{open(t), open(t)}
	for rev := range uint64(revisions) {
		var wg sync.WaitGroup
		errs := make([]error, writers)
		for i := range writers {
			wg.Go(func() {
				_, errs[i] = stores[i%2].SetAlias(ctx, "chain/voice", digest(fmt.Sprint(rev, i)), rev)
			})
		}
		wg.Wait()
		winner := slices.Index(errs, nil)
		for i, err := range errs {
			if i != winner && !errors.Is(err, functions.ErrConflict) {
				t.Fatalf("revision %d, writer %d: got %v, want ErrConflict (writer %d has won)", rev, i, err, winner)
			}
		}
		want := functions.Alias{Name: "chain/voice", Rev: rev + 1}
		if winner < 0 {
			t.Fatalf("revision %d: nobody won", rev)
		}
		want.Digest = digest(fmt.Sprint(rev, winner))
		if got, err := stores[0].Alias(ctx, "chain/voice"); err != nil || got != want {
			t.Fatalf("revision %d: got %v, %v; want %v", rev, got, err, want)
		}
	}
}

// watching runs a Watch for the length of a test.
type watching struct {
	mu    sync.Mutex // guards last and back
	last  map[string]functions.Alias
	back  []string // revisions that went back
	moved chan struct{}
}

func watch(t *testing.T, s Store) *watching {
	w := &watching{last: map[string]functions.Alias{}, moved: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Watch(ctx, w.changed) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Watch: got %v, want the cause of its context", err)
		}
		if len(w.back) > 0 {
			t.Errorf("these went back: %v", w.back)
		}
	})
	return w
}

func (w *watching) changed(a functions.Alias) {
	w.mu.Lock()
	if a.Rev <= w.last[a.Name].Rev {
		w.back = append(w.back, fmt.Sprintf("%s %d to %d", a.Name, w.last[a.Name].Rev, a.Rev))
	}
	w.last[a.Name] = a
	w.mu.Unlock()
	select {
	case w.moved <- struct{}{}:
	default:
	}
}

// wait returns once the last state that was told of every wanted alias is the wanted one.
func (w *watching) wait(t *testing.T, want ...functions.Alias) {
	t.Helper()
	for {
		w.mu.Lock()
		there := !slices.ContainsFunc(want, func(a functions.Alias) bool { return w.last[a.Name] != a })
		w.mu.Unlock()
		if there {
			return
		}
		select {
		case <-w.moved:
		case <-t.Context().Done():
			t.Fatal("the test ended first")
		}
	}
}

func watchTellsAllThenChanges(t *testing.T, open Backend) {
	ctx := t.Context()
	one, two := open(t), open(t)
	a, err := one.SetAlias(ctx, "chain/voice", digest("a"), 0)
	if err != nil {
		t.Fatal(err)
	}
	here, there := watch(t, one), watch(t, two)
	here.wait(t, a)
	there.wait(t, a)
	b, err := one.SetAlias(ctx, "chain/listen", digest("b"), 0)
	if err != nil {
		t.Fatal(err)
	}
	c, err := two.SetAlias(ctx, "chain/voice", digest("c"), 1)
	if err != nil {
		t.Fatal(err)
	}
	here.wait(t, b, c)
	there.wait(t, b, c)
}

// watchSeesEveryLastState moves some aliases often, from both stores, and expects both watchers to end at the state
// that the catalogue has.
func watchSeesEveryLastState(t *testing.T, open Backend) {
	const names, moves = 4, 25
	ctx := t.Context()
	stores := []Store{open(t), open(t)}
	watchers := []*watching{watch(t, stores[0]), watch(t, stores[1])}
	var wg sync.WaitGroup
	for i := range names {
		wg.Go(func() {
			name := fmt.Sprintf("chain/c%d", i)
			for rev := range uint64(moves) {
				if _, err := stores[rev%2].SetAlias(ctx, name, digest(fmt.Sprint(i, rev)), rev); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	last, err := stores[0].Aliases(ctx, "")
	if err != nil {
		t.Fatal(err)
	}
	if len(last) != names || last[0].Rev != moves {
		t.Fatalf("got %v, want %d aliases at revision %d", last, names, moves)
	}
	for _, w := range watchers {
		w.wait(t, last...)
	}
}

func watchEndsWithItsContext(t *testing.T, open Backend) {
	s := open(t)
	gone := errors.New("the caller is gone")
	ctx, cancel := context.WithCancelCause(t.Context())
	started := make(chan struct{}, 1)
	done := make(chan error, 1)
	if _, err := s.SetAlias(t.Context(), "chain/voice", digest("a"), 0); err != nil {
		t.Fatal(err)
	}
	go func() { done <- s.Watch(ctx, func(functions.Alias) { started <- struct{}{} }) }()
	<-started
	cancel(gone)
	if err := <-done; err != gone {
		t.Fatalf("got %v, want %v", err, gone)
	}
}
