package chains

import (
	"context"
	"fmt"
	"strings"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/checker"
	"github.com/google/cel-go/common/types"

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
	env   *cel.Env
	types *celTypes
}

// newCELEnv returns the environment in which it is the routed value and in is the chain's input.
func newCELEnv(it, in *functions.Schema) (*celEnv, error) {
	base, err := types.NewRegistry()
	if err != nil {
		return nil, err
	}
	t := newCELTypes(base)
	env, err := cel.NewEnv(
		cel.CustomTypeProvider(t),
		cel.CustomTypeAdapter(base),
		cel.DefaultUTCTimeZone(true),
		cel.CrossTypeNumericComparisons(true), // it.confidence > 0
		cel.Variable(itVar, t.declare(it, itVar)),
		cel.Variable(inputVar, t.declare(in, "in")),
	)
	if err != nil {
		return nil, err
	}
	return &celEnv{env, t}, nil
}

// expr is one checked expression.
type expr struct {
	text    string
	pos     string
	program cel.Program
	// readsIt and readsIn tell which values have to be decoded for it.
	readsIt, readsIn bool
}

// compile checks text. Each fault begins with its column, and its line where there are several.
func (e *celEnv) compile(text string) (*expr, []string) {
	if len(text) > maxExprBytes {
		return nil, []string{fmt.Sprintf("expression of %d bytes; the limit is %d", len(text), maxExprBytes)}
	}
	source, err := bindInput(text)
	if err != nil {
		return nil, []string{err.Error()}
	}
	e.types.misses = nil
	ast, issues := e.env.Compile(source)
	if issues.Err() != nil {
		return nil, e.faults(text, issues)
	}
	if !ast.OutputType().IsExactType(types.BoolType) {
		return nil, []string{fmt.Sprintf("it yields %s, not bool: compare it with something", ast.OutputType())}
	}
	cost, err := e.env.EstimateCost(ast, unknownSizes{})
	if err != nil {
		return nil, []string{err.Error()}
	}
	if cost.Min > maxExprCost {
		return nil, []string{fmt.Sprintf("it costs at least %d, and the limit is %d", cost.Min, maxExprCost)}
	}
	program, err := e.env.Program(ast, cel.EvalOptions(cel.OptOptimize), cel.CostLimit(maxExprCost), cel.InterruptCheckFrequency(interruptEvery))
	if err != nil {
		return nil, []string{err.Error()}
	}
	x := &expr{text: text, program: program}
	for _, ref := range ast.NativeRep().ReferenceMap() {
		x.readsIt = x.readsIt || ref.Name == itVar
		x.readsIn = x.readsIn || ref.Name == inputVar
	}
	return x, nil
}

// faults returns what CEL complains of, in the words of the author's text.
func (e *celEnv) faults(text string, issues *cel.Issues) []string {
	var out []string
	misses := e.types.misses
	for _, is := range issues.Errors() {
		msg := strings.ReplaceAll(is.Message, "'"+inputVar+"'", "'in'")
		for i, m := range misses {
			if strings.Contains(msg, "'"+m.field+"'") {
				msg += " of " + strings.Trim(m.object, "<>") + m.hint
				misses = misses[i+1:]
				break
			}
		}
		where := fmt.Sprintf("column %d", is.Location.Column()+1)
		if strings.Contains(text, "\n") {
			where = fmt.Sprintf("line %d, %s", is.Location.Line(), where)
		}
		out = append(out, where+": "+functions.OneLine(fmt.Errorf("%s", msg)))
	}
	return out
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
		out, _, err := x.program.ContextEval(ctx, vars)
		if err != nil {
			return 0, fmt.Errorf("%s%w: case %d: CEL: %w in %q", at(x.pos), functions.ErrInvalid, i+1, err, x.text)
		}
		holds, ok := out.Value().(bool)
		if !ok {
			return 0, fmt.Errorf("%s%w: case %d: CEL: %s instead of bool in %q", at(x.pos), functions.ErrInvalid, i+1, out.Type(), x.text)
		}
		if holds {
			return i, nil
		}
	}
	return len(r.exprs), nil
}
