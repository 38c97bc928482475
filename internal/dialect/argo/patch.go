package argo

import (
	"maps"
	"reflect"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// answerPatch takes answered requests off the resource.
func (e *encoder) answerPatch() (patch map[string]any, removes bool) {
	patch = map[string]any{}
	if !e.done() {
		return patch, false
	}
	if answers(e.r.Answered, refreshToken(e.old)) {
		notes := map[string]any{annotationRefresh: nil}
		if _, ok := e.old.GetAnnotations()[annotationRefreshTimestamp]; ok {
			notes[annotationRefreshTimestamp] = nil
		}
		metadataOf(patch)["annotations"] = notes
		removes = true
	}
	if answers(e.r.Answered, operationToken(e.old)) {
		patch["operation"] = nil
		removes = true
	}
	return patch, removes
}

// releasePatch takes Plumb's finalizers off, and leaves those of others.
func releasePatch(old *unstructured.Unstructured) map[string]any {
	keep := []any{}
	for _, f := range old.GetFinalizers() {
		if !isFinalizer(f) {
			keep = append(keep, f)
		}
	}
	if len(keep) == len(old.GetFinalizers()) {
		return nil
	}
	return map[string]any{"metadata": map[string]any{
		"finalizers": keep, "resourceVersion": old.GetResourceVersion(),
	}}
}

func metadataOf(patch map[string]any) map[string]any {
	meta, ok := patch["metadata"].(map[string]any)
	if !ok {
		meta = map[string]any{}
		patch["metadata"] = meta
	}
	return meta
}

// mergePatch is the JSON merge patch that makes after out of before.
func mergePatch(before, after map[string]any) map[string]any {
	out := map[string]any{}
	for _, key := range slices.Sorted(maps.Keys(after)) {
		was, ok := before[key]
		wasMap, wasIsMap := was.(map[string]any)
		nowMap, nowIsMap := after[key].(map[string]any)
		switch {
		case wasIsMap && nowIsMap:
			if sub := mergePatch(wasMap, nowMap); len(sub) > 0 {
				out[key] = sub
			}
		case !ok || !reflect.DeepEqual(was, after[key]):
			out[key] = runtime.DeepCopyJSONValue(after[key])
		}
	}
	for key := range before {
		if _, ok := after[key]; !ok {
			out[key] = nil
		}
	}
	return out
}

// withoutNulls drops null fields, which no merge patch can bring about.
func withoutNulls(m map[string]any) map[string]any {
	for key, v := range m {
		switch v := v.(type) {
		case nil:
			delete(m, key)
		case map[string]any:
			withoutNulls(v)
		case []any:
			for _, item := range v {
				if o, ok := item.(map[string]any); ok {
					withoutNulls(o)
				}
			}
		}
	}
	return m
}

// set writes a text field unless it is empty.
func set(into map[string]any, key, value string) {
	if value != "" {
		into[key] = value
	}
}

// stamp is a time as Kubernetes writes it, "" for the zero time.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}
