package release

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
	"helm.sh/helm/v4/pkg/chart/common/util"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	chartutil "helm.sh/helm/v4/pkg/chart/v2/util"

	"plumb.dev/plumb/internal/app"
)

// validate holds values against the JSON schemas of a chart and its
// dependencies. Helm's own check follows references to URLs and to files of this
// machine, and quotes values; this one does neither. It takes those dependencies
// out of the chart that the values turn off.
func validate(c *chart.Chart, values map[string]any) error {
	if err := chartutil.ProcessDependencies(c, values); err != nil {
		return app.Fail(app.StageRender, app.ReasonBuild, "chart %s: %w", c.Name(), err)
	}
	all, err := util.CoalesceValues(c, values)
	if err != nil { // it quotes values
		return app.Fail(app.StageRender, app.ReasonValues, "the values cannot be laid over those of chart %s: those of a dependency are no mapping", c.Name())
	}
	return validateChart(c, all)
}

func validateChart(c *chart.Chart, values map[string]any) error {
	if c.Schema != nil {
		if err := validateSchema(c.Schema, values); err != nil {
			return app.Fail(app.StageRender, app.ReasonValues, "the values do not meet values.schema.json of chart %s: %w", c.Name(), err).
				WithHint("correct the values; disableSchemaValidation passes over the schema")
		}
	}
	for _, sub := range c.Dependencies() {
		part, ok := values[sub.Name()].(map[string]any)
		if !ok {
			if values[sub.Name()] != nil {
				return app.Fail(app.StageRender, app.ReasonValues, "the values of dependency %s are no mapping", sub.Name())
			}
			continue
		}
		if err := validateChart(sub, part); err != nil {
			return err
		}
	}
	return nil
}

func validateSchema(schema []byte, values map[string]any) (err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("the schema cannot be evaluated")
		}
	}()
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(schema))
	if err != nil {
		return fmt.Errorf("the schema is no JSON: %w", err)
	}
	const root = "file:///values.schema.json"
	compiler := jsonschema.NewCompiler()
	compiler.UseLoader(jsonschema.SchemeURLLoader{"urn": anything{}, "file": unreachable{}, "http": unreachable{}, "https": unreachable{}})
	if err := compiler.AddResource(root, document); err != nil {
		return err
	}
	compiled, err := compiler.Compile(root)
	if err != nil {
		return err
	}
	var invalid *jsonschema.ValidationError
	if err := compiled.Validate(values); errors.As(err, &invalid) {
		return errors.New(strings.Join(leaves(invalid), "; "))
	} else if err != nil {
		return errors.New("they cannot be validated")
	}
	return nil
}

// unreachable refuses schemas that are elsewhere.
type unreachable struct{}

func (unreachable) Load(url string) (any, error) {
	return nil, fmt.Errorf("it refers to %s, and only what is in the chart is read", url)
}

// anything takes an unknown URN for a schema that all values meet, as Helm does.
type anything struct{}

func (anything) Load(string) (any, error) { return true, nil }

// leaves says what is wrong, a phrase for each place, without the values that
// are there.
func leaves(e *jsonschema.ValidationError) []string {
	const most = 10
	var out []string
	for _, cause := range e.Causes {
		out = append(out, leaves(cause)...)
	}
	if len(e.Causes) == 0 {
		where := "." + strings.Join(e.InstanceLocation, ".")
		out = []string{fmt.Sprintf("at %s: %s", where, wanted(e))}
	}
	slices.Sort(out)
	if out = slices.Compact(out); len(out) > most {
		out = append(out[:most], fmt.Sprintf("and %d more", len(out)-most))
	}
	return out
}

var english = message.NewPrinter(language.English)

// wanted is what the schema wants at a place. Where the message of the library
// quotes the value, the keyword has to do.
func wanted(e *jsonschema.ValidationError) string {
	path := e.ErrorKind.KeywordPath()
	keyword := "schema"
	if len(path) > 0 {
		keyword = path[len(path)-1]
	}
	switch keyword {
	case "type", "enum", "const", "required", "additionalProperties", "dependentRequired", "minProperties", "maxProperties", "minItems", "maxItems":
		return e.ErrorKind.LocalizedString(english)
	}
	return "the value does not meet " + keyword
}
