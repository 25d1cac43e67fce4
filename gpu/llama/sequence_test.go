package llama

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hybridgroup/yzma/pkg/llama"
	"pgregory.net/rapid"

	"github.com/catenary-run/catenary/functions"
)

func begin(t testing.TB, m *Model, slot int, req functions.Generation) *Generation {
	t.Helper()
	g, err := m.Start(slot, req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.End)
	return g
}

// turn takes one step of g and returns the text that it yields, and whether it was the last.
func turn(t testing.TB, g *Generation) (text string, last bool) {
	t.Helper()
	token := step(t, g)[0].Token
	return token.Text, token.Finish != ""
}

// step takes one step of all gens.
func step(t testing.TB, gens ...*Generation) []Result {
	t.Helper()
	results, err := gens[0].m.Step(gens)
	if err != nil {
		t.Fatal(err)
	}
	return results
}

func rest(t testing.TB, g *Generation) (text string) {
	t.Helper()
	for {
		part, last := turn(t, g)
		if text += part; last {
			return text
		}
	}
}

func clearSlot(t testing.TB, m *Model, slot int) {
	t.Helper()
	if err := m.Clear(slot); err != nil {
		t.Fatal(err)
	}
}

// talk is a conversation that grows by what the model answers.
type talk []functions.Message

func (c *talk) say(text string) functions.Generation {
	*c = append(*c, functions.Message{Role: "user", Content: text})
	return functions.Generation{Messages: *c}
}

func (c *talk) answered(text string) {
	*c = append(*c, functions.Message{Role: "assistant", Content: text})
}

// TestContextIsLaidOutAsAsked: the structs that cross into C have the library's own layout, or these would differ.
func TestContextIsLaidOutAsAsked(t *testing.T) {
	m := tinyModel(t, Options{Slots: 3, Threads: 2})
	if got := llama.NSeqMax(m.ctx); got != 5 {
		t.Errorf("%d sequences, want three, a spare and one for the prefix", got)
	}
	if each, all := llama.NCtxSeq(m.ctx), llama.NCtx(m.ctx); each != 256 || all != 5*256 {
		t.Errorf("%d tokens for each sequence of %d, want 256 of 1280", each, all)
	}
	if n, u := llama.NBatch(m.ctx), llama.NUBatch(m.ctx); n != batchTokens || u != batchTokens {
		t.Errorf("batches of %d and %d, want %d", n, u, batchTokens)
	}
	if one := tinyModel(t, Options{Slots: 1}); m.held-one.held != 4*256*m.tokenBytes() {
		t.Errorf("three slots and two sequences more hold %d bytes more than one slot, want %d", m.held-one.held, 4*256*m.tokenBytes())
	}
	rest(t, begin(t, m, 1, ask("what is the capital of france")))
	for slot := range m.seqs {
		last, err := llama.MemorySeqPosMax(m.memory, llama.SeqId(slot))
		if want := len(m.seqs[slot].past) - 1; err != nil || int(last) != want {
			t.Errorf("slot %d: the last position is %d, %v, want %d", slot, last, err, want)
		}
	}
}

func TestSlotsAreBoundedByTheirMemory(t *testing.T) {
	each := 256 * tinyModel(t, Options{}).tokenBytes()
	for _, tt := range []struct {
		asked int
		bound int64
		want  int
	}{{8, 0, 8}, {8, 10 * each, 8}, {8, 10*each - 1, 7}, {8, 4 * each, 2}, {8, 3*each + 1, 1}, {8, 1, 1}, {1, each, 1}} {
		m := tinyModel(t, Options{Slots: tt.asked, CacheBytes: tt.bound})
		if m.Slots() != tt.want {
			t.Errorf("%d slots in %d bytes: got %d, want %d", tt.asked, tt.bound, m.Slots(), tt.want)
		}
		text, _, _ := answer(t, m, ask("what is the capital of france"))
		if !strings.Contains(text, "Paris") {
			t.Errorf("%d slots: %q", m.Slots(), text)
		}
		m.Close()
	}
	for _, opt := range []Options{{Slots: -1}, {Slots: MaxSlots + 1}, {CacheBytes: -1}} {
		if _, _, err := testEngine(t).Load(tinyFile(t), opt); err == nil {
			t.Errorf("%+v was taken", opt)
		}
	}
}

