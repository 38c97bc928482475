package object

import (
	"encoding/base64"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	yaml2 "go.yaml.in/yaml/v2"
	"go.yaml.in/yaml/v3"
)

const (
	// maxDepth bounds the nesting of values; the deepest real manifests (CRD
	// schemas) stay under 100.
	maxDepth = 512
	// nodeWeight is what one value is counted as, in bytes.
	nodeWeight = 64
)

// converter turns YAML nodes into JSON values.
type converter struct {
	path   string
	budget int // bytes that may still be produced
}

func (c *converter) fail(n *yaml.Node, format string, args ...any) error {
	return &DecodeError{Origin: Origin{c.path, n.Line}, Message: fmt.Sprintf(format, args...), Syntax: true}
}

func (c *converter) tooBig(n *yaml.Node, format string, args ...any) error {
	return &DecodeError{Origin: Origin{c.path, n.Line}, Message: fmt.Sprintf(format, args...), tooBig: true}
}

// value converts n, aliases resolved.
func (c *converter) value(n *yaml.Node, depth int) (any, error) {
	if c.budget -= nodeWeight + len(n.Value); c.budget < 0 {
		return nil, c.tooBig(n, "aliases expand to more than this file may hold")
	}
	if depth > maxDepth {
		return nil, c.tooBig(n, "values are nested more than %d deep", maxDepth)
	}
	switch n.Kind {
	case yaml.AliasNode:
		return c.value(n.Alias, depth+1)
	case yaml.ScalarNode:
		return c.scalar(n)
	case yaml.SequenceNode:
		out := make([]any, 0, len(n.Content))
		for _, item := range n.Content {
			v, err := c.value(item, depth+1)
			if err != nil {
				return nil, err
			}
			out = append(out, v)
		}
		return out, nil
	case yaml.MappingNode:
		return c.mapping(n, depth)
	}
	return nil, c.fail(n, "this YAML cannot be a Kubernetes object")
}

func (c *converter) mapping(n *yaml.Node, depth int) (any, error) {
	out := make(map[string]any, len(n.Content)/2)
	var merges []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		keyNode := n.Content[i]
		if keyNode.Kind == yaml.ScalarNode && keyNode.Tag == "!!merge" {
			merges = append(merges, n.Content[i+1])
			continue
		}
		key, err := c.key(keyNode, depth)
		if err != nil {
			return nil, err
		}
		if _, twice := out[key]; twice {
			return nil, c.fail(keyNode, "key %q is set twice in one mapping", key)
		}
		if out[key], err = c.value(n.Content[i+1], depth+1); err != nil {
			return nil, err
		}
	}
	// What the mapping says itself wins over what it merges in, and an earlier
	// merged mapping over a later one.
	for _, m := range merges {
		if err := c.merge(out, m, depth); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (c *converter) merge(out map[string]any, n *yaml.Node, depth int) error {
	v, err := c.value(n, depth+1)
	if err != nil {
		return err
	}
	sources, ok := v.([]any)
	if !ok {
		sources = []any{v}
	}
	for _, source := range sources {
		m, ok := source.(map[string]any)
		if !ok {
			return c.fail(n, "<< needs a mapping or a sequence of mappings")
		}
		for k, v := range m {
			if _, set := out[k]; !set {
				out[k] = v
			}
		}
	}
	return nil
}

// key converts a mapping key; other scalars than strings become text as
// kubectl writes them.
func (c *converter) key(n *yaml.Node, depth int) (string, error) {
	v, err := c.value(n, depth+1)
	if err != nil {
		return "", err
	}
	switch k := v.(type) {
	case string:
		return k, nil
	case bool:
		return strconv.FormatBool(k), nil
	case int64:
		return strconv.FormatInt(k, 10), nil
	case float64:
		return strconv.FormatFloat(k, 'g', -1, 32), nil
	}
	return "", c.fail(n, "a mapping key must be a string, not %s", article(v))
}

func (c *converter) scalar(n *yaml.Node) (any, error) {
	quoted := n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0
	tagged := n.Style&yaml.TaggedStyle != 0
	switch {
	case tagged && n.Tag == "!!binary":
		raw, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(n.Value), ""))
		if err != nil || !utf8.Valid(raw) {
			return nil, c.fail(n, "!!binary must be base64 of UTF-8 text; put other bytes in a Secret's data or a ConfigMap's binaryData as plain base64")
		}
		return string(raw), nil
	case tagged && (n.Tag == "!!int" || n.Tag == "!!float" || n.Tag == "!!bool" || n.Tag == "!!null"):
		v := resolve(n.Value)
		if f, isFloat := v.(float64); isFloat {
			v = number(f)
		}
		if !fits(n.Tag, v) {
			return nil, c.fail(n, "the value is no %s", n.Tag)
		}
		return v, nil
	case tagged, quoted: // !!str, !!timestamp, own tags
		return n.Value, nil
	}
	v := resolve(n.Value)
	if f, ok := v.(float64); ok {
		if math.IsNaN(f) || math.IsInf(f, 0) {
			return nil, c.fail(n, "JSON has no infinity and no not-a-number")
		}
		return number(f), nil
	}
	return v, nil
}

