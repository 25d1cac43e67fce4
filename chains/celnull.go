package chains

import (
	"fmt"
	"maps"
	"strconv"
	"strings"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"

	"github.com/catenary-run/catenary/functions"
)

// What comparisons with null become before the types are checked: CEL itself compares only wrapped primitives and
// messages with null, and declares what is wrapped null-safe where it is not. No text can call these names.
const (
	isNull  = "@is_null"
	notNull = "@not_null"
)

// nullTests declares the comparisons with null, for values of every type.
func nullTests() []cel.EnvOption {
	test := func(name string, want bool) cel.EnvOption {
		return cel.Function(name, cel.Overload(name+"_dyn", []*cel.Type{cel.DynType}, cel.BoolType,
			cel.UnaryBinding(func(v ref.Val) ref.Val { return types.Bool((v == types.NullValue) == want) })))
	}
	return []cel.EnvOption{test(isNull, true), test(notNull, false)}
}

// bindNullTests replaces every comparison with null that is in e.
func bindNullTests(e ast.Expr) {
	ast.PostOrderVisit(e, ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() != ast.CallKind {
			return
		}
		c := e.AsCall()
		name := map[string]string{operators.Equals: isNull, operators.NotEquals: notNull}[c.FunctionName()]
		if name == "" {
			return
		}
		for i, arg := range c.Args() {
			if isLiteralNull(arg) {
				e.SetKindCase(ast.NewExprFactory().NewCall(e.ID(), name, c.Args()[1-i]))
				return
			}
		}
	}))
}

func isLiteralNull(e ast.Expr) bool {
	return e.Kind() == ast.LiteralKind && e.AsLiteral() == types.NullValue
}

// nullCheck finds the uses of values that may be null which would fail if they were. A use is safe where a test of the
// same value decides whether it is evaluated: CEL has no side effects, so equal expressions have equal values, and false
// && error is false, on both sides.
type nullCheck struct {
	types  map[int64]*types.Type
	faults []nodeFault
}

// nodeFault is what is wrong with one node of an expression.
type nodeFault struct {
	node int64
	text string
}

// operand is what is known of a value: its schema, or nil for what CEL computes.
type operand struct {
	schema  *functions.Schema
	null    bool // it may be null here
	guarded bool // it could be null, but for a test
}

// nullScope is what is known where an expression stands.
type nullScope struct {
	vars map[string]operand
	safe map[string]bool // values, as valueKey writes them, that are not null
}

func (s nullScope) with(safe []string) nullScope {
	if len(safe) > 0 {
		s.safe = maps.Clone(s.safe)
		for _, key := range safe {
			s.safe[key] = true
		}
	}
	return s
}

// bind returns s with a variable, and without what was known of another one of its name.
func (s nullScope) bind(name string, v operand) nullScope {
	s.vars, s.safe = maps.Clone(s.vars), maps.Clone(s.safe)
	s.vars[name] = v
	maps.DeleteFunc(s.safe, func(key string, _ bool) bool { return strings.Contains(key, name) })
	return s
}

// need looks at an expression whose value must not be null.
func (c *nullCheck) need(e ast.Expr, s nullScope) operand {
	v := c.look(e, s)
	if v.null {
		name, ok := valueKey(e)
		if !ok || e.Kind() == ast.LiteralKind {
			c.fault(e, "a value that may be null is used; compare it with null first")
		} else {
			c.fault(e, "%s may be null; test it first, as in %s != null && ...", name, name)
		}
	}
	return operand{schema: v.schema}
}

func (c *nullCheck) fault(e ast.Expr, format string, args ...any) {
	c.faults = append(c.faults, nodeFault{e.ID(), fmt.Sprintf(format, args...)})
}

// look returns what is known of the value of e, and checks all that is in it.
func (c *nullCheck) look(e ast.Expr, s nullScope) operand {
	v := c.parts(e, s)
	if key, ok := valueKey(e); ok && v.null && s.safe[key] {
		v.null, v.guarded = false, true
	}
	return v
}

