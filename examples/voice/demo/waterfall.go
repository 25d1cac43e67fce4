package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/catenary-run/catenary/sdk/client"
)

// barWidth is how many characters a whole run takes.
const barWidth = 40

// waterfall prints when each step woke and ran, what it took, and what the time to the first audio is made of.
func waterfall(w io.Writer, r reply) {
	steps := inOrder(r.timings)
	var end time.Duration
	for _, t := range steps {
		end = max(end, t.Start+t.Total)
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "step\t0%s%s\twake\twaited for it\tqueue\tfirst item\ttotal\tcalls\tbytes in\tbytes out\n", strings.Repeat(" ", max(1, barWidth-1-len(short(end)))), short(end))
	for _, t := range steps {
		wake := wakeOf(r.wakes, t.Step)
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%d\t%d\n", t.Step, bar(wake, max(t.Start, wake), t.Start+t.Total, end),
			short(wake), short(t.Wake), short(t.Queue), short(t.FirstItem), short(t.Total), t.Calls, t.BytesIn, t.BytesOut)
	}
	for _, wk := range beside(r) {
		fmt.Fprintf(table, "%s\t%s\t%s\n", wk.label(), bar(wk.took, 0, 0, end), short(wk.took))
	}
	table.Flush()
	if len(r.wakes) > 0 {
		fmt.Fprintln(w, "░ wakes: all that the chain can reach, at once when the run begins   █ runs")
	}
	fmt.Fprintf(w, "first audio after %s", short(r.firstAudio))
	sign, rest := " =", r.firstAudio
	for _, t := range steps {
		fmt.Fprintf(w, "%s %s %s", sign, t.Step, short(t.FirstItem))
		if t.Wake >= time.Millisecond {
			fmt.Fprintf(w, " (waking %s)", short(t.Wake))
		}
		sign, rest = " +", rest-t.FirstItem
	}
	fmt.Fprintf(w, "%s between them, to the server and back %s\n", sign, short(rest))
}

// inOrder returns timings by when their steps began.
func inOrder(timings []client.Timing) []client.Timing {
	return slices.SortedStableFunc(slices.Values(timings), func(a, b client.Timing) int { return int(a.Start - b.Start) })
}

// bar draws a line of time up to end: a wake from the beginning on, a run between two times, and dots for the rest.
func bar(wake, from, to, end time.Duration) string {
	at := func(d time.Duration) int { return int(int64(d) * barWidth / max(1, int64(end))) }
	line := []rune(strings.Repeat("·", barWidth))
	fill := func(from, to time.Duration, with rune) {
		if to > from { // however short, it is seen
			first := max(0, min(at(from), barWidth-1))
			for i := first; i < min(max(at(to), first+1), barWidth); i++ {
				line[i] = with
			}
		}
	}
	fill(0, wake, '░')
	fill(from, to, '█')
	return string(line)
}

// compare prints the steps of a cold run beside those of a warm one.
func compare(w io.Writer, cold, warm reply) {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "step\tcold: wake\tfirst item\ttotal\twarm: wake\tfirst item\ttotal")
	for _, c := range inOrder(cold.timings) {
		i := slices.IndexFunc(warm.timings, func(t client.Timing) bool { return t.Step == c.Step })
		if i < 0 {
			continue
		}
		t := warm.timings[i]
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", c.Step, short(wakeOf(cold.wakes, c.Step)), short(c.FirstItem), short(c.Total),
			short(wakeOf(warm.wakes, t.Step)), short(t.FirstItem), short(t.Total))
	}
	for _, wk := range beside(cold) {
		fmt.Fprintf(table, "%s\t%s\t\t\t%s\t\t\n", wk.label(), short(wk.took), short(wakeOf(warm.wakes, wk.name)))
	}
	fmt.Fprintf(table, "to the first audio\t\t%s\t\t\t%s\t\n", short(cold.firstAudio), short(warm.firstAudio))
	table.Flush()
}

// short rounds a duration for people.
func short(d time.Duration) string {
	if d >= 10*time.Millisecond {
		return d.Round(time.Millisecond).String()
	}
	return d.Round(10 * time.Microsecond).String()
}
