package gpu

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestPick(t *testing.T) {
	lent := &lease{}
	old, young := at(0), at(time.Minute)
	tests := []struct {
		name    string
		slots   []slot
		session string
		slot    int
		kept    bool
	}{
		{"none", nil, "a", -1, true},
		{"the first empty one", []slot{{}, {}}, "", 0, false},
		{"of two empty ones that of least late use", []slot{{lastUse: young}, {lastUse: old}}, "", 1, false},
		{"for a session, too", []slot{{lease: lent}, {}}, "a", 1, true},
		{"its own", []slot{{}, {session: "b", lastUse: old}, {session: "a", lastUse: young}}, "a", 2, true},
		{"an empty one before another's", []slot{{session: "b", lastUse: old}, {}}, "a", 1, true},
		{"that of least late use", []slot{{session: "b", lastUse: young}, {session: "c", lastUse: old}}, "a", 1, true},
		{"also for a call without a session", []slot{{session: "b", lastUse: young}, {session: "c", lastUse: old}}, "", 1, false},
		{"all are lent", []slot{{lease: lent}, {lease: lent, session: "b"}}, "a", -1, true},
		{"its own is lent", []slot{{}, {lease: lent, session: "a"}}, "a", 0, false},
		{"its own is lent, seen first", []slot{{lease: lent, session: "a"}, {}}, "a", 1, false},
		{"what ends is not its own any more", []slot{{}, {lease: lent, session: "a", ended: true}}, "a", 0, true},
	}
	for _, tt := range tests {
		if slot, kept := pick(tt.slots, tt.session); slot != tt.slot || kept != tt.kept {
			t.Errorf("%s: got slot %d, kept %v, want %d, %v", tt.name, slot, kept, tt.slot, tt.kept)
		}
	}
}

func TestPick_Properties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sessions := rapid.SampledFrom([]string{"", "a", "b", "c"})
		slots := make([]slot, rapid.IntRange(0, 6).Draw(t, "slots"))
		free, own, ownLent := 0, -1, false
		ask := sessions.Draw(t, "ask")
		taken := map[string]bool{}
		for i := range slots {
			s := &slots[i]
			if name := sessions.Draw(t, "session"); !taken[name] {
				s.session = name
				taken[name] = name != "" // a session has one slot of a model at most
			}
			s.lastUse = at(time.Duration(rapid.IntRange(0, 5).Draw(t, "used")))
			if rapid.Bool().Draw(t, "lent") {
				s.lease = &lease{}
			} else {
				free++
			}
			if s.session == ask && ask != "" {
				own, ownLent = i, s.lease != nil
			}
		}
		got, kept := pick(slots, ask)
		switch {
		case (got < 0) != (free == 0):
			t.Fatalf("slot %d, while %d are free", got, free)
		case got >= 0 && slots[got].lease != nil:
			t.Fatal("a slot that is lent was picked")
		case own >= 0 && !ownLent && got != own:
			t.Fatalf("slot %d, though the session has slot %d", got, own)
		case kept != (ask != "" && !ownLent):
			t.Fatalf("kept is %v", kept)
		}
		if got < 0 || got == own {
			return
		}
		for i, s := range slots {
			switch {
			case s.lease != nil || slots[got].session == "" && s.session != "":
			case s.session == "" && slots[got].session != "":
				t.Fatalf("slot %d of session %s was taken, though slot %d is empty", got, slots[got].session, i)
			case s.lastUse.Before(slots[got].lastUse):
				t.Fatalf("slot %d was taken, though slot %d was used before", got, i)
			}
		}
	})
}
