package spec

import "strconv"

// Positions returns where the parts of the chain are written: under "" for the chain, a step's name for the step, and
// NAME/0 for the first case of the switch NAME. Under NAME/0/when stand the places of that case's expression. Parts
// without a position are left out.
func (c Chain) Positions() map[string]string {
	all := map[string]string{}
	add := func(key, pos string) {
		if pos != "" {
			all[key] = pos
		}
	}
	add("", c.Pos)
	c.Walk(func(s Step) {
		add(s.Name, s.Pos)
		for i, cs := range s.Cases {
			add(caseKey(s.Name, i), cs.Pos)
			add(whenKey(s.Name, i), formatPlaces(cs.Places))
		}
	})
	return all
}

// WithPositions returns a copy of the chain whose parts have the positions that [Chain.Positions] returned for it.
func (c Chain) WithPositions(all map[string]string) Chain {
	c.Pos = all[""]
	c.Steps = withPositions(c.Steps, all)
	return c
}

func withPositions(steps []Step, all map[string]string) []Step {
	if steps == nil {
		return nil
	}
	placed := make([]Step, len(steps))
	for i, s := range steps {
		s.Pos = all[s.Name]
		if s.Cases != nil {
			cases := make([]Case, len(s.Cases))
			for j, cs := range s.Cases {
				cs.Pos = all[caseKey(s.Name, j)]
				cs.Places = parsePlaces(all[whenKey(s.Name, j)])
				cs.Steps = withPositions(cs.Steps, all)
				cases[j] = cs
			}
			s.Cases = cases
		}
		placed[i] = s
	}
	return placed
}

func caseKey(step string, i int) string { return step + "/" + strconv.Itoa(i) }

func whenKey(step string, i int) string { return caseKey(step, i) + "/when" }
