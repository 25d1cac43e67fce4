package llama

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/catenary-run/catenary/functions"
)

// TestSystemPromptIsReadOnce: what a chain says each time is read for its second call and then no more; the answers stay
// the same. What users say is read by every call anew.
func TestSystemPromptIsReadOnce(t *testing.T) {
	m, alone := tinyModel(t, Options{Slots: 3}), tinyModel(t, Options{})
	owl := "you are a wise old owl that knows the capitals of all lands and tells them to whoever asks"
	bear := "you are a brave bear and you tell stories about your friends the fox and the owl every day"
	question := "what is the capital of france if you please, since I have wanted to know that for so long"
	slot := 0
	call := func(system, user string) (reused int) {
		t.Helper()
		var req functions.Generation
		if system != "" {
			req.Messages = append(req.Messages, functions.Message{Role: "system", Content: system})
		}
		req.Messages = append(req.Messages, functions.Message{Role: "user", Content: user})
		slot = (slot + 1) % m.Slots()
		g := begin(t, m, slot, req)
		_, reused = g.Prompt()
		text := rest(t, g)
		g.End()
		clearSlot(t, m, slot)
		want := rest(t, begin(t, alone, 0, req))
		clearSlot(t, alone, 0)
		if diff := cmp.Diff(text, want); diff != "" {
			t.Errorf("with %d tokens of a prefix (-got +want)\n%s", reused, diff)
		}
		return reused
	}
	for range 2 {
		if n := call(owl, question); n != 0 {
			t.Errorf("%d tokens were there before they were kept", n)
		}
	}
	kept := call(owl, question)
	if again := call(owl, "tell me a story"); kept < minPrefix || again != kept {
		t.Errorf("%d and %d tokens were reused, want the same prefix", kept, again)
	}
	if n := call("", question); n != 0 {
		t.Errorf("%d tokens of a user's words were reused", n)
	}
	if n := call(owl[:len(owl)/2], question); n != 0 {
		t.Errorf("%d tokens of the half of a prefix were reused", n)
	}
	if n := call(bear, question) + call(owl, question); n != kept {
		t.Errorf("one call with another prefix: %d tokens were reused, want the first prefix", n)
	}
	if n := call(bear, question) + call(bear, question) + call(owl, question); n != 0 {
		t.Errorf("%d tokens were reused of a prefix that another one has replaced", n)
	}
	if call(bear, question) == 0 {
		t.Error("the other prefix is not kept")
	}
	m.Park()
	if _, err := m.Wake(); err != nil {
		t.Fatal(err)
	}
	if n := call(bear, question); n != 0 {
		t.Errorf("%d tokens were there after a park", n)
	}
}

// TestPrefixOfOneThatGoesAway: the copy is made with the next step, whoever's that is. Should the slot be cleared before
// it, the prefix is whole all the same.
func TestPrefixOfOneThatGoesAway(t *testing.T) {
	m, alone := tinyModel(t, Options{Slots: 2}), tinyModel(t, Options{})
	req := functions.Generation{Messages: []functions.Message{
		{Role: "system", Content: "you are a wise old owl that knows the capitals of all lands and tells them to whoever asks"},
		{Role: "user", Content: "what is the capital of france"},
	}}
	want := rest(t, begin(t, alone, 0, req))
	for range 2 {
		g := begin(t, m, 0, req)
		turn(t, g) // it has read the prefix, and goes
		g.End()
		clearSlot(t, m, 0)
	}
	g := begin(t, m, 1, req)
	if _, reused := g.Prompt(); reused < minPrefix {
		t.Fatalf("%d tokens were reused", reused)
	}
	if diff := cmp.Diff(rest(t, g), want); diff != "" {
		t.Errorf("(-got +want)\n%s", diff)
	}
}
