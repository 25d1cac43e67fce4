package gateway

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/catenary-run/catenary/chains/spec"
	"github.com/catenary-run/catenary/functions"
	catenaryv1 "github.com/catenary-run/catenary/gateway/catenary/v1"
)

// version returns another version of one of the world's functions, which answers in its own way.
func (w *world) version(name, n string) *functions.Manifest {
	for _, f := range w.fns {
		if f.Manifest.Name == name {
			m := *f.Manifest
			m.Artifact = functions.DigestOf([]byte(name + n))
			w.mem.mu.Lock()
			w.mem.blobs[m.Artifact] = []byte(name + n)
			w.mem.mu.Unlock()
			return &m
		}
	}
	panic("no function " + name)
}

func TestDeploy_SameAgainChangesNothing(t *testing.T) {
	w := newWorld(t, nil)
	before := w.node.prepares()
	resp, err := w.rpc.Deploy(t.Context(), w.bundle())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range resp.Chains {
		if c.Changed || c.Rev != 1 {
			t.Errorf("chain %s: changed %v, rev %d", c.Name, c.Changed, c.Rev)
		}
	}
	if w.node.prepares() != before+1 || len(resp.Functions) != len(w.fns) {
		t.Errorf("%d prepares, %d statuses: a node may have lost its caches, so it is asked again", w.node.prepares()-before, len(resp.Functions))
	}
}

func TestDeploy_FailedPrepareLeavesTheOldVersion(t *testing.T) {
	w := newWorld(t, nil)
	w.node.fail(fmt.Errorf("%w: function shout: not WASM", functions.ErrInvalid))
	req := &catenaryv1.DeployRequest{
		Manifests: [][]byte{w.version("shout", "2").Canonical()},
		Chains:    []*catenaryv1.ChainSpec{{Json: single("shout").Canonical()}},
	}
	_, err := w.rpc.Deploy(t.Context(), req)
	if connect.CodeOf(err) != connect.CodeInvalidArgument || !strings.Contains(err.Error(), "not WASM") {
		t.Errorf("got %v", err)
	}
	for _, name := range []string{"chain/shout", "function/shout"} {
		if a := w.mem.aliases[name]; a.Rev != 1 {
			t.Errorf("%s moved to revision %d", name, a.Rev)
		}
	}
	if got := w.curl(t, "POST", "/chains/shout", "text/plain", []byte("x")); got.body != "X" {
		t.Errorf("the old version does not answer: %s", got.body)
	}
}

func TestDeploy_FaultsAllAtOnce(t *testing.T) {
	w := newWorld(t, nil)
	bad := w.version("shout", "2")
	bad.Turns = true
	empty := w.version("sing", "2")
	empty.Artifact = functions.DigestOf(nil)
	w.mem.blobs[empty.Artifact] = nil
	lost := w.version("paint", "2")
	lost.Artifact = functions.DigestOf([]byte("not put"))
	for _, test := range []struct {
		name string
		req  *catenaryv1.DeployRequest
		want []string
	}{
		{"nothing", &catenaryv1.DeployRequest{}, []string{"empty"}},
		{"what does not parse", &catenaryv1.DeployRequest{
			Manifests: [][]byte{[]byte(`{`), []byte(`{"nmae":"x"}`), bad.Canonical()}, Models: [][]byte{[]byte(`7`)},
			Chains: []*catenaryv1.ChainSpec{{Json: []byte(`[]`)}, {}},
		}, []string{"manifest 0", "manifest 1", "nmae", "open turns", "model 0", "chain 0", "chain 1"}},
		{"names twice", &catenaryv1.DeployRequest{
			Manifests: [][]byte{lost.Canonical(), lost.Canonical()}, Chains: []*catenaryv1.ChainSpec{{Json: single("x").Canonical()}, {Json: single("x").Canonical()}},
		}, []string{`function "paint" is there twice`, `chain "x" is there twice`}},
		{"blobs", &catenaryv1.DeployRequest{
			Manifests: [][]byte{lost.Canonical(), empty.Canonical()},
			Models:    [][]byte{(&functions.Model{Name: "llm", Engine: "llama", File: w.fns[0].Manifest.Artifact, Size: 1}).Canonical()},
		}, []string{"function paint: blob", "is not here; PUT /blobs/", "model llm: blob", "has 5 bytes, not 1", "function sing: blob e3b0c44298fc is empty"}},
		{"chains, with positions", &catenaryv1.DeployRequest{Chains: []*catenaryv1.ChainSpec{
			{Json: single("nope").Canonical(), Positions: map[string]string{"step": "chains.yaml:7:3"}},
			{Json: spec.Chain{Name: "mismatch", Steps: []spec.Step{
				{Name: "a", Op: spec.OpCall, Func: "measure", From: spec.Input}, {Name: "b", Op: spec.OpCall, Func: "shout", From: "a"},
			}, Out: "b"}.Canonical(), Positions: map[string]string{"b": "chains.yaml:12:3"}},
		}}, []string{"chains.yaml:7:3", `"nope"`, "chains.yaml:12:3"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := w.rpc.Deploy(t.Context(), test.req)
			if connect.CodeOf(err) != connect.CodeInvalidArgument {
				t.Fatalf("got %v, want %v", err, connect.CodeInvalidArgument)
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error does not say %q:\n%v", want, err)
				}
			}
		})
	}
}