func fits(tag string, v any) bool {
	switch v := v.(type) {
	case nil:
		return tag == "!!null"
	case bool:
		return tag == "!!bool"
	case int64:
		return tag == "!!int" || tag == "!!float"
	case float64:
		return tag == "!!float" && !math.IsNaN(v) && !math.IsInf(v, 0)
	}
	return false
}

// number gives a float the type that its JSON text has to the API machinery:
// an integer if it is written without fraction and exponent and fits.
func number(f float64) any {
	if f == math.Trunc(f) && math.Abs(f) < 1e21 {
		if i, err := strconv.ParseInt(strconv.FormatFloat(f, 'f', -1, 64), 10, 64); err == nil {
			return i
		}
	}
	return f
}

var words = map[string]any{
	"": nil, "~": nil, "null": nil, "Null": nil, "NULL": nil,
	"y": true, "Y": true, "yes": true, "Yes": true, "YES": true, "on": true, "On": true, "ON": true,
	"true": true, "True": true, "TRUE": true,
	"n": false, "N": false, "no": false, "No": false, "NO": false, "off": false, "Off": false, "OFF": false,
	"false": false, "False": false, "FALSE": false,
	".nan": math.NaN(), ".NaN": math.NaN(), ".NAN": math.NaN(),
	".inf": math.Inf(1), ".Inf": math.Inf(1), ".INF": math.Inf(1),
	"+.inf": math.Inf(1), "+.Inf": math.Inf(1), "+.INF": math.Inf(1),
	"-.inf": math.Inf(-1), "-.Inf": math.Inf(-1), "-.INF": math.Inf(-1),
}

var floatText = regexp.MustCompile(`^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$`)

// resolve gives a plain scalar its YAML 1.1 meaning, as sigs.k8s.io/yaml has
// it: the result is nil, a bool, an int64, a float64 or a string.
func resolve(text string) any {
	if v, ok := words[text]; ok {
		return v
	}
	switch c := text[0]; {
	case c == '.':
		// The one place where the digits of a number are not looked at
		// closely: hexadecimal and underscores after a leading dot pass.
		if f, err := strconv.ParseFloat(text, 64); err == nil {
			return f
		}
	case c >= '0' && c <= '9', c == '-', c == '+':
		plain := strings.ReplaceAll(text, "_", "")
		if i, err := strconv.ParseInt(plain, 0, 64); err == nil {
			return i
		}
		if u, err := strconv.ParseUint(plain, 0, 64); err == nil {
			return float64(u)
		}
		if floatText.MatchString(plain) {
			if f, err := strconv.ParseFloat(plain, 64); err == nil {
				return f
			}
		}
	}
	return text
}

var errorLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)`)

// yamlError makes a parser's error one with a place. The message of yaml.v2 is
// preferred: it points at the problem where v3 points at the start of the
// enclosing mapping.
func yamlError(path string, data []byte, err error) error {
	text := err.Error()
	for stream := yaml2.NewDecoder(strings.NewReader(string(data))); ; {
		var skip yaml2.MapSlice
		err2 := decodeQuietly(stream, &skip)
		if err2 == nil {
			continue
		}
		if m := errorLine.FindStringSubmatch(err2.Error()); m != nil && !strings.Contains(m[2], "unmarshal") {
			text = err2.Error()
		}
		break
	}
	out := &DecodeError{Origin: Origin{path, 1}, Message: text, Syntax: true}
	if m := errorLine.FindStringSubmatch(text); m != nil {
		out.Message = m[2]
		if line, err := strconv.Atoi(m[1]); err == nil {
			out.Origin.Line = line
			if parserProblem.MatchString(m[2]) {
				out.Origin.Line++ // these count lines from 0
			}
			if beginsWithTab(data, out.Origin.Line) {
				out.Message = "the line is indented by a tab: YAML takes spaces only"
			}
		}
	}
	return out
}

// parserProblem matches the messages of the parser proper, as against the
// scanner below it.
var parserProblem = regexp.MustCompile(`^did not find expected (<stream|<document|node content|'-' indicator|key|',' or)|^found undefined tag handle|^found duplicate %`)

// beginsWithTab reports whether there is a tab in the indentation of a line.
func beginsWithTab(data []byte, line int) bool {
	for text := range strings.Lines(string(data)) {
		if line--; line == 0 {
			indent := text[:len(text)-len(strings.TrimLeft(text, " \t"))]
			return strings.Contains(indent, "\t")
		}
	}
	return false
}

// decodeQuietly treats a panic of the parser as the end of the stream.
func decodeQuietly(stream *yaml2.Decoder, into any) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	return stream.Decode(into)
}

func sortedKeys(m map[string]any) []string { return slices.Sorted(maps.Keys(m)) }
