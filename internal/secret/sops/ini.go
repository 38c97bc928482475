package sops

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/ini.v1"
)

var errNoINI = errors.New("it is no INI file as sops writes it")

// decryptINI opens a file of sections. It is read and written by the library
// that sops uses, whose quoting and alignment are its own.
func (k *Keys) decryptINI(data []byte) (_ []byte, encrypted bool, err error) {
	if !bytes.Contains(data, []byte("[sops]")) {
		return data, false, nil
	}
	options := ini.LoadOptions{AllowNonUniqueSections: true}
	in, err := ini.LoadSources(options, data)
	if err != nil {
		return nil, true, errNoINI // the error would quote it
	}
	meta, err := iniMetadata(in)
	if meta == nil || err != nil {
		return data, err != nil, err
	}
	w, err := k.walker(meta)
	if err != nil {
		return nil, true, err
	}
	out := ini.Empty(options)
	out.DeleteSection(ini.DefaultSection) // it comes first in what was read
	w.enter()
	for _, section := range in.Sections() {
		if section.Name() == "sops" {
			continue
		}
		if err := w.section(section, out); err != nil {
			return nil, true, err
		}
		w.passed()
	}
	w.leave()
	if err := w.verify(meta); err != nil {
		return nil, true, err
	}
	var buffer bytes.Buffer
	if _, err := out.WriteTo(&buffer); err != nil {
		return nil, true, errNoINI
	}
	return buffer.Bytes(), true, nil
}

// iniMetadata reads the section that sops adds, nil if there is none.
func iniMetadata(file *ini.File) (*metadata, error) {
	sections, err := file.SectionsByName("sops")
	if err != nil || !slices.ContainsFunc(sections, func(s *ini.Section) bool { return s.HasKey("mac") }) {
		return nil, nil
	}
	if len(sections) > 1 {
		return nil, errors.New("it has more than one section of sops")
	}
	flat := map[string]string{}
	for _, key := range sections[0].Keys() {
		flat[key.Name()] = strings.ReplaceAll(key.Value(), `\n`, "\n")
	}
	return unflatten(flat)
}

// section visits a section and writes it. To sops the comment of a section is
// the first thing in it, while that of a key comes after the key.
func (w *walker) section(from *ini.Section, file *ini.File) error {
	to, err := file.NewSection(from.Name())
	if err != nil {
		return errNoINI
	}
	w.enter()
	defer w.leave()
	path := []string{from.Name()}
	to.Comment = w.iniComment(from.Comment, path)
	for _, key := range from.Keys() {
		v, err := w.text(key.Value(), []string{from.Name(), key.Name()})
		if err != nil {
			return fmt.Errorf("%s.%s: %w", from.Name(), key.Name(), err)
		}
		w.passed()
		written, err := to.NewKey(key.Name(), iniText(v.any))
		if err != nil {
			return errNoINI
		}
		written.Comment = w.iniComment(key.Comment, path)
	}
	return nil
}

func (w *walker) iniComment(comment string, path []string) string {
	if comment == "" {
		return ""
	}
	text, _ := w.note(strings.TrimLeft(comment, comment[:1]+" "), path)
	// What is written cannot have lines without anything.
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if line == "" && len(lines) > 1 {
			lines[i] = ";"
		}
	}
	return strings.Join(lines, "\n")
}

// iniText writes a value that came from a format with types.
func iniText(v any) string {
	switch v := v.(type) {
	case float64:
		if text := strconv.FormatFloat(v, 'G', -1, 64); strings.ContainsAny(text, ".E") {
			return text
		}
		return strconv.FormatFloat(v, 'f', 1, 64)
	case time.Time:
		return v.Format(time.RFC3339)
	}
	return fmt.Sprint(v)
}