func TestConversationIsNotReadTwice(t *testing.T) {
	m := tinyModel(t, Options{Slots: 2})
	var c talk
	read := 0 // by the slot, so far
	for i, say := range []string{"what is the capital of france", "what is the capital of spain", "what is two plus three"} {
		g := begin(t, m, 0, c.say(say))
		tokens, reused := g.Prompt()
		if i == 0 && reused != 0 || i > 0 && (reused < read || reused >= tokens) {
			t.Errorf("%q: %d of %d tokens were reused, the last prompt had %d", say, reused, tokens, read)
		}
		text := rest(t, g)
		g.End()
		fresh := begin(t, m, 1, functions.Generation{Messages: c})
		if _, reused := fresh.Prompt(); reused != 0 {
			t.Errorf("the other slot has read %d tokens", reused)
		}
		if diff := cmp.Diff(text, rest(t, fresh)); diff != "" {
			t.Errorf("%q (-with what was read before +without)\n%s", say, diff)
		}
		fresh.End()
		clearSlot(t, m, 1)
		read = tokens
		c.answered(text)
	}
	// The same prompt once more: all but its last token is there.
	g := begin(t, m, 0, functions.Generation{Messages: c[:len(c)-1]})
	if tokens, reused := g.Prompt(); reused != tokens-1 {
		t.Errorf("%d of %d tokens were reused, want all but the last", reused, tokens)
	}
	// What lies beyond is gone, so another question gets its own answer.
	other := begin(t, m, 0, ask("what is the opposite of hot"))
	if text := rest(t, other); !strings.Contains(text, "cold") {
		t.Errorf("another question in the same slot: %q", text)
	}
	clearSlot(t, m, 0)
	if _, reused := begin(t, m, 0, ask("what is the opposite of hot")).Prompt(); reused != 0 {
		t.Errorf("%d tokens are left in a slot that was cleared", reused)
	}
}

// TestSessionsDoNotDisturbEachOther: several conversations are decoded in random company, are cut off at random and end at
// random. Each answer is what the same conversation gets alone, cut at the same place.
func TestSessionsDoNotDisturbEachOther(t *testing.T) {
	const slots = 4
	m := tinyModel(t, Options{Slots: slots})
	alone := tinyModel(t, Options{})
	rnd := rand.New(rand.NewPCG(1, 2))
	questions := []string{"what is the capital of france", "tell me a story about a fox", "what is two plus three", "tell me a story about a brave owl"}
	systems := []string{"you are an owl that knows the capitals of many lands and tells them", "you tell stories about a fox and a bear who are friends"}
	type session struct {
		talk  talk
		texts []string // of the answers, as far as they came
		g     *Generation
		left  int
		text  string
	}
	live := make([]*session, slots)
	check := func(s *session) {
		var c, asked talk
		for _, msg := range s.talk {
			switch msg.Role {
			case "system":
				c = talk{msg}
			case "user":
				asked = append(asked, msg)
			}
		}
		for i, want := range s.texts {
			g := begin(t, alone, 0, c.say(asked[i].Content))
			text, last := "", false
			for !last && len(text) < len(want) {
				var part string
				part, last = turn(t, g)
				text += part
			}
			g.End()
			if diff := cmp.Diff(want, text); diff != "" {
				t.Fatalf("answer %d of %v (-beside others +alone)\n%s", i, s.talk, diff)
			}
			c.answered(text)
		}
		clearSlot(t, alone, 0)
	}
	ended, most, reused := 0, 0, 0
	for range 1500 {
		var together []*session
		var gens []*Generation
		for _, slot := range rnd.Perm(slots)[:1+rnd.IntN(slots)] {
			s := live[slot]
			switch {
			case s == nil:
				live[slot] = &session{}
				if which := rnd.IntN(3); which < len(systems) { // then the prefix is used, too
					live[slot].talk = talk{{Role: "system", Content: systems[which]}}
				}
			case s.g == nil && (len(s.texts) == 3 || rnd.IntN(8) == 0):
				clearSlot(t, m, slot)
				check(s)
				live[slot] = nil
				ended++
			case s.g == nil:
				s.g = begin(t, m, slot, s.talk.say(questions[rnd.IntN(len(questions))]))
				s.left, s.text = 1+rnd.IntN(20), "" // the caller goes away then
				if _, n := s.g.Prompt(); n > 0 && len(s.texts) == 0 {
					reused++
				}
			default:
				together, gens = append(together, s), append(gens, s.g)
			}
		}
		if len(gens) == 0 {
			continue
		}
		most = max(most, len(gens))
		for i, r := range step(t, gens...) {
			s := together[i]
			s.text += r.Token.Text
			if s.left--; s.left == 0 || r.Token.Finish != "" {
				s.g.End()
				s.g = nil
				s.texts = append(s.texts, s.text)
				s.talk.answered(s.text)
			}
		}
	}
	if ended < 20 || most < slots || reused == 0 {
		t.Errorf("%d sessions ended, %d at most were decoded at once, and %d had a prefix", ended, most, reused)
	}
}

