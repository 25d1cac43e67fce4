package image

import (
	"errors"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// Both ways to ask for pages find those that were written, and no others.
func TestPageMap_BothWays(t *testing.T) {
	all, err := reserve(4 << 20)
	if err != nil {
		t.Fatal(err)
	}
	defer release(all)
	page := os.Getpagesize()
	var want []pageRun
	for i := range 300 { // in more runs than one scan returns
		at := i * 3 * page
		all[at] = 1
		want = append(want, pageRun{at: at, n: page})
	}
	all[len(all)-1], all[len(all)-1-page] = 1, 1
	want = append(want, pageRun{at: len(all) - 2*page, n: 2 * page})
	f, err := os.Open("/proc/self/pagemap")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for name, runs := range map[string]func(*os.File, []byte, func(pageRun)) error{"the table of pages": readPages, "the scan": scanPages} {
		var got []pageRun
		err := runs(f, all, func(r pageRun) { got = append(got, r) })
		if name == "the scan" && errors.Is(err, unix.ENOTTY) {
			continue // not there before Linux 6.7
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(pageRun{})); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// A table that tells nothing is found out, and not taken for one without written pages.
func TestPageMap_ThatTellsNothing(t *testing.T) {
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	if p, err := tryPageMap(f); err == nil {
		t.Errorf("%s is taken for a table of pages: %+v", os.DevNull, p)
	}
	if err := f.Close(); err == nil {
		t.Error("the file was left open")
	}
}
