package chains

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/checker"
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/interpreter"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/value"
)

const (
	// maxExprBytes bounds the text of one expression: a page.
	maxExprBytes = 4 << 10
	// maxExprCost bounds one evaluation, in the units of CEL: about one for each operation and for each ten bytes of text. A
	// route over eight fields costs about 70; the most expensive expression ends after some tens of milliseconds.
	maxExprCost = 100_000
	// interruptEvery is how many steps of a comprehension may pass before the end of the run is seen: some microseconds.
	interruptEvery = 100
	// itVar is the routed value.
	itVar = "it"
)

// celEnv checks expressions over one pair of types.
type celEnv struct {
	env    *cel.Env
	types  *celTypes
	it, in *functions.Schema
}

// newCELEnv returns the environment in which it is the routed value and in is the chain's input.
func newCELEnv(it, in *functions.Schema) (*celEnv, error) {
	base, err := types.NewRegistry()
	if err != nil {
		return nil, err
	}
	t := newCELTypes(base)
	env, err := cel.NewEnv(append(nullTests(),
		cel.CustomTypeProvider(t),
		cel.CustomTypeAdapter(base),
		cel.DefaultUTCTimeZone(true),
		cel.CrossTypeNumericComparisons(true), // it.confidence > 0
		cel.Variable(itVar, t.declare(it, itVar)),
		cel.Variable(inputVar, t.declare(in, "in")),
	)...)
	if err != nil {
		return nil, err
	}
	return &celEnv{env, t, it, in}, nil
}

// expr is one checked expression.
type expr struct {
	site    site
	program cel.Program
	offsets map[int64]ast.OffsetRange // where its nodes stand
	// readsIt and readsIn tell which values have to be decoded for it.
	readsIt, readsIn bool
}

// compile checks text.
func (e *celEnv) compile(text string) (*expr, []exprFault) {
	if len(text) > maxExprBytes {
		return nil, []exprFault{whole(" has %d bytes; the limit is %d", len(text), maxExprBytes)}
	}
	source, err := bindInput(text)
	if err != nil {
		return nil, []exprFault{whole(": %v", err)}
	}
	e.types.misses = nil
	parsed, issues := e.env.Parse(source)
	if issues.Err() != nil {
		return nil, e.faults(text, issues)
	}
	bindNullTests(parsed.NativeRep().Expr())
	checked, issues := e.env.Check(parsed)
	if issues.Err() != nil {
		return nil, e.faults(text, issues)
	}
	tree := checked.NativeRep()
	offsets := tree.SourceInfo().OffsetRanges()
	nulls := nullCheck{types: tree.TypeMap()}
	nulls.need(tree.Expr(), nullScope{vars: map[string]operand{itVar: valueOf(e.it), inputVar: valueOf(e.in)}, safe: map[string]bool{}})
	if len(nulls.faults) > 0 {
		var faults []exprFault
		for _, f := range nulls.faults {
			faults = append(faults, exprFault{offsetOf(offsets, f.node), ": " + f.text})
		}
		return nil, faults
	}
	if t := checked.OutputType(); !t.IsExactType(types.BoolType) {
		return nil, []exprFault{notBool(t.String())}
	}
	cost, err := e.env.EstimateCost(checked, unknownSizes{})
	if err != nil {
		return nil, []exprFault{whole(": %v", err)}
	}
	if cost.Min > maxExprCost {
		return nil, []exprFault{whole(" costs at least %d, and the limit is %d; make it simpler", cost.Min, maxExprCost)}
	}
	program, err := e.env.Program(checked, cel.EvalOptions(cel.OptOptimize), cel.CostLimit(maxExprCost), cel.InterruptCheckFrequency(interruptEvery))
	if err != nil {
		return nil, []exprFault{whole(": %v", err)}
	}
	x := &expr{site: site{text: text}, program: program, offsets: offsets}
	for _, ref := range tree.ReferenceMap() {
		x.readsIt = x.readsIt || ref.Name == itVar
		x.readsIn = x.readsIn || ref.Name == inputVar
	}
	return x, nil
}

// unknownSizes knows nothing of the data: what depends on it is held by the limit at run time.
type unknownSizes struct{}

func (unknownSizes) EstimateSize(checker.AstNode) *checker.SizeEstimate { return nil }

func (unknownSizes) EstimateCallCost(string, string, *checker.AstNode, []checker.AstNode) *checker.CallEstimate {
	return nil
}

// route is what a switch decides by. It may be used by many runs at once.
type route struct {
	it, in *functions.Schema
	exprs  []*expr
}

// choose returns the index of the first case that holds, or that of the else. Values are decoded only if an expression
// that is evaluated reads them; in is asked for the chain's input then.
func (r *route) choose(ctx context.Context, it functions.Item, in func() (any, error)) (int, error) {
	vars := map[string]any{}
	for i, x := range r.exprs {
		if _, have := vars[itVar]; x.readsIt && !have {
			v, err := value.Any(r.it, it.Value)
			if err != nil {
				return 0, fmt.Errorf("the routed value: %w", err)
			}
			vars[itVar] = present(r.it, v)
		}
		if _, have := vars[inputVar]; x.readsIn && !have {
			v, err := in()
			if err != nil {
				return 0, fmt.Errorf("the chain's input: %w", err)
			}
			vars[inputVar] = v
		}
		holds, err := x.holds(ctx, vars)
		if err != nil {
			return 0, err
		}
		if holds {
			return i, nil
		}
	}
	return len(r.exprs), nil
}

// holds evaluates x. Whatever goes wrong is the chain's own fault: it is to suit every value of its types.
func (x *expr) holds(ctx context.Context, vars map[string]any) (bool, error) {
	out, _, err := x.program.ContextEval(ctx, vars)
	if err != nil {
		if ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
		return false, x.site.failure(x.failed(err))
	}
	holds, ok := out.Value().(bool)
	if !ok {
		return false, x.site.failure(notBool(out.Type().TypeName()))
	}
	return holds, nil
}

// failed says what went wrong, where, and what to do about it.
func (x *expr) failed(err error) exprFault {
	if _, limit := errors.AsType[interpreter.EvalCancelledError](err); limit {
		return whole(" costs more than %d over this value; make it simpler, or let it read less", maxExprCost)
	}
	offset := -1
	if node, ok := errors.AsType[*types.Err](err); ok {
		offset = offsetOf(x.offsets, node.NodeID())
	}
	return exprFault{offset, ": " + functions.OneLine(err) + "; test for such values before this is computed"}
}

func notBool(typ string) exprFault {
	return whole(" yields %s, not bool; compare it with something", strings.Trim(typ, "<>"))
}
