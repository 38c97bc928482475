package controller

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unique"
	"weak"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/json"
)

// kept is a custom resource as it is remembered: a fleet has thousands of them,
// most of which nobody asks for in a while, and as maps they are several times
// as large, and much work for the garbage collector. It has no managedFields.
type kept struct {
	metav1.ObjectMeta // name, namespace, uid, resourceVersion and deletionTimestamp only
	text              []byte
	whole             weak.Pointer[unstructured.Unstructured] // for who asks soon
	brief             unique.Handle[string]
}

// keptOf takes u over: it must not be changed any more.
func keptOf(u *unstructured.Unstructured) (*kept, error) {
	unstructured.RemoveNestedField(u.Object, "metadata", "managedFields")
	text, err := json.Marshal(u.Object)
	if err != nil {
		return nil, fmt.Errorf("encoding %s %s/%s: %w", u.GetKind(), u.GetNamespace(), u.GetName(), err)
	}
	return &kept{
		ObjectMeta: metav1.ObjectMeta{Namespace: u.GetNamespace(), Name: u.GetName(), UID: u.GetUID(),
			ResourceVersion: u.GetResourceVersion(), DeletionTimestamp: u.GetDeletionTimestamp()},
		text: slices.Clip(text), whole: weak.Make(u), brief: unique.Make(briefOf(u)),
	}, nil
}

// open gives the resource; it is shared, and must not be changed. That of nil
// is nil.
func (k *kept) open() *unstructured.Unstructured {
	if k == nil {
		return nil
	}
	if u := k.whole.Value(); u != nil {
		return u
	}
	u := &unstructured.Unstructured{}
	// What was encoded from such maps becomes such maps: numbers too.
	if err := json.Unmarshal(k.text, &u.Object); err != nil {
		panic(fmt.Sprintf("%s/%s: %v", k.Namespace, k.Name, err)) // it was just encoded
	}
	return u
}

// newerThan reports whether k is a newer version of what o is a version of. The
// API server promises that versions of one resource can be compared as numbers.
func (k *kept) newerThan(o *kept) bool {
	return k != nil && k.UID == o.UID && k.number() > o.number()
}

func (k *kept) number() uint64 {
	n, err := strconv.ParseUint(k.ResourceVersion, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// A brief is what metrics tell of a resource, of which a fleet has few
// different ones: whether it is suspended, and its conditions.
const (
	briefSuspended = "suspended"
	briefSeparator = ","
)

func briefOf(u *unstructured.Unstructured) string {
	var out []string
	if suspended, _, _ := unstructured.NestedBool(u.Object, "spec", "suspend"); suspended {
		out = append(out, briefSuspended)
	}
	list, _ := statusOf(u)["conditions"].([]any)
	for _, item := range list {
		if cond, ok := item.(map[string]any); ok {
			kind, _ := cond["type"].(string)
			status, _ := cond["status"].(string)
			out = append(out, kind+"="+status)
		}
	}
	return strings.Join(out, briefSeparator)
}

func (k *kept) suspended() bool {
	first, _, _ := strings.Cut(k.brief.Value(), briefSeparator)
	return first == briefSuspended
}

// conditions gives the status of each by its type.
func (k *kept) conditions() map[string]string {
	out := map[string]string{}
	for part := range strings.SplitSeq(k.brief.Value(), briefSeparator) {
		if kind, status, ok := strings.Cut(part, "="); ok {
			out[kind] = status
		}
	}
	return out
}
