package helmrepo

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"go.yaml.in/yaml/v3"
)

const (
	// maxLine is how much of a line is looked at. What is longer (an icon, a
	// description) is passed over.
	maxLine = 64 << 10
	// maxPiece bounds what is kept of one version.
	maxPiece = 256 << 10
)

// readLines reads an index as Helm and the others write it: mappings and lists
// in block style. That YAML indents whatever belongs to a key deeper than the
// key (the dashes of a list may be as deep) is enough to take it apart by lines,
// and only the few keys that are needed go to the YAML library.
func readLines(r io.Reader, each func(string, Version) error) error {
	l := &lines{r: bufio.NewReaderSize(r, maxLine)}
	versioned, entries := false, false
	for l.next() {
		switch {
		case l.indent > 0 || l.dash():
			continue // belongs to a key that is not needed
		case bytes.HasPrefix(l.text, []byte("%")), bytes.HasPrefix(l.text, []byte("--- ")) || string(l.text) == "---":
			if entries || versioned {
				return l.odd("a second document")
			}
			continue
		case string(l.text) == "...":
			continue
		}
		key, rest, ok := l.key()
		if !ok {
			return fmt.Errorf("line %d: it is no index of a Helm repository: %.40q is no key", l.count, l.text)
		}
		switch key {
		case "apiVersion":
			versioned = versioned || len(rest) > 0
		case "entries":
			if entries {
				return l.odd("entries twice")
			}
			entries = true
			if err := l.charts(rest, each); err != nil {
				return err
			}
		}
	}
	switch {
	case l.err != nil:
		return l.err
	case !versioned:
		return errNoIndex
	}
	return nil
}

// lines are those of an index that are neither blank nor a comment.
type lines struct {
	r      *bufio.Reader
	count  int
	text   []byte // without indentation and line break; part of buffer
	buffer []byte
	indent int
	again  bool // next gives the same line once more
	long   bool // text is only the beginning
	err    error
}

func (l *lines) next() bool {
	if l.again {
		l.again = false
		return true
	}
	for l.err == nil {
		line, err := l.r.ReadSlice('\n')
		l.long = errors.Is(err, bufio.ErrBufferFull)
		l.buffer = append(l.buffer[:0], line...)
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = l.r.ReadSlice('\n')
		}
		if err != nil && !errors.Is(err, io.EOF) {
			l.err = err
			return false
		}
		if len(line) == 0 && err != nil {
			return false
		}
		l.count++
		text := bytes.TrimRight(l.buffer, " \t\r\n")
		if l.count == 1 {
			text = bytes.TrimPrefix(text, []byte("\ufeff"))
		}
		trimmed := bytes.TrimLeft(text, " ")
		l.indent = len(text) - len(trimmed)
		l.text = trimmed
		if len(trimmed) > 0 && trimmed[0] != '#' {
			return true
		}
	}
	return false
}

func (l *lines) odd(what string) error { return fmt.Errorf("line %d: %w: %s", l.count, errOdd, what) }

// dash reports whether the line begins an item of a list.
func (l *lines) dash() bool {
	return l.text[0] == '-' && (len(l.text) == 1 || l.text[1] == ' ')
}

// key splits a line "key: rest". What is after a # is no part of rest.
func (l *lines) key() (key string, rest []byte, ok bool) {
	text := l.text
	if quote := text[0]; quote == '"' || quote == '\'' {
		end := bytes.IndexByte(text[1:], quote)
		if end < 0 || bytes.IndexByte(text[1:end+1], '\\') >= 0 {
			return "", nil, false
		}
		key, rest = string(text[1:end+1]), bytes.TrimLeft(text[end+2:], " ")
		if len(rest) == 0 || rest[0] != ':' {
			return "", nil, false
		}
		rest = rest[1:]
	} else {
		if bytes.IndexByte([]byte("?&*!|>%@`{}[],"), quote) >= 0 {
			return "", nil, false
		}
		at := bytes.Index(text, []byte(": "))
		if at < 0 {
			if text[len(text)-1] != ':' {
				return "", nil, false
			}
			at = len(text) - 1
		}
		key, rest = string(bytes.TrimRight(text[:at], " ")), text[at+1:]
		if bytes.Contains(text[:at], []byte(" #")) {
			return "", nil, false
		}
	}
	if len(rest) > 0 && rest[0] != ' ' {
		return "", nil, false
	}
	rest = bytes.TrimLeft(rest, " ")
	if len(rest) > 0 && rest[0] == '#' {
		rest = nil
	}
	return key, rest, true
}

