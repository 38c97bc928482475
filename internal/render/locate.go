package render

import (
	"bytes"
	"errors"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	"sigs.k8s.io/kustomize/api/resource"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
)

// place is one document of a file.
type place struct {
	line       int
	kind, name string
}

// placer finds where rendered objects were written.
type placer struct {
	files *files
	dir   string // that was built; origins are relative to it
	index map[string][]place
}

func newPlacer(files *files, dir string) *placer {
	return &placer{files: files, dir: dir, index: map[string][]place{}}
}

// origin maps what Kustomize recorded to a place in the tree.
func (p *placer) origin(o *resource.Origin, kind, name string) object.Origin {
	if o == nil {
		return object.Origin{}
	}
	file := o.Path
	generator := file == ""
	if generator {
		file = o.ConfiguredIn
	}
	file = p.real(path.Join(p.dir, file))
	if generator {
		return object.Origin{Path: file, Line: lineOfGenerator(p.files.peek(file), kind, name)}
	}
	return object.Origin{Path: file, Line: p.line(file, kind, name)}
}

// real is how a file is named once links are followed.
func (p *placer) real(file string) string {
	if real, err := p.files.resolve(file); err == nil {
		return real
	}
	return file
}

// documents are those of a file.
func (p *placer) documents(file string) []place {
	places, ok := p.index[file]
	if !ok {
		places = scanDocuments(p.files.peek(file))
		p.index[file] = places
	}
	return places
}

// line finds the document of that kind whose name the rendered name was made
// of; names may have got a prefix and a suffix.
func (p *placer) line(file, kind, name string) int {
	places := p.documents(file)
	best, length := 0, -1
	for _, at := range places {
		if at.kind == kind && strings.Contains(name, at.name) && len(at.name) > length {
			best, length = at.line, len(at.name)
		}
	}
	if best == 0 && len(places) == 1 {
		return places[0].line
	}
	return best
}

var (
	topField  = regexp.MustCompile(`^(kind|metadata):\s*(?:["']?([^"'#\s{]*))`)
	nameField = regexp.MustCompile(`^name:\s*["']?([^"'#\s]+)`)
	flowName  = regexp.MustCompile(`^metadata:\s*\{(?:[^{}]*[\s,])?name:\s*["']?([^"',}\s]+)`)
)

// scanDocuments finds the documents of a YAML text with kind and name, reading
// it by line: it is for messages, and must cost next to nothing.
func scanDocuments(data []byte) []place {
	var places []place
	at := place{}
	const outside, entering = -1, 0
	indent := outside // of the fields of metadata, entering before the first of them
	flush := func() {
		if at.line > 0 {
			places = append(places, at)
		}
		at, indent = place{}, outside
	}
	for i, line := range strings.Split(string(data), "\n") {
		line = strings.TrimSuffix(line, "\r")
		trimmed := strings.TrimLeft(line, " ")
		switch {
		case line == "---" || strings.HasPrefix(line, "--- "):
			flush()
			continue
		case strings.TrimSpace(trimmed) == "" || trimmed[0] == '#':
			continue
		}
		if at.line == 0 {
			at.line = i + 1
		}
		if depth := len(line) - len(trimmed); depth > 0 {
			if indent == entering {
				indent = depth
			}
			if depth == indent && at.name == "" {
				if m := nameField.FindStringSubmatch(trimmed); m != nil {
					at.name = m[1]
				}
			}
			continue
		}
		m := topField.FindStringSubmatch(line)
		switch {
		case m == nil:
			if line[0] != '-' {
				indent = outside
			}
		case m[1] == "kind":
			at.kind, indent = m[2], outside
		default:
			indent = entering
			if m := flowName.FindStringSubmatch(line); m != nil {
				at.name = m[1]
			}
		}
	}
	flush()
	return places
}

// parseNode reads the first document of a YAML text, nil if it is none.
func parseNode(data []byte) *yaml.Node {
	var node yaml.Node
	if err := yaml.NewDecoder(bytes.NewReader(data)).Decode(&node); err != nil || len(node.Content) == 0 || node.Content[0].Kind != yaml.MappingNode {
		return nil
	}
	return node.Content[0]
}

