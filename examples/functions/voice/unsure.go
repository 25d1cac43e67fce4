package voice

// leastConfidence is what the recogniser reaches for nearly every question and nearly no nonsense; see
// docs/benchmarks.md.
const leastConfidence = 0.35

// Unsure reports whether t was not understood well enough to be answered. The route of the chain voice says the same.
func (t Transcript) Unsure() bool { return t.Text == "" || t.Confidence < leastConfidence }

// Sorry returns what is said to who was not understood. It tells silence from words that were not certain enough.
func (t Transcript) Sorry() []Sentence {
	if t.Text == "" {
		return []Sentence{{Text: "Sorry, I did not hear a question."}}
	}
	return []Sentence{{Text: "Sorry, I did not understand you."}, {Text: "Please say that again."}}
}
