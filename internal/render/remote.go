package render

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"

	"sigs.k8s.io/kustomize/api/resource"

	"plumb.dev/plumb/internal/app"
)

// RemoteDir is the directory of a tree in which remote bases stand, each under
// the name that Remote.Mount gives. Rendering fetches nothing: it looks there
// and, where a base is not, fails. Whoever provides the tree learns from the
// look what is wanted, and may bring it and render again. No repository can
// have files of its own under this name.
const RemoteDir = ".plumb-remote"

// Remote is a repository that a kustomization builds upon, at a ref.
type Remote struct {
	URL string // as Git has it, without user and password where it is http
	Ref string // branch, tag or commit; "" is HEAD
}

// Mount is where the files of r stand in a tree.
func (r Remote) Mount() string {
	return RemoteDir + "/" + base64.RawURLEncoding.EncodeToString([]byte(r.URL+"\x00"+r.Ref))
}

// String is r as messages show it.
func (r Remote) String() string {
	if r.Ref == "" {
		return r.URL
	}
	return r.URL + "@" + r.Ref
}

// RemoteAt tells which base a name below RemoteDir belongs to, and where in it
// that is.
func RemoteAt(name string) (r Remote, within string, ok bool) {
	rest, ok := strings.CutPrefix(name, RemoteDir+"/")
	if !ok {
		return Remote{}, "", false
	}
	mount, within, deep := strings.Cut(rest, "/")
	if !deep {
		within = "."
	}
	data, err := base64.RawURLEncoding.DecodeString(mount)
	if err != nil {
		return Remote{}, "", false
	}
	address, ref, ok := strings.Cut(string(data), "\x00")
	return Remote{address, ref}, within, ok
}

// repositoryOf is the root of the repository that a name of the tree lies in:
// "." for the app's own. No link and no path leads from one to another.
func repositoryOf(name string) string {
	if name == RemoteDir {
		return RemoteDir
	}
	rest, ok := strings.CutPrefix(name, RemoteDir+"/")
	if !ok {
		return "."
	}
	mount, _, _ := strings.Cut(rest, "/")
	return RemoteDir + "/" + mount
}

var (
	errRemoteFile     = errors.New("it is a single file; only Git repositories are fetched")
	errRemotePassword = errors.New("an address may hold no password")
	errRemoteAddress  = errors.New("it cannot be read as the address of a Git repository")
	errRemotePath     = errors.New("its path leaves the repository")
)

// ParseRemote reads the address of a remote base as Kustomize does: a
// repository, where in it (after //, .git or _git/NAME, else after the first
// two elements of the path), and ?ref=. A prefix git:: is dropped, and so is
// the user of an http address: nobody signs in. Submodules are not followed,
// and there is no timeout of its own, whatever the query says.
func ParseRemote(text string) (r Remote, dir string, err error) {
	rest, query, _ := strings.Cut(text, "?")
	values, err := url.ParseQuery(query)
	if err != nil {
		return Remote{}, "", errRemoteAddress
	}
	if r.Ref = values.Get("ref"); r.Ref == "" {
		r.Ref = values.Get("version")
	}
	control := func(c rune) bool { return c < ' ' || c == 0x7f }
	if strings.ContainsFunc(text, control) || strings.ContainsFunc(r.Ref, control) {
		return Remote{}, "", errRemoteAddress
	}
	if len(rest) > 5 && strings.EqualFold(rest[:5], "git::") {
		rest = rest[5:]
	}
	scheme := ""
	if at := strings.Index(rest, "://"); at >= 0 {
		scheme, rest = strings.ToLower(rest[:at]), rest[at+3:]
	}
	user := ""
	host, location, _ := strings.Cut(rest, "/")
	if at := strings.LastIndex(host, "@"); at >= 0 {
		user, host = host[:at], host[at+1:]
		rest = rest[at+1:]
	}
	if strings.Contains(user, ":") {
		return Remote{}, "", errRemotePassword
	}
	lower := strings.ToLower(rest)
	if strings.HasPrefix(lower, "github.com/") || strings.HasPrefix(lower, "github.com:") {
		location, host = rest[len("github.com/"):], "github.com" // the one host that needs no scheme
		switch {
		case scheme == "" && user != "":
			scheme = "ssh"
		case scheme == "":
			scheme = "https"
		}
	}
	prefix := ""
	switch scheme {
	case "http", "https":
		prefix = scheme + "://" + host + "/"
	case "ssh":
		if user == "" {
			user = "git"
		}
		prefix = scheme + "://" + user + "@" + host + "/"
	case "file":
		prefix, location = "file://", rest
	case "": // user@host:path
		var found bool
		if host, location, found = strings.Cut(rest, ":"); !found || user == "" {
			return Remote{}, "", errRemoteAddress
		}
		prefix = user + "@" + host + ":"
	default:
		return Remote{}, "", fmt.Errorf("%w: %s:// is not one of http, https, ssh and file", errRemoteAddress, scheme)
	}
	repo, dir, marked := splitRemote(location, scheme == "file")
	if strings.Trim(repo, "/") == "" || host == "" && scheme != "file" {
		return Remote{}, "", errRemoteAddress
	}
	if ext := path.Ext(location); !marked && r.Ref == "" && strings.HasPrefix(scheme, "http") && slices.Contains([]string{".yaml", ".yml", ".json"}, ext) {
		return Remote{}, "", errRemoteFile
	}
	if dir = path.Clean(strings.Trim(dir, "/")); !fs.ValidPath(dir) {
		return Remote{}, "", errRemotePath
	}
	r.URL = prefix + repo
	return r, dir, nil
}

