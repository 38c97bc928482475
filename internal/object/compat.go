package object

import (
	"encoding/base64"
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// Normalize returns o as server-side apply needs it, and in warnings what had
// to be settled that its author should know. o itself is not changed.
//
//   - stringData of a Secret moves into data, where it wins, as the API server
//     does on every write; otherwise the fields would be owned twice.
//   - status, null fields of metadata and null labels and annotations go: they
//     are not desired state.
//   - List entries with the same key, which client-side apply lets pass and
//     server-side apply refuses, become one, as their reader would settle it:
//     of an environment variable the last counts (the kubelet's rule); of
//     container ports and pull secrets, entries are merged, later fields over
//     earlier ones; of a Service's ports only exact repetitions go.
//
// Warnings start with the place of the object and never show values.
func Normalize(o Object) (Object, []string) {
	if o.IsZero() {
		return o, nil
	}
	o = o.Copy()
	n := normalizer{origin: o.Origin, ref: o.Ref()}
	content := o.content
	delete(content, "status")
	dropNulls(content)
	if IsSecret(content) {
		n.secret(content)
	}
	gvk := o.GVK()
	if path, ok := podSpecs[gvk.Group+"/"+gvk.Kind]; ok {
		if spec := dig(content, strings.Split(path, ".")...); spec != nil {
			n.podSpec(spec, "."+path)
		}
	}
	if gvk.Group == "" && gvk.Kind == "Service" {
		if spec := dig(content, "spec"); spec != nil {
			n.entries(spec, ".spec", "ports", []string{"port", "protocol"}, keepExact)
		}
	}
	return o, n.warnings
}

// podSpecs says where kinds keep a pod spec.
var podSpecs = map[string]string{
	"/Pod":                   "spec",
	"/PodTemplate":           "template.spec",
	"/ReplicationController": "spec.template.spec",
	"apps/Deployment":        "spec.template.spec",
	"apps/StatefulSet":       "spec.template.spec",
	"apps/DaemonSet":         "spec.template.spec",
	"apps/ReplicaSet":        "spec.template.spec",
	"batch/Job":              "spec.template.spec",
	"batch/CronJob":          "spec.jobTemplate.spec.template.spec",
}

type normalizer struct {
	origin   Origin
	ref      Ref
	warnings []string
}

func (n *normalizer) warn(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	where := n.ref.String()
	if n.origin.Path != "" {
		where = n.origin.String() + ": " + where
	}
	n.warnings = append(n.warnings, where+": "+text)
}

// dropNulls removes nulls from metadata, its labels and its annotations.
func dropNulls(content map[string]any) {
	meta := dig(content, "metadata")
	for _, m := range []map[string]any{meta, dig(meta, "labels"), dig(meta, "annotations")} {
		for k, v := range m {
			if v == nil {
				delete(m, k)
			}
		}
	}
}

func (n *normalizer) secret(content map[string]any) {
	plain, ok := content["stringData"].(map[string]any)
	if !ok {
		if content["stringData"] == nil {
			delete(content, "stringData")
		}
		return
	}
	data, ok := content["data"].(map[string]any)
	if !ok {
		if content["data"] != nil {
			return // the API server says what is wrong with it
		}
		data = map[string]any{}
	}
	for _, k := range sortedKeys(plain) {
		text, ok := plain[k].(string)
		if !ok && plain[k] != nil {
			return // likewise
		}
		encoded := base64.StdEncoding.EncodeToString([]byte(text))
		if before, both := data[k]; both && before != encoded {
			n.warn("key %q is in data and in stringData, which wins", k)
		}
	}
	for k, v := range plain {
		text, _ := v.(string)
		data[k] = base64.StdEncoding.EncodeToString([]byte(text))
	}
	if len(data) > 0 {
		content["data"] = data
	}
	delete(content, "stringData")
}

func (n *normalizer) podSpec(spec map[string]any, path string) {
	for _, field := range []string{"initContainers", "containers"} {
		list, _ := spec[field].([]any)
		for i, item := range list {
			container, ok := item.(map[string]any)
			if !ok {
				continue
			}
			at := fmt.Sprintf("%s.%s[%d]", path, field, i)
			if name, ok := container["name"].(string); ok {
				at = fmt.Sprintf("%s.%s[name=%q]", path, field, name)
			}
			n.entries(container, at, "env", []string{"name"}, keepLast)
			n.entries(container, at, "ports", []string{"containerPort", "protocol"}, keepMerged)
		}
	}
	n.entries(spec, path, "imagePullSecrets", []string{"name"}, keepMerged)
}

// settle is how entries of a list with the same key become one.
type settle int

const (
	keepLast settle = iota
	keepMerged
	keepExact // only equal entries are one
)

// entries settles repeated keys in the list parent[field].
func (n *normalizer) entries(parent map[string]any, path, field string, keys []string, how settle) {
	list, ok := parent[field].([]any)
	if !ok || len(list) < 2 {
		return
	}
	key := func(item any) string {
		m, ok := item.(map[string]any)
		if !ok || m[keys[0]] == nil {
			return ""
		}
		var parts []string
		for _, k := range keys {
			v := m[k]
			if k == "protocol" && v == nil {
				v = "TCP" // the API server's default
			}
			if text, ok := v.(string); ok {
				v = strconv.Quote(text)
			}
			parts = append(parts, fmt.Sprintf("%s=%v", k, v))
		}
		return strings.Join(parts, ",")
	}
	first := map[string]int{}
	drop := map[int]bool{}
	for i, item := range list {
		k := key(item)
		if k == "" {
			continue
		}
		before, twice := first[k]
		if !twice {
			first[k] = i
			continue
		}
		at := fmt.Sprintf("%s.%s[%s]", path, field, k)
		switch how {
		case keepLast:
			drop[before], first[k] = true, i
			n.warn("%s occurs twice; the last one counts, remove the other", at)
		case keepMerged:
			drop[i] = true
			merged := list[before].(map[string]any)
			for field, v := range item.(map[string]any) {
				merged[field] = v
			}
			n.warn("%s occurs twice; taken as one, later fields win, remove the other", at)
		case keepExact:
			if reflect.DeepEqual(item, list[before]) {
				drop[i] = true
				n.warn("%s occurs twice, remove one", at)
			}
		}
	}
	if len(drop) == 0 {
		return
	}
	out := make([]any, 0, len(list)-len(drop))
	for i, item := range list {
		if !drop[i] {
			out = append(out, item)
		}
	}
	parent[field] = out
}

// dig follows fields through mappings; nil if there is none.
func dig(m map[string]any, fields ...string) map[string]any {
	for _, f := range fields {
		m, _ = m[f].(map[string]any)
	}
	return m
}
