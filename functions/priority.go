package functions

import "fmt"

// Priority is how urgent a call is, beside others that wait for the same model.
type Priority string

// The priorities, the most urgent first.
const (
	PriorityInteractive Priority = "interactive" // somebody waits for each word
	PriorityNormal      Priority = ""
	PriorityBatch       Priority = "batch" // nobody waits
)

// ParsePriority returns an error wrapping [ErrInvalid] if text is none of the three.
func ParsePriority(text string) (Priority, error) {
	switch p := Priority(text); p {
	case PriorityInteractive, PriorityNormal, PriorityBatch:
		return p, nil
	}
	return PriorityNormal, fmt.Errorf("%w: priority: %q is unknown; use %s or %s, or leave it out", ErrInvalid, text, PriorityInteractive, PriorityBatch)
}
