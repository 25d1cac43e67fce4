package spec

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"time"
)

// Input is the name by which steps refer to the chain's input. No step may have it.
const Input = "in"

// Chain is a chain as data: what sdk.Define records and what a YAML file says. Positions are for messages and have no
// part in the hash.
type Chain struct {
	Name  string `json:"name"`
	Steps []Step `json:"steps"`
	// Out names the step whose output is the chain's.
	Out string `json:"out"`
	// Interrupt says what interrupts a turn by itself: InterruptOnset, or nothing.
	Interrupt string `json:"interrupt,omitempty"`
	// Priority says how urgent the chain's calls are before models, beside those of other chains: PriorityInteractive,
	// PriorityBatch, or nothing for what lies between.
	Priority string `json:"priority,omitempty"`
	Pos      string `json:"-"` // file:line or file:line:col
}

// InterruptOnset ends all earlier turns when a step opens a new one.
const InterruptOnset = "onset"

// Priorities of a chain.
const (
	PriorityInteractive = "interactive" // somebody waits for each word
	PriorityBatch       = "batch"       // nobody waits
)

// Op is what a step does.
type Op string

// The operations.
const (
	OpCall   Op = "call"   // apply Func to From
	OpEach   Op = "each"   // apply the unary Func to every item of the stream From, in order
	OpLast   Op = "last"   // the final item of the stream From
	OpSwitch Op = "switch" // the first of Cases that holds for the value From
)

// Step is one use of a function, or a place where values are routed. Its name is its identity in traces, metrics and
// errors.
type Step struct {
	Name string `json:"name"`
	Op   Op     `json:"op"`
	Func string `json:"func,omitempty"`
	From string `json:"from"` // a step that is in scope, or Input
	// Timeout bounds one call of the step; zero leaves it to the function and the run.
	Timeout time.Duration `json:"timeout_ns,omitempty"`
	// Lazy leaves the step asleep until its branch is taken.
	Lazy  bool   `json:"lazy,omitempty"`
	Cases []Case `json:"cases,omitempty"`
	Pos   string `json:"-"`
}

// Case is one arm of a switch. A branch sees the steps around it; nobody sees into a branch.
type Case struct {
	// When is a CEL expression over it (the routed value) and in (the chain's input). It is empty in the last case
	// only: that is the Else.
	When  string `json:"when,omitempty"`
	Steps []Step `json:"steps,omitempty"`
	// Out names the step, in the branch or around it, whose output is the branch's.
	Out string `json:"out"`
	Pos string `json:"-"`
	// Places says where the characters of When are written, as far as it is known: sorted by Offset.
	Places []Place `json:"-"`
}

// Canonical returns the chain as JSON without positions: equal for equal chains, however they were written.
func (c Chain) Canonical() []byte {
	b, err := json.Marshal(c)
	if err != nil {
		panic("spec: " + err.Error()) // plain data only
	}
	return b
}

// Hash returns "sha256:" and the hex hash of the canonical form: names, wiring, CEL text and options.
func (c Chain) Hash() string {
	sum := sha256.Sum256(c.Canonical())
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Walk calls f for every step, those of branches included, in the order in which they are written.
func (c Chain) Walk(f func(Step)) { walk(c.Steps, f) }

func walk(steps []Step, f func(Step)) {
	for _, s := range steps {
		f(s)
		for _, cs := range s.Cases {
			walk(cs.Steps, f)
		}
	}
}
