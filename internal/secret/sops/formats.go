package sops

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

var errNoYAML = errors.New("it is no valid YAML")

// decryptYAML opens the encrypted documents of a file but those that skip
// takes out. Documents that follow each other with the same metadata were
// encrypted as one. If lines is set, each document begins at its line as
// before, if it can.
func (k *Keys) decryptYAML(data []byte, skip func(doc *yaml.Node) bool, lines bool) (_ []byte, encrypted bool, err error) {
	var docs []*yaml.Node
	for stream := yaml.NewDecoder(bytes.NewReader(data)); ; {
		var doc yaml.Node
		if err := stream.Decode(&doc); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			if skip == nil && bytes.Contains(data, []byte("mac: ENC[")) { // it would be taken as it is
				return nil, true, errNoYAML
			}
			return data, false, nil // whoever reads it says what is wrong
		}
		docs = append(docs, &doc)
	}
	for i := 0; i < len(docs); {
		if skip != nil && skip(docs[i]) {
			i++
			continue
		}
		meta, err := cut(docs[i])
		if err != nil {
			return nil, true, err
		}
		if meta == nil {
			i++
			continue
		}
		end := i + 1
		for ; end < len(docs) && (skip == nil || !skip(docs[end])) && at(docs[end], "sops", "mac") == meta.MAC; end++ {
			if _, err := cut(docs[end]); err != nil {
				return nil, true, err
			}
		}
		if err := k.open(docs[i:end], meta); err != nil {
			return nil, true, err
		}
		encrypted = true
		i = end
	}
	if !encrypted {
		return data, false, nil
	}
	marks := marks(data)
	leading := len(marks) == len(docs)
	if !lines || len(marks) != len(docs) && len(marks) != len(docs)-1 {
		marks, leading = make([]int, len(docs)), false
	}
	var out bytes.Buffer
	for i, doc := range docs {
		if i > 0 || leading {
			for n := bytes.Count(out.Bytes(), []byte("\n")); n < marks[0]; n++ {
				out.WriteByte('\n')
			}
			out.WriteString("---\n")
			marks = marks[1:]
		}
		encoder := yaml.NewEncoder(&out)
		encoder.SetIndent(4) // as sops
		if err := encoder.Encode(doc); err != nil {
			return nil, true, errNoYAML
		}
		encoder.Close()
	}
	return out.Bytes(), true, nil
}

// marks are the lines, from 0, that begin a document.
func marks(data []byte) []int {
	var out []int
	for i, line := range strings.Split(string(data), "\n") {
		if line = strings.TrimRight(line, " \t\r"); line == "---" || strings.HasPrefix(line, "--- ") {
			out = append(out, i)
		}
	}
	return out
}

// decryptJSON opens a JSON file, or what is wrapped in one.
func (k *Keys) decryptJSON(data []byte, format Format) (_ []byte, encrypted bool, err error) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	root, err := readJSON(decoder, 0)
	if err != nil || root.Kind != yaml.MappingNode {
		return data, false, nil
	}
	meta, err := cut(root)
	if meta == nil || err != nil {
		return data, err != nil, err
	}
	if err := k.open([]*yaml.Node{root}, meta); err != nil {
		return nil, true, err
	}
	if format == Binary {
		i := find(root, "data")
		if i < 0 || len(root.Content) != 2 {
			return nil, true, errors.New("it was not encrypted as binary; name the file, or its key, by its format")
		}
		return []byte(root.Content[i+1].Value), true, nil
	}
	var compact, out bytes.Buffer
	if err := writeJSON(&compact, root); err != nil {
		return nil, true, err
	}
	if err := json.Indent(&out, compact.Bytes(), "", "\t"); err != nil {
		return nil, true, err
	}
	out.WriteByte('\n')
	return out.Bytes(), true, nil
}

var errNoJSON = errors.New("it is no valid JSON")

// readJSON reads a value as a node, so that the order of keys is kept.
func readJSON(d *json.Decoder, depth int) (*yaml.Node, error) {
	token, err := d.Token()
	if err != nil || depth > maxDepth {
		return nil, errNoJSON
	}
	scalar := func(v any) (*yaml.Node, error) {
		n := &yaml.Node{}
		return n, n.Encode(v)
	}
	switch t := token.(type) {
	case json.Delim:
		n := &yaml.Node{Kind: yaml.SequenceNode}
		if t == '{' {
			n.Kind = yaml.MappingNode
		}
		for d.More() {
			inner, err := readJSON(d, depth+1)
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, inner)
		}
		_, err := d.Token()
		return n, err
	case json.Number:
		if i, err := t.Int64(); err == nil {
			return scalar(int(i))
		}
		f, err := t.Float64()
		if err != nil {
			return nil, errNoJSON
		}
		return scalar(f)
	}
	return scalar(token)
}

