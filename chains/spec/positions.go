package spec

import "strconv"

// Positions returns where the parts of the chain are written: under "" for the chain, a step's name for the step, and
// NAME/0 for the first case of the switch NAME. Under NAME/0/when stand the places of that case's expression. The second
// step of a name, which is a fault that is told with both places, is NAME#2 instead. Parts without a position are left
// out.
func (c Chain) Positions() map[string]string {
	all := map[string]string{}
	add := func(key, pos string) {
		if pos != "" {
			all[key] = pos
		}
	}
	add("", c.Pos)
	keys := stepKeys{}
	c.Walk(func(s Step) {
		key := keys.next(s.Name)
		add(key, s.Pos)
		for i, cs := range s.Cases {
			add(caseKey(key, i), cs.Pos)
			add(whenKey(key, i), formatPlaces(cs.Places))
		}
	})
	return all
}

// WithPositions returns a copy of the chain whose parts have the positions that [Chain.Positions] returned for it.
func (c Chain) WithPositions(all map[string]string) Chain {
	c.Pos = all[""]
	c.Steps = withPositions(c.Steps, all, stepKeys{})
	return c
}

// withPositions goes through the steps in the order of [Chain.Walk].
func withPositions(steps []Step, all map[string]string, keys stepKeys) []Step {
	if steps == nil {
		return nil
	}
	placed := make([]Step, len(steps))
	for i, s := range steps {
		key := keys.next(s.Name)
		s.Pos = all[key]
		if s.Cases != nil {
			cases := make([]Case, len(s.Cases))
			for j, cs := range s.Cases {
				cs.Pos = all[caseKey(key, j)]
				cs.Places = parsePlaces(all[whenKey(key, j)])
				cs.Steps = withPositions(cs.Steps, all, keys)
				cases[j] = cs
			}
			s.Cases = cases
		}
		placed[i] = s
	}
	return placed
}

// stepKeys counts the steps of each name.
type stepKeys map[string]int

// next returns the key of the next step of that name.
func (k stepKeys) next(name string) string {
	if k[name]++; k[name] > 1 {
		return name + "#" + strconv.Itoa(k[name])
	}
	return name
}

func caseKey(step string, i int) string { return step + "/" + strconv.Itoa(i) }

func whenKey(step string, i int) string { return caseKey(step, i) + "/when" }
