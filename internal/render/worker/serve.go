package worker

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"sync"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/render"
)

const (
	// A look brings files of up to maxInline bytes along, as long as the whole
	// answer stays small.
	maxInline       = 128 << 10
	maxInlineAnswer = 1 << 20
	// maxRead is of one file, in bytes: more than any bound on reading.
	maxRead = 1 << 30
	// maxQuestions is of one rendering.
	maxQuestions = 500_000
)

// served is a tree that is shown to a child, for one rendering. After close it
// is not touched any more.
type served struct {
	mu        sync.Mutex
	tree      fs.FS
	questions int
	requests  int   // that brought them
	bytes     int64 // that the child may still be given
	failure   *app.Failure
}

var (
	errClosed = errors.New("the rendering was given up")
	errGreedy = errors.New("it asks for more than rendering can need")
)

func (s *served) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tree = nil
}

// again allows a second attempt what the first one had.
func (s *served) again(bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.questions, s.bytes = 0, bytes
}

// fault is a failure of the tree itself, such as a cache that was cleaned
// away: it says more than what rendering makes of it.
func (s *served) fault() *app.Failure {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failure
}

// known answers what will be asked first in any case. A kustomization file is
// looked for by all modes but one.
func (s *served) known(spec app.Render) []answer {
	dir := path.Clean("./" + strings.TrimPrefix(spec.Path, "/"))
	if !fs.ValidPath(dir) || dir == render.RemoteDir || strings.HasPrefix(dir, render.RemoteDir+"/") {
		return nil // it will be refused; a look at a remote base would fetch it
	}
	var names []string
	if dir != "." {
		parts := strings.Split(dir, "/")
		for i := range parts {
			names = append(names, path.Join(parts[:i+1]...))
		}
	} else {
		names = append(names, ".")
	}
	if spec.Mode != app.RenderDirectory {
		for _, name := range []string{"kustomization.yaml", "kustomization.yml", "Kustomization"} {
			names = append(names, path.Join(dir, name))
		}
	}
	questions := make([]question, len(names))
	for i, name := range names {
		questions[i] = question{op: opLook, name: name}
	}
	answers, err := s.answer(questions)
	if err != nil {
		return nil
	}
	return answers
}

// answer answers looks and lists.
func (s *served) answer(questions []question) ([]answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests++
	if s.questions += len(questions); s.questions > maxQuestions {
		return nil, errGreedy
	}
	answers := make([]answer, len(questions))
	inline := maxInlineAnswer
	for i, q := range questions {
		a := answer{question: q}
		err := errClosed
		switch {
		case s.tree == nil:
		case q.op == opList:
			err = s.list(&a)
		default:
			err = s.look(&a, min(maxInline, inline))
			inline -= len(a.content)
		}
		s.settle(&a, err)
		answers[i] = a
		// What is given counts, and that it is asked for.
		if s.bytes -= int64(len(a.content)+len(a.name)+100) + int64(len(a.entries))*32; s.bytes < 0 {
			return nil, errGreedy
		}
	}
	return answers, nil
}

// settle gives an answer its verdict.
func (s *served) settle(a *answer, err error) {
	switch {
	case err == nil:
		a.verdict = answered
	case errors.Is(err, fs.ErrNotExist):
		a.verdict = notThere
	default:
		a.verdict, a.text = faulty, reason(err)
		var f *app.Failure
		if errors.As(err, &f) && s.failure == nil {
			s.failure = f
		}
	}
}

// reason is what went wrong with a file; the child knows which.
func reason(err error) string {
	var pathError *fs.PathError
	if errors.As(err, &pathError) {
		err = pathError.Err
	}
	return shorten(err.Error())
}

func (s *served) look(a *answer, inline int) error {
	info, err := fs.Lstat(s.tree, a.name)
	if err != nil {
		return err
	}
	a.mode, a.size = info.Mode(), info.Size()
	switch {
	case a.mode&fs.ModeSymlink != 0:
		if a.target, err = fs.ReadLink(s.tree, a.name); err != nil {
			a.fault = reason(err)
		}
	case a.mode.IsRegular() && a.size <= int64(inline):
		// If it cannot be read, that shows when the child reads it.
		content, err := s.content(a.name, inline+1)
		if err == nil && len(content) <= inline {
			a.whole, a.content = true, content
		}
	}
	return nil
}

func (s *served) content(name string, limit int) ([]byte, error) {
	f, err := s.tree.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, int64(limit)))
}

func (s *served) list(a *answer) error {
	entries, err := fs.ReadDir(s.tree, a.name)
	if err != nil {
		return err
	}
	a.entries = make([]entry, len(entries))
	for i, e := range entries {
		a.entries[i] = entry{name: e.Name(), mode: e.Type()}
	}
	return nil
}

// read hands the content of a file on in parts, and says how that went. The
// error is one of give, or that the child asks for too much.
func (s *served) read(q question, give func([]byte) error) (answer, error) {
	a := answer{question: q}
	s.mu.Lock()
	if s.questions++; s.questions > maxQuestions {
		s.mu.Unlock()
		return a, errGreedy
	}
	var f fs.File
	err := error(errClosed)
	if s.tree != nil {
		f, err = s.tree.Open(q.name)
	}
	s.settle(&a, err)
	s.mu.Unlock()
	if err != nil {
		return a, nil
	}
	defer f.Close()
	left := min(q.limit, maxRead)
	part := make([]byte, maxData)
	for left > 0 {
		n, err := s.part(f, part[:min(int64(len(part)), left)])
		left -= int64(n)
		if errors.Is(err, errGreedy) {
			return a, err
		}
		if n > 0 {
			if err := give(part[:n]); err != nil {
				return a, err
			}
		}
		if errors.Is(err, io.EOF) {
			return a, nil
		}
		if err != nil {
			s.mu.Lock()
			s.settle(&a, err)
			s.mu.Unlock()
			return a, nil
		}
	}
	return a, nil
}

// part reads a part of a file, unless the tree was closed meanwhile.
func (s *served) part(f fs.File, into []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tree == nil {
		return 0, errClosed
	}
	n, err := io.ReadFull(f, into)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	if s.bytes -= int64(n); s.bytes < 0 {
		return n, fmt.Errorf("%w", errGreedy)
	}
	return n, err
}