func (c *nullCheck) parts(e ast.Expr, s nullScope) operand {
	switch e.Kind() {
	case ast.LiteralKind:
		return operand{null: isLiteralNull(e)}
	case ast.IdentKind:
		return s.vars[e.AsIdent()]
	case ast.SelectKind:
		sel := e.AsSelect()
		of := c.need(sel.Operand(), s).schema
		if of == nil || sel.IsTestOnly() {
			return operand{}
		}
		if p := of.Properties[sel.FieldName()]; p != nil {
			return valueOf(p)
		}
		return valueOf(of.Additional)
	case ast.CallKind:
		return c.call(e, s)
	case ast.ListKind:
		var elem operand
		for _, inner := range e.AsList().Elements() {
			elem = join(elem, c.look(inner, s))
		}
		return operand{schema: &functions.Schema{Type: "array", Items: elem.asSchema()}}
	case ast.MapKind:
		var elem operand
		for _, entry := range e.AsMap().Entries() {
			c.need(entry.AsMapEntry().Key(), s)
			elem = join(elem, c.look(entry.AsMapEntry().Value(), s))
		}
		return operand{schema: &functions.Schema{Type: "object", Additional: elem.asSchema()}}
	case ast.ComprehensionKind:
		return c.comprehension(e.AsComprehension(), s)
	}
	return operand{}
}

func (c *nullCheck) call(e ast.Expr, s nullScope) operand {
	call := e.AsCall()
	args := call.Args()
	switch call.FunctionName() {
	case isNull, notNull:
		v := c.look(args[0], s)
		if t := c.types[args[0].ID()]; !v.null && !v.guarded && t != nil && t.Kind() != types.DynKind && t.Kind() != types.NullTypeKind {
			name, _ := valueKey(args[0])
			c.fault(e, "%s is never null; compare it with another value, or test a field with has()", name)
		}
		return operand{}
	case operators.LogicalAnd, operators.LogicalOr:
		decided := call.FunctionName() == operators.LogicalAnd
		c.need(args[0], s.with(c.proves(args[1], decided)))
		c.need(args[1], s.with(c.proves(args[0], decided)))
		return operand{}
	case operators.Conditional:
		c.need(args[0], s)
		return join(c.look(args[1], s.with(c.proves(args[0], true))), c.look(args[2], s.with(c.proves(args[0], false))))
	case operators.Equals, operators.NotEquals:
		c.look(args[0], s)
		c.look(args[1], s)
		return operand{}
	case operators.In:
		in := c.need(args[1], s)
		if in.schema != nil && in.schema.Type == "array" {
			c.look(args[0], s) // compared with each element
		} else {
			c.need(args[0], s)
		}
		return operand{}
	case operators.Index:
		c.need(args[1], s)
		switch of := c.need(args[0], s).schema; {
		case of == nil:
			return operand{}
		case of.Type == "array":
			return valueOf(of.Items)
		case args[1].Kind() == ast.LiteralKind && of.Properties[fmt.Sprint(args[1].AsLiteral().Value())] != nil:
			return valueOf(of.Properties[fmt.Sprint(args[1].AsLiteral().Value())])
		default:
			return valueOf(of.Additional)
		}
	case operators.Add:
		return join(c.need(args[0], s), c.need(args[1], s))
	case "type":
		c.look(args[0], s)
		return operand{}
	}
	if call.IsMemberFunction() {
		c.need(call.Target(), s)
	}
	for _, arg := range args {
		c.need(arg, s)
	}
	return operand{}
}