func writeJSON(out *bytes.Buffer, n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		var v any
		if err := n.Decode(&v); err != nil {
			return errNoJSON
		}
		data, err := json.Marshal(v)
		if err != nil {
			return errNoJSON
		}
		out.Write(data)
		return nil
	}
	mapping := n.Kind == yaml.MappingNode
	brackets := "[]"
	if mapping {
		brackets = "{}"
	}
	out.WriteByte(brackets[0])
	for i, inner := range n.Content {
		switch {
		case i == 0:
		case mapping && i%2 == 1:
			out.WriteByte(':')
		default:
			out.WriteByte(',')
		}
		if err := writeJSON(out, inner); err != nil {
			return err
		}
	}
	out.WriteByte(brackets[1])
	return nil
}

// decryptDotenv opens a file of lines KEY=value.
func (k *Keys) decryptDotenv(data []byte) (_ []byte, encrypted bool, err error) {
	const prefix = "sops_"
	root, flat := &yaml.Node{Kind: yaml.MappingNode}, map[string]string{}
	text := func(s string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s} }
	var comments []string
	for i, line := range strings.Split(string(data), "\n") {
		if line == "" {
			continue
		}
		if line[0] == '#' {
			comments = append(comments, line)
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok {
			return nil, true, fmt.Errorf("line %d: it is no KEY=value", i+1)
		}
		value = strings.ReplaceAll(value, `\n`, "\n")
		if name, ok := strings.CutPrefix(key, prefix); ok {
			flat[name] = value
			continue
		}
		n := text(key)
		n.HeadComment, comments = strings.Join(comments, "\n"), nil
		root.Content = append(root.Content, n, text(value))
	}
	if flat["mac"] == "" {
		return data, false, nil
	}
	meta, err := unflatten(flat)
	if err != nil {
		return nil, true, err
	}
	root.FootComment = strings.Join(comments, "\n")
	if err := k.open([]*yaml.Node{root}, meta); err != nil {
		return nil, true, err
	}
	var out strings.Builder
	write := func(line string) {
		if line != "" {
			out.WriteString(line + "\n")
		}
	}
	write(root.HeadComment)
	for i := 0; i < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		write(key.HeadComment)
		write(key.Value + "=" + strings.ReplaceAll(value.Value, "\n", `\n`))
		write(key.FootComment)
	}
	return []byte(out.String()), true, nil
}

// maxSteps bounds the nesting of metadata, which has five: a group, its keys,
// one of them, its context, and what is in that.
const maxSteps = 10

var errNoMetadata = errors.New("the metadata of sops cannot be read")

// unflatten reads metadata of which each value stands under one key, like
// age__list_0__map_enc.
func unflatten(flat map[string]string) (*metadata, error) {
	root := map[string]any{}
	for key, value := range flat {
		var into any = root
		steps := strings.Split(strings.ReplaceAll(key, "__list_", "__map_#"), "__map_")
		if len(steps) > maxSteps {
			return nil, errNoMetadata
		}
		for i, step := range steps {
			m := into.(map[string]any)
			if i == len(steps)-1 {
				m[step] = value
				break
			}
			inner, ok := m[step].(map[string]any)
			if !ok {
				inner = map[string]any{}
				m[step] = inner
			}
			into = inner
		}
	}
	data, err := yaml.Marshal(lists(root))
	meta := &metadata{}
	if err == nil {
		err = yaml.Unmarshal(data, (*weakly)(meta))
	}
	if err != nil {
		return nil, errNoMetadata
	}
	return meta, nil
}

// lists makes a list of each mapping with the keys #0, #1 and so on.
func lists(v any) any {
	m, ok := v.(map[string]any)
	if !ok {
		return v
	}
	var list []any
	for i := range len(m) {
		item, there := m["#"+strconv.Itoa(i)]
		if !there {
			break
		}
		list = append(list, lists(item))
	}
	if len(list) > 0 && len(list) == len(m) {
		return list
	}
	for key, item := range m {
		m[key] = lists(item)
	}
	return m
}

// weakly reads metadata of which every value is text.
type weakly metadata

func (w *weakly) UnmarshalYAML(n *yaml.Node) error {
	for i := 0; i+1 < len(n.Content); i += 2 {
		switch n.Content[i].Value {
		case "mac_only_encrypted", "shamir_threshold":
			n.Content[i+1].Tag, n.Content[i+1].Style = "", 0
		}
	}
	return n.Decode((*metadata)(w))
}
