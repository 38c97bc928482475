package render

import (
	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
	"plumb.dev/plumb/internal/render/envsubst"
)

// Values are what Complete takes besides the spec. They are no part of the
// spec: they must not be recorded with it.
type Values struct {
	// Variables are those of spec.Substitute.From, and nothing of Inline.
	Variables map[string]string
	// Lenient makes variables that are not set empty.
	Lenient bool
	// Decrypt opens what is still encrypted in an object; nil leaves it.
	Decrypt func(object.Object) (object.Object, error)
}

// Complete does what comes after a build to what Render gave for spec:
// decryption, then variables, then the metadata that every object gets. Where
// spec asks for none of it, Render has done all. It runs where the values are
// known, which is not where files that may be hostile are built.
func Complete(result Result, spec app.Render, values Values) (Result, error) {
	if !spec.Completes() {
		return result, nil
	}
	objects := make([]object.Object, 0, len(result.Objects))
	for _, o := range result.Objects {
		if values.Decrypt != nil {
			opened, err := values.Decrypt(o)
			if err != nil {
				return Result{}, err
			}
			o = opened
		}
		objects = append(objects, o)
	}
	variables := map[string]string{}
	for _, some := range []map[string]string{values.Variables, spec.Substitute.Inline} {
		for name, value := range some {
			variables[name] = value
		}
	}
	if len(variables) > 0 || spec.Substitute.Always {
		var err error
		objects, err = envsubst.Replace(objects, variables, envsubst.Options{Lenient: values.Lenient, SkipKey: spec.Substitute.SkipKey})
		if err != nil {
			return Result{}, err
		}
	}
	setMetadata(objects, spec.Kustomize)
	result.Objects = objects
	return result, nil
}
