package spoken

import "testing"

func TestWordErrors(t *testing.T) {
	for _, tt := range []struct {
		said, heard   string
		errors, words int
	}{
		{"a b c", "a b c", 0, 3},
		{"A b, c!", "a B c", 0, 3},
		{"a b c", "a x c", 1, 3},
		{"a b c", "a c", 1, 3},
		{"a b c", "a b b c", 1, 3},
		{"a b c", "", 3, 3},
		{"", "a", 1, 0},
		{"kitten sat in", "sitting sat at in", 2, 3},
	} {
		if e, w := WordErrors(tt.said, tt.heard); e != tt.errors || w != tt.words {
			t.Errorf("WordErrors(%q, %q) = %d, %d, want %d, %d", tt.said, tt.heard, e, w, tt.errors, tt.words)
		}
	}
}

func TestKept(t *testing.T) {
	if kept, words := Kept("The cat and the dog.", "the dog and a cat"); kept != 4 || words != 5 {
		t.Errorf("Kept = %d of %d, want 4 of 5", kept, words)
	}
}

func TestOnTopic(t *testing.T) {
	q := Question{Topic: "cat"}
	for text, want := range map[string]bool{"The cat sleeps.": true, "A catalogue.": false, "Cat!": true} {
		if got := (Answer{Step: "answer", Sentences: []string{text}}).OnTopic(q); got != want {
			t.Errorf("%q: on topic %v, want %v", text, got, want)
		}
	}
	if (Answer{Step: "sorry", Sentences: []string{"cat"}}).OnTopic(q) {
		t.Error("sorry is on no topic")
	}
}
