package render

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
	"sigs.k8s.io/kustomize/api/types"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
)

// preflight walks a kustomization and all that it builds upon before Kustomize
// does, for two reasons: Kustomize takes a path that looks like an address for
// one, and would call it up; and it reports a missing or malformed file without
// saying who asked for it.
type preflight struct {
	files  *files
	remote bool // the app may use remote bases
	visits int

	missing   *app.Failure                    // of the first remote base that is not there
	remotes   map[string]Remote               // those that are, by where they stand
	rewritten map[string]map[string]string    // by file: what its remote references are in the tree
	parsed    map[string]*types.Kustomization // by file
	roots     []string                        // the directories being visited, outermost first

	order      []listed // what the objects are made of, as Kustomize takes it up
	disordered bool     // something in it adds, drops or sorts objects
}

// kustomizationAt is a parsed kustomization with its place.
type kustomizationAt struct {
	*types.Kustomization
	dir, file string
	plugins   bool // it builds configurations of plugins
}

// load reads and parses one kustomization file.
func (p *preflight) load(file string) (*types.Kustomization, error) {
	if k, ok := p.parsed[file]; ok {
		return k, nil
	}
	data, err := p.files.content(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if err := object.CheckSize(file, data); err != nil {
		return nil, err
	}
	var k types.Kustomization
	if err := k.Unmarshal(data); err != nil {
		return nil, kustomizationError(file, data, err)
	}
	k.FixKustomization()
	p.parsed[file] = &k
	return &k, nil
}

// visit checks k and what it refers to.
func (p *preflight) visit(k kustomizationAt) error {
	if p.visits++; p.visits > p.files.opts.MaxKustomizations {
		return failure(app.ReasonBuild, "%s: more than the %d kustomizations allowed are built", k.file, p.files.opts.MaxKustomizations)
	}
	if len(p.roots) >= p.files.opts.MaxDepth {
		return failure(app.ReasonBuild, "%s: kustomizations stand upon each other more than %d deep", k.file, p.files.opts.MaxDepth)
	}
	p.roots = append(p.roots, k.dir)
	defer func() { p.roots = p.roots[:len(p.roots)-1] }()

	if len(k.HelmCharts) > 0 {
		return p.unsupported(k, "helmCharts", "", "Helm charts are not inflated inside a kustomization").
			WithHint("deliver the chart as an app of its own, or commit its rendered manifests")
	}
	p.files.ahead(p.names(k))
	for _, step := range []func(kustomizationAt) error{p.bases, p.plugins, p.sources} {
		if err := step(k); err != nil {
			return err
		}
	}
	return nil
}

// bases checks resources and components.
func (p *preflight) bases(k kustomizationAt) error {
	for _, ref := range k.Resources {
		if err := p.base(k, "resources", ref, true); err != nil {
			return err
		}
	}
	p.listGenerators(k)
	for _, ref := range k.Components {
		if err := p.base(k, "components", ref, false); err != nil {
			return err
		}
	}
	return nil
}

// base checks one reference to a directory or, if allowed, a file.
func (p *preflight) base(k kustomizationAt, field, ref string, fileAllowed bool) error {
	var (
		name   string
		isDir  bool
		err    error
		remote = p.remote && !k.plugins && (field == "resources" || field == "components") && isRemote(ref)
	)
	if !remote {
		name, isDir, err = p.local(k, field, ref)
	} else if name, err = p.remoteBase(k, field, ref); err == nil && name != "" {
		name, isDir, err = p.entry(k, field, ref, name)
	}
	if err != nil || name == "" {
		return err
	}
	if !isDir {
		switch {
		case !fileAllowed, remote:
			return p.refuse(k, field, ref, "%s is a file, not a directory", ref)
		case k.plugins:
			return p.pluginFile(k, name)
		}
		p.list(k, name)
		return nil
	}
	for _, root := range p.roots {
		if name == root || name == "." || strings.HasPrefix(root, name+"/") {
			return p.refuse(k, field, ref, "%s leads back to %s, which is being built", ref, show(root)).
				WithHint("a kustomization can build neither on itself nor on a directory above it")
		}
	}
	file, err := p.files.kustomizationFile(name)
	if err != nil {
		return err
	}
	if file == "" {
		return p.refuse(k, field, ref, "there is no kustomization.yaml in %s", show(name)).
			WithHint("add one, or list the manifests one by one")
	}
	base, err := p.load(file)
	if err != nil {
		return err
	}
	if isComponent := base.Kind == types.ComponentKind; isComponent == fileAllowed {
		if isComponent {
			return p.refuse(k, field, ref, "%s is a Component", show(name)).WithHint("list it under components")
		}
		return p.refuse(k, field, ref, "%s is no Component", show(name)).WithHint("list it under resources, or set `kind: Component` in it")
	}
	return p.visit(kustomizationAt{Kustomization: base, dir: name, file: file, plugins: k.plugins})
}

// source is a field of a kustomization that names a file.
type source struct{ field, ref string }

// sourcesOf lists the files that a kustomization reads besides its resources.
func sourcesOf(k kustomizationAt) []source {
	var refs []source
	add := func(field string, values ...string) {
		for _, v := range values {
			if v != "" {
				refs = append(refs, source{field, v})
			}
		}
	}
	add("crds", k.Crds...)
	add("configurations", k.Configurations...)
	for key, value := range k.OpenAPI {
		if strings.EqualFold(key, "path") {
			add("openapi", value)
		}
	}
	for _, patch := range k.Patches {
		add("patches", patch.Path)
	}
	//lint:ignore SA1019 users still write it
	for _, patch := range k.PatchesJson6902 {
		add("patchesJson6902", patch.Path)
	}
	//lint:ignore SA1019 users still write it
	for _, patch := range k.PatchesStrategicMerge {
		if !isYAMLMapping(string(patch)) {
			add("patchesStrategicMerge", string(patch))
		}
	}
	for _, replacement := range k.Replacements {
		add("replacements", replacement.Path)
	}
	generator := func(field string, s types.KvPairSources) {
		for _, f := range s.FileSources {
			if _, after, named := strings.Cut(f, "="); named {
				f = after
			}
			add(field, f)
		}
		add(field, s.EnvSources...)
		add(field, s.EnvSource)
	}
	for _, g := range k.ConfigMapGenerator {
		generator("configMapGenerator", g.KvPairSources)
	}
	for _, g := range k.SecretGenerator {
		generator("secretGenerator", g.KvPairSources)
	}
	return refs
}

// sources checks the files that a kustomization reads besides its resources.
func (p *preflight) sources(k kustomizationAt) error {
	for _, s := range sourcesOf(k) {
		_, isDir, err := p.local(k, s.field, s.ref)
		if err == nil && isDir {
			err = p.refuse(k, s.field, s.ref, "%s is a directory, not a file", s.ref)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// names are what k refers to in the tree, and what it will be looked for there
// if that is a directory.
func (p *preflight) names(k kustomizationAt) []string {
	var names []string
	add := func(ref string, mayBeDirectory bool) {
		name := path.Join(k.dir, ref)
		if ref == "" || path.IsAbs(ref) || isRemote(ref) || !fs.ValidPath(name) || repositoryOf(name) != repositoryOf(k.dir) {
			return
		}
		names = append(names, name)
		if ext := path.Ext(name); mayBeDirectory && ext != ".yaml" && ext != ".yml" && ext != ".json" {
			names = appendKustomizationFiles(names, name)
		}
	}
	for _, ref := range k.Resources {
		add(ref, true)
	}
	for _, ref := range k.Components {
		add(ref, true)
	}
	for _, s := range sourcesOf(k) {
		add(s.ref, false)
	}
	return names
}

// local resolves a reference to a name in the tree.
func (p *preflight) local(k kustomizationAt, field, ref string) (name string, isDir bool, err error) {
	if isRemote(ref) {
		if field == "resources" || field == "components" {
			return "", false, p.unsupported(k, field, ref, "remote bases are not allowed: %s", hideUserinfo(ref)).
				WithHint("copy it into the repository, or allow them where Plumb is started: --allow-remote-bases")
		}
		return "", false, p.unsupported(k, field, ref, "remote files are not read: %s", hideUserinfo(ref)).
			WithHint("copy it into the repository")
	}
	joined := path.Join(k.dir, ref)
	switch {
	case ref == "":
		return "", false, p.refuse(k, field, ref, "a path is empty")
	case path.IsAbs(ref):
		return "", false, p.refuse(k, field, ref, "%s is an absolute path", ref).WithHint("write it relative to %s", k.file)
	case joined == ".." || strings.HasPrefix(joined, "../"):
		return "", false, p.refuse(k, field, ref, "%s leaves the source tree", ref).
			WithHint("only what is in the same source can be read: move it there")
	case repositoryOf(joined) != repositoryOf(k.dir):
		return "", false, p.refuse(k, field, ref, "%s leaves the repository", ref)
	}
	return p.entry(k, field, ref, joined)
}

// entry tells what stands at a name that a reference was resolved to.
func (p *preflight) entry(k kustomizationAt, field, ref, joined string) (name string, isDir bool, err error) {
	real, info, err := p.files.stat(joined)
	if err != nil {
		if stopped := p.files.alive(); stopped != nil {
			return "", false, stopped
		}
		f := p.refuse(k, field, ref, "%s: %s", ref, cause(err))
		if errors.Is(err, fs.ErrNotExist) {
			f.Hint = "correct the name, commit the file, or take it out of the kustomization"
		}
		return "", false, f
	}
	if info.IsDir() {
		return real, true, nil
	}
	return joined, false, nil
}

// refuse makes the failure of one reference of a kustomization.
func (p *preflight) refuse(k kustomizationAt, field, ref, format string, args ...any) *app.Failure {
	at := object.Origin{Path: k.file, Line: lineOfValue(p.files.peek(k.file), field, ref)}
	if at.Line == 0 && ref != "" && len(p.roots) == 1 {
		// The app adds to the outermost kustomization what is not in the file.
		return failure(app.ReasonBuild, "%s of the app: %s", field, fmt.Sprintf(format, args...))
	}
	return failure(app.ReasonBuild, "%s: %s: %s", at, field, fmt.Sprintf(format, args...))
}

func (p *preflight) unsupported(k kustomizationAt, field, ref, format string, args ...any) *app.Failure {
	f := p.refuse(k, field, ref, format, args...)
	f.Reason = app.ReasonUnsupported
	return f
}

var (
	schemePattern = regexp.MustCompile(`(?i)^(git::|[a-z][a-z0-9+.-]*://|github\.com[/:])`)
	userPattern   = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9-]*@`)
)

// isRemote reports whether Kustomize might take ref for the address of a
// repository or a file elsewhere. It errs on the safe side: a directory name
// like user@host must be written ./user@host.
func isRemote(ref string) bool {
	if u, err := url.Parse(ref); err == nil && (u.Scheme == "http" || u.Scheme == "https") {
		return true
	}
	return schemePattern.MatchString(ref) || userPattern.MatchString(ref)
}

// hideUserinfo removes credentials and the query from an address.
func hideUserinfo(ref string) string {
	ref, _, _ = strings.Cut(ref, "?")
	before, after, found := strings.Cut(ref, "://")
	switch at := strings.LastIndex(after, "@"); {
	case found && at >= 0:
		return before + "://" + after[at+1:]
	case found:
		return ref
	}
	// user@host:path shows its user; user:password@host:path is nothing that
	// anyone understands, and must not be repeated either.
	if user, rest, found := strings.Cut(ref, "@"); found && strings.Contains(user, ":") {
		return rest
	}
	return ref
}

// isYAMLMapping tells an inline document from a path.
func isYAMLMapping(text string) bool {
	var node yaml.Node
	err := yaml.NewDecoder(strings.NewReader(text)).Decode(&node)
	return err == nil && node.Kind == yaml.DocumentNode && len(node.Content) == 1 && node.Content[0].Kind == yaml.MappingNode
}
