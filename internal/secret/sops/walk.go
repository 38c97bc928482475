package sops

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// walker visits the values of a file in their order, decrypts those that are
// to be, and sums up what authenticates them all.
type walker struct {
	key           []byte
	encrypted     func(path []string) bool
	onlyEncrypted bool // others do not count in the sum
	hash          hash.Hash
}

// onlyEncryptedStart begins a sum that counts encrypted values only: the
// SHA-256 of "sops".
var onlyEncryptedStart = []byte{
	0x8a, 0x3f, 0xd2, 0xad, 0x54, 0xce, 0x66, 0x52, 0x7b, 0x10, 0x34, 0xf3, 0xd1, 0x47, 0xbe, 0x0b,
	0x0b, 0x97, 0x5b, 0x3b, 0xf4, 0x4f, 0x72, 0xc6, 0xfd, 0xad, 0xec, 0x81, 0x76, 0xf2, 0x7d, 0x69,
}

func newWalker(meta *metadata, key []byte) (*walker, error) {
	encrypted, err := meta.rule()
	if err != nil {
		return nil, err
	}
	w := &walker{key: key, encrypted: encrypted, onlyEncrypted: meta.MACOnlyEncrypted, hash: sha512.New()}
	if w.onlyEncrypted {
		w.hash.Write(onlyEncryptedStart)
	}
	return w, nil
}

func (w *walker) sum() string { return fmt.Sprintf("%X", w.hash.Sum(nil)) }

// maxDepth bounds the nesting of a file.
const maxDepth = 200

func (w *walker) walk(n *yaml.Node, path []string, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("line %d: nested more than %d deep", n.Line, maxDepth)
	}
	switch n.Kind {
	case yaml.DocumentNode:
		w.comments(n, n, path)
		for _, inner := range n.Content {
			if err := w.walk(inner, path, depth+1); err != nil {
				return err
			}
		}
	case yaml.MappingNode:
		n.Style = 0
		for i := 0; i+1 < len(n.Content); i += 2 {
			key, value := n.Content[i], n.Content[i+1]
			w.comments(key, key, path)
			w.comments(value, key, path)
			if key.Kind != yaml.ScalarNode || key.ShortTag() != "!!str" && key.ShortTag() != "!!merge" {
				return fmt.Errorf("line %d: a key is no text", key.Line)
			}
			if err := w.walk(value, append(path[:len(path):len(path)], key.Value), depth+1); err != nil {
				return err
			}
		}
	case yaml.SequenceNode:
		n.Style = 0
		kept := n.Content[:0]
		for _, item := range n.Content {
			w.comments(item, item, path)
			comment := item.Kind == yaml.ScalarNode && strings.HasSuffix(item.Value, ",type:comment]")
			if err := w.walk(item, path, depth+1); err != nil {
				return err
			}
			if !comment { // one that came from a format with comments
				kept = append(kept, item)
			}
		}
		n.Content = kept
	case yaml.ScalarNode:
		return w.scalar(n, path)
	default:
		return fmt.Errorf("line %d: an encrypted file cannot have aliases", n.Line)
	}
	return nil
}

func (w *walker) scalar(n *yaml.Node, path []string) error {
	if n.ShortTag() == "!!null" {
		return nil
	}
	v := value{}
	encrypted := w.encrypted(path)
	if encrypted {
		if n.ShortTag() != "!!str" {
			return fmt.Errorf("line %d: %s is not encrypted, and should be", n.Line, strings.Join(path, "."))
		}
		var err error
		if v, err = decryptValue(w.key, n.Value, strings.Join(path, ":")+":"); err != nil {
			return fmt.Errorf("line %d: %s: %w", n.Line, strings.Join(path, "."), err)
		}
	} else {
		if err := n.Decode(&v.any); err != nil {
			return fmt.Errorf("line %d: %s cannot be read", n.Line, strings.Join(path, "."))
		}
		if err := v.spell(); err != nil {
			return fmt.Errorf("line %d: %s: %w", n.Line, strings.Join(path, "."), err)
		}
	}
	if (encrypted || !w.onlyEncrypted) && !v.comment {
		w.hash.Write([]byte(v.text))
	}
	plain := yaml.Node{}
	if err := plain.Encode(v.any); err != nil {
		return fmt.Errorf("line %d: %s cannot be written", n.Line, strings.Join(path, "."))
	}
	n.Tag, n.Value, n.Style = plain.Tag, plain.Value, plain.Style
	return nil
}

