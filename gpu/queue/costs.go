package queue

import "time"

// Costs predicts the device time of a call from that of the whole answers before it. The zero value knows nothing and
// predicts nothing.
type Costs struct {
	known  bool
	first  float64 // nanoseconds until the first token
	each   float64 // nanoseconds for each token after it
	tokens float64 // of an answer
}

// newest is the weight of the newest answer: after a dozen the older ones hardly count.
const newest = 0.2

// Measured notes a whole answer: the device time until its first token and that of all others.
func (c *Costs) Measured(first, rest time.Duration, tokens int) {
	weight := newest
	if !c.known {
		c.known, weight = true, 1
	}
	blend := func(old *float64, now float64) { *old += weight * (now - *old) }
	blend(&c.first, float64(first))
	blend(&c.tokens, float64(tokens))
	if tokens > 1 {
		blend(&c.each, float64(rest)/float64(tokens-1))
	}
}

// Predict returns the device time of a call that asks for so many tokens at most; 0 for any number.
func (c *Costs) Predict(maxTokens int) time.Duration {
	tokens := c.tokens
	if maxTokens > 0 {
		tokens = min(tokens, float64(maxTokens))
	}
	return time.Duration(c.first + max(0, tokens-1)*c.each)
}
