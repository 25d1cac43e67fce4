package main

import (
	"strings"
	"testing"
	"time"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/sdk/client"
	"github.com/google/go-cmp/cmp"
)

const ms = time.Millisecond

// cold is a run that woke all that its chain can reach; the model's wake was over before the step that asks it began.
var cold = reply{
	firstAudio: 1000 * ms,
	wakes:      []wake{{"speak", false, 70 * ms}, {"sorry", false, 80 * ms}, {"answer", false, 90 * ms}, {"llm", true, 100 * ms}, {"transcribe", false, 400 * ms}},
	timings: []client.Timing{
		{Step: "speak", Start: 820 * ms, Calls: 2, Timing: functions.Timing{FirstItem: 160 * ms, Total: 780 * ms}},
		{Step: "transcribe", Calls: 1, Timing: functions.Timing{Wake: 400 * ms, FirstItem: 799 * ms, Total: 800 * ms}},
		{Step: "answer", Start: 800 * ms, Calls: 1, Timing: functions.Timing{FirstItem: 20 * ms, Total: 40 * ms}},
	},
}

func TestWaterfall_ShowsEveryWakeAndWhatTheFirstAudioIsMadeOf(t *testing.T) {
	var out strings.Builder
	waterfall(&out, cold)
	want := `step         0                                   1.6s  wake   waited for it  queue  first item  total  calls  bytes in  bytes out
transcribe   ░░░░░░░░░░██████████····················  400ms  400ms          0s     799ms       800ms  1      0         0
answer       ░░··················█···················  90ms   0s             0s     20ms        40ms   1      0         0
speak        ░···················████████████████████  70ms   0s             0s     160ms       780ms  2      0         0
sorry        ░░······································  80ms
llm (model)  ░░······································  100ms
░ wakes: all that the chain can reach, at once when the run begins   █ runs
first audio after 1s = transcribe 799ms (waking 400ms) + answer 20ms + speak 160ms + between them, to the server and back 21ms
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestWaterfall_OfARunThatWokeNothing(t *testing.T) {
	var out strings.Builder
	waterfall(&out, reply{firstAudio: 12 * ms, timings: []client.Timing{{Step: "sorry", Calls: 1, Timing: functions.Timing{FirstItem: 10 * ms, Total: 10 * ms}}}})
	want := `step   0                                   10ms  wake  waited for it  queue  first item  total  calls  bytes in  bytes out
sorry  ████████████████████████████████████████  0s    0s             0s     10ms        10ms   1      0         0
first audio after 12ms = sorry 10ms + between them, to the server and back 2ms
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestWoken(t *testing.T) {
	before := map[string]wake{"a": {"a", false, 5 * ms}, "m (model)": {"m", true, 7 * ms}}
	after := map[string]wake{"a": {"a", false, 5 * ms}, "m (model)": {"m", true, 7 * ms}, "b": {"b", false, 9 * ms}, "c": {"c", false, 3 * ms}}
	if diff := cmp.Diff([]wake{{"c", false, 3 * ms}, {"b", false, 9 * ms}}, woken(before, after), cmp.AllowUnexported(wake{})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestBar_OddTimes: nothing that a server may say of its times breaks the drawing.
func TestBar_OddTimes(t *testing.T) {
	for _, tt := range []struct{ wake, from, to, end time.Duration }{
		{0, 0, 0, 0}, {5, 0, 0, 0}, {100, 0, 0, 10}, {0, 10, 11, 10}, {0, 20, 30, 10}, {0, 3, 3, 10}, {1, 9, 10, 10}, {0, -9, 5, 10}, {0, 1, 1 << 62, 10},
	} {
		if n := len([]rune(bar(tt.wake, tt.from, tt.to, tt.end))); n != barWidth {
			t.Errorf("%+v: %d characters, want %d", tt, n, barWidth)
		}
	}
}
