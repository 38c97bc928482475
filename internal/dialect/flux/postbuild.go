package flux

import (
	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
)

// decryption reads spec.decryption. The Secret is one of the Kustomization's
// namespace.
func decryption(d *decryptionSpec, namespace string) app.Decrypt {
	if d == nil || d.Provider != "sops" {
		return app.Decrypt{}
	}
	out := app.Decrypt{On: true, SkipKey: KustomizeGroup + "/decrypt"}
	if d.SecretRef != nil {
		out.Keys = object.Ref{Kind: "Secret", Namespace: namespace, Name: d.SecretRef.Name}
	}
	return out
}

// substitution reads spec.postBuild. References stay within the namespace of
// the Kustomization.
func substitution(p *postBuild, namespace string) (app.Substitute, *app.Failure) {
	if p == nil {
		return app.Substitute{}, nil
	}
	invalid := func(format string, args ...any) (app.Substitute, *app.Failure) {
		return app.Substitute{}, app.Fail(app.StageSpec, app.ReasonInvalidSpec, format, args...)
	}
	out := app.Substitute{Inline: p.Substitute}
	switch p.SubstituteStrategy {
	case "", "WithVariables":
	case "Always":
		out.Always = true
	default:
		return invalid("spec.postBuild.substituteStrategy: %q is none of WithVariables and Always", p.SubstituteStrategy)
	}
	for i, from := range p.SubstituteFrom {
		switch {
		case from.Kind != "ConfigMap" && from.Kind != "Secret":
			return invalid("spec.postBuild.substituteFrom[%d].kind: %q is neither ConfigMap nor Secret", i, from.Kind)
		case from.Name == "":
			return invalid("spec.postBuild.substituteFrom[%d].name is missing", i)
		}
		out.From = append(out.From, app.ValuesFrom{
			Ref: object.Ref{Kind: from.Kind, Namespace: namespace, Name: from.Name}, Optional: from.Optional,
		})
	}
	if out.Asked() {
		out.SkipKey = KustomizeGroup + "/substitute"
	}
	return out, nil
}
