package source

import (
	"bytes"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/config"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/source/giturl"
)

const (
	modulesFile = ".gitmodules"
	maxModules  = 1 << 20 // bytes of it
)

// module is an entry of .gitmodules.
type module struct{ path, url string }

// readModules reads the .gitmodules of a tree, in the order of their paths.
// Whoever may push writes it.
func readModules(t *Tree) ([]module, error) {
	n, err := t.lookup(modulesFile, false)
	if err != nil {
		return nil, err
	}
	if !n.mode.IsRegular() {
		return nil, submoduleFailure(modulesFile, "it is no regular file")
	}
	o, err := t.blob(n.id, maxModules)
	if err != nil {
		return nil, err
	}
	modules, err := parseModules(o.Data)
	if err != nil {
		return nil, submoduleFailure(modulesFile, "%w", err)
	}
	return modules, nil
}

func parseModules(text []byte) (found []module, err error) {
	defer func() { // the library is one for files that are trusted
		if r := recover(); r != nil {
			err = errors.New("it cannot be read")
		}
	}()
	cfg := config.New()
	if err := config.NewDecoder(bytes.NewReader(text)).Decode(cfg); err != nil {
		return nil, errors.New("it cannot be read")
	}
	for _, sub := range cfg.Section("submodule").Subsections {
		m := module{strings.TrimSuffix(sub.Option("path"), "/"), sub.Option("url")}
		if !fs.ValidPath(m.path) || m.path == "." {
			return nil, errors.New("it names a path that leads elsewhere")
		}
		if m.url == "" {
			return nil, errors.New("it names a submodule without URL")
		}
		found = append(found, m)
	}
	slices.SortFunc(found, func(a, b module) int { return strings.Compare(a.path, b.path) })
	for i := range found[min(1, len(found)):] {
		if found[i].path == found[i+1].path {
			return nil, errors.New("it names two submodules of the same path")
		}
	}
	return found, nil
}

// submoduleAt gives the commit of the submodule that stands at a path; ok is
// false if there is none. Links are not followed.
func (t *Tree) submoduleAt(name string) (commit plumbing.Hash, ok bool, err error) {
	id := t.root
	parts := strings.Split(name, "/")
	if len(parts) > maxDepth {
		return commit, false, nil
	}
	for i, part := range parts {
		o, err := t.get(id, maxTree)
		if err != nil {
			return commit, false, err
		}
		if o.Type != plumbing.TreeObject {
			return commit, false, errMalformedTree
		}
		mode := ""
		for data := o.Data; len(data) > 0; {
			m, name, entry, rest, err := nextEntry(data)
			if err != nil {
				return commit, false, err
			}
			if string(name) == part {
				mode, id = strings.TrimPrefix(string(m), "0"), plumbing.Hash(entry)
				break
			}
			data = rest
		}
		switch {
		case i == len(parts)-1 && mode == "160000":
			return id, true, nil
		case mode != "40000":
			return commit, false, nil
		}
	}
	return commit, false, nil
}

// submodule gives where a submodule comes from, by the URL that .gitmodules has
// for it. What opens the repository around it is handed on to the same server
// only: whoever writes .gitmodules must not have a Secret sent elsewhere.
func (o location) submodule(url string) (location, error) {
	addr, err := o.resolve(url)
	if err != nil {
		return location{}, err
	}
	if addr.Scheme == "file" && o.addr.Scheme != "file" {
		return location{}, errors.New("it is a directory of the machine that fetches")
	}
	same := addr.Scheme == o.addr.Scheme && addr.Host == o.addr.Host && addr.Port == o.addr.Port
	if !same {
		return location{addr, app.Credentials{Proxy: o.auth.Proxy}}, nil
	}
	if addr.User == "" {
		addr.User, addr.Password = o.addr.User, o.addr.Password
	}
	return location{addr, o.auth}, nil
}

// resolve reads a URL, which may be relative to the repository around.
func (o location) resolve(url string) (giturl.Address, error) {
	if !strings.HasPrefix(url, "./") && !strings.HasPrefix(url, "../") {
		return giturl.Parse(url)
	}
	addr := o.addr
	above := strings.TrimRight(addr.Path, "/")
	rest := url
	for {
		var up bool
		if rest, up = strings.CutPrefix(rest, "../"); up {
			if strings.Trim(above, "/") == "" {
				return giturl.Address{}, errors.New("its relative URL leads above the server")
			}
			above = strings.TrimSuffix(above, path.Base(above))
			above = strings.TrimRight(above, "/")
			continue
		}
		var here bool
		if rest, here = strings.CutPrefix(rest, "./"); !here {
			break
		}
	}
	if !fs.ValidPath(strings.TrimSuffix(rest, "/")) || rest == "." {
		return giturl.Address{}, errors.New("its relative URL cannot be read")
	}
	addr.Path = above + "/" + strings.TrimSuffix(rest, "/")
	return addr, nil
}
