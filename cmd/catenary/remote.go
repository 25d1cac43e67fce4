package main

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/catenary-run/catenary/chains"
	"github.com/catenary-run/catenary/chains/spec"
	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/gpu"
	"github.com/catenary-run/catenary/internal/project"
	"github.com/catenary-run/catenary/sdk/client"
)

// serverFlag is what every command that talks to a server has.
type serverFlag struct {
	Server string `default:"http://127.0.0.1:8372" env:"CATENARY_SERVER" placeholder:"URL" help:"The server (${default})."`
}

func (f serverFlag) client() (*client.Client, error) { return client.New(f.Server) }

// list prints rows as a table with a header, or v as JSON.
func list(w io.Writer, asJSON bool, v any, header string, rows [][]any) error {
	if asJSON {
		return printJSON(w, v)
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, header)
	for _, row := range rows {
		for i, cell := range row {
			if i > 0 {
				fmt.Fprint(table, "\t")
			}
			fmt.Fprint(table, cell)
		}
		fmt.Fprintln(table)
	}
	return table.Flush()
}

func printJSON(w io.Writer, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s\n", b)
	return err
}

type deployCmd struct {
	serverFlag
	Dir string `arg:"" help:"Folder that catenary build has built." type:"existingdir"`
}

// Run sends the bundle and says what is deployed.
func (c *deployCmd) Run(e *env) error {
	b, err := project.Open(c.Dir)
	if err != nil {
		return err
	}
	server, err := c.client()
	if err != nil {
		return err
	}
	done, err := server.Deploy(e.ctx, client.Bundle{Manifests: b.Manifests, Models: b.Models, Chains: b.Chains, Open: b.OpenBlob})
	if err != nil {
		return err
	}
	plugins := map[string]bool{} // a process has no image, and nobody expects one
	for _, m := range b.Manifests {
		plugins[m.Name] = m.Kind == functions.KindPlugin
	}
	for _, f := range done.Functions {
		switch {
		case plugins[f.Name]:
		case !f.Captured:
			fmt.Fprintf(e.stderr, "function %s starts anew for each instance: %s\n", f.Name, f.Why)
		case f.Why != "":
			fmt.Fprintf(e.stderr, "function %s: %s\n", f.Name, f.Why)
		}
	}
	for _, ch := range done.Chains {
		state := "unchanged"
		if ch.Changed {
			state = "deployed"
		}
		fmt.Fprintf(e.stdout, "%s %s: %s -> %s, graph %s\n", state, ch.Name, ch.In, ch.Out, functions.Digest(ch.Graph).Short())
	}
	return nil
}

type chainsCmd struct {
	serverFlag
	JSON bool `name:"json" help:"Print JSON."`
}

// chainRow is a chain as `catenary chains --json` prints it.
type chainRow struct {
	Name     string `json:"name"`
	In       string `json:"in"`
	Out      string `json:"out"`
	SpecHash string `json:"spec_hash"`
	Graph    string `json:"graph"`
	Rev      uint64 `json:"rev"`
}

// Run lists the chains of the server.
func (c *chainsCmd) Run(e *env) error {
	server, err := c.client()
	if err != nil {
		return err
	}
	all, err := server.List(e.ctx)
	if err != nil {
		return err
	}
	found := []chainRow{}
	var rows [][]any
	for _, ch := range all {
		found = append(found, chainRow{ch.Name, ch.In, ch.Out, ch.SpecHash, ch.Graph, ch.Rev})
		rows = append(rows, []any{ch.Name, ch.In, ch.Out, functions.Digest(ch.Graph).Short(), ch.Rev})
	}
	return list(e.stdout, c.JSON, found, "CHAIN\tIN\tOUT\tGRAPH\tREV", rows)
}

type graphCmd struct {
	serverFlag
	Chain string `arg:"" help:"Name of the chain."`
}

// Run prints the chain as Mermaid.
func (c *graphCmd) Run(e *env) error {
	server, err := c.client()
	if err != nil {
		return err
	}
	all, err := server.List(e.ctx)
	if err != nil {
		return err
	}
	for _, ch := range all {
		if ch.Name != c.Chain {
			continue
		}
		var s spec.Chain
		if err := json.Unmarshal(ch.Spec, &s); err != nil {
			return fmt.Errorf("chain %s: the server's spec: %w", c.Chain, err)
		}
		_, err := io.WriteString(e.stdout, chains.Mermaid(s))
		return err
	}
	return fmt.Errorf("%w: the server has no chain %q; catenary chains lists them", functions.ErrNotFound, c.Chain)
}

type poolsCmd struct {
	serverFlag
	JSON bool `name:"json" help:"Print JSON."`
}

// functionRow and modelRow are what `catenary pools --json` prints. Why is there only if there is something to explain:
// a function without an image, a model that is unavailable.
type functionRow struct {
	Name      string  `json:"name"`
	Kind      string  `json:"kind"`
	Digest    string  `json:"digest"`
	Tier      string  `json:"tier"`
	Instances int64   `json:"instances"`
	Busy      int64   `json:"busy"`
	Queued    int64   `json:"queued"`
	MemBytes  int64   `json:"mem_bytes"`
	WakeMS    float64 `json:"wake_ms"`
	Why       string  `json:"why,omitempty"`
}

type modelRow struct {
	Name     string  `json:"name"`
	Device   string  `json:"device"`
	Tier     string  `json:"tier"`
	Leases   int64   `json:"leases"`
	Queued   int64   `json:"queued"`
	MemBytes int64   `json:"mem_bytes"`
	WakeMS   float64 `json:"wake_ms"`
	Why      string  `json:"why,omitempty"`
}

// Run lists what the server holds.
func (c *poolsCmd) Run(e *env) error {
	server, err := c.client()
	if err != nil {
		return err
	}
	held, err := server.Pools(e.ctx)
	if err != nil {
		return err
	}
	fns, models := []functionRow{}, []modelRow{}
	var rows [][]any
	for _, f := range held.Functions {
		if f.Kind == string(functions.KindPlugin) {
			f.Why = "" // a process has no image, and nobody expects one
		}
		fns = append(fns, functionRow{f.Name, f.Kind, f.Digest, f.Tier, f.Instances, f.Busy, f.Queued, f.MemBytes, f.WakeMs, f.Why})
		rows = append(rows, []any{f.Name, f.Kind, f.Tier, f.Instances, f.Busy, f.Queued, mib(f.MemBytes), fmt.Sprintf("%.2f", f.WakeMs), f.Why})
	}
	for _, m := range held.Models {
		models = append(models, modelRow{m.Name, m.Device, m.Tier, m.Leases, m.Queued, m.MemBytes, m.WakeMs, m.Why})
		kind := "model"
		if m.Device != "" && m.Tier != string(gpu.TierUnavailable) { // it has been on one, and can be again
			kind += " on " + m.Device
		}
		rows = append(rows, []any{m.Name, kind, m.Tier, "-", m.Leases, m.Queued, mib(m.MemBytes), fmt.Sprintf("%.2f", m.WakeMs), m.Why})
	}
	return list(e.stdout, c.JSON, struct {
		Functions []functionRow `json:"functions"`
		Models    []modelRow    `json:"models"`
	}{fns, models}, "NAME\tKIND\tTIER\tINSTANCES\tBUSY\tQUEUED\tMIB\tWAKE MS\tNOTE", rows)
}

func mib(n int64) string { return fmt.Sprintf("%.1f", float64(n)/(1<<20)) }
