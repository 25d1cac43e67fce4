package image

import (
	"bytes"
	"os"

	"golang.org/x/sys/unix"
)

// restore gives mem, a mapping of c, the bytes of c again. Pages that mem keeps are written over with the image's bytes
// where they differ; the others are given back, and the next access finds the image's again.
//
//	for every page of mem that is its own:
//		if it is kept: copy the image's page over it
//		else: give it back
//
// The first time, the image's pages are given back too, to be mapped one by one from then on. Before that they come in
// groups: a new instance answers its first call sooner so.
func (c *content) restore(mem []byte, k *keeper) error {
	if c.pages == nil {
		k.forget()
		return giveBack(mem)
	}
	page := os.Getpagesize()
	var gone pageRun // runs of pages are given back with one call
	var failed error
	flush := func() {
		if gone.n > 0 && failed == nil {
			failed = giveBack(mem[gone.at : gone.at+gone.n])
		}
		gone = pageRun{}
	}
	drop := func(at, n int) {
		if gone.at+gone.n != at {
			flush()
			gone.at = at
		}
		gone.n += n
	}
	regroup := !k.used && c.faults.single(mem[:min(len(mem), len(c.view))])
	k.used = true
	seen := 0
	err := c.pages.own(mem, func(r pageRun) {
		if regroup {
			drop(seen, r.at-seen)
			seen = r.at + r.n
		}
		if r.zero && r.at >= len(c.view) {
			return // only read, and zero like the image
		}
		for at := r.at; at < r.at+r.n; at += page {
			p := at / page
			if k.admits(p) {
				own := mem[at : at+page]
				changed := !c.same(own, at)
				if k.keep(p, changed) {
					if changed {
						c.copyTo(own, at)
					}
					continue
				}
			}
			drop(at, page)
		}
	})
	if regroup {
		drop(seen, len(mem)-seen)
	}
	flush()
	if err != nil {
		return err
	}
	return failed
}

// same reports whether b has the image's bytes from at on.
func (c *content) same(b []byte, at int) bool {
	n := min(len(b), max(0, len(c.view)-at))
	return (n == 0 || bytes.Equal(b[:n], c.view[at:at+n])) && isZero(b[n:])
}

// copyTo gives b the image's bytes from at on.
func (c *content) copyTo(b []byte, at int) {
	n := 0
	if at < len(c.view) {
		n = copy(b, c.view[at:])
	}
	clear(b[n:])
}

// giveBack drops pages of a private mapping: what was written there is gone.
func giveBack(mem []byte) error {
	return os.NewSyscallError("madvise", unix.Madvise(mem, unix.MADV_DONTNEED))
}
