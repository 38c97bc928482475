package object

import (
	"bytes"
	"encoding/json"
	"fmt"

	"sigs.k8s.io/yaml"
)

// nextLine (NEL) is a line break to YAML readers, and the encoder loses it. In
// JSON, which is YAML too, it can be escaped wherever it stands.
const nextLine = "\u0085"

// EncodeYAML writes objects as a YAML stream that Decode reads back. With
// redact set, secrets are shown as fingerprints; without it the text holds
// them in the clear and must not be logged or shown.
func EncodeYAML(objects []Object, redact bool) ([]byte, error) {
	var out bytes.Buffer
	for i, o := range objects {
		content := o.content
		if redact {
			content = Redact(content)
		}
		text, err := json.Marshal(content)
		if err == nil {
			if bytes.Contains(text, []byte(nextLine)) {
				text = append(bytes.ReplaceAll(text, []byte(nextLine), []byte(`\u0085`)), '\n')
			} else {
				text, err = yaml.JSONToYAML(text)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("%s: encode: %w", o, err)
		}
		if i > 0 {
			out.WriteString("---\n")
		}
		out.Write(text)
	}
	return out.Bytes(), nil
}
