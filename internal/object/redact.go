package object

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"regexp"

	"k8s.io/apimachinery/pkg/runtime"
)

// fingerprintKey salts fingerprints. It is drawn once per process, so that a
// fingerprint tells equal from different values inside one output and can not
// be looked up in a table of guesses.
var fingerprintKey = func() []byte {
	key := make([]byte, 32)
	rand.Read(key) // crypto/rand.Read never fails (Go 1.24 on)
	return key
}()

// Fingerprint stands for a secret value wherever a person or a log may look.
func Fingerprint(value []byte) string {
	mac := hmac.New(sha256.New, fingerprintKey)
	mac.Write(value)
	return fmt.Sprintf("<secret %s, %d bytes>", hex.EncodeToString(mac.Sum(nil)[:4]), len(value))
}

// lastApplied is where kubectl keeps a copy of the whole manifest.
const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

// IsSecret reports whether content is a core/v1 Secret.
func IsSecret(content map[string]any) bool {
	return content["kind"] == "Secret" && content["apiVersion"] == "v1"
}

// Redact returns content as it may be shown: of a Secret, each value of data
// and stringData is replaced by its fingerprint, as is the copy that kubectl
// keeps in an annotation. Other objects are returned as they are. A value has
// the same fingerprint in data and in stringData.
func Redact(content map[string]any) map[string]any {
	if !IsSecret(content) {
		return content
	}
	out := runtime.DeepCopyJSON(content)
	for _, field := range []string{"data", "stringData"} {
		values, ok := out[field].(map[string]any)
		if !ok {
			if out[field] != nil {
				out[field] = Fingerprint(fmt.Append(nil, out[field]))
			}
			continue
		}
		for k, v := range values {
			raw := fmt.Append(nil, v)
			if text, ok := v.(string); ok && field == "data" {
				if plain, err := base64.StdEncoding.DecodeString(text); err == nil {
					raw = plain
				}
			}
			values[k] = Fingerprint(raw)
		}
	}
	if meta, ok := out["metadata"].(map[string]any); ok {
		if notes, ok := meta["annotations"].(map[string]any); ok {
			if v, ok := notes[lastApplied].(string); ok {
				notes[lastApplied] = Fingerprint([]byte(v))
			}
		}
	}
	return out
}

// quotedValue finds what API servers quote back in validation errors:
// `Invalid value: "…"` and `unable to decode … in "…"`.
var quotedValue = regexp.MustCompile(`"(?:[^"\\]|\\.)*"|\x60[^\x60]*\x60`)

// bareValue finds what they quote back without quotation marks, to the end of
// the line as nothing else ends it: `expected map, got &{[…]}`, `Invalid value:
// 7: …`, and what decoders show around an error.
var bareValue = regexp.MustCompile(`(\bgot|Invalid value:|error found in) [^"\n][^\n]*`)

// RedactError removes from the message of an error about a Secret whatever
// the API server quoted back, field paths excepted.
func RedactError(ref Ref, message string) string {
	if ref.Kind != "Secret" || ref.Group != "" {
		return message
	}
	message = quotedValue.ReplaceAllStringFunc(message, func(q string) string {
		if len(q) >= 2 && q[1:len(q)-1] == ref.Name {
			return q
		}
		return `"<redacted>"`
	})
	return bareValue.ReplaceAllString(message, "$1 <redacted>")
}
