package functions

// Priority is how urgent a call is, beside others that wait for the same model.
type Priority string

// The priorities, the most urgent first.
const (
	PriorityInteractive Priority = "interactive" // somebody waits for each word
	PriorityNormal      Priority = ""
	PriorityBatch       Priority = "batch" // nobody waits
)
