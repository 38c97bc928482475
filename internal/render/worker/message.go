package worker

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"io/fs"
	"strings"
	"time"
	"unicode/utf8"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/render"
)

// settings is what a child is told at its start.
type settings struct {
	Version int
	Memory  int64         // bytes of the process
	CPU     time.Duration // of one rendering
}

// version changes with the protocol. Parent and child are the same binary,
// unless the file was replaced while the parent ran.
const version = 1

// Ready is what a child says of itself when it has started.
type Ready struct {
	Version int
	// Confined lists what holds the child, Missing what this system or this
	// build does not have, each in a few words for a log.
	Confined, Missing []string
}

// job is one rendering. Known holds answers that the child will ask for.
type job struct {
	Bounds render.Options
	Spec   app.Render
	known  []answer
}

func (j job) append(to []byte) ([]byte, error) {
	text, err := json.Marshal(j)
	if err != nil {
		return nil, err
	}
	to = appendText(to, string(text))
	for _, a := range j.known {
		to = a.append(to)
	}
	return to, nil
}

func parseJob(data []byte) (j job, err error) {
	p := parser{rest: data}
	text := p.text()
	if p.failed {
		return j, errMessage
	}
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		return j, errMessage
	}
	j.known, err = parseAnswers(p.rest)
	return j, err
}

// operation is what is asked of a name.
type operation byte

const (
	opLook operation = iota + 1 // what stands there itself: with a link's target, and the content of a small file
	opList                      // the entries of a directory
	opRead                      // the content of a file, in frames of data; alone in its request
)

// question is one of a request. Limit is for opRead: the bytes wanted.
type question struct {
	op    operation
	name  string
	limit int64
}

func (q question) append(to []byte) []byte {
	to = appendText(append(to, byte(q.op)), q.name)
	if q.op == opRead {
		to = binary.AppendUvarint(to, uint64(q.limit))
	}
	return to
}

var errMessage = errors.New("a message that cannot be understood")

// parseQuestions reads a request. Names are valid paths.
func parseQuestions(data []byte) ([]question, error) {
	p := parser{rest: data}
	var questions []question
	for len(p.rest) > 0 {
		q := question{op: operation(p.byte()), name: p.text()}
		if q.op == opRead {
			q.limit = int64(min(p.uint(), 1<<40))
		}
		if p.failed || !fs.ValidPath(q.name) || q.op < opLook || q.op > opRead || q.op == opRead && len(p.rest)+len(questions) > 0 {
			return nil, errMessage
		}
		questions = append(questions, q)
	}
	if len(questions) == 0 {
		return nil, errMessage
	}
	return questions, nil
}

// verdict is how a question was answered.
type verdict byte

const (
	answered verdict = iota + 1
	notThere         // fs.ErrNotExist
	faulty           // text says why
)

// answer tells what the question was, too. Which fields it has depends on
// that, and on the verdict.
type answer struct {
	question
	verdict verdict
	text    string // of the fault

	mode    fs.FileMode // opLook
	size    int64
	whole   bool // content is there
	content []byte
	target  string // of a link; targetFault if it could not be read
	fault   string

	entries []entry // opList
}

type entry struct {
	name string
	mode fs.FileMode // its type
}

func (a answer) append(to []byte) []byte {
	to = append(a.question.append(to), byte(a.verdict))
	switch {
	case a.verdict == faulty:
		return appendText(to, a.text)
	case a.verdict != answered:
		return to
	case a.op == opList:
		to = binary.AppendUvarint(to, uint64(len(a.entries)))
		for _, e := range a.entries {
			to = binary.AppendUvarint(appendText(to, e.name), uint64(e.mode))
		}
	case a.op == opLook:
		to = binary.AppendUvarint(to, uint64(a.mode))
		to = binary.AppendVarint(to, a.size)
		switch {
		case a.mode&fs.ModeSymlink != 0:
			to = appendText(appendText(to, a.target), a.fault)
		case a.whole:
			to = binary.AppendUvarint(append(to, 1), uint64(len(a.content)))
			to = append(to, a.content...)
		default:
			to = append(to, 0)
		}
	}
	return to
}

func parseAnswers(data []byte) ([]answer, error) {
	p := parser{rest: data}
	var answers []answer
	for len(p.rest) > 0 && !p.failed {
		a := answer{question: question{op: operation(p.byte()), name: p.text()}}
		if a.op == opRead {
			a.limit = int64(p.uint())
		}
		a.verdict = verdict(p.byte())
		switch {
		case a.verdict == faulty:
			a.text = p.text()
		case a.verdict == answered && a.op == opList:
			count := p.uint()
			if count > uint64(len(p.rest)/2) {
				return nil, errMessage
			}
			a.entries = make([]entry, count)
			for i := range a.entries {
				a.entries[i] = entry{name: p.text(), mode: fs.FileMode(p.uint())}
			}
		case a.verdict == answered && a.op == opLook:
			a.mode, a.size = fs.FileMode(p.uint()), p.int()
			if a.mode&fs.ModeSymlink != 0 {
				a.target, a.fault = p.text(), p.text()
			} else if a.whole = p.byte() == 1; a.whole {
				a.content = p.take(p.uint())
			}
		}
		answers = append(answers, a)
	}
	if p.failed {
		return nil, errMessage
	}
	return answers, nil
}

// failed is an app.Failure on its way to the parent.
type failed struct {
	Reason        app.Reason
	Never         bool          `json:",omitempty"`
	After         time.Duration `json:",omitempty"`
	Message, Hint string
	Memory        int64 // as resultHeader has it
}

// failureReasons are those that rendering has. Everything else is not taken
// from a child.
var failureReasons = map[app.Reason]bool{
	app.ReasonInvalidSpec: true, app.ReasonPathNotFound: true, app.ReasonUnsupported: true,
	app.ReasonTimeout: true, app.ReasonBuild: true,
}

func parseFailed(data []byte) (failed, *app.Failure) {
	var f failed
	if json.Unmarshal(data, &f) != nil || !failureReasons[f.Reason] || f.Message == "" {
		return f, nil
	}
	out := app.Fail(app.StageRender, f.Reason, "%s", shorten(f.Message))
	out.Hint = shorten(f.Hint)
	out.Retry = app.Retry{Never: f.Never, After: max(f.After, 0)}
	return f, out
}

// shorten bounds a text that becomes part of a status.
func shorten(text string) string {
	const most = 16 << 10
	if len(text) > most {
		text = text[:most] + "…"
	}
	if !utf8.ValidString(text) {
		text = strings.ToValidUTF8(text, "\uFFFD")
	}
	return text
}

func appendText(to []byte, text string) []byte {
	return append(binary.AppendUvarint(to, uint64(len(text))), text...)
}

// parser reads from rest. After a failure it reads zeros.
type parser struct {
	rest   []byte
	failed bool
}

func (p *parser) take(n uint64) []byte {
	if n > uint64(len(p.rest)) {
		p.failed, p.rest = true, nil
		return nil
	}
	taken := p.rest[:n:n]
	p.rest = p.rest[n:]
	return taken
}

func (p *parser) byte() byte {
	if b := p.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (p *parser) text() string { return string(p.take(p.uint())) }

func (p *parser) uint() uint64 {
	v, n := binary.Uvarint(p.rest)
	if n <= 0 {
		p.failed, p.rest = true, nil
		return 0
	}
	p.rest = p.rest[n:]
	return v
}

func (p *parser) int() int64 {
	v, n := binary.Varint(p.rest)
	if n <= 0 {
		p.failed, p.rest = true, nil
		return 0
	}
	p.rest = p.rest[n:]
	return v
}
