package ownership

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const plumb = "kustomize-controller"

// entry makes a managedFields entry; op is Apply or Update, with /subresource.
func entry(manager, op, at, fields string) metav1.ManagedFieldsEntry {
	op, subresource, _ := strings.Cut(op, "/")
	when, err := time.Parse(time.DateTime, "2026-11-21 "+at)
	if err != nil {
		panic(err)
	}
	stamp := metav1.NewTime(when)
	return metav1.ManagedFieldsEntry{Manager: manager, Operation: metav1.ManagedFieldsOperationType(op), Subresource: subresource,
		APIVersion: "apps/v1", Time: &stamp, FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(fields)}
}

const (
	// As the API server writes them, for a Deployment of one container.
	whole = `{"f:metadata":{"f:labels":{"f:app.kubernetes.io/name":{}}},"f:spec":{"f:replicas":{},"f:selector":{},"f:template":{"f:spec":{"f:containers":{"k:{\"name\":\"web\"}":{".":{},"f:env":{"k:{\"name\":\"A\"}":{".":{},"f:name":{},"f:value":{}},"k:{\"name\":\"B\"}":{".":{},"f:name":{},"f:value":{}}},"f:image":{},"f:name":{},"f:ports":{"k:{\"containerPort\":80,\"protocol\":\"TCP\"}":{".":{},"f:containerPort":{}}}}}}}}}`
	// The same after kubectl scale, set image, label and the removal of an env.
	robbed = `{"f:metadata":{},"f:spec":{"f:selector":{},"f:template":{"f:spec":{"f:containers":{"k:{\"name\":\"web\"}":{".":{},"f:env":{"k:{\"name\":\"A\"}":{".":{},"f:name":{},"f:value":{}}},"f:name":{},"f:ports":{"k:{\"containerPort\":80,\"protocol\":\"TCP\"}":{".":{},"f:containerPort":{}}}}}}}}}`

	replicas = `{"f:spec":{"f:replicas":{}}}`
	image    = `{"f:spec":{"f:template":{"f:spec":{"f:containers":{"k:{\"name\":\"web\"}":{"f:image":{}}}}}}}`
	label    = `{"f:metadata":{"f:labels":{"f:app.kubernetes.io/name":{}}}}`
	status   = `{"f:status":{"f:replicas":{}}}`
)

func fields(entries ...metav1.ManagedFieldsEntry) []metav1.ManagedFieldsEntry { return entries }

func TestDigest(t *testing.T) {
	base := Digest(fields(entry(plumb, "Apply", "10:00:00", whole)), plumb)
	if len(base) != 16 || strings.Trim(base, "0123456789abcdef") != "" {
		t.Fatalf("Digest = %q, want 16 hex digits", base)
	}
	for _, tc := range []struct {
		name   string
		fields []metav1.ManagedFieldsEntry
		same   bool
		none   bool
	}{
		{name: "others beside it", same: true, fields: fields(
			entry("kubectl", "Update", "11:00:00", image), entry(plumb, "Apply", "10:00:00", whole), entry("kcm", "Update/status", "11:00:00", status))},
		{name: "a field taken", fields: fields(entry(plumb, "Apply", "10:00:00", robbed))},
		{name: "written later under the same name", fields: fields(entry(plumb, "Apply", "10:00:01", whole))},
		{name: "no entry", none: true, fields: fields(entry("kubectl", "Update", "10:00:00", whole))},
		{name: "an update only", none: true, fields: fields(entry(plumb, "Update", "10:00:00", whole))},
		{name: "a subresource only", none: true, fields: fields(entry(plumb, "Apply/status", "10:00:00", status))},
		{name: "nothing recorded", none: true},
		{name: "wiped", none: true, fields: fields(metav1.ManagedFieldsEntry{})},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := Digest(tc.fields, plumb)
			if (got == base) != tc.same || (got == "") != tc.none {
				t.Errorf("Digest = %q beside %q, want same %v, none %v", got, base, tc.same, tc.none)
			}
		})
	}
}

// TestDigestTransport: what came as JSON and what came as protobuf is the same.
func TestDigestTransport(t *testing.T) {
	plainFields := `{"f:data":{"f:a":{},"k:{\"name\":\"<&>\"}":{}},"f:\\u003c":{}}`
	plain := fields(entry(plumb, "Apply", "10:00:00", plainFields))
	data, err := json.Marshal(plain)
	if err != nil {
		t.Fatal(err)
	}
	var viaJSON []metav1.ManagedFieldsEntry
	if err := json.Unmarshal(data, &viaJSON); err != nil {
		t.Fatal(err)
	}
	if viaJSON[0].FieldsV1.GetRawString() == plainFields {
		t.Fatal("JSON did not escape anything: this test tests nothing")
	}
	if a, b := Digest(plain, plumb), Digest(viaJSON, plumb); a != b {
		t.Errorf("digests differ: %s and %s", a, b)
	}
	literal := fields(entry(plumb, "Apply", "10:00:00", strings.ReplaceAll(plainFields, `\\u003c`, `<`)))
	if Digest(plain, plumb) == Digest(literal, plumb) {
		t.Error(`a field named \u003c has the digest of one named <`)
	}
}

