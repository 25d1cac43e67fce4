package image

import (
	"os"
	"testing"
)

// Both ways to count pages agree, except for pages that were only read.
func TestPrivateBytes_BothWays(t *testing.T) {
	all, err := reserve(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	defer release(all)
	page := os.Getpagesize()
	for i := range 40 {
		all[i*3*page] = 1
	}
	f, err := os.Open("/proc/self/pagemap")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	want := int64(40 * page)
	if got, ok := readPages(f, all); !ok || got != want {
		t.Errorf("the table of pages: got %d, %v, want %d", got, ok, want)
	}
	if got, ok := scanPages(f, all); ok && got != want { // not there before Linux 6.7
		t.Errorf("the scan: got %d, want %d", got, want)
	}
}
