package worker

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"path"
	"time"

	"plumb.dev/plumb/internal/app"
)

// maxKept is up to which size a file is kept, for reading it again: rendering
// reads what is in error a second time.
const maxKept = 1 << 20

// remoteTree is the tree as the child sees it: everything is asked of the
// parent, and kept for the time of one rendering. A tree does not change, so
// the answers stay true. Names are taken as they stand: whoever asks has
// followed the links on the way.
type remoteTree struct {
	ask func([]question) ([]answer, []byte, error)
	// stop ends the rendering, when the parent cannot be asked any more.
	stop  context.CancelCauseFunc
	limit int64 // bytes of a file that are wanted at most
	looks map[string]answer
	lists map[string]answer
}

var (
	_ fs.ReadLinkFS = (*remoteTree)(nil)
	_ fs.ReadDirFS  = (*remoteTree)(nil)
	_ fs.ReadFileFS = (*remoteTree)(nil)
	_ fs.StatFS     = (*remoteTree)(nil)
)

func newRemoteTree(j job, stop context.CancelCauseFunc, ask func([]question) ([]answer, []byte, error)) *remoteTree {
	t := &remoteTree{ask: ask, stop: stop, limit: j.Bounds.MaxBytes + 1, looks: map[string]answer{}, lists: map[string]answer{}}
	t.keep(j.known)
	return t
}

func (t *remoteTree) keep(answers []answer) {
	for _, a := range answers {
		switch a.op {
		case opLook:
			t.looks[a.name] = a
		case opList:
			t.lists[a.name] = a
		}
	}
}

// request asks, and keeps the answers. An error ends the rendering.
func (t *remoteTree) request(questions ...question) ([]answer, []byte, error) {
	answers, content, err := t.ask(questions)
	if err != nil {
		t.stop(app.Fail(app.StageRender, app.ReasonTerminated, "the files cannot be asked for any more: %w", err))
		return nil, nil, err
	}
	t.keep(answers)
	return answers, content, nil
}

// Ahead asks for all of names at once, with the directories they are in:
// rendering will look at each of them.
func (t *remoteTree) Ahead(names []string) {
	const most = 500 // of one request
	var questions []question
	asked := map[string]bool{}
	for _, name := range names {
		for ; name != "." && fs.ValidPath(name); name = path.Dir(name) {
			if _, ok := t.looks[name]; ok || asked[name] {
				break
			}
			asked[name] = true
			questions = append(questions, question{op: opLook, name: name})
		}
	}
	for len(questions) > 0 {
		n := min(len(questions), most)
		if _, _, err := t.request(questions[:n]...); err != nil {
			return // whoever looks will see it
		}
		questions = questions[n:]
	}
}

