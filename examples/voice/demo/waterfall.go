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

// waterfall prints when each step ran and what it took.
func waterfall(w io.Writer, timings []client.Timing) {
	timings = slices.SortedFunc(slices.Values(timings), func(a, b client.Timing) int { return int(a.Start - b.Start) })
	var end time.Duration
	for _, t := range timings {
		end = max(end, t.Start+t.Total)
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "step\t0%s%s\twake\tqueue\tfirst item\ttotal\tcalls\tbytes in\tbytes out\n", strings.Repeat(" ", barWidth-1-len(short(end))), short(end))
	for _, t := range timings {
		from, to := position(t.Start, end), position(t.Start+t.Total, end)
		bar := strings.Repeat("·", from) + strings.Repeat("█", max(1, to-from))
		bar += strings.Repeat("·", max(0, barWidth-len([]rune(bar))))
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%d\t%d\t%d\n", t.Step, bar, short(t.Wake), short(t.Queue), short(t.FirstItem), short(t.Total), t.Calls, t.BytesIn, t.BytesOut)
	}
	table.Flush()
}

func position(d, end time.Duration) int { return int(int64(d) * (barWidth - 1) / max(1, int64(end))) }

// compare prints the steps of a cold run beside those of a warm one.
func compare(w io.Writer, cold, warm []client.Timing) {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "step\tcold: wake\tfirst item\ttotal\twarm: wake\tfirst item\ttotal")
	for _, c := range cold {
		i := slices.IndexFunc(warm, func(t client.Timing) bool { return t.Step == c.Step })
		if i < 0 {
			continue
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", c.Step, short(c.Wake), short(c.FirstItem), short(c.Total), short(warm[i].Wake), short(warm[i].FirstItem), short(warm[i].Total))
	}
	fmt.Fprintf(table, "to the first audio\t\t%s\t\t\t%s\t\n", short(firstAudio(cold)), short(firstAudio(warm)))
	table.Flush()
}

// firstAudio is when the first item of the last step was there.
func firstAudio(timings []client.Timing) time.Duration {
	var first time.Duration
	for _, t := range timings {
		first = max(first, t.Start+t.FirstItem)
	}
	return first
}

// short rounds a duration for people.
func short(d time.Duration) string {
	if d >= 10*time.Millisecond {
		return d.Round(time.Millisecond).String()
	}
	return d.Round(10 * time.Microsecond).String()
}
