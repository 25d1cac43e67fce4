package store

import (
	"maps"
	"slices"

	"github.com/catenary-run/catenary/functions"
)

// told has the aliases that a watch has told of, as they were told last.
type told map[string]functions.Alias

// changes returns what to tell when all is what there is: those that differ, and with revision 0 those that are gone.
func (t told) changes(all []functions.Alias) []functions.Alias {
	var changed []functions.Alias
	gone := maps.Clone(t)
	for _, a := range all {
		delete(gone, a.Name)
		if t[a.Name] != a {
			changed = append(changed, a)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(gone)) {
		changed = append(changed, functions.Alias{Name: name})
	}
	return changed
}

// keep notes that a was told.
func (t told) keep(a functions.Alias) {
	if a.Rev == 0 {
		delete(t, a.Name)
		return
	}
	t[a.Name] = a
}