// look gives what stands at name itself.
func (t *remoteTree) look(op, name string) (answer, error) {
	if !fs.ValidPath(name) {
		return answer{}, &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	a, ok := t.looks[name]
	if !ok {
		if _, _, err := t.request(question{op: opLook, name: name}); err != nil {
			return a, &fs.PathError{Op: op, Path: name, Err: err}
		}
		if a, ok = t.looks[name]; !ok {
			return a, &fs.PathError{Op: op, Path: name, Err: errMessage}
		}
	}
	return a, a.err(op)
}

// err is the error that an answer tells of.
func (a answer) err(op string) error {
	switch a.verdict {
	case answered:
		return nil
	case notThere:
		return &fs.PathError{Op: op, Path: a.name, Err: fs.ErrNotExist}
	}
	return &fs.PathError{Op: op, Path: a.name, Err: errors.New(a.text)}
}

func (t *remoteTree) Lstat(name string) (fs.FileInfo, error) {
	a, err := t.look("lstat", name)
	if err != nil {
		return nil, err
	}
	return info{a}, nil
}

func (t *remoteTree) Stat(name string) (fs.FileInfo, error) {
	a, err := t.look("stat", name)
	if err == nil && a.mode&fs.ModeSymlink != 0 {
		err = &fs.PathError{Op: "stat", Path: name, Err: errors.New("the link was not followed")}
	}
	if err != nil {
		return nil, err
	}
	return info{a}, nil
}

func (t *remoteTree) ReadLink(name string) (string, error) {
	a, err := t.look("readlink", name)
	switch {
	case err != nil:
		return "", err
	case a.mode&fs.ModeSymlink == 0:
		return "", &fs.PathError{Op: "readlink", Path: name, Err: fs.ErrInvalid}
	case a.fault != "":
		return "", &fs.PathError{Op: "readlink", Path: name, Err: errors.New(a.fault)}
	}
	return a.target, nil
}

func (t *remoteTree) ReadDir(name string) ([]fs.DirEntry, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: fs.ErrInvalid}
	}
	a, ok := t.lists[name]
	if !ok {
		if _, _, err := t.request(question{op: opList, name: name}); err != nil {
			return nil, &fs.PathError{Op: "readdir", Path: name, Err: err}
		}
		if a, ok = t.lists[name]; !ok {
			return nil, &fs.PathError{Op: "readdir", Path: name, Err: errMessage}
		}
	}
	if err := a.err("readdir"); err != nil {
		return nil, err
	}
	entries := make([]fs.DirEntry, len(a.entries))
	for i, e := range a.entries {
		entries[i] = listed{e, t, path.Join(name, e.name)}
	}
	return entries, nil
}

// Open opens a file; directories are listed by ReadDir.
func (t *remoteTree) Open(name string) (fs.File, error) {
	a, err := t.look("open", name)
	if err == nil && !a.mode.IsRegular() {
		err = &fs.PathError{Op: "open", Path: name, Err: errors.New("is no regular file")}
	}
	if err != nil {
		return nil, err
	}
	return &file{tree: t, answer: a}, nil
}

func (t *remoteTree) ReadFile(name string) ([]byte, error) {
	f, err := t.Open(name)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(f)
}

// content gives a file, or as much of it as breaks the bound on reading.
func (t *remoteTree) content(a answer) ([]byte, error) {
	if a.whole {
		return a.content, nil
	}
	answers, content, err := t.request(question{op: opRead, name: a.name, limit: t.limit})
	if err != nil {
		return nil, &fs.PathError{Op: "read", Path: a.name, Err: err}
	}
	if len(answers) != 1 {
		return nil, &fs.PathError{Op: "read", Path: a.name, Err: errMessage}
	}
	if err := answers[0].err("read"); err != nil {
		return nil, err
	}
	if len(content) <= maxKept {
		a.whole, a.content = true, content
		t.looks[a.name] = a
	}
	return content, nil
}

// file is an open file. Its content comes at the first Read.
type file struct {
	tree *remoteTree
	answer
	text *bytes.Reader
}

func (f *file) Stat() (fs.FileInfo, error) { return info{f.answer}, nil }
func (f *file) Close() error               { return nil }

func (f *file) Read(b []byte) (int, error) {
	if f.text == nil {
		content, err := f.tree.content(f.answer)
		if err != nil {
			return 0, err
		}
		f.text = bytes.NewReader(content)
	}
	return f.text.Read(b)
}

type info struct{ answer }

func (i info) Name() string       { return path.Base(i.name) }
func (i info) Size() int64        { return i.size }
func (i info) Mode() fs.FileMode  { return i.mode }
func (i info) ModTime() time.Time { return time.Time{} }
func (i info) IsDir() bool        { return i.mode.IsDir() }
func (i info) Sys() any           { return nil }

type listed struct {
	entry
	tree *remoteTree
	path string
}

func (l listed) Name() string               { return l.name }
func (l listed) IsDir() bool                { return l.mode.IsDir() }
func (l listed) Type() fs.FileMode          { return l.mode.Type() }
func (l listed) Info() (fs.FileInfo, error) { return l.tree.Lstat(l.path) }
