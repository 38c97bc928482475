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
	rule          rule
	onlyEncrypted bool // others do not count in the sum
	hash          hash.Hash
	levels        []level
}

// onlyEncryptedStart begins a sum that counts encrypted values only: the
// SHA-256 of "sops".
var onlyEncryptedStart = []byte{
	0x8a, 0x3f, 0xd2, 0xad, 0x54, 0xce, 0x66, 0x52, 0x7b, 0x10, 0x34, 0xf3, 0xd1, 0x47, 0xbe, 0x0b,
	0x0b, 0x97, 0x5b, 0x3b, 0xf4, 0x4f, 0x72, 0xc6, 0xfd, 0xad, 0xec, 0x81, 0x76, 0xf2, 0x7d, 0x69,
}

func newWalker(meta *metadata, key []byte) (*walker, error) {
	rule, err := meta.rule()
	if err != nil {
		return nil, err
	}
	w := &walker{key: key, rule: rule, onlyEncrypted: meta.MACOnlyEncrypted, hash: sha512.New()}
	if w.onlyEncrypted {
		w.hash.Write(onlyEncryptedStart)
	}
	return w, nil
}

// verify reports an error if what was visited is not what was encrypted.
func (w *walker) verify(meta *metadata) error {
	mac, err := decryptValue(w.key, meta.MAC, meta.modified)
	if err != nil || mac.text == "" || mac.text != fmt.Sprintf("%X", w.hash.Sum(nil)) {
		return errors.New("the file is not what was encrypted: its message authentication code (sops.mac) does not match; it was edited without sops")
	}
	return nil
}

// maxDepth bounds the nesting of a file.
const maxDepth = 200

// document visits a document of YAML. Its comments are about what is in it.
func (w *walker) document(doc *yaml.Node) error {
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 {
		return w.node(doc, nil, 0)
	}
	w.enter()
	defer w.leave()
	root, r := doc.Content[0], &remarks{}
	w.remark(r, nil, doc.HeadComment, doc.LineComment, root.HeadComment, root.LineComment)
	after := []string{root.FootComment, doc.FootComment}
	uncomment(doc)
	uncomment(root)
	return w.inner(root, nil, 0, r, after...)
}

// node visits a mapping or a list with its comments.
func (w *walker) node(n *yaml.Node, path []string, depth int) error {
	w.enter()
	defer w.leave()
	r := &remarks{}
	w.remark(r, path, n.HeadComment, n.LineComment)
	after := n.FootComment
	uncomment(n)
	return w.inner(n, path, depth, r, after)
}

// inner visits what is in a mapping or a list. What r holds stands before it,
// and after, behind it.
func (w *walker) inner(n *yaml.Node, path []string, depth int, r *remarks, after ...string) error {
	if depth > maxDepth {
		return fmt.Errorf("line %d: nested more than %d deep", n.Line, maxDepth)
	}
	n.Style = 0
	var last *yaml.Node
	var err error
	switch n.Kind {
	case yaml.MappingNode:
		last, err = w.mapping(n, path, depth, r)
	case yaml.SequenceNode:
		last, err = w.list(n, path, depth, r)
	default:
		err = fmt.Errorf("line %d: an encrypted file cannot have aliases", n.Line)
	}
	if err != nil {
		return err
	}
	w.remark(r, path, after...)
	if r.head = append(r.head, r.inline...); last != nil {
		last.FootComment = r.takeHead()
	} else {
		n.HeadComment = r.takeHead()
	}
	return nil
}

// mapping visits entries and returns the last key.
func (w *walker) mapping(n *yaml.Node, path []string, depth int, r *remarks) (last *yaml.Node, err error) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode || key.ShortTag() != "!!str" && key.ShortTag() != "!!merge" {
			return nil, fmt.Errorf("line %d: a key is no text", key.Line)
		}
		after := []string{key.FootComment}
		w.remark(r, path, key.HeadComment, key.LineComment)
		at := append(path[:len(path):len(path)], key.Value)
		if value.Kind == yaml.ScalarNode {
			after = []string{value.FootComment, key.FootComment}
			w.remark(r, path, value.HeadComment)
			w.inline(r, path, value.LineComment)
			uncomment(value)
			_, err = w.scalar(value, at)
		} else {
			err = w.node(value, at, depth+1)
		}
		if err != nil {
			return nil, err
		}
		w.passed()
		if uncomment(key); last == nil {
			n.HeadComment = r.takeHead()
		}
		key.HeadComment, value.LineComment = r.takeHead(), r.takeInline()
		w.remark(r, path, after...)
		last = key
	}
	return last, nil
}

// list visits items and returns the last.
func (w *walker) list(n *yaml.Node, path []string, depth int, r *remarks) (last *yaml.Node, err error) {
	kept := n.Content[:0]
	for _, item := range n.Content {
		after := item.FootComment
		w.remark(r, path, item.HeadComment)
		w.inline(r, path, item.LineComment)
		uncomment(item)
		comment := false
		if item.Kind == yaml.ScalarNode {
			var v value
			if v, err = w.scalar(item, path); v.comment {
				r.head, comment = append(r.head, v.text), true
			}
		} else {
			w.enter()
			err = w.inner(item, path, depth+1, &remarks{})
			w.leave()
		}
		if err != nil {
			return nil, err
		}
		w.passed()
		if !comment {
			if last == nil {
				n.HeadComment = r.takeHead()
			}
			item.HeadComment = lines(r.takeHead(), item.HeadComment)
			item.LineComment = r.takeInline()
			last = item
			kept = append(kept, item)
		}
		w.remark(r, path, after)
	}
	n.Content = kept
	return last, nil
}

func (w *walker) scalar(n *yaml.Node, path []string) (v value, err error) {
	if n.ShortTag() == "!!null" {
		return value{}, nil
	}
	if w.encrypted(path, false) {
		if n.ShortTag() != "!!str" {
			return value{}, fmt.Errorf("line %d: %s is not encrypted, and should be", n.Line, strings.Join(path, "."))
		}
		v, err = w.text(n.Value, path)
	} else {
		if err := n.Decode(&v.any); err != nil {
			return value{}, fmt.Errorf("line %d: %s cannot be read", n.Line, strings.Join(path, "."))
		}
		if err = v.spell(); err == nil && !w.onlyEncrypted {
			w.hash.Write([]byte(v.text))
		}
	}
	if err != nil {
		return value{}, fmt.Errorf("line %d: %s: %w", n.Line, strings.Join(path, "."), err)
	}
	plain := yaml.Node{}
	if err := plain.Encode(v.any); err != nil {
		return value{}, fmt.Errorf("line %d: %s cannot be written", n.Line, strings.Join(path, "."))
	}
	n.Tag, n.Value, n.Style = plain.Tag, plain.Value, plain.Style
	return v, nil
}

// text visits a value that is text, as all are in some formats.
func (w *walker) text(text string, path []string) (value, error) {
	v := value{any: text, text: text}
	encrypted := w.encrypted(path, false)
	if encrypted {
		var err error
		if v, err = decryptValue(w.key, text, where(path)); err != nil {
			return value{}, err
		}
	}
	if (encrypted || !w.onlyEncrypted) && !v.comment {
		w.hash.Write([]byte(v.text))
	}
	return v, nil
}

// where is a path as it is authenticated with what stands there.
func where(path []string) string { return strings.Join(path, ":") + ":" }

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

// decryptValue opens one value; place is authenticated with it.
func decryptValue(key []byte, text, place string) (value, error) {
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
	plain, err := gcm.Open(nil, parts[1], slices.Concat(parts[0], parts[2]), []byte(place))
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