// charts reads what is below entries.
func (l *lines) charts(rest []byte, each func(string, Version) error) error {
	if nothing(rest) {
		return nil
	}
	if len(rest) > 0 {
		return l.odd("entries in one line")
	}
	for depth := -1; l.next(); {
		if l.indent == 0 {
			l.again = true
			return nil
		}
		if depth < 0 {
			depth = l.indent
		}
		chart, rest, ok := l.key()
		if l.indent != depth || !ok || l.long {
			return l.odd("no chart's name where one should be")
		}
		if nothing(rest) {
			continue
		}
		if len(rest) > 0 {
			return l.odd("versions in one line")
		}
		if err := l.versions(chart, depth, each); err != nil {
			return err
		}
	}
	return l.err
}

func nothing(value []byte) bool {
	switch string(value) {
	case "{}", "[]", "null", "~":
		return true
	}
	return false
}

// versions reads the list of a chart whose key is at a depth.
func (l *lines) versions(chart string, depth int, each func(string, Version) error) error {
	p := piece{}
	flush := func() error {
		if !p.begun {
			return nil
		}
		v, err := p.version()
		if err != nil {
			return fmt.Errorf("line %d: chart %.40q: %w", p.line, chart, err)
		}
		return each(chart, v)
	}
	dashes, keys := -1, -1
	for l.next() {
		if l.indent < depth || l.indent == depth && !l.dash() {
			l.again = true
			return flush()
		}
		if dashes < 0 {
			dashes = l.indent
		}
		switch {
		case l.indent == dashes && l.dash():
			if err := flush(); err != nil {
				return err
			}
			p = piece{begun: true, line: l.count, kept: p.kept[:0]}
			inner := bytes.TrimLeft(l.text[1:], " ")
			keys = -1
			if len(inner) == 0 {
				continue // the keys begin on the next line
			}
			keys = dashes + len(l.text) - len(inner)
			l.text, l.indent = inner, keys
		case dashes >= l.indent || !p.begun:
			return l.odd("no version where one should be")
		case keys < 0:
			keys = l.indent
		}
		if err := p.take(l, keys); err != nil {
			return err
		}
	}
	if l.err != nil {
		return l.err
	}
	return flush()
}

// piece is what is kept of one version.
type piece struct {
	begun  bool
	line   int
	kept   []byte // YAML
	wanted bool   // what comes belongs to a key that is kept
}

func (p *piece) take(l *lines, keys int) error {
	switch {
	case l.indent < keys:
		return l.odd("a line that belongs nowhere")
	case l.indent == keys && !l.dash():
		key, rest, ok := l.key()
		if !ok {
			return l.odd("no key where one should be")
		}
		p.wanted = key == "version" || key == "urls" || key == "digest" || key == "created"
		if p.wanted && len(rest) > 0 && (rest[0] == '&' || rest[0] == '*' || rest[0] == '!') {
			if key == "created" { // only good for deciding between equals
				p.wanted = false
				return nil
			}
			return l.odd("an anchor, an alias or a tag")
		}
	}
	if !p.wanted {
		return nil
	}
	if l.long || len(p.kept)+l.indent+len(l.text) > maxPiece {
		return fmt.Errorf("line %d: it is too long", l.count)
	}
	for range min(l.indent-keys, maxLine) {
		p.kept = append(p.kept, ' ')
	}
	p.kept = append(append(p.kept, l.text...), '\n')
	return nil
}

func (p *piece) version() (Version, error) {
	var v wholeVersion
	if err := yaml.Unmarshal(p.kept, &v); err != nil {
		return Version{}, err
	}
	return v.version(), nil
}