// fields visits the top-level fields of a mapping.
func fields(node *yaml.Node, visit func(key, value *yaml.Node)) {
	if node == nil {
		return
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		visit(node.Content[i], node.Content[i+1])
	}
}

// lineOfValue finds the line of a top-level field of a kustomization or, if
// value is given, of that value below it; 0 if there is none.
func lineOfValue(data []byte, field, value string) int {
	line := 0
	fields(parseNode(data), func(key, in *yaml.Node) {
		same := strings.EqualFold(key.Value, field) || field == "resources" && strings.EqualFold(key.Value, "bases")
		if !same || line != 0 {
			return
		}
		if value == "" {
			line = key.Line
			return
		}
		var find func(*yaml.Node, int)
		find = func(n *yaml.Node, depth int) {
			if line == 0 && n.Kind == yaml.ScalarNode && (n.Value == value || strings.HasSuffix(n.Value, "="+value)) {
				line = n.Line
			}
			for _, inner := range n.Content {
				if depth < 8 {
					find(inner, depth+1)
				}
			}
		}
		find(in, 0)
	})
	return line
}

// lineOfGenerator finds the entry of a configMapGenerator or secretGenerator
// that made the object.
func lineOfGenerator(data []byte, kind, name string) int {
	line, length := 0, -1
	fields(parseNode(data), func(key, list *yaml.Node) {
		if !strings.EqualFold(key.Value, kind+"Generator") || list.Kind != yaml.SequenceNode {
			return
		}
		for _, entry := range list.Content {
			if entry.Kind != yaml.MappingNode {
				continue
			}
			fields(entry, func(k, v *yaml.Node) {
				if k.Value == "name" && strings.Contains(name, v.Value) && len(v.Value) > length {
					line, length = entry.Line, len(v.Value)
				}
			})
		}
	})
	return line
}

// cause is what went wrong with a file, without the path that the caller says.
func cause(err error) string {
	var pathError *fs.PathError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "no such file or directory"
	case errors.As(err, &pathError):
		return pathError.Err.Error()
	}
	return err.Error()
}

var unknownField = regexp.MustCompile(`unknown field "([^"]*)"`)

// kustomizationError is what is wrong with a kustomization file itself.
func kustomizationError(file string, data []byte, err error) error {
	if _, syntax := object.Values(file, data); syntax != nil {
		return failure(app.ReasonBuild, "%w", syntax).WithHint("correct the file")
	}
	at := object.Origin{Path: file, Line: 1}
	if m := unknownField.FindStringSubmatch(err.Error()); m != nil {
		var find func(*yaml.Node, int)
		found := 0
		find = func(n *yaml.Node, depth int) {
			fields(n, func(key, value *yaml.Node) {
				if found == 0 && key.Value == m[1] {
					found = key.Line
				}
			})
			for _, inner := range n.Content {
				if depth < 8 {
					find(inner, depth+1)
				}
			}
		}
		if root := parseNode(data); root != nil {
			find(root, 0)
		}
		if found > 0 {
			at.Line = found
		}
		return failure(app.ReasonBuild, "%s: a kustomization has no field %q", at, m[1]).WithHint("check the spelling; remove it if it is from another tool")
	}
	return failure(app.ReasonBuild, "%s: %s", at, publicPart(err)).WithHint("correct the file")
}

