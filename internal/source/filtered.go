package source

import "io/fs"

// Filter tells which files of a tree a source shows. What Shown gives is one,
// unless it is the tree itself. It may be asked at once by many.
type Filter interface {
	// Hides reports whether a path is left out, a directory with all below it.
	Hides(name string, isDir bool) (bool, error)
	// Rules names what decides about the entries of a directory, besides the
	// directory itself and what is below it.
	Rules(dir string) (string, error)
}

// filtered is a file system without what a Filter hides; there is no such file,
// to whoever asks for it.
type filtered struct {
	fsys fs.FS
	own  Filter
}

// Hides implements Filter.
func (f *filtered) Hides(name string, isDir bool) (bool, error) {
	if below, ok := f.fsys.(Filter); ok {
		if hidden, err := below.Hides(name, isDir); err != nil || hidden {
			return hidden, err
		}
	}
	return f.own.Hides(name, isDir)
}

// Rules implements Filter.
func (f *filtered) Rules(dir string) (string, error) {
	rules, err := f.own.Rules(dir)
	if below, ok := f.fsys.(Filter); ok && err == nil {
		var more string
		more, err = below.Rules(dir)
		rules += "\n" + more
	}
	return rules, err
}

// check gives fs.ErrNotExist for a path that is left out.
func (f *filtered) check(op, name string, isDir bool) error {
	if !fs.ValidPath(name) {
		return &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	hidden, err := f.own.Hides(name, isDir)
	if err == nil && hidden {
		err = fs.ErrNotExist
	}
	if err != nil {
		return &fs.PathError{Op: op, Path: name, Err: err}
	}
	return nil
}

func (f *filtered) Open(name string) (fs.File, error) {
	file, err := f.fsys.Open(name)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil {
		err = f.check("open", name, info.IsDir())
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	if d, ok := file.(fs.ReadDirFile); ok && info.IsDir() {
		return &openDir{path: name, info: info, read: func() ([]fs.DirEntry, error) {
			defer d.Close()
			entries, err := d.ReadDir(-1)
			if err != nil {
				return nil, err
			}
			return f.kept(name, entries)
		}}, nil
	}
	return file, nil
}

func (f *filtered) ReadFile(name string) ([]byte, error) {
	if err := f.check("read", name, false); err != nil {
		return nil, err
	}
	return fs.ReadFile(f.fsys, name)
}

func (f *filtered) ReadDir(name string) ([]fs.DirEntry, error) {
	if err := f.check("readdir", name, true); err != nil {
		return nil, err
	}
	entries, err := fs.ReadDir(f.fsys, name)
	if err != nil {
		return nil, err
	}
	return f.kept(name, entries)
}

func (f *filtered) kept(dir string, entries []fs.DirEntry) ([]fs.DirEntry, error) {
	prefix := dir + "/"
	if dir == "." {
		prefix = ""
	}
	var kept []fs.DirEntry
	for _, e := range entries {
		hidden, err := f.own.Hides(prefix+e.Name(), e.IsDir())
		if err != nil {
			return nil, err
		}
		if !hidden {
			kept = append(kept, e)
		}
	}
	return kept, nil
}

func (f *filtered) Stat(name string) (fs.FileInfo, error) {
	return f.seen(fs.Stat, "stat", name)
}

func (f *filtered) Lstat(name string) (fs.FileInfo, error) {
	return f.seen(fs.Lstat, "lstat", name)
}

func (f *filtered) seen(look func(fs.FS, string) (fs.FileInfo, error), op, name string) (fs.FileInfo, error) {
	info, err := look(f.fsys, name)
	if err == nil {
		err = f.check(op, name, info.IsDir())
	}
	if err != nil {
		return nil, err
	}
	return info, nil
}

func (f *filtered) ReadLink(name string) (string, error) {
	if err := f.check("readlink", name, false); err != nil {
		return "", err
	}
	return fs.ReadLink(f.fsys, name)
}
