package loadtest

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/catenary-run/catenary/functions"
)

// number is what passes between the guests ask and echo.
type number struct {
	N    int  `json:"n"`
	Fail bool `json:"fail"`
}

// TestStreams runs a thousand streams at once through two guests and an engine. Their callers hang up, run out of time,
// meet failures and interrupt, at random points. Every caller gets all its items in order, or some of them and one error;
// and afterwards nothing is held that was not held before.
func TestStreams(t *testing.T) {
	const streams = 1000
	e := &engine{}
	n := newNode(t, parts{
		port: streamOf[number](), guests: []string{"ask", "echo"}, engine: e, config: config(),
		llm: &functions.Model{Name: "llm", Engine: "llama", File: functions.DigestOf(nil)},
	})
	p := n.plan(t, "ask", "echo")
	tr := traffic[number]{
		patience: 30 * time.Millisecond,
		spoil:    func(_ *rand.Rand, v number) (number, error) { v.Fail = true; return v, functions.ErrFunction },
	}
	for turn := range turns {
		tr.questions[turn] = number{N: turn + 1}
		for i := range tokensPerAnswer {
			tr.answers[turn] = append(tr.answers[turn], number{N: (turn+1)*10 + i})
		}
	}
	tr.single(t, n, p) // what is made once is there
	before := held(t)
	tr.load(t, n, p, streams, 7)
	if open := e.open.Load(); open != 0 {
		t.Errorf("%d generations are open", open)
	}
	e.sessions.Range(func(session, _ any) bool {
		t.Errorf("session %v of the engine has not ended", session)
		return true
	})
	nothingMore(t, before)
}