// comments decrypts the comments of a node, which count in no sum. What stood
// at the end of a line then stands before it, as sops has it: above the entry
// that begins with head.
func (w *walker) comments(n, head *yaml.Node, path []string) {
	for _, c := range []*string{&n.HeadComment, &n.LineComment, &n.FootComment} {
		if !strings.Contains(*c, "ENC[") {
			continue
		}
		lines, opened := strings.Split(*c, "\n"), false
		for i, line := range lines {
			if v, err := decryptValue(w.key, strings.TrimPrefix(line, "#"), strings.Join(path, ":")+":"); err == nil {
				lines[i], opened = "#"+v.text, true
			}
		}
		*c = strings.Join(lines, "\n")
		if opened && c == &n.LineComment {
			head.HeadComment = strings.TrimPrefix(head.HeadComment+"\n"+*c, "\n")
			*c = ""
		}
	}
}

// value is a plain value and the text that authenticates it.
type value struct {
	any     any
	text    string
	comment bool
}

// spell derives the text from the value.
func (v *value) spell() error {
	switch x := v.any.(type) {
	case string:
		v.text = x
	case int:
		v.text = strconv.Itoa(x)
	case float64:
		v.text = strconv.FormatFloat(x, 'f', -1, 64)
	case bool:
		v.text = "False"
		if x {
			v.text = "True"
		}
	case time.Time:
		text, err := x.MarshalText()
		v.text = string(text)
		return err
	default:
		return fmt.Errorf("values of type %T cannot be encrypted", x)
	}
	return nil
}

var encryptedValue = regexp.MustCompile(`^ENC\[AES256_GCM,data:(.+),iv:(.+),tag:(.+),type:(.+)\]`)

var errForged = errors.New("the value cannot be decrypted: it, or the place that it is in, was changed without sops")

// decryptValue opens one value; where authenticates the place that it is in.
func decryptValue(key []byte, text, where string) (value, error) {
	if text == "" {
		return value{any: ""}, nil
	}
	m := encryptedValue.FindStringSubmatch(text)
	if m == nil {
		return value{}, errors.New("the value is not encrypted, and should be")
	}
	var parts [3][]byte
	for i := range parts {
		data, err := base64.StdEncoding.DecodeString(m[i+1])
		if err != nil {
			return value{}, errForged
		}
		parts[i] = data
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return value{}, errors.New("the data key has a length that AES has not")
	}
	gcm, err := cipher.NewGCMWithNonceSize(block, len(parts[1]))
	if err != nil {
		return value{}, errForged
	}
	plain, err := gcm.Open(nil, parts[1], slices.Concat(parts[0], parts[2]), []byte(where))
	if err != nil {
		return value{}, errForged
	}
	v := value{}
	switch s := string(plain); m[4] {
	case "str", "bytes":
		v.any = s
	case "comment":
		v.any, v.comment = s, true
	case "int":
		v.any, err = strconv.Atoi(s)
	case "float":
		v.any, err = strconv.ParseFloat(s, 64)
	case "bool":
		v.any, err = strconv.ParseBool(s)
	case "time":
		var at time.Time
		err = at.UnmarshalText(plain)
		v.any = at
	default:
		return value{}, fmt.Errorf("the value is of an unknown type %.20q", m[4])
	}
	if err != nil {
		return value{}, fmt.Errorf("the value is no %s", m[4])
	}
	return v, v.spell()
}
