package client

import (
	"cmp"
	"net/http"

	catenaryv1 "github.com/catenary-run/catenary/gateway/catenary/v1"
)

// As returns a client of the same server that asks on behalf of a caller, such as a user of the app: callers get equal
// shares of a model that many want. The name is 1 to 128 characters of ASCII without blanks, and the server takes the
// app's word for it. The client shares the connections of c.
func (c *Client) As(caller string) *Client {
	as := *c
	next := cmp.Or[http.RoundTripper](c.http.Transport, http.DefaultTransport)
	if of, ok := next.(named); ok {
		next = of.next // c names another caller
	}
	client := *c.http
	client.Transport = named{next, caller}
	as.http = &client
	as.connect()
	return &as
}

// named is a transport whose requests name a caller.
type named struct {
	next   http.RoundTripper
	caller string
}

// RoundTrip implements http.RoundTripper.
func (n named) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context()) // it is not ours
	req.Header.Set(catenaryv1.CallerHeader, n.caller)
	return n.next.RoundTrip(req)
}
