package object

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// DecodeError is a manifest that cannot be read, with its place. The message
// never quotes values, which may be secret.
type DecodeError struct {
	Origin  Origin
	Message string
	// Syntax is set if the text is no YAML or JSON at all, as against a
	// document that is no Kubernetes object.
	Syntax bool
	tooBig bool // it expands or nests beyond bounds
}

func (e *DecodeError) Error() string { return e.Origin.String() + ": " + e.Message }

// Decoder reads manifests. The zero value is strict.
type Decoder struct {
	// Lenient skips documents that name no apiVersion or no kind instead of
	// failing, as Argo CD does for directories of plain manifests.
	Lenient bool
}

// Decode reads a YAML stream or JSON text strictly; see Decoder.Decode.
func Decode(path string, data []byte) ([]Object, error) { return Decoder{}.Decode(path, data) }

// Decode reads all objects of a manifest file. Documents are separated as YAML
// and kubectl have it; empty ones are skipped; lists are expanded into their
// items. Scalars mean what they mean to kubectl, that is YAML 1.1 (`yes` is
// true, 0755 is octal, timestamps are text), and numbers without a fraction
// are integers. A key that occurs twice is an error. Every error is a
// *DecodeError. What aliases expand to is bounded by the size of the text.
func (d Decoder) Decode(path string, data []byte) (objects []Object, err error) {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	if !utf8.Valid(data) {
		return nil, &DecodeError{Origin: Origin{path, invalidLine(data)}, Message: "the text is not valid UTF-8", Syntax: true}
	}
	docs, err := parse(path, data)
	if err != nil {
		return nil, err
	}
	for _, doc := range docs {
		found, err := d.document(path, doc, 0)
		if err != nil {
			return nil, err
		}
		objects = append(objects, found...)
	}
	return objects, nil
}

// document is one parsed document.
type document struct {
	value any
	line  int                 // of its first content
	lines func(...string) int // line of a field, or of the nearest known parent
}

// parse reads the documents of a text, as JSON if it looks like JSON.
func parse(path string, data []byte) ([]document, error) {
	trimmed := bytes.TrimLeft(data, " \t\r\n")
	if len(trimmed) > 0 && (trimmed[0] == '{' || trimmed[0] == '[') {
		docs, err := parseJSON(path, data)
		if err == nil || strings.HasSuffix(path, ".json") || !err.Syntax {
			if err != nil {
				return nil, err
			}
			return docs, nil
		}
		// A flow mapping looks like JSON and is not.
	}
	return parseYAML(path, data)
}

func invalidLine(data []byte) int {
	line := 1
	for i, part := range bytes.Split(data, []byte("\n")) {
		if !utf8.Valid(part) {
			return i + 1
		}
		line = i + 1
	}
	return line
}

// maxListNesting bounds lists of lists.
const maxListNesting = 4

// document turns one document into its objects.
func (d Decoder) document(path string, doc document, nesting int) ([]Object, error) {
	fail := func(line int, format string, args ...any) error {
		return &DecodeError{Origin: Origin{path, line}, Message: fmt.Sprintf(format, args...)}
	}
	if doc.value == nil {
		return nil, nil
	}
	content, ok := doc.value.(map[string]any)
	if !ok {
		if d.Lenient {
			return nil, nil
		}
		return nil, fail(doc.line, "the document is %s, not a Kubernetes object", article(doc.value))
	}
	if len(content) == 0 {
		return nil, nil
	}
	for _, field := range []string{"apiVersion", "kind"} {
		switch value := content[field].(type) {
		case string:
			if value != "" {
				continue
			}
		case nil:
		default:
			return nil, fail(doc.lines(field), "%s must be a string, not %s", field, article(value))
		}
		if d.Lenient {
			return nil, nil
		}
		return nil, fail(doc.line, "%s is missing: every Kubernetes object needs apiVersion, kind and metadata.name", field)
	}
	if items, ok := listItems(content); ok {
		return d.list(path, doc, content, items, nesting)
	}
	if message, at := checkMetadata(content); message != "" {
		return nil, fail(doc.lines(at...), "%s", message)
	}
	return []Object{New(content, Origin{path, doc.line})}, nil
}

// listItems reports whether content is a list to be expanded: v1 List, or a
// kind that ends in List, has items and, as lists do, no name of its own.
func listItems(content map[string]any) ([]any, bool) {
	kind, _ := content["kind"].(string)
	items, isArray := content["items"].([]any)
	if kind == "List" && content["apiVersion"] == "v1" {
		return items, isArray || content["items"] == nil
	}
	meta, _ := content["metadata"].(map[string]any)
	return items, strings.HasSuffix(kind, "List") && isArray && meta["name"] == nil
}

