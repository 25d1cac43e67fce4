package client_test

import (
	"strings"
	"testing"

	"github.com/catenary-run/catenary/sdk/client"
)

func TestAs(t *testing.T) {
	c, n, b := start(t)
	if _, err := c.Deploy(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	callers := make(chan string, 1)
	n.callers = callers
	ann, bob := c.As("ann"), c.As("ann").As("bob")
	for _, as := range []struct {
		c    *client.Client
		want string
	}{{ann, "ann"}, {c, ""}, {bob, "bob"}} {
		if _, err := client.Run(t.Context(), as.c, shoutChain, Question{"x"}); err != nil {
			t.Fatal(err)
		}
		if got := <-callers; got != as.want {
			t.Errorf("Run as %q, want %q", got, as.want)
		}
		if _, err := as.c.RunJSON(t.Context(), "shout", []byte(`{"text":"x"}`)); err != nil {
			t.Fatal(err)
		}
		if got := <-callers; got != as.want {
			t.Errorf("RunJSON as %q, want %q", got, as.want)
		}
		resp, err := as.c.Post(t.Context(), "shout", "text/plain", strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if got := <-callers; got != as.want {
			t.Errorf("Post as %q, want %q", got, as.want)
		}
	}
}
