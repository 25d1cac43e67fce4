package gateway

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/catenary-run/catenary/functions"
)

// Listen opens a TCP port. It refuses an address that others can reach unless insecure says that this is meant: the
// server has no keys yet, so whoever reaches it may deploy and run.
func Listen(addr string, insecure bool) (net.Listener, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("%w: address %q: %w; use HOST:PORT, such as 127.0.0.1:8372", functions.ErrInvalid, addr, err)
	}
	if !insecure && !loopback(host) {
		return nil, fmt.Errorf("%w: address %q is not on loopback, and whoever can reach it could deploy and run functions; "+
			"use 127.0.0.1, or pass --insecure if the network is yours alone", functions.ErrDenied, addr)
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	// A hosts file may send localhost anywhere: what counts is where the port is.
	if a, ok := ln.Addr().(*net.TCPAddr); !insecure && (!ok || !a.IP.IsLoopback()) {
		_ = ln.Close()
		return nil, fmt.Errorf("%w: address %q resolves to %s, which is not on loopback; use 127.0.0.1", functions.ErrDenied, addr, ln.Addr())
	}
	return ln, nil
}

// loopback reports whether host names this machine and nothing else.
func loopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// guard refuses what comes from pages of other sites. A browser sends the Origin of the page; a page that made its own
// name point here (DNS rebinding) still sends that name as Host.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if host := hostname(r.Host); !s.cfg.Insecure && !loopback(host) {
			s.fail(w, r, fmt.Errorf("%w: the Host %q is not a name of this machine; call it as 127.0.0.1 or localhost", functions.ErrDenied, clip(r.Host)))
			return
		}
		origin := r.Header.Get("Origin")
		allowed := origin == "" || sameOrigin(origin, r.Host) || wantsSocket(r) && slices.Contains(s.cfg.Origins, origin)
		if !allowed {
			s.fail(w, r, fmt.Errorf("%w: requests of pages from %q are refused; only the server's own pages may call it", functions.ErrDenied, clip(origin)))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// hostname returns a Host without its port and brackets.
func hostname(hostport string) string {
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		return h
	}
	return strings.Trim(hostport, "[]")
}

func sameOrigin(origin, host string) bool {
	u, err := url.Parse(origin)
	return err == nil && u.Scheme == "http" && strings.EqualFold(u.Host, host)
}

// clip shortens text from outside for a message.
func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "..."
	}
	return s
}
