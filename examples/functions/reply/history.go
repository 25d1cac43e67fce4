package main

import "github.com/catenary-run/catenary/functions"

// history is what was said before, for the model. The zero value remembers nothing.
type history struct {
	maxBytes int // of all texts; what is older is forgotten
	messages []functions.Message
	size     int
}

// with returns what to ask the model: a question after all that was said before.
func (h *history) with(question string) []functions.Message {
	return append(h.messages[:len(h.messages):len(h.messages)], functions.Message{Role: "user", Content: question})
}

// add remembers a question and as much of its answer as was given. A question that got none is left out, since models
// know only talk in which one follows the other.
func (h *history) add(question, answer string) {
	if answer == "" {
		return
	}
	h.messages = append(h.messages, functions.Message{Role: "user", Content: question}, functions.Message{Role: "assistant", Content: answer})
	h.size += len(question) + len(answer)
	old := 0
	for ; h.size > h.maxBytes; old += 2 {
		h.size -= len(h.messages[old].Content) + len(h.messages[old+1].Content)
	}
	h.messages = append([]functions.Message(nil), h.messages[old:]...)
}
