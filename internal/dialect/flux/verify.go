package flux

import (
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/internal/app"
)

// verifySpec is spec.verify of OCIRepositories and HelmCharts. The trusted root of
// a HelmChart is one that Flux does not know: to leave it out would be to trust
// another.
type verifySpec struct {
	Provider          string    `json:"provider"`
	SecretRef         *localRef `json:"secretRef"`
	MatchOIDCIdentity []struct {
		Issuer  string `json:"issuer"`
		Subject string `json:"subject"`
	} `json:"matchOIDCIdentity"`
	TrustedRootSecretRef *localRef `json:"trustedRootSecretRef"`
}

// trustedRootKey is where a Secret has a trusted root.
const trustedRootKey = "trusted_root.json"

// withoutKeys: signatures of cosign need a certificate, and no key.
func (v *verifySpec) withoutKeys() bool {
	return v.Provider != "notation" && v.SecretRef == nil
}

// ociVerification is who must have signed, before any Secret was read.
func ociVerification(v *verifySpec) *app.OCIVerification {
	out := &app.OCIVerification{Tool: app.SignatureTool(v.Provider)}
	if v.withoutKeys() {
		out.Keyless = &app.Keyless{}
		for _, id := range v.MatchOIDCIdentity {
			out.Keyless.Identities = append(out.Keyless.Identities, app.SignerIdentity{Issuer: id.Issuer, Subject: id.Subject})
		}
		if v.TrustedRootSecretRef == nil {
			return out
		}
	}
	out.Missing = "the Secret with what to verify by was not read"
	return out
}

// ociVerifyWarnings are about fields below spec.
func ociVerifyWarnings(v *verifySpec) []app.Warning {
	if v == nil {
		return nil
	}
	var out []app.Warning
	warn := func(when bool, field, message string) {
		if when {
			out = append(out, app.Warning{Field: "verify." + field, Message: message})
		}
	}
	why := "has no effect beside secretRef: the keys alone decide, as in Flux"
	if v.Provider == "notation" {
		why = "has no effect with notation: the trust policy alone decides, as in Flux"
	}
	warn(!v.withoutKeys() && len(v.MatchOIDCIdentity) > 0, "matchOIDCIdentity", why)
	warn(!v.withoutKeys() && v.TrustedRootSecretRef != nil, "trustedRootSecretRef", why)
	warn(v.withoutKeys() && len(v.MatchOIDCIdentity) == 0, "matchOIDCIdentity",
		"is missing: as in Flux, whoever has a certificate of the trusted authorities counts as the signer; name issuer and subject")
	return out
}

// ociVerifyFailure refuses what nothing can be verified by.
func ociVerifyFailure(v *verifySpec) *app.Failure {
	refuse := func(hint, format string, args ...any) *app.Failure {
		return app.Fail(app.StageSpec, app.ReasonInvalidSpec, format, args...).WithHint("%s", hint)
	}
	switch {
	case v == nil:
		return nil
	case v.Provider != "" && v.Provider != "cosign" && v.Provider != "notation":
		return refuse("set it to cosign or notation", "spec.verify.provider: %q is no provider", v.Provider)
	case v.SecretRef != nil && v.SecretRef.Name == "":
		return refuse("name a Secret, or leave secretRef out for signatures of cosign without keys", "spec.verify.secretRef.name is missing")
	case v.TrustedRootSecretRef != nil && v.TrustedRootSecretRef.Name == "":
		return refuse("name a Secret with "+trustedRootKey, "spec.verify.trustedRootSecretRef.name is missing")
	case v.Provider == "notation" && v.SecretRef == nil:
		return refuse("name a Secret with trustpolicy.json and certificates of authorities, *.pem or *.crt",
			"spec.verify.secretRef is missing: verification secret cannot be empty")
	}
	return nil
}

// verifySecrets are the Secrets that spec.verify names; of gives what is to be
// completed, nil if nothing is.
func verifySecrets(u *unstructured.Unstructured, of func(*app.Source) **app.OCIVerification) []SecretUse {
	verify := section(u.Object, "spec", "verify")
	edit := func(change func(v *app.OCIVerification)) func(*app.Source) {
		return func(src *app.Source) {
			at := of(src)
			if at == nil || *at == nil {
				return
			}
			v := **at
			change(&v)
			*at = &v
		}
	}
	use := func(name string, into func(v *app.OCIVerification, data map[string][]byte)) SecretUse {
		return SecretUse{
			Name: name,
			Into: func(src *app.Source, data map[string][]byte) {
				edit(func(v *app.OCIVerification) {
					v.Missing = ""
					into(v, data)
				})(src)
			},
			Missing: func(src *app.Source, err error) {
				edit(func(v *app.OCIVerification) { v.Missing = err.Error() })(src)
			},
		}
	}
	if name := text(verify, "secretRef", "name"); name != "" {
		return []SecretUse{use(name, func(v *app.OCIVerification, data map[string][]byte) { v.Files = data })}
	}
	name := text(verify, "trustedRootSecretRef", "name")
	if name == "" || text(verify, "provider") == "notation" {
		return nil
	}
	return []SecretUse{use(name, func(v *app.OCIVerification, data map[string][]byte) {
		root, ok := data[trustedRootKey]
		if !ok || v.Keyless == nil {
			v.Missing = fmt.Sprintf("failed to read trusted root from secret '%s/%s': '%s' not found in it", u.GetNamespace(), name, trustedRootKey)
			return
		}
		with := *v.Keyless
		with.TrustedRoot = root
		v.Keyless = &with
	})}
}
