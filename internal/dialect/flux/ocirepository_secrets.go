package flux

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/internal/app"
)

// dockerConfigKey is where Secrets have a Docker configuration.
const dockerConfigKey = ".dockerconfigjson"

// ociRepositorySecrets is SourceKind.Secrets.
func ociRepositorySecrets(u *unstructured.Unstructured) []SecretUse {
	var uses []SecretUse
	if name := text(u.Object, "spec", "secretRef", "name"); name != "" {
		uses = append(uses, SecretUse{Name: name, Into: addKeychain})
	}
	if name := text(u.Object, "spec", "serviceAccountName"); name != "" {
		uses = append(uses, SecretUse{Name: name, ServiceAccount: true, Into: addKeychain})
	}
	if name := text(u.Object, "spec", "certSecretRef", "name"); name != "" {
		uses = append(uses, SecretUse{Name: name, Into: addCertificates})
	}
	uses = append(uses, proxySecret(u)...)
	return append(uses, verifySecrets(u, func(src *app.Source) **app.OCIVerification {
		if src.OCI == nil {
			return nil
		}
		return &src.OCI.Verify
	})...)
}

// addCertificates reads the Secret that a certSecretRef names.
func addCertificates(src *app.Source, data map[string][]byte) {
	src.Auth.CA = first(data, "ca.crt", "caFile")
	src.Auth.ClientCert = first(data, "tls.crt", "certFile")
	src.Auth.ClientKey = first(data, "tls.key", "keyFile")
	switch {
	case (len(src.Auth.ClientCert) == 0) != (len(src.Auth.ClientKey) == 0):
		src.Auth.Err = errors.New("certSecretRef: the Secret must hold tls.crt and tls.key together")
	case len(src.Auth.CA) == 0 && len(src.Auth.ClientCert) == 0:
		src.Auth.Err = errors.New("certSecretRef: the Secret holds neither ca.crt nor tls.crt and tls.key")
	}
}

// addKeychain takes in the Docker configuration of a Secret. Of two entries for
// one address the first stays.
func addKeychain(src *app.Source, data map[string][]byte) {
	if src.OCI == nil {
		return
	}
	text, ok := data[dockerConfigKey]
	if !ok {
		src.Auth.Err = fmt.Errorf("the Secret lacks %s: it must be of the type kubernetes.io/dockerconfigjson", dockerConfigKey)
		return
	}
	type config struct {
		Auths map[string]json.RawMessage `json:"auths"`
	}
	var have, more config
	if json.Unmarshal(text, &more) != nil { // the cause may quote it
		src.Auth.Err = fmt.Errorf("%s of the Secret is no Docker configuration", dockerConfigKey)
		return
	}
	all := more.Auths
	if len(src.OCI.Keychain) > 0 && json.Unmarshal(src.OCI.Keychain, &have) == nil {
		if all == nil {
			all = map[string]json.RawMessage{}
		}
		maps.Copy(all, have.Auths)
	}
	if merged, err := json.Marshal(config{all}); err == nil {
		src.OCI.Keychain = merged
	}
}