func TestDeploy_AgainstDeployedFunctions(t *testing.T) {
	w := newWorld(t, nil)
	twice := spec.Chain{Name: "twice", Steps: []spec.Step{
		{Name: "a", Op: spec.OpCall, Func: "shout", From: spec.Input}, {Name: "b", Op: spec.OpCall, Func: "shout", From: "a"},
	}, Out: "b"}
	resp, err := w.rpc.Deploy(t.Context(), &catenaryv1.DeployRequest{Chains: []*catenaryv1.ChainSpec{{Json: twice.Canonical()}}})
	if err != nil {
		t.Fatal(err)
	}
	if c := resp.Chains[0]; !c.Changed || c.SpecHash != twice.Hash() || c.Rev != 1 || c.In != "string" {
		t.Errorf("got %v", c)
	}
	if got := w.curl(t, "POST", "/chains/twice", "text/plain", []byte("x")); got.body != "X" {
		t.Errorf("got %s", got.body)
	}
}

func TestDeploy_RunsStayWithTheirGraph(t *testing.T) {
	w := newWorld(t, nil)
	type result struct {
		resp *catenaryv1.RunResponse
		err  error
	}
	done := make(chan result, 1)
	go func() {
		resp, err := w.rpc.Run(context.WithoutCancel(t.Context()), &catenaryv1.RunRequest{Chain: "slow", Json: []byte(`"x"`)})
		done <- result{resp, err}
	}()
	<-w.gate.begun
	old := w.mem.aliases["chain/slow"].Digest
	resp, err := w.rpc.Deploy(t.Context(), &catenaryv1.DeployRequest{
		Manifests: [][]byte{w.version("slow", "2").Canonical()},
		Chains:    []*catenaryv1.ChainSpec{{Json: single("slow").Canonical()}},
	})
	if err != nil || !resp.Chains[0].Changed || resp.Chains[0].Graph == string(old) {
		t.Fatalf("%v, %v", resp, err)
	}
	close(w.gate.open)
	if r := <-done; r.err != nil || r.resp.Graph != string(old) {
		t.Errorf("%v, %v; want graph %s", r.resp, r.err, old)
	}
}

func TestDeploy_LostRaceBeginsAgain(t *testing.T) {
	w := newWorld(t, nil)
	other := w.mem.aliases["chain/shout"].Digest // any graph
	losses := 2
	w.mem.beforeSet = func(name string) {
		if name != "chain/slow" || losses == 0 {
			return
		}
		losses--
		w.mem.mu.Lock()
		defer w.mem.mu.Unlock()
		a := w.mem.aliases[name]
		w.mem.aliases[name] = functions.Alias{Name: name, Digest: other, Rev: a.Rev + 1}
	}
	req := &catenaryv1.DeployRequest{
		Manifests: [][]byte{w.version("slow", "2").Canonical()},
		Chains:    []*catenaryv1.ChainSpec{{Json: single("slow").Canonical()}},
	}
	resp, err := w.rpc.Deploy(t.Context(), req)
	if err != nil || resp.Chains[0].Rev != 4 || string(w.mem.aliases["chain/slow"].Digest) != resp.Chains[0].Graph {
		t.Errorf("%v, %v; alias %v", resp, err, w.mem.aliases["chain/slow"])
	}
	losses = 1000
	req.Manifests[0] = w.version("slow", "3").Canonical()
	if _, err := w.rpc.Deploy(t.Context(), req); connect.CodeOf(err) != connect.CodeAborted {
		t.Errorf("got %v, want %v", err, connect.CodeAborted)
	}
	if tried := 1000 - losses; tried != deployTries {
		t.Errorf("%d tries, want %d", tried, deployTries)
	}
}

