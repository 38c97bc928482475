package worker

import (
	"bytes"
	"errors"
	"io/fs"
	"testing"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/render"
	"plumb.dev/plumb/internal/render/rendertest"
)

// FuzzParent feeds the parent with anything as the output of a child: what is
// not understood must be an error, and the tree asked for valid paths only.
func FuzzParent(f *testing.F) {
	frames := func(frames ...[]byte) []byte {
		var out bytes.Buffer
		for _, frame := range frames {
			if err := writeFrame(&out, frame); err != nil {
				f.Fatal(err)
			}
		}
		return out.Bytes()
	}
	block, err := render.Encode(render.Result{Mode: app.RenderDirectory})
	if err != nil {
		f.Fatal(err)
	}
	look := question{op: opLook, name: "overlay/kustomization.yaml"}.append(newFrame(frameRequest))
	f.Add(frames(look, question{op: opList, name: "base"}.append(newFrame(frameRequest)), question{op: opRead, name: "base/service.yaml", limit: 10}.append(newFrame(frameRequest))))
	f.Add(frames(append(append(newFrame(frameResult), 5), block...)))
	f.Add(frames(append(newFrame(frameFailure), `{"Reason":"Build","Message":"a.yaml:1: it is wrong"}`...)))
	f.Add(frames(question{op: opLook, name: "../../etc/passwd"}.append(newFrame(frameRequest))))
	f.Fuzz(func(t *testing.T, data []byte) {
		tree := &served{tree: strict{newNoting(rendertest.Overlay()), t}, bytes: 1 << 20}
		in := bytes.NewReader(data)
		for {
			kind, content, err := readFrame(in, map[frameType]int{frameRequest: maxRequest, frameFailure: maxFailure, frameResult: 1 << 20})
			if err != nil {
				return
			}
			switch kind {
			case frameRequest:
				questions, err := parseQuestions(content)
				if err != nil {
					return
				}
				var answers []answer
				if questions[0].op == opRead {
					a, err := tree.read(questions[0], func([]byte) error { return nil })
					if err != nil {
						return
					}
					answers = []answer{a}
				} else if answers, err = tree.answer(questions); err != nil {
					return
				}
				var frame []byte
				for _, a := range answers {
					frame = a.append(frame)
				}
				// The child must understand what it is told.
				if told, err := parseAnswers(frame); err != nil || len(told) != len(questions) {
					t.Fatalf("%d answers to %d questions: %v", len(told), len(questions), err)
				}
			case frameFailure:
				if _, failure := parseFailed(content); failure != nil && (failure.Stage != app.StageRender || !failureReasons[failure.Reason] || len(failure.Error()) > 20<<10) {
					t.Fatal(failure)
				}
			case frameResult:
				_, _ = render.Decode(content)
			}
		}
	})
}

// strict fails the test when it is asked for what is no path of a tree.
type strict struct {
	noting
	t *testing.T
}

func (s strict) Lstat(name string) (fs.FileInfo, error) {
	if !fs.ValidPath(name) {
		s.t.Errorf("asked for %q", name)
	}
	return s.noting.Lstat(name)
}

func (s strict) Open(name string) (fs.File, error) {
	if !fs.ValidPath(name) {
		s.t.Errorf("asked for %q", name)
	}
	return s.noting.Open(name)
}

// FuzzChild feeds the child's parsers with anything: its parent is trusted,
// but a name in a tree may be anything that the tree lets pass.
func FuzzChild(f *testing.F) {
	f.Add([]byte{})
	j, err := job{Spec: app.Render{Path: "a"}, known: []answer{
		{question: question{op: opLook, name: "a"}, verdict: answered, mode: fs.ModeDir},
		{question: question{op: opLook, name: "l"}, verdict: answered, mode: fs.ModeSymlink, target: "a"},
		{question: question{op: opLook, name: "f"}, verdict: answered, whole: true, content: []byte("x")},
		{question: question{op: opList, name: "a"}, verdict: answered, entries: []entry{{"f", 0}}},
		{question: question{op: opRead, name: "n", limit: 7}, verdict: notThere},
		{question: question{op: opLook, name: "b"}, verdict: faulty, text: "it is broken"},
	}}.append(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(j)
	f.Fuzz(func(t *testing.T, data []byte) {
		parsed, err := parseJob(data)
		if err != nil {
			return
		}
		tree := newRemoteTree(parsed, func(error) {}, func([]question) ([]answer, []byte, error) { return nil, nil, errors.New("gone") })
		for _, a := range parsed.known {
			_, _ = tree.Lstat(a.name)
			_, _ = tree.ReadFile(a.name)
			_, _ = tree.ReadDir(a.name)
			_, _ = tree.ReadLink(a.name)
		}
	})
}