// gitElement is the end of a repository's name that tells it from a path in it.
var gitElement = regexp.MustCompile(`\.git(/|$)`)

// splitRemote splits the path of an address into a repository and a directory
// in it. It tells whether something in the address says where.
func splitRemote(location string, local bool) (repo, dir string, marked bool) {
	if before, after, ok := strings.Cut(location, "_git/"); ok {
		name, dir, _ := strings.Cut(after, "/")
		return before + "_git/" + name, dir, true
	}
	if repo, dir, ok := strings.Cut(location, "//"); ok {
		return repo, dir, true
	}
	if at := gitElement.FindStringIndex(location); at != nil {
		return location[:at[0]+len(".git")], location[at[1]:], true
	}
	if local {
		return location, "", false
	}
	elements := strings.SplitN(location, "/", 3)
	if len(elements) < 2 {
		return "", "", false
	}
	return elements[0] + "/" + elements[1], strings.Join(elements[2:], ""), false
}

// remoteBase gives the name in the tree of a base that is fetched, and notes
// that ref of k means it. It is "" for one that is not there: the failure of
// the first such is kept until all of them have been looked for.
func (p *preflight) remoteBase(k kustomizationAt, field, ref string) (string, error) {
	remote, dir, err := ParseRemote(ref)
	if err != nil {
		return "", p.unsupported(k, field, ref, "%s: %s", hideUserinfo(ref), err).
			WithHint("copy it into the repository, or name a Git repository that everyone may read")
	}
	mount := remote.Mount()
	if _, _, err := p.files.stat(mount); err != nil {
		if stopped := p.files.alive(); stopped != nil {
			return "", stopped
		}
		if p.missing == nil {
			p.missing = p.unsupported(k, field, ref, "%s has not been fetched", remote)
		}
		return "", nil
	}
	p.remotes[mount] = remote
	if p.rewritten[k.file] == nil {
		p.rewritten[k.file] = map[string]string{}
	}
	name := path.Join(mount, dir)
	up := ""
	if k.dir != "." {
		up = strings.Repeat("../", strings.Count(k.dir, "/")+1)
	}
	p.rewritten[k.file][ref] = up + name
	return name, nil
}

// rewrite gives references the names that p found for them.
func rewrite(refs []string, names map[string]string) []string {
	out := slices.Clone(refs)
	for i, ref := range out {
		if name, ok := names[ref]; ok {
			out[i] = name
		}
	}
	return out
}

// named puts addresses in place of the names of mounted bases in a text.
func named(remotes map[string]Remote, text string) string {
	for mount, remote := range remotes {
		text = strings.ReplaceAll(text, mount, remote.String())
	}
	return text
}

// nameBases makes what was rendered, or why not, speak of addresses.
func (r *rendering) nameBases(result *Result, err error) error {
	if len(r.remotes) == 0 {
		return err
	}
	if result != nil {
		for i := range result.Objects {
			o := &result.Objects[i]
			o.Origin.Path = named(r.remotes, o.Origin.Path)
		}
		for i := range result.Warnings {
			w := &result.Warnings[i]
			w.Message = named(r.remotes, w.Message)
		}
	}
	var f *app.Failure
	if errors.As(err, &f) && strings.Contains(f.Error(), RemoteDir) {
		clearer := *f
		clearer.Hint, clearer.Err = named(r.remotes, f.Hint), errors.New(named(r.remotes, f.Error()))
		return &clearer
	}
	return err
}

// nameOrigin gives an origin annotation the form that Kustomize gives it for
// what comes from another repository.
func nameOrigin(o *resource.Origin, dir string) {
	for _, file := range []*string{&o.Path, &o.ConfiguredIn} {
		if remote, within, ok := RemoteAt(path.Join(dir, *file)); ok && *file != "" {
			*file, o.Repo, o.Ref = within, remote.URL, remote.Ref
		}
	}
}
