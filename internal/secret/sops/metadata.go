package sops

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// metadata is what sops writes beside what it encrypts.
type metadata struct {
	LastModified            string `yaml:"lastmodified"`
	MAC                     string `yaml:"mac"`
	MACOnlyEncrypted        bool   `yaml:"mac_only_encrypted"`
	UnencryptedSuffix       string `yaml:"unencrypted_suffix"`
	EncryptedSuffix         string `yaml:"encrypted_suffix"`
	UnencryptedRegex        string `yaml:"unencrypted_regex"`
	EncryptedRegex          string `yaml:"encrypted_regex"`
	UnencryptedCommentRegex string `yaml:"unencrypted_comment_regex"`
	EncryptedCommentRegex   string `yaml:"encrypted_comment_regex"`
	// ShamirThreshold of KeyGroups must be opened; otherwise the keys that
	// are named beside them all open the same.
	ShamirThreshold int        `yaml:"shamir_threshold"`
	KeyGroups       []keyGroup `yaml:"key_groups"`
	keyGroup        `yaml:",inline"`

	modified string // LastModified as it is authenticated
}

// keyGroup names keys of which any one opens the same part of a data key.
type keyGroup struct {
	Age []struct {
		Recipient string `yaml:"recipient"`
		Enc       string `yaml:"enc"`
	} `yaml:"age"`
	PGP []struct {
		Fingerprint string `yaml:"fp"`
		Enc         string `yaml:"enc"`
	} `yaml:"pgp"`
	AWS    []any `yaml:"kms"`
	GCP    []any `yaml:"gcp_kms"`
	Azure  []any `yaml:"azure_kv"`
	Vault  []any `yaml:"hc_vault"`
	Huawei []any `yaml:"hckms"`
}

// names lists the keys for a person.
func (g keyGroup) names() string {
	var out []string
	for _, k := range g.Age {
		out = append(out, "age "+k.Recipient)
	}
	for _, k := range g.PGP {
		out = append(out, "PGP "+k.Fingerprint)
	}
	for _, cloud := range []struct {
		name string
		keys []any
	}{{"AWS KMS", g.AWS}, {"GCP KMS", g.GCP}, {"Azure Key Vault", g.Azure}, {"Vault", g.Vault}, {"Huawei KMS", g.Huawei}} {
		if len(cloud.keys) > 0 {
			out = append(out, cloud.name+" (not supported)")
		}
	}
	if len(out) == 0 {
		return "no key at all"
	}
	return strings.Join(out, ", ")
}

func (m *metadata) check() error {
	at, err := time.Parse(time.RFC3339, m.LastModified)
	if err != nil {
		return errors.New("sops.lastmodified is no time")
	}
	m.modified = at.Format(time.RFC3339)
	if g := m.keyGroup; len(g.Age)+len(g.PGP)+len(g.AWS)+len(g.GCP)+len(g.Azure)+len(g.Vault)+len(g.Huawei) > 0 {
		m.KeyGroups = []keyGroup{g}
	}
	return nil
}

// rule says which values are encrypted: those at a path with a key that
// matches, or with a comment before them, or all others.
type rule struct {
	match    func(string) bool
	comments bool // match is about comments, not about keys
	encrypts bool // what matches is encrypted, all else is not
}

func (m *metadata) rule() (rule, error) {
	type choice struct {
		pattern string
		rule
	}
	var chosen []choice
	for _, c := range []choice{
		{m.UnencryptedSuffix, rule{}}, {m.EncryptedSuffix, rule{encrypts: true}},
		{m.UnencryptedRegex, rule{}}, {m.EncryptedRegex, rule{encrypts: true}},
		{m.UnencryptedCommentRegex, rule{comments: true}}, {m.EncryptedCommentRegex, rule{comments: true, encrypts: true}},
	} {
		if c.pattern != "" {
			chosen = append(chosen, c)
		}
	}
	suffix := func(c choice) rule {
		c.match = func(key string) bool { return strings.HasSuffix(key, c.pattern) }
		return c.rule
	}
	switch {
	case len(chosen) == 0:
		return suffix(choice{pattern: "_unencrypted"}), nil
	case len(chosen) > 1:
		return rule{}, errors.New("sops has more than one rule for what is encrypted")
	case m.UnencryptedSuffix+m.EncryptedSuffix != "":
		return suffix(chosen[0]), nil
	}
	c := chosen[0]
	pattern, err := regexp.Compile(c.pattern)
	if err != nil {
		return rule{}, fmt.Errorf("the rule for what is encrypted: %w", err)
	}
	c.match = pattern.MatchString
	return c.rule, nil
}

// cut takes the metadata out of a document, nil if there is none.
func cut(doc *yaml.Node) (*metadata, error) {
	root := doc
	if doc.Kind == yaml.DocumentNode && len(doc.Content) == 1 {
		root = doc.Content[0]
	}
	at := find(root, "sops")
	if at < 0 || root.Content[at+1].Kind != yaml.MappingNode || find(root.Content[at+1], "mac") < 0 {
		return nil, nil
	}
	meta := &metadata{}
	if err := root.Content[at+1].Decode(meta); err != nil {
		return nil, errNoMetadata
	}
	key := root.Content[at]
	root.Content = append(root.Content[:at:at], root.Content[at+2:]...)
	// Comments there are about what comes next, or stand at the end.
	around := lines(key.HeadComment, key.LineComment, key.FootComment)
	switch {
	case at < len(root.Content):
		next := root.Content[at]
		next.HeadComment = lines(around, next.HeadComment)
	case at > 0:
		before := root.Content[at-2]
		before.FootComment = lines(before.FootComment, around)
	}
	return meta, nil
}

// lines puts comments together.
func lines(comments ...string) string {
	return strings.Join(slices.DeleteFunc(comments, func(c string) bool { return c == "" }), "\n")
}

// find gives the index of a key of a mapping, -1 if it is not there.
func find(n *yaml.Node, key string) int {
	if n.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == key {
				return i
			}
		}
	}
	return -1
}

// at is the text at a path of mappings, "" if there is none.
func at(n *yaml.Node, path ...string) string {
	if n.Kind == yaml.DocumentNode && len(n.Content) == 1 {
		n = n.Content[0]
	}
	for _, key := range path {
		i := find(n, key)
		if i < 0 {
			return ""
		}
		n = n.Content[i+1]
	}
	return n.Value
}
