package object

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// parseJSON reads one or more JSON values. Its error is nil or of this type.
func parseJSON(path string, data []byte) ([]document, *DecodeError) {
	p := jsonParser{path: path, data: data, dec: json.NewDecoder(bytes.NewReader(data))}
	p.dec.UseNumber()
	var docs []document
	for {
		line := p.next()
		value, err := p.value(0)
		if errors.Is(err, io.EOF) && p.atEnd() {
			return docs, nil
		}
		if err != nil {
			var de *DecodeError
			if errors.As(err, &de) {
				return nil, de
			}
			return nil, p.fail(true, "%s", jsonMessage(err))
		}
		docs = append(docs, document{value: value, line: line, lines: func(...string) int { return line }})
	}
}

// jsonParser builds values token by token, to see keys that occur twice.
type jsonParser struct {
	path string
	data []byte
	dec  *json.Decoder
}

func (p *jsonParser) line() int {
	return 1 + bytes.Count(p.data[:min(int(p.dec.InputOffset()), len(p.data))], []byte("\n"))
}

// next is the line of the next content.
func (p *jsonParser) next() int {
	rest := p.data[min(int(p.dec.InputOffset()), len(p.data)):]
	blank := len(rest) - len(bytes.TrimLeft(rest, " \t\r\n"))
	return p.line() + bytes.Count(rest[:blank], []byte("\n"))
}

func (p *jsonParser) atEnd() bool {
	return len(bytes.TrimSpace(p.data[min(int(p.dec.InputOffset()), len(p.data)):])) == 0
}

func (p *jsonParser) fail(syntax bool, format string, args ...any) *DecodeError {
	return &DecodeError{Origin: Origin{p.path, p.line()}, Message: fmt.Sprintf(format, args...), Syntax: syntax}
}

func jsonMessage(err error) string {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return "the JSON text ends too early"
	}
	return "invalid JSON: " + err.Error()
}

func (p *jsonParser) value(depth int) (any, error) {
	if depth > maxDepth {
		return nil, p.fail(false, "values are nested more than %d deep", maxDepth)
	}
	token, err := p.dec.Token()
	if err != nil {
		return nil, err
	}
	switch token := token.(type) {
	case json.Delim:
		if token == '[' {
			return p.array(depth)
		}
		return p.object(depth)
	case json.Number:
		if i, err := token.Int64(); err == nil {
			return i, nil
		}
		f, err := token.Float64()
		if err != nil {
			return nil, p.fail(false, "the number does not fit into 64 bits")
		}
		return number(f), nil
	}
	return token, nil
}

func (p *jsonParser) array(depth int) (any, error) {
	out := []any{}
	for p.dec.More() {
		v, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	_, err := p.dec.Token()
	return out, err
}

func (p *jsonParser) object(depth int) (any, error) {
	out := map[string]any{}
	for p.dec.More() {
		token, err := p.dec.Token()
		if err != nil {
			return nil, err
		}
		key, ok := token.(string)
		if !ok {
			return nil, p.fail(true, "invalid JSON: a key must be a string")
		}
		if _, twice := out[key]; twice {
			return nil, p.fail(false, "key %q is set twice in one mapping", key)
		}
		if out[key], err = p.value(depth + 1); err != nil {
			return nil, err
		}
	}
	_, err := p.dec.Token()
	return out, err
}
