package spec

import "fmt"

// Unread returns the steps whose output goes nowhere: no step, no case and not the chain itself reads it. That is a
// mistake in the wiring, since a function is called for what it returns.
func (c Chain) Unread() []Step {
	read := map[string]bool{c.Out: true}
	c.Walk(func(s Step) {
		read[s.From] = true
		for _, cs := range s.Cases {
			read[cs.Out] = true
		}
	})
	var unread []Step
	c.Walk(func(s Step) {
		if !read[s.Name] {
			unread = append(unread, s)
		}
	})
	return unread
}

// UnreadFault is what everybody who checks a chain says of a step that [Chain.Unread] returns.
func UnreadFault(s Step) string {
	return fmt.Sprintf("nobody reads what step %q yields; read its output, or remove the step", s.Name)
}
