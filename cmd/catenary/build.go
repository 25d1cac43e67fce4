package main

import (
	"fmt"

	"github.com/catenary-run/catenary/internal/project"
)

type buildCmd struct {
	Dir string `arg:"" help:"Folder with a catenary.yaml." type:"existingdir"`
}

// Run builds the project and says what came of it.
func (c *buildCmd) Run(e *env) error {
	b, err := project.Build(e.ctx, c.Dir, e.stderr)
	if err != nil {
		return err
	}
	for _, m := range b.Manifests {
		fmt.Fprintf(e.stdout, "function %s %s\n", m.Name, m.Digest())
	}
	for _, m := range b.Models {
		fmt.Fprintf(e.stdout, "model %s %s\n", m.Name, m.Digest())
	}
	for _, ch := range b.Chains {
		fmt.Fprintf(e.stdout, "chain %s %s\n", ch.Spec.Name, ch.Spec.Hash())
	}
	return nil
}
