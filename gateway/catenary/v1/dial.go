package catenaryv1

import (
	"net/http"
	"net/url"
	"time"
)

// CallerHeader names on whose behalf a run is asked for, at every door. The server takes its word: who may say what is
// decided by what stands before it.
const CallerHeader = "Catenary-Caller"

// A peer that is gone without a word is found by a ping that is not answered: after both times at most.
const (
	pingAfter   = 10 * time.Second
	pingTimeout = 10 * time.Second
)

// NewHTTPClient returns a client that speaks HTTP/2, without TLS to http URLs, as the services here need it. Proxy may
// be nil; see [http.Transport].
func NewHTTPClient(proxy func(*http.Request) (*url.URL, error)) *http.Client {
	protocols := new(http.Protocols)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Client{Transport: &http.Transport{
		Protocols:       protocols,
		Proxy:           proxy,
		IdleConnTimeout: time.Minute,
		HTTP2:           &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
	}}
}