func TestRegained(t *testing.T) {
	after := fields(entry(plumb, "Apply", "12:00:00", whole))
	type want struct{ path, by, sub string }
	const c = `.spec.template.spec.containers[name="web"]`
	for _, tc := range []struct {
		name   string
		before []metav1.ManagedFieldsEntry
		want   []want
	}{
		{"nothing taken", fields(entry(plumb, "Apply", "10:00:00", whole), entry("kubectl", "Update", "11:00:00", image)), nil},
		{"each by its holder", fields(
			entry(plumb, "Apply", "10:00:00", robbed),
			entry("kubectl-set", "Update", "11:00:00", image),
			entry("kubectl-label", "Update", "11:00:02", label),
			entry("kubectl", "Update/scale", "11:00:01", replicas),
			entry("kcm", "Update/status", "11:30:00", status),
		), []want{
			{`.metadata.labels["app.kubernetes.io/name"]`, "kubectl-label", ""},
			{`.spec.replicas`, "kubectl", "scale"},
			{c + `.env[name="B"].value`, "", ""},
			{c + `.image`, "kubectl-set", ""},
		}},
		{"removed by the only one who wrote since", fields(
			entry(plumb, "Apply", "10:00:00", robbed),
			entry("kubectl-edit", "Update", "11:00:00", `{"f:metadata":{"f:labels":{"f:app.kubernetes.io/name":{}}},"f:spec":{"f:replicas":{},"f:template":{"f:spec":{"f:containers":{"k:{\"name\":\"web\"}":{"f:image":{}}}}}}}`),
			entry("older", "Update", "09:00:00", `{"f:spec":{"f:paused":{}}}`),
			entry("kcm", "Update/status", "11:30:00", status),
		), []want{
			{`.metadata.labels["app.kubernetes.io/name"]`, "kubectl-edit", ""},
			{`.spec.replicas`, "kubectl-edit", ""},
			{c + `.env[name="B"].value`, "kubectl-edit", ""},
			{c + `.image`, "kubectl-edit", ""},
		}},
		{"of two holders the later", fields(
			entry(plumb, "Apply", "10:00:00", strings.Replace(whole, `"f:replicas":{},`, "", 1)),
			entry("one", "Update", "11:00:00", replicas), entry("two", "Update", "11:00:01", replicas),
		), []want{{".spec.replicas", "two", ""}}},
		{"an ancestor held as one value", fields(
			entry(plumb, "Apply", "10:00:00", strings.Replace(whole, `"f:replicas":{},`, "", 1)),
			entry("hpa", "Update", "11:00:00", `{"f:spec":{}}`), entry("x", "Update", "11:00:00", `{"f:data":{}}`),
		), []want{{".spec.replicas", "hpa", ""}}},
		{"fields that cannot be parsed count as none", fields(
			entry(plumb, "Apply", "10:00:00", strings.Replace(whole, `"f:replicas":{},`, "", 1)),
			entry("broken", "Update", "11:00:00", `{"f:spec":[`),
			metav1.ManagedFieldsEntry{Manager: "empty", Operation: "Update"},
		), []want{{".spec.replicas", "broken", ""}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got []want
			for _, h := range Regained(tc.before, after, plumb) {
				got = append(got, want{h.Path, h.By, h.Subresource})
				if (h.At != 0) != (h.By != "") {
					t.Errorf("%s: by %q at %d", h.Path, h.By, h.At)
				}
			}
			if len(got) != len(tc.want) {
				t.Fatalf("got %d holdings, want %d:\n%v\n%v", len(got), len(tc.want), got, tc.want)
			}
			for i := range got {
				if got[i] != tc.want[i] {
					t.Errorf("got  %v\nwant %v", got[i], tc.want[i])
				}
			}
		})
	}
}

func TestRegainedKeys(t *testing.T) {
	before := fields(entry(plumb, "Apply", "10:00:00", `{}`))
	after := fields(entry(plumb, "Apply", "12:00:00",
		`{"f:spec":{"f:ports":{"k:{\"containerPort\":80,\"protocol\":\"TCP\"}":{".":{},"f:containerPort":{}}},"f:finalizers":{"v:\"a/b\"":{}},"f:list":{"i:3":{}}}}`))
	want := []string{`.spec.finalizers[="a/b"]`, `.spec.list[3]`, `.spec.ports[containerPort=80,protocol="TCP"].containerPort`}
	for i, h := range Regained(before, after, plumb) {
		if h.Path != want[i] {
			t.Errorf("path %d: got %s, want %s", i, h.Path, want[i])
		}
	}
}

