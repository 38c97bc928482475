// Package helmrepo reads Helm repositories: the index, piece by piece, and the
// archives that it names. It keeps no charts and knows nothing of what is done
// with one.
//
// An index may have tens of megabytes, of which one chart's part is needed at a
// time. It is never held in memory: it goes through a file to lists of versions,
// one for each chart (List), with what it takes to get each.
package helmrepo

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

const (
	// maxName is the length of a chart's name.
	maxName = 253
	// maxWhole bounds an index that has to be read as a whole, because it is
	// not written line by line: its tree takes some thirty times its size.
	maxWhole = 2 << 20
)

// Version is what an index tells of one version of a chart, as far as it is
// needed.
type Version struct {
	Version string    `json:"version" yaml:"version"`
	URLs    []string  `json:"urls,omitempty" yaml:"urls"`      // absolute, or relative to the repository
	Digest  string    `json:"digest,omitempty" yaml:"digest"`  // SHA-256 of the archive, hexadecimal; "" if not told
	Created time.Time `json:"created,omitzero" yaml:"created"` // zero if not told
}

// errOdd is that of YAML which cannot be read line by line.
var errOdd = errors.New("it is not written as Helm writes it")

// ReadIndex calls each for every version of every chart, those of one chart in
// a row, in the order of the index. Versions that Helm would not list (without
// a version) are left out.
func ReadIndex(index io.ReadSeeker, each func(chart string, v Version) error) error {
	head := make([]byte, 512)
	n, err := io.ReadFull(index, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		if errors.Is(err, io.EOF) {
			return errors.New("it is empty")
		}
		return err
	}
	head = bytes.TrimLeft(bytes.TrimPrefix(head[:n], []byte("\ufeff")), " \t\r\n")
	if bytes.HasPrefix(head, []byte("<")) {
		return errors.New("it is a web page")
	}
	if _, err := index.Seek(0, io.SeekStart); err != nil {
		return err
	}
	checked := func(chart string, v Version) error {
		if chart == "" || len(chart) > maxName {
			return fmt.Errorf("%.40q is no name of a chart", chart)
		}
		if v.Version == "" {
			return nil
		}
		return each(chart, v)
	}
	if bytes.HasPrefix(head, []byte("{")) {
		return readJSON(index, checked)
	}
	emitted := false
	err = readLines(index, func(chart string, v Version) error {
		emitted = true
		return checked(chart, v)
	})
	if !errors.Is(err, errOdd) || emitted {
		return err
	}
	size, seekErr := index.Seek(0, io.SeekEnd)
	if seekErr != nil {
		return seekErr
	}
	if size > maxWhole {
		return err
	}
	if _, err := index.Seek(0, io.SeekStart); err != nil {
		return err
	}
	return readWhole(index, checked)
}

// readJSON reads an index that is JSON, one version at a time.
func readJSON(r io.Reader, each func(string, Version) error) error {
	d := json.NewDecoder(bufio.NewReaderSize(r, 64<<10))
	versioned := false
	err := object(d, func(key string) error {
		switch key {
		case "apiVersion":
			versioned = true
		case "entries":
			return object(d, func(chart string) error { return jsonVersions(d, chart, each) })
		}
		return d.Decode(&json.RawMessage{})
	})
	if err == nil && !versioned {
		err = errNoIndex
	}
	return err
}

var errNoIndex = errors.New("it is no index of a Helm repository: apiVersion is missing")

// object reads an object, or null; each reads the value of a key.
func object(d *json.Decoder, each func(key string) error) error {
	open, err := d.Token()
	if err != nil || open == nil {
		return err
	}
	if open != json.Delim('{') {
		return fmt.Errorf("it is no index of a Helm repository: %v where an object should be", open)
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return err
		}
		if err := each(key.(string)); err != nil {
			return err
		}
	}
	_, err = d.Token()
	return err
}

func jsonVersions(d *json.Decoder, chart string, each func(string, Version) error) error {
	open, err := d.Token()
	if err != nil || open == nil {
		return err
	}
	if open != json.Delim('[') {
		return fmt.Errorf("the versions of %.40q are no list", chart)
	}
	for d.More() {
		var v struct {
			Version string
			URLs    []string
			Digest  string
			Created string // some write no time that Go would read
		}
		if err := d.Decode(&v); err != nil {
			return fmt.Errorf("chart %.40q: %w", chart, err)
		}
		created, _ := time.Parse(time.RFC3339Nano, v.Created)
		if err := each(chart, Version{v.Version, v.URLs, v.Digest, created}); err != nil {
			return err
		}
	}
	_, err = d.Token()
	return err
}

// readWhole reads a small index of any form that YAML has.
func readWhole(r io.Reader, each func(string, Version) error) error {
	var index struct {
		APIVersion string `yaml:"apiVersion"`
		Entries    yaml.Node
	}
	if err := yaml.NewDecoder(r).Decode(&index); err != nil {
		return fmt.Errorf("it cannot be read as YAML: %w", err)
	}
	if index.APIVersion == "" {
		return errNoIndex
	}
	for i := 0; i+1 < len(index.Entries.Content); i += 2 {
		var versions []wholeVersion
		if err := index.Entries.Content[i+1].Decode(&versions); err != nil {
			return fmt.Errorf("chart %.40q: %w", index.Entries.Content[i].Value, err)
		}
		for _, v := range versions {
			if err := each(index.Entries.Content[i].Value, v.version()); err != nil {
				return err
			}
		}
	}
	return nil
}

// wholeVersion leaves it open how a time is written.
type wholeVersion struct {
	Version string   `yaml:"version"`
	URLs    []string `yaml:"urls"`
	Digest  string   `yaml:"digest"`
	Created any      `yaml:"created"`
}

func (v wholeVersion) version() Version {
	out := Version{Version: v.Version, URLs: v.URLs, Digest: v.Digest}
	switch c := v.Created.(type) {
	case time.Time:
		out.Created = c
	case string:
		out.Created, _ = time.Parse(time.RFC3339Nano, strings.TrimSpace(c))
	}
	return out
}
