package chains

import (
	"fmt"
	"slices"
)

// didYouMean returns a question to end a message with: the name that is nearest to got, if one is near.
func didYouMean(got string, names []string) string {
	const maxLen = 64 // longer names are not typing errors, and the comparison is quadratic
	if len(got) > maxLen {
		return ""
	}
	slices.Sort(names)
	best, bestDist := "", 1+len(got)/3
	for _, name := range names {
		if len(name) > maxLen {
			continue
		}
		if d := distance(got, name); d < bestDist || d == bestDist && best == "" {
			best, bestDist = name, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(" (did you mean %q?)", best)
}

// distance is the Levenshtein distance of a and b in bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diag := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diag, row[j+1] = row[j+1], min(diag+cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
