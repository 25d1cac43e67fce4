package main

import (
	"testing"

	"github.com/catenary-run/catenary/functions"
	"github.com/google/go-cmp/cmp"
)

func TestHistory(t *testing.T) {
	user := func(text string) functions.Message { return functions.Message{Role: "user", Content: text} }
	assistant := func(text string) functions.Message { return functions.Message{Role: "assistant", Content: text} }
	for name, tc := range map[string]struct {
		maxBytes int
		said     [][2]string
		want     []functions.Message
	}{
		"none kept":           {0, [][2]string{{"one", "two"}}, nil},
		"all fit":             {20, [][2]string{{"one", "two"}, {"three", "four"}}, []functions.Message{user("one"), assistant("two"), user("three"), assistant("four")}},
		"the oldest go":       {15, [][2]string{{"one", "two"}, {"three", "four"}, {"five", "6"}}, []functions.Message{user("three"), assistant("four"), user("five"), assistant("6")}},
		"too much at once":    {5, [][2]string{{"one", "two"}, {"three", "four"}}, nil},
		"one without answer":  {20, [][2]string{{"one", ""}, {"three", "four"}}, []functions.Message{user("three"), assistant("four")}},
		"several go together": {12, [][2]string{{"a", "b"}, {"c", "d"}, {"three", "four"}, {"5", "6"}}, []functions.Message{user("three"), assistant("four"), user("5"), assistant("6")}},
	} {
		t.Run(name, func(t *testing.T) {
			h := history{maxBytes: tc.maxBytes}
			for _, pair := range tc.said {
				h.add(pair[0], pair[1])
			}
			for range 2 { // to ask changes nothing
				if diff := cmp.Diff(append(tc.want[:len(tc.want):len(tc.want)], user("now?")), h.with("now?")); diff != "" {
					t.Errorf("-want +got:\n%s", diff)
				}
			}
		})
	}
}