func (d Decoder) list(path string, doc document, content map[string]any, items []any, nesting int) ([]Object, error) {
	if nesting >= maxListNesting {
		return nil, &DecodeError{Origin: Origin{path, doc.line}, Message: fmt.Sprintf("lists are nested more than %d deep", maxListNesting)}
	}
	itemKind := strings.TrimSuffix(content["kind"].(string), "List")
	var out []Object
	for i, item := range items {
		at := doc.lines("items", fmt.Sprint(i))
		m, ok := item.(map[string]any)
		if !ok {
			return nil, &DecodeError{Origin: Origin{path, at}, Message: fmt.Sprintf("items[%d] is %s, not a Kubernetes object", i, article(item))}
		}
		if itemKind != "" && m["kind"] == nil && m["apiVersion"] == nil {
			// Typed lists leave out what the list's own kind says.
			m["apiVersion"], m["kind"] = content["apiVersion"], itemKind
		}
		lines := func(fields ...string) int {
			return doc.lines(append([]string{"items", fmt.Sprint(i)}, fields...)...)
		}
		objects, err := d.document(path, document{value: m, line: at, lines: lines}, nesting+1)
		if err != nil {
			return nil, err
		}
		out = append(out, objects...)
	}
	return out, nil
}

// checkMetadata returns what is wrong with an object's metadata and the field
// where, or "".
func checkMetadata(content map[string]any) (message string, field []string) {
	const missing = "metadata.name is missing: every Kubernetes object needs apiVersion, kind and metadata.name"
	switch content["metadata"].(type) {
	case map[string]any:
	case nil:
		return missing, nil
	default:
		return "metadata must be a mapping, not " + article(content["metadata"]), []string{"metadata"}
	}
	meta := content["metadata"].(map[string]any)
	for _, key := range []string{"name", "generateName", "namespace"} {
		if value, ok := meta[key].(string); !ok && meta[key] != nil {
			return fmt.Sprintf("metadata.%s must be a string, not %s: put it in quotes", key, article(meta[key])), []string{"metadata", key}
		} else if strings.ContainsAny(value, "/%") && key != "generateName" {
			return fmt.Sprintf("metadata.%s may not contain / or %%", key), []string{"metadata", key}
		}
	}
	name, _ := meta["name"].(string)
	prefix, _ := meta["generateName"].(string)
	if name == "" && prefix == "" {
		return missing, []string{"metadata"}
	}
	for _, key := range []string{"labels", "annotations"} {
		switch values := meta[key].(type) {
		case nil:
		case map[string]any:
			for _, k := range sortedKeys(values) {
				if _, ok := values[k].(string); !ok && values[k] != nil {
					return fmt.Sprintf("metadata.%s[%q] must be a string, not %s: put it in quotes", key, k, article(values[k])),
						[]string{"metadata", key, k}
				}
			}
		default:
			return fmt.Sprintf("metadata.%s must be a mapping, not %s", key, article(values)), []string{"metadata", key}
		}
	}
	return "", nil
}

// article names the type of a decoded value for a person.
func article(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "a boolean"
	case int64, float64:
		return "a number"
	case string:
		return "a string"
	case []any:
		return "a sequence"
	}
	return "a mapping"
}

// parseYAML reads a YAML stream.
func parseYAML(path string, data []byte) (docs []document, err error) {
	defer func() {
		// The parser reports some rare inputs by panicking.
		if r := recover(); r != nil {
			docs, err = nil, &DecodeError{Origin: Origin{Path: path}, Message: fmt.Sprintf("YAML parser: %v", r), Syntax: true}
		}
	}()
	// A node costs nodeWeight and takes at least two bytes of text, so only
	// what aliases repeat can exceed this.
	c := converter{path: path, budget: 16<<20 + nodeWeight*len(data)}
	for stream := yaml.NewDecoder(bytes.NewReader(data)); ; {
		var node yaml.Node
		if err := stream.Decode(&node); err != nil {
			if errors.Is(err, io.EOF) {
				return docs, nil
			}
			return nil, yamlError(path, data, err)
		}
		if node.Kind != yaml.DocumentNode || len(node.Content) == 0 {
			continue
		}
		root := node.Content[0]
		value, err := c.value(root, 0)
		if err != nil {
			return nil, err
		}
		docs = append(docs, document{
			value: value,
			line:  root.Line,
			lines: func(fields ...string) int { return lineOf(root, fields) },
		})
	}
}

// lineOf finds the line of a field, or of its nearest parent that exists.
func lineOf(node *yaml.Node, fields []string) int {
	line := node.Line
	for _, field := range fields {
		if node.Kind == yaml.AliasNode {
			node = node.Alias
		}
		next := (*yaml.Node)(nil)
		switch node.Kind {
		case yaml.MappingNode:
			for i := 0; i+1 < len(node.Content); i += 2 {
				if node.Content[i].Value == field {
					next, line = node.Content[i+1], node.Content[i].Line
				}
			}
		case yaml.SequenceNode:
			for i, item := range node.Content {
				if fmt.Sprint(i) == field {
					next, line = item, item.Line
				}
			}
		}
		if next == nil {
			return line
		}
		node = next
	}
	return line
}

// Values reads the documents of a YAML stream or JSON text as JSON values, by
// the same rules as Decode, whatever they are. Empty documents are nil.
func Values(path string, data []byte) ([]any, error) {
	docs, err := parse(path, data)
	if err != nil {
		return nil, err
	}
	values := make([]any, len(docs))
	for i, doc := range docs {
		values[i] = doc.value
	}
	return values, nil
}

// CheckSize reports whether the YAML in data, if it is any, expands or nests
// beyond what Decode accepts. Text that is no YAML is no error here.
func CheckSize(path string, data []byte) error {
	_, err := parseYAML(path, data)
	var wrong *DecodeError
	if errors.As(err, &wrong) && wrong.tooBig {
		return err
	}
	return nil
}