// diagnose finds the file and line behind an error of Kustomize, which itself
// names neither.
func (r *rendering) diagnose(p *preflight, root string, err error) error {
	if stopped := r.files.stopped; stopped != nil {
		return stopped
	}
	text := publicPart(err)
	// A file that is no YAML. Only what kustomizations list as resources or
	// patches is looked at: other files may hold anything.
	for _, file := range r.files.read {
		if p.parsed[file] != nil || !slices.Contains([]string{".yaml", ".yml", ".json"}, path.Ext(file)) {
			continue
		}
		data := r.files.peek(file)
		_, wrong := object.Values(file, data)
		if wrong == nil && strings.Contains(err.Error(), "accumulating resources from") {
			_, wrong = object.Decode(file, data)
		}
		if wrong != nil && strings.Contains(err.Error(), path.Base(file)) {
			return failure(app.ReasonBuild, "%w", wrong).WithHint("correct the file")
		}
	}
	if where, wrong := p.badPatch(); wrong != nil {
		return failure(app.ReasonBuild, "%s: the patch: %s", where, wrong.Message)
	}
	at, hint := object.Origin{Path: root}, ""
	if m := targetID.FindStringSubmatch(err.Error()); m != nil {
		if where := r.findPatch(m[1], m[2]); where.Line > 0 {
			at = where
		}
	}
	if strings.Contains(text, "no matches for Id") {
		hint = "the kind, name and namespace of a patch are those that its object has before this kustomization changes them"
	}
	return failure(app.ReasonBuild, "%s: %s", at, text).WithHint("%s", hint)
}

// badPatch finds an inline patch that is no YAML.
func (p *preflight) badPatch() (object.Origin, *object.DecodeError) {
	for _, file := range slices.Sorted(maps.Keys(p.parsed)) {
		for _, patch := range p.parsed[file].Patches {
			_, err := object.Values(file, []byte(patch.Patch))
			var wrong *object.DecodeError
			if errors.As(err, &wrong) {
				return object.Origin{Path: file, Line: lineOfValue(p.files.peek(file), "patches", patch.Patch)}, wrong
			}
		}
	}
	return object.Origin{}, nil
}

// targetID matches the identity that Kustomize names when it finds no object
// for a patch: Kind.version.group/name.namespace.
var targetID = regexp.MustCompile(`([A-Z][A-Za-z0-9]*)\.[a-z0-9]+\.[^/" ]*/([^" ]+?)\.(?:\[noNs\]|[a-z0-9-]+)(["'\s;:]|$)`)

// findPatch finds a document by kind and name among the files read last.
func (r *rendering) findPatch(kind, name string) object.Origin {
	for i := len(r.files.read) - 1; i >= 0; i-- {
		for _, at := range scanDocuments(r.files.peek(r.files.read[i])) {
			if at.kind == kind && at.name == name {
				return object.Origin{Path: r.files.read[i], Line: at.line}
			}
		}
	}
	return object.Origin{}
}

// quotedContent starts the parts of Kustomize's messages that quote manifests,
// patches or literals, which may hold secrets.
var quotedContent = regexp.MustCompile("(?s)(:?\\s*(with config:|\\[patch:|in object|for value|invalid literal source|utf8 bytes|decoding |must specify a target for patch|cannot be found in|`|\\{|\n)).*")

// safePhrases are parts of messages that quote nothing and may come after what
// is quoted.
var safePhrases = []string{
	"unable to parse SM or JSON patch", "must specify a target for JSON patch", "must specify one of patch and path",
	"patch and path can't be set at the same time", "illegally qualifies as both an SM and JSON patch",
}

// publicPart is an error of Kustomize without what it quotes from files, in
// paths of the tree.
func publicPart(err error) string {
	text := err.Error()
	// Kustomize tries each resource as a file, then as a directory, and
	// reports both: `… err='<as file>': <as directory>`, at every level.
	const tried, noDirectory, recursed, end = "accumulation err='", "': must build at directory", "recursed accumulation of path '", "': "
	if i := strings.LastIndex(text, noDirectory); i >= 0 {
		if j := strings.LastIndex(text[:i], tried); j >= 0 {
			text = text[j+len(tried) : i]
		}
	} else if i := strings.LastIndex(text, recursed); i >= 0 {
		if j := strings.Index(text[i:], end); j >= 0 {
			text = text[i+j+len(end):]
		}
	}
	text = targetID.ReplaceAllString(text, "$1/$2$3")
	public := quotedContent.ReplaceAllString(text, "")
	for _, phrase := range safePhrases {
		if strings.Contains(text, phrase) && !strings.Contains(public, phrase) {
			public += ": " + phrase
		}
	}
	if public == "" {
		public = "Kustomize refuses it"
	}
	return firstLine(public)
}
