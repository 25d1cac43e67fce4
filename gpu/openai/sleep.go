package openai

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"
)

// sleepLimit is for a server that copies the weights of a large model, and page-locks their memory the first time.
const sleepLimit = 2 * time.Minute

// Sleeping reports whether the server sleeps, and whether it can. That is vLLM's sleep mode, which has to be switched on.
func (c *Client) Sleeping(ctx context.Context) (asleep, can bool, err error) {
	body, err := c.ask(ctx, http.MethodGet, c.root()+"/is_sleeping", checkLimit)
	if status, ok := errors.AsType[*statusError](err); ok && status.code < 500 {
		return false, false, nil
	}
	if err != nil {
		return false, false, c.explain(err)
	}
	var reply struct {
		Asleep *bool `json:"is_sleeping"`
	}
	if json.Unmarshal(body, &reply) != nil || reply.Asleep == nil {
		return false, false, nil // it answers everything with something
	}
	return *reply.Asleep, true, nil
}

// Sleep has the server free the device's memory and keep the weights in the machine's. Nobody may ask it until WakeUp.
func (c *Client) Sleep(ctx context.Context) error { return c.turn(ctx, "/sleep?level=1", true) }

// WakeUp returns when the server is awake again.
func (c *Client) WakeUp(ctx context.Context) error { return c.turn(ctx, "/wake_up", false) }

// turn has the server sleep or wake, and makes sure of it.
func (c *Client) turn(ctx context.Context, path string, asleep bool) error {
	if _, err := c.ask(ctx, http.MethodPost, c.root()+path, sleepLimit); err != nil {
		return c.explain(err)
	}
	is, _, err := c.Sleeping(ctx)
	if err == nil && is != asleep {
		err = c.failf(true, "it was told to %s and does not", map[bool]string{true: "sleep", false: "wake up"}[asleep])
	}
	return err
}
