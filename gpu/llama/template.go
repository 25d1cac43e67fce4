package llama

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hybridgroup/yzma/pkg/llama"

	"github.com/catenary-run/catenary/functions"
)

// maxPromptBytes bounds a conversation. It keeps every length that crosses into C far below 2^31.
const maxPromptBytes = 4 << 20

// checkTemplate reads the file's chat template and proves that libllama knows it.
func (m *Model) checkTemplate() error {
	m.template = llama.ModelChatTemplate(m.model, "")
	if m.template == "" || strings.ContainsRune(m.template, 0) {
		return fmt.Errorf("%w: the model's chat template is missing or holds a zero byte", functions.ErrInvalid)
	}
	_, err := m.prompt([]functions.Message{{Role: "user", Content: "hello"}})
	return err
}

// prompt returns the conversation as the model was trained to read it, up to where its answer begins.
func (m *Model) prompt(messages []functions.Message) (string, error) { return m.render(messages, true) }

// render returns the conversation as the model was trained to read it, with or without the mark that begins an answer.
func (m *Model) render(messages []functions.Message, answer bool) (string, error) {
	chat := make([]llama.ChatMessage, len(messages))
	size := 0
	for i, msg := range messages {
		chat[i] = llama.NewChatMessage(msg.Role, msg.Content)
		size += len(msg.Role) + len(msg.Content)
	}
	buf := make([]byte, 2*size+256) // what llama.h recommends, and the marks of one short message
	n := llama.ChatApplyTemplate(m.template, chat, answer, buf)
	if int(n) > len(buf) {
		buf = make([]byte, n)
		n = llama.ChatApplyTemplate(m.template, chat, answer, buf)
	}
	if n <= 0 || int(n) > len(buf) {
		head := m.template[:min(len(m.template), 80)]
		return "", fmt.Errorf("%w: libllama %s does not know the model's chat template (it begins %q); use a file with a common one such as ChatML",
			functions.ErrInvalid, Release, strings.ToValidUTF8(head, ""))
	}
	return string(buf[:n]), nil
}

// checkRequest refuses what must not reach C, and what makes no sense.
func checkRequest(req functions.Generation) error {
	if len(req.Messages) == 0 {
		return fmt.Errorf("%w: a generation needs at least one message", functions.ErrInvalid)
	}
	size := 0
	for i, msg := range req.Messages {
		if !slices.Contains([]string{"system", "user", "assistant"}, msg.Role) {
			return fmt.Errorf("%w: message %d: role %q is none of system, user, assistant", functions.ErrInvalid, i, msg.Role)
		}
		if strings.ContainsRune(msg.Content, 0) {
			return fmt.Errorf("%w: message %d holds a zero byte", functions.ErrInvalid, i)
		}
		size += len(msg.Content)
	}
	switch {
	case size > maxPromptBytes:
		return fmt.Errorf("%w: the messages have %d bytes; at most %d are allowed", functions.ErrInvalid, size, maxPromptBytes)
	case req.MaxTokens < 0:
		return fmt.Errorf("%w: max_tokens is %d", functions.ErrInvalid, req.MaxTokens)
	case !(req.Temperature >= 0 && req.Temperature <= 100): // also refuses NaN
		return fmt.Errorf("%w: temperature is %v; 0 to 100 is allowed", functions.ErrInvalid, req.Temperature)
	case req.TopK < 0:
		return fmt.Errorf("%w: top_k is %d", functions.ErrInvalid, req.TopK)
	case !(req.TopP >= 0 && req.TopP <= 1):
		return fmt.Errorf("%w: top_p is %v; 0 to 1 is allowed", functions.ErrInvalid, req.TopP)
	case !(req.MinP >= 0 && req.MinP <= 1):
		return fmt.Errorf("%w: min_p is %v; 0 to 1 is allowed", functions.ErrInvalid, req.MinP)
	case !(req.Repetition == 0 || req.Repetition >= 0.1 && req.Repetition <= 10):
		return fmt.Errorf("%w: repetition is %v; 0.1 to 10 is allowed", functions.ErrInvalid, req.Repetition)
	case len(req.Stop) > maxStops:
		return fmt.Errorf("%w: %d stop strings; at most %d are allowed", functions.ErrInvalid, len(req.Stop), maxStops)
	}
	for i, stop := range req.Stop {
		if stop == "" || len(stop) > maxStopBytes {
			return fmt.Errorf("%w: stop string %d has %d bytes; 1 to %d are allowed", functions.ErrInvalid, i, len(stop), maxStopBytes)
		}
	}
	return nil
}
