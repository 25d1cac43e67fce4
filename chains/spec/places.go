package spec

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Place says where a part of a text is written: the characters from Offset on, up to those of the next place, stand in
// Line from Col on. Offset counts characters of the text from 0; Line and Col count from 1.
type Place struct{ Offset, Line, Col int }

// At returns the position of the character of When at offset. Exact is false if it is not known; then the position is
// that of the case.
func (c Case) At(offset int) (pos string, exact bool) {
	i, found := slices.BinarySearchFunc(c.Places, offset, func(p Place, offset int) int { return p.Offset - offset })
	if !found {
		i--
	}
	file, placed := fileOf(c.Pos)
	if i < 0 || offset < 0 || !placed {
		return c.Pos, false
	}
	p := c.Places[i]
	return fmt.Sprintf("%s:%d:%d", file, p.Line, p.Col+offset-p.Offset), true
}

// fileOf returns the file of a position that is file:line:col.
func fileOf(pos string) (string, bool) {
	for range 2 {
		i := strings.LastIndexByte(pos, ':')
		if i < 0 {
			return "", false
		}
		if _, err := strconv.Atoi(pos[i+1:]); err != nil {
			return "", false
		}
		pos = pos[:i]
	}
	return pos, true
}

// formatPlaces writes places as text: OFFSET:LINE:COL, with spaces between them.
func formatPlaces(places []Place) string {
	parts := make([]string, len(places))
	for i, p := range places {
		parts[i] = fmt.Sprintf("%d:%d:%d", p.Offset, p.Line, p.Col)
	}
	return strings.Join(parts, " ")
}

// parsePlaces reads what formatPlaces wrote. It returns nil for anything else: places serve messages only.
func parsePlaces(text string) []Place {
	var places []Place
	for part := range strings.FieldsSeq(text) {
		numbers := strings.Split(part, ":")
		if len(numbers) != 3 {
			return nil
		}
		var p Place
		for i, to := range []*int{&p.Offset, &p.Line, &p.Col} {
			n, err := strconv.Atoi(numbers[i])
			if err != nil || n < 0 {
				return nil
			}
			*to = n
		}
		if n := len(places); n > 0 && places[n-1].Offset >= p.Offset {
			return nil
		}
		places = append(places, p)
	}
	return places
}