// TestShare: everyone gets as much as anyone, or all that they want, and no room is left that somebody wants.
func TestShare(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOfN(rapid.IntRange(1, 300), 1, MaxSlots).Draw(t, "want")
		room := rapid.IntRange(len(want), batchTokens).Draw(t, "room")
		got := share(want, room)
		sum, total := 0, 0
		for i, n := range got {
			sum, total = sum+n, total+want[i]
			if n < 1 || n > want[i] {
				t.Fatalf("of %d, who wants %d gets %d: %v", room, want[i], n, got)
			}
			if n < want[i] && n < slices.Max(got)-1 {
				t.Fatalf("of %d, one who wants %d gets %d and another gets more: %v", room, want[i], n, got)
			}
		}
		if sum != min(room, total) {
			t.Fatalf("%d of %d are given, %d are wanted: %v", sum, room, total, got)
		}
	})
}

// TestClearedSlotHoldsZeros reads the buffer itself: the library takes a sequence that was just copied there for full
// at once, but copies the data only before the next decode. Until then the state of the target is what its buffer held.
func TestClearedSlotHoldsZeros(t *testing.T) {
	m := tinyModel(t, Options{Slots: 3})
	// data returns how many bytes of a buffer are not zero, the positions and sizes that the state begins with among them.
	data := func(seq llama.SeqId) (set, all int) {
		if err := llama.MemorySeqCp(m.memory, 0, seq, whole, whole); err != nil {
			t.Fatal(err)
		}
		state := make([]byte, llama.StateSeqGetSize(m.ctx, seq))
		state = state[:llama.StateSeqGetData(m.ctx, state, seq)]
		return len(state) - bytes.Count(state, []byte{0}), len(state)
	}
	for slot := range 3 {
		rest(t, begin(t, m, slot, ask("the secret is a brave owl and a shy bear")))
	}
	clearSlot(t, m, 1)
	rest(t, begin(t, m, 0, ask("hello"))) // slot 1 is wiped before it
	zeros, all := data(m.spare())
	wiped, _ := data(1)
	kept, _ := data(2)
	if all < 10_000 || zeros > all/100 || kept < all/2 {
		t.Fatalf("of %d bytes %d are set in the spare sequence and %d in one that was not cleared: the test does not see the buffers", all, zeros, kept)
	}
	if wiped != zeros {
		t.Errorf("a slot that was cleared still holds %d bytes", wiped-zeros)
	}
}

// TestPoisonReachesNobody: whatever an earlier session left, a later one in the same slot answers as in a new model.
func TestPoisonReachesNobody(t *testing.T) {
	m := tinyModel(t, Options{Slots: 2})
	want := rest(t, begin(t, tinyModel(t, Options{}), 0, ask("tell me a story about a fox")))
	for slot := range 2 {
		for _, cut := range []int{1, 3, 1000} {
			g := begin(t, m, slot, ask(strings.Repeat("owl ", 30+slot)))
			for range cut {
				if _, last := turn(t, g); last {
					break
				}
			}
			g.End()
			clearSlot(t, m, slot)
			got := rest(t, begin(t, m, slot, ask("tell me a story about a fox")))
			if diff := cmp.Diff(got, want); diff != "" {
				t.Errorf("slot %d after %d turns of another (-got +want)\n%s", slot, cut, diff)
			}
			clearSlot(t, m, slot)
		}
	}
}

func TestNoSuchSlot(t *testing.T) {
	m := tinyModel(t, Options{Slots: 2})
	for _, slot := range []int{-1, 2} {
		if _, err := m.Start(slot, ask("hello")); err == nil {
			t.Errorf("slot %d was taken", slot)
		}
	}
	g := begin(t, m, 0, ask("hello"))
	g.End()
	g.End()
}
