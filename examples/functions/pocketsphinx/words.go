package pocketsphinx

import (
	"strings"

	"github.com/catenary-run/catenary/examples/functions/voice"
)

// word is one entry of the decoder's best path.
type word struct {
	text      string
	posterior float64
}

// transcript joins the words that were spoken. Marks of sentence and of noise are no words.
func transcript(path []word) voice.Transcript {
	var texts []string
	var sum float64
	for _, w := range path {
		if text := spoken(w.text); text != "" {
			texts = append(texts, text)
			sum += min(max(w.posterior, 0), 1)
		}
	}
	if len(texts) == 0 {
		return voice.Transcript{}
	}
	return voice.Transcript{Text: strings.Join(texts, " "), Confidence: sum / float64(len(texts))}
}

// spoken returns a word of the dictionary without the number of its pronunciation, as in "the(2)". It returns "" for
// marks such as <s>, <sil>, [NOISE] and ++UH++.
func spoken(entry string) string {
	if entry == "" || strings.ContainsAny(entry[:1], "<[") || strings.HasPrefix(entry, "++") {
		return ""
	}
	text, _, _ := strings.Cut(entry, "(")
	return text
}
