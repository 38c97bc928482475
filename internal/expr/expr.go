// Package expr evaluates the CEL expressions that users write about objects:
// how an object fares, and whether a dependency is ready. It is pure. What an
// expression may cost is bounded, since tenants write them. It must not know
// where objects come from.
package expr

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/ext"
)

// The bounds of one evaluation: whichever is reached first ends it.
const (
	maxCost = 1_000_000
	maxTime = 5 * time.Second
)

// expression is one that is ready to be evaluated.
type expression struct{ program cel.Program }

// parse reads an expression. With variables, it is also checked that it uses
// no others and gives a boolean.
func parse(text string, variables ...string) (expression, error) {
	options := []cel.EnvOption{
		cel.HomogeneousAggregateLiterals(), cel.EagerlyValidateDeclarations(true), cel.DefaultUTCTimeZone(true),
		cel.CrossTypeNumericComparisons(true), cel.OptionalTypes(), ext.Strings(), ext.Sets(), ext.Encoders(),
	}
	for _, v := range variables {
		options = append(options, cel.Variable(v, cel.ObjectType("google.protobuf.Struct")))
	}
	env, err := cel.NewEnv(options...)
	if err != nil {
		return expression{}, err
	}
	read := env.Parse
	if len(variables) > 0 {
		read = env.Compile
	}
	ast, issues := read(text)
	if issues.Err() != nil {
		return expression{}, fmt.Errorf("failed to parse the CEL expression '%s': %s", text, start(strings.TrimSpace(issues.String())))
	}
	if given := ast.OutputType(); len(variables) > 0 && given != cel.BoolType {
		return expression{}, fmt.Errorf("the CEL expression '%s' gives %s, not a boolean", text, given)
	}
	program, err := env.Program(ast, cel.EvalOptions(cel.OptOptimize), cel.CostLimit(maxCost), cel.InterruptCheckFrequency(100))
	if err != nil {
		return expression{}, fmt.Errorf("failed to parse the CEL expression '%s': %w", text, err)
	}
	return expression{program}, nil
}

// maxIssues bounds what is told of an expression that cannot be parsed, in
// bytes: for each issue the parser repeats a whole line.
const maxIssues = 4 << 10

func start(issues string) string {
	if len(issues) <= maxIssues {
		return issues
	}
	return strings.ToValidUTF8(issues[:maxIssues], "") + "…"
}

var errNoBoolean = errors.New("the expression gives no boolean")

func (e expression) eval(ctx context.Context, variables map[string]any) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, maxTime)
	defer cancel()
	value, _, err := e.program.ContextEval(ctx, variables)
	if err != nil {
		return false, err
	}
	answer, ok := value.(types.Bool)
	if !ok {
		return false, errNoBoolean
	}
	return bool(answer), nil
}

// Ready is an expression on an object (self) and one that it depends on (dep).
type Ready struct{ expression }

// ParseReady reads an expression with the variables self and dep.
func ParseReady(text string) (Ready, error) {
	e, err := parse(text, "self", "dep")
	return Ready{e}, err
}

// Holds evaluates the expression on two objects. An error says what it met in
// them, such as a field that is not there (yet).
func (r Ready) Holds(ctx context.Context, self, dep map[string]any) (bool, error) {
	return r.eval(ctx, map[string]any{"self": self, "dep": dep})
}