// comprehension looks at what a macro such as exists has become. One turn of its loop tells what the accumulator can be:
// a second one would join the same again.
func (c *nullCheck) comprehension(e ast.ComprehensionExpr, s nullScope) operand {
	var elem operand
	if of := c.need(e.IterRange(), s).schema; of != nil && of.Type == "array" {
		elem = valueOf(of.Items) // the keys of a map are never null
	}
	acc := c.look(e.AccuInit(), s)
	inner := s.bind(e.AccuVar(), acc).bind(e.IterVar(), elem)
	c.need(e.LoopCondition(), inner)
	acc = join(acc, c.look(e.LoopStep(), inner))
	return c.look(e.Result(), s.bind(e.AccuVar(), acc))
}

// proves returns what is not null if e is decided, as valueKey writes it.
func (c *nullCheck) proves(e ast.Expr, decided bool) []string {
	key := func(e ast.Expr) []string {
		if key, ok := valueKey(e); ok {
			return []string{key}
		}
		return nil
	}
	switch e.Kind() {
	case ast.SelectKind:
		if sel := e.AsSelect(); sel.IsTestOnly() && decided {
			return key(ast.NewExprFactory().NewSelect(0, sel.Operand(), sel.FieldName()))
		}
	case ast.CallKind:
		args := e.AsCall().Args()
		switch fn := e.AsCall().FunctionName(); {
		case fn == operators.LogicalAnd && decided, fn == operators.LogicalOr && !decided:
			return append(c.proves(args[0], decided), c.proves(args[1], decided)...)
		case fn == operators.LogicalNot:
			return c.proves(args[0], !decided)
		case fn == notNull && decided, fn == isNull && !decided:
			return key(args[0])
		case fn == operators.Equals && decided, fn == operators.NotEquals && !decided:
			for i, arg := range args {
				if arg.Kind() == ast.LiteralKind {
					return key(args[1-i])
				}
			}
		}
	}
	return nil
}

func valueOf(s *functions.Schema) operand { return operand{schema: s, null: s != nil && s.Nullable} }

// asSchema returns the schema of v, null included.
func (v operand) asSchema() *functions.Schema {
	if v.schema == nil && !v.null {
		return nil
	}
	var s functions.Schema
	if v.schema != nil {
		s = *v.schema
	}
	s.Nullable = v.null
	return &s
}

// join returns what is known of a value that is a or b. The types agree, so they differ in nothing but null.
func join(a, b operand) operand {
	out := operand{schema: a.schema, null: a.null || b.null, guarded: a.guarded || b.guarded}
	switch {
	case a.schema == nil:
		out.schema = b.schema
	case b.schema != nil && (a.schema.Type == "array" || a.schema.Additional != nil):
		s := *a.schema
		s.Items = join(valueOf(a.schema.Items), valueOf(b.schema.Items)).asSchema()
		s.Additional = join(valueOf(a.schema.Additional), valueOf(b.schema.Additional)).asSchema()
		out.schema = &s
	}
	return out
}

// valueKey writes an expression as its author could have: equal texts have equal values. It returns false for what it
// can't tell apart from others.
func valueKey(e ast.Expr) (string, bool) {
	switch e.Kind() {
	case ast.IdentKind:
		if e.AsIdent() == inputVar {
			return "in", true
		}
		return e.AsIdent(), true
	case ast.LiteralKind:
		switch v := e.AsLiteral().Value().(type) {
		case string:
			return strconv.Quote(v), true
		case int64, uint64, float64, bool:
			return fmt.Sprint(v), true
		}
	case ast.SelectKind:
		of, ok := valueKey(e.AsSelect().Operand())
		return of + "." + fieldName(e.AsSelect().FieldName()), ok && !e.AsSelect().IsTestOnly()
	case ast.CallKind:
		if args := e.AsCall().Args(); e.AsCall().FunctionName() == operators.Index {
			of, ok := valueKey(args[0])
			index, known := valueKey(args[1])
			return of + "[" + index + "]", ok && known
		}
	}
	return "this value", false
}

// fieldName writes the name of a field as CEL wants it behind a dot.
func fieldName(name string) string {
	for i := range len(name) {
		if !isLetter(name[i]) && (i == 0 || !isDigit(name[i])) {
			return "`" + name + "`"
		}
	}
	return name
}