func TestDeploy_Concurrent(t *testing.T) {
	w := newWorld(t, nil)
	var deploys sync.WaitGroup
	graphs := make([]string, 8)
	for i := range graphs {
		m := w.version("shout", fmt.Sprint(i))
		deploys.Go(func() {
			for { // losing the race too often is an answer, too: try again
				resp, err := w.rpc.Deploy(t.Context(), &catenaryv1.DeployRequest{
					Manifests: [][]byte{m.Canonical()}, Chains: []*catenaryv1.ChainSpec{{Json: single("shout").Canonical()}},
				})
				if connect.CodeOf(err) == connect.CodeAborted {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				graphs[i] = resp.Chains[0].Graph
				return
			}
		})
	}
	deploys.Wait()
	last := w.mem.aliases["chain/shout"]
	if !slices.Contains(graphs, string(last.Digest)) || last.Rev != 9 {
		t.Errorf("the alias is %v, want one of %v at revision 9", last, graphs)
	}
}

func TestWatch_AnnouncesToTheOtherGateway(t *testing.T) {
	w := newWorld(t, nil)
	second, _ := newServer(t, w.mem, w.node, nil)
	watched := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { second.chains.watch(ctx); close(watched) }()
	defer func() { cancel(); <-watched }()

	known := func(rev uint64) { // waits for the announcement
		for (*second.chains.aliases.Load())["chain/shout"].Rev != rev && t.Context().Err() == nil {
			time.Sleep(time.Millisecond)
		}
	}
	known(1)
	w.mem.mu.Lock()
	reads := w.mem.reads
	w.mem.mu.Unlock()
	c, err := second.chains.resolve(t.Context(), "shout")
	if err != nil {
		t.Fatal(err)
	}
	w.mem.mu.Lock()
	if w.mem.reads != reads {
		t.Error("an announced chain was looked up in the catalogue")
	}
	w.mem.mu.Unlock()
	if _, err := w.rpc.Deploy(t.Context(), &catenaryv1.DeployRequest{
		Manifests: [][]byte{w.version("shout", "2").Canonical()}, Chains: []*catenaryv1.ChainSpec{{Json: single("shout").Canonical()}},
	}); err != nil {
		t.Fatal(err)
	}
	known(2)
	again, err := second.chains.resolve(t.Context(), "shout")
	if err != nil || again.Hash() == c.Hash() {
		t.Errorf("the new version is not seen: %v", err)
	}
}

// TestResolve_WhenTheCatalogueWentBack: what the catalogue has lost is not served from memory, whoever notices it first.
func TestResolve_WhenTheCatalogueWentBack(t *testing.T) {
	w := newWorld(t, nil)
	d := w.s.chains
	d.watching.Store(true)
	now, other := w.mem.aliases["chain/shout"], w.mem.aliases["chain/slow"].Digest
	lost := func(rev uint64) functions.Alias { return functions.Alias{Name: now.Name, Digest: other, Rev: rev} }
	learn := func(a functions.Alias) func() {
		return func() {
			if got := d.learn(a); got != aliasForgotten {
				t.Errorf("learn returned %d, want %d", got, aliasForgotten)
			}
		}
	}
	for name, tt := range map[string]struct {
		held   functions.Alias
		notice func()
	}{
		"an older revision is told":       {lost(7), learn(now)},
		"another of its revision is told": {lost(now.Rev), learn(now)},
		"it is gone":                      {lost(7), learn(functions.Alias{Name: now.Name})},
		"a deploy finds nothing to change": {lost(7), func() {
			if _, err := w.rpc.Deploy(t.Context(), w.bundle()); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			d.aliases.Store(&map[string]functions.Alias{now.Name: tt.held})
			tt.notice()
			c, err := d.resolve(t.Context(), "shout")
			if err != nil || c.Hash() != now.Digest {
				t.Fatalf("got %v, %v; want graph %s", c, err, now.Digest)
			}
			if got := (*d.aliases.Load())[now.Name]; got != now {
				t.Errorf("the snapshot has %v, want %v", got, now)
			}
		})
	}
}

func TestResolve_WhileTheCatalogueIsGone(t *testing.T) {
	w := newWorld(t, nil)
	s, _ := newServer(t, w.mem, w.node, nil)
	s.chains.watching.Store(true)
	a := w.mem.aliases["chain/shout"]
	if s.chains.learn(a) != aliasTaken || s.chains.learn(a) != aliasKnown {
		t.Error("an alias is learned once")
	}
	if s.chains.learn(functions.Alias{Name: "function/shout", Rev: 9}) != aliasKnown {
		t.Error("an alias of no chain was learned")
	}
	w.mem.broken = errors.New("connection refused")
	ctx, cancel := context.WithCancel(t.Context())
	watched := make(chan struct{})
	go func() { s.chains.watch(ctx); close(watched) }()
	for len(*s.chains.last.Load()) == 0 && ctx.Err() == nil { // until the watch has broken
		time.Sleep(time.Millisecond)
	}
	if _, err := s.chains.resolve(t.Context(), "shout"); err != nil {
		t.Errorf("a chain that was known: %v", err)
	}
	if _, err := s.chains.resolve(t.Context(), "split"); !errors.Is(err, functions.ErrUnavailable) {
		t.Errorf("a chain that was not: got %v, want %v", err, functions.ErrUnavailable)
	}
	cancel()
	<-watched
}

func TestDeployed_PlansAreBounded(t *testing.T) {
	w := newWorld(t, nil)
	base, err := w.s.chains.resolve(t.Context(), "shout")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2 * maxPlans {
		c := spec.Chain{Name: fmt.Sprintf("c%d", i), Steps: base.Graph().Spec.Steps, Out: "step"}
		g := *base.Graph()
		g.Spec = c
		compiled, err := compile(&g, map[string]*functions.Manifest{"shout": w.fns[0].Manifest})
		if err != nil {
			t.Fatal(err)
		}
		w.s.chains.keep(compiled)
		w.s.chains.keep(base) // what is used stays
	}
	w.s.chains.mu.Lock()
	defer w.s.chains.mu.Unlock()
	if n := len(w.s.chains.plans); n != maxPlans || w.s.chains.plans[base.Hash()] == nil {
		t.Errorf("%d plans, want %d; the one in use is there: %v", n, maxPlans, w.s.chains.plans[base.Hash()] != nil)
	}
}
