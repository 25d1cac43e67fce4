package chains

import "github.com/catenary-run/catenary/chains/spec"

// Mermaid returns the chain as a Mermaid flowchart.
func Mermaid(c spec.Chain) string { panic("chains: Mermaid is not written yet") }