func TestAdopt(t *testing.T) {
	csa := entry("kubectl-client-side-apply", "Update", "09:00:00", `{"f:data":{"f:a":{},"f:b":{}}}`)
	own := entry(plumb, "Apply", "10:00:00", `{"f:data":{"f:a":{}}}`)
	scale := entry("kubectl", "Update/scale", "11:00:00", replicas)
	old := entry("kubectl-client-side-apply", "Update", "08:00:00", `{"f:data":{"f:c":{}}}`)
	old.APIVersion = "apps/v1beta1"
	for _, tc := range []struct {
		name    string
		fields  []metav1.ManagedFieldsEntry
		from    []string
		changed bool
		owned   string // by plumb afterwards
		entries int
		version string
	}{
		{"nothing to take", fields(own, scale), []string{"kubectl*"}, false, `{"f:data":{"f:a":{}}}`, 2, "apps/v1"},
		{"nobody named", fields(own, csa), nil, false, `{"f:data":{"f:a":{}}}`, 2, "apps/v1"},
		{"into the own entry", fields(csa, own, scale), []string{"kubectl*"}, true, `{"f:data":{"f:a":{},"f:b":{}}}`, 2, "apps/v1"},
		{"into a new entry", fields(csa, scale), []string{"kubectl-client-side-apply"}, true, `{"f:data":{"f:a":{},"f:b":{}}}`, 2, "apps/v1"},
		{"from an apply", fields(entry("argocd-controller", "Apply", "09:00:00", `{"f:data":{"f:x":{}}}`)), []string{"argocd-controller"}, true, `{"f:data":{"f:x":{}}}`, 1, "apps/v1"},
		{"from the own update", fields(entry(plumb, "Update", "09:00:00", `{"f:data":{"f:y":{}}}`), own), []string{plumb}, true, `{"f:data":{"f:a":{},"f:y":{}}}`, 1, "apps/v1"},
		{"the own apply is not taken from itself", fields(own), []string{"*"}, false, `{"f:data":{"f:a":{}}}`, 1, "apps/v1"},
		{"two versions become the later", fields(old, csa), []string{"kubectl*"}, true, `{"f:data":{"f:a":{},"f:b":{},"f:c":{}}}`, 1, "apps/v1"},
		{"a subresource stays", fields(scale), []string{"*"}, false, "", 1, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			input, _ := json.Marshal(tc.fields)
			got, changed, err := Adopt(tc.fields, tc.from, plumb)
			if err != nil {
				t.Fatal(err)
			}
			if changed != tc.changed || changed != Adoptable(tc.fields, tc.from, plumb) {
				t.Errorf("changed %v, want %v; Adoptable %v", changed, tc.changed, Adoptable(tc.fields, tc.from, plumb))
			}
			if after, _ := json.Marshal(tc.fields); string(after) != string(input) {
				t.Error("the input was modified")
			}
			if len(got) != tc.entries {
				t.Errorf("%d entries, want %d: %v", len(got), tc.entries, got)
			}
			var raw, version string
			if e := applied(got, plumb); e != nil {
				raw, version = e.FieldsV1.GetRawString(), e.APIVersion
			}
			if raw != tc.owned || version != tc.version {
				t.Errorf("owned afterwards: %s in %q\nwant %s in %q", raw, version, tc.owned, tc.version)
			}
		})
	}
}

func FuzzRegained(f *testing.F) {
	f.Add(whole, robbed)
	f.Add(`{"f:a":{"k:{\"x\":1}":{".":{}}}}`, `{"v:1":{},"i:0":{}}`)
	f.Fuzz(func(t *testing.T, a, b string) {
		before, after := fields(entry("x", "Update", "10:00:00", b), entry(plumb, "Apply", "09:00:00", b)), fields(entry(plumb, "Apply", "10:00:00", a))
		for _, h := range Regained(before, after, plumb) {
			if h.Path == "" {
				t.Error("a holding without a path")
			}
		}
		if _, _, err := Adopt(before, []string{"*"}, plumb); err != nil {
			t.Error(err)
		}
	})
}

func BenchmarkDigest(b *testing.B) {
	list := fields(entry("kubectl", "Update", "09:00:00", image), entry(plumb, "Apply", "10:00:00", whole))
	b.ReportAllocs()
	for b.Loop() {
		Digest(list, plumb)
	}
}
